//! Whole or not at all, and never over anything.

use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::{fs, thread};

use stream_pki::{create_private_dir, write_new};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_file_has_its_bytes_and_its_mode_and_nothing_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    // One that a usual umask would narrow, and one that it would not.
    for (name, wanted) in [("open", 0o666), ("secret", 0o600)] {
        let path = directory.path().join(name);
        write_new(&path, name.as_bytes(), wanted).unwrap();
        assert_eq!(fs::read(&path).unwrap(), name.as_bytes());
        assert_eq!(mode(&path), wanted);
    }
    assert_eq!(names_in(directory.path()), ["open", "secret"]);
}

#[test]
fn what_is_there_already_is_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    fs::write(&file, "first").unwrap();
    symlink("nowhere", &link).unwrap();
    for path in [&file, &link] {
        let refused = write_new(path, b"second", 0o600).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read(&file).unwrap(), b"first");
    assert_eq!(names_in(directory.path()), ["file", "link"]);
}

#[test]
fn of_many_writers_one_succeeds_and_its_file_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let write = |writer: u8| write_new(&path, &vec![writer; 100_000], 0o600).is_ok();
    let winners: Vec<u8> = thread::scope(|scope| {
        let writers: Vec<_> =
            (0..8).map(|writer| (writer, scope.spawn(move || write(writer)))).collect();
        writers
            .into_iter()
            .filter_map(|(writer, won)| won.join().unwrap().then_some(writer))
            .collect()
    });
    assert_eq!(winners.len(), 1);
    assert_eq!(fs::read(&path).unwrap(), vec![winners[0]; 100_000]);
    assert_eq!(names_in(directory.path()), ["file"]);
}

#[test]
fn a_missing_directory_is_not_made_up() {
    let directory = tempfile::tempdir().unwrap();
    let refused = write_new(directory.path().join("none/file"), b"x", 0o600).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert_eq!(write_new("/", b"x", 0o600).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_private_directory_is_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    create_private_dir(&path).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    create_private_dir(&path).unwrap();

    fs::set_permissions(&path, fs::Permissions::from_mode(0o710)).unwrap();
    let refused = create_private_dir(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    assert_eq!(mode(&path), 0o710);
}

#[test]
fn a_private_directory_belongs_to_who_makes_it_and_so_does_the_link_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let (own, link) = (directory.path().join("own"), directory.path().join("link"));
    create_private_dir(&own).unwrap();
    symlink(&own, &link).unwrap();
    create_private_dir(&link).unwrap();

    // Only root can give away what is to be refused then.
    if lchown(&link, Some(4242), None).is_ok() {
        let refused = create_private_dir(&link).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        chown(&own, Some(4242), None).unwrap();
        let refused = create_private_dir(&own).unwrap_err().to_string();
        assert!(refused.contains("belongs to user 4242"), "{refused}");
        assert!(refused.contains("run it as user 4242"), "{refused}");
    }
}
