//! Keys that the units of one role share: kept in NATS sealed and counted, so that who can write
//! there can neither read them nor bring old ones back.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stream_pki::{Seal, SecretError, write_new};
use stream_protocol::subjects::Bucket;
use zeroize::Zeroizing;

use crate::{Bridge, BridgeError};

/// The generation of the record that the first unit writes.
const FIRST: u64 = 1;

/// How often a change is repeated on what another unit wrote meanwhile.
const MAX_CAS_ATTEMPTS: usize = 8;

/// Returns the keys in the sealed record `name`; writes the record with `first` when there is none.
///
/// Of several units that start at once one writes it, and all get what that one wrote. Remembers
/// the record's generation in the directory `state` and refuses any that is lower, also after a
/// restart.
pub async fn load_sealed<T: Serialize + DeserializeOwned>(
    bridge: &Bridge,
    seal: &Seal,
    name: &str,
    first: impl FnOnce() -> Result<T, SecretError>,
    state: &Path,
) -> Result<T, SealedError> {
    let guard = RollbackGuard::new(state, name);
    let record = match bridge.read::<Record>(Bucket::Keys, name).await? {
        Some(entry) => entry.value,
        None => {
            // A record that was counted further and is gone is not begun anew.
            guard.check(FIRST)?;
            let record = Record::seal(seal, name, FIRST, &first()?);
            match bridge.create(Bucket::Keys, name, &record).await {
                Ok(_) => record,
                Err(BridgeError::Conflict) => match bridge.read(Bucket::Keys, name).await? {
                    Some(entry) => entry.value,
                    None => return Err(BridgeError::Conflict.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    };
    accept(seal, name, &record, &guard)
}

/// Tells `tell` what [`load_sealed`] returns: at once, whenever another unit wrote the record, and
/// every 20 s at the latest; more often while the keys cannot be had. Never ends.
pub async fn follow_sealed<T: Serialize + DeserializeOwned>(
    bridge: &Bridge,
    seal: &Seal,
    name: &str,
    first: impl Fn() -> Result<T, SecretError>,
    state: &Path,
    tell: impl Fn(Result<T, SealedError>),
) {
    let look = async || {
        let keys = load_sealed(bridge, seal, name, &first, state).await;
        let found = keys.is_ok();
        tell(keys);
        found
    };
    bridge.watch(Bucket::Keys, name, look).await;
}

/// Applies `edit` to the keys in the record `name`, stores them as the next generation, and returns
/// them; repeats both when another unit was faster, so `edit` may run several times. An error of
/// `edit` leaves the record as it is. Refuses a record that is not there, does not open or went
/// back.
pub async fn change_sealed<T, E>(
    bridge: &Bridge,
    seal: &Seal,
    name: &str,
    state: &Path,
    edit: impl Fn(&mut T) -> Result<(), E>,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<SealedError>,
{
    let guard = RollbackGuard::new(state, name);
    for _ in 0..MAX_CAS_ATTEMPTS {
        let read = bridge.read::<Record>(Bucket::Keys, name).await.map_err(SealedError::from)?;
        let entry = read.ok_or(SealedError::Bridge(BridgeError::NotFound))?;
        let mut keys: T = accept(seal, name, &entry.value, &guard)?;
        edit(&mut keys)?;
        let generation = entry.value.generation + 1;
        let record = Record::seal(seal, name, generation, &keys);
        match bridge.update(Bucket::Keys, name, &record, entry.revision).await {
            Ok(_) => {
                guard.remember(generation)?;
                return Ok(keys);
            }
            Err(BridgeError::Conflict) => {}
            Err(error) => return Err(SealedError::from(error).into()),
        }
    }
    Err(SealedError::from(BridgeError::Conflict).into())
}

/// Why the keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// Passes when NATS is back.
    #[error(transparent)]
    Bridge(#[from] BridgeError),
    /// Passes only when another unit writes the record: this one has nothing to begin it with.
    #[error(transparent)]
    NoFirst(#[from] SecretError),

    /// This node has the wrong sealing key; no retry helps.
    #[error("the keys {name:?} do not open: copy the sealing key of a node where they do")]
    CannotUnseal { name: String },
    #[error("the keys {name:?} are written in a way that this version does not read: upgrade it")]
    UnknownContent { name: String },
    #[error(
        "the keys {name:?} went back from generation {remembered} to {found}: restore the record, \
         or remove {} to accept it", file.display()
    )]
    RolledBack { name: String, remembered: u64, found: u64, file: PathBuf },

    #[error("{} cannot be kept: give it to the user of the service", file.display())]
    State { file: PathBuf, source: io::Error },
}

impl SealedError {
    /// Returns the error and its causes in one sentence.
    pub fn sentence(&self) -> String {
        let mut sentence = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            sentence = format!("{sentence}: {error}");
            cause = error.source();
        }
        sentence
    }
}

/// What the bucket holds. The generation is part of what the seal covers.
#[derive(Deserialize, Serialize)]
struct Record {
    generation: u64,
    sealed: String,
}

impl Record {
    fn seal<T: Serialize>(seal: &Seal, name: &str, generation: u64, keys: &T) -> Self {
        let plain = Zeroizing::new(serde_json::to_vec(keys).expect("keys serialize"));
        let sealed = STANDARD.encode(seal.seal(&associated_data(name, generation), &plain));
        Self { generation, sealed }
    }

    fn open<T: DeserializeOwned>(&self, seal: &Seal, name: &str) -> Result<T, SealedError> {
        let broken = || SealedError::CannotUnseal { name: name.to_owned() };
        let sealed = STANDARD.decode(&self.sealed).map_err(|_| broken())?;
        let plain =
            seal.open(&associated_data(name, self.generation), &sealed).map_err(|_| broken())?;
        // The parser's error is dropped: it may quote what it read.
        serde_json::from_slice(&plain)
            .map_err(|_| SealedError::UnknownContent { name: name.to_owned() })
    }
}

/// What a seal is bound to: neither another record nor another generation can stand in.
fn associated_data(name: &str, generation: u64) -> Vec<u8> {
    format!("{name} {generation}").into_bytes()
}

/// Opens `record`. Its generation counts only then: before, anybody may have written it.
fn accept<T: DeserializeOwned>(
    seal: &Seal,
    name: &str,
    record: &Record,
    guard: &RollbackGuard<'_>,
) -> Result<T, SealedError> {
    let keys = record.open(seal, name)?;
    guard.check(record.generation)?;
    guard.remember(record.generation)?;
    Ok(keys)
}

/// The highest generation of one record that this node has seen, in a file of its own.
struct RollbackGuard<'a> {
    name: &'a str,
    file: PathBuf,
}

impl<'a> RollbackGuard<'a> {
    fn new(state: &Path, name: &'a str) -> Self {
        Self { name, file: state.join(format!("{name}.generation")) }
    }

    /// Refuses a generation below the highest.
    fn check(&self, found: u64) -> Result<(), SealedError> {
        let remembered = self.read()?;
        if found >= remembered {
            return Ok(());
        }
        let (name, file) = (self.name.to_owned(), self.file.clone());
        Err(SealedError::RolledBack { name, remembered, found, file })
    }

    /// Writes `generation` down, whole and on disk, unless it is there already.
    fn remember(&self, generation: u64) -> Result<(), SealedError> {
        if generation <= self.read()? {
            return Ok(());
        }
        self.replace(&format!("{generation}\n")).map_err(|source| self.error(source))
    }

    fn read(&self) -> Result<u64, SealedError> {
        match fs::read_to_string(&self.file) {
            Ok(text) => text.trim().parse().map_err(|_| {
                self.error(io::Error::new(ErrorKind::InvalidData, "it does not hold a number"))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(self.error(error)),
        }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let new = self.file.with_added_extension("new");
        // Left behind by a crash between the next two steps, if at all.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => write_new(&new, text.as_bytes(), 0o600)?,
        }
        fs::rename(&new, &self.file)?;
        File::open(directory)?.sync_all()
    }

    fn error(&self, source: io::Error) -> SealedError {
        SealedError::State { file: self.file.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Keys {
        secret: String,
    }

    /// A node: its sealing key and its state directory.
    struct Node {
        seal: Seal,
        directory: tempfile::TempDir,
    }

    impl Node {
        fn with_key(key: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("sealing.key");
            fs::write(&file, key.repeat(32)).unwrap();
            Self { seal: Seal::load(file).unwrap(), directory }
        }

        fn write(&self, name: &str, generation: u64) -> Record {
            Record::seal(&self.seal, name, generation, &keys(generation))
        }

        fn accept(&self, name: &str, record: &Record) -> Result<Keys, SealedError> {
            accept(&self.seal, name, record, &self.guard(name))
        }

        fn guard<'a>(&self, name: &'a str) -> RollbackGuard<'a> {
            RollbackGuard::new(&self.directory.path().join("state"), name)
        }
    }

    fn keys(n: u64) -> Keys {
        Keys { secret: format!("secret {n}") }
    }

    #[test]
    fn another_node_with_the_same_sealing_key_reads_the_keys() {
        let (one, two) = (Node::with_key("k"), Node::with_key("k"));
        let record = one.write("agent.root", 1);
        assert!(!record.sealed.contains("secret"));
        assert_eq!(two.accept("agent.root", &record).unwrap(), keys(1));
    }

    #[test]
    fn a_node_with_another_sealing_key_cannot_unseal_and_remembers_nothing() {
        let record = Node::with_key("k").write("agent.root", 9);
        let stranger = Node::with_key("x");
        let error = stranger.accept("agent.root", &record).unwrap_err();
        assert!(matches!(error, SealedError::CannotUnseal { .. }), "{error}");
        assert_eq!(stranger.guard("agent.root").read().unwrap(), 0);
    }

    #[test]
    fn no_other_record_and_no_other_count_can_stand_in() {
        let node = Node::with_key("k");
        let record = node.write("gateway.root", 1);
        assert!(node.accept("agent.root", &record).is_err());
        let counted = Record { generation: 2, ..record };
        assert!(node.accept("gateway.root", &counted).is_err());
        let garbage = Record { generation: 1, sealed: "no base64!".into() };
        assert!(node.accept("gateway.root", &garbage).is_err());
    }

    #[test]
    fn a_record_that_went_back_is_refused_and_the_same_one_is_not() {
        let node = Node::with_key("k");
        let (old, new) = (node.write("agent.turn", 1), node.write("agent.turn", 2));
        assert_eq!(node.accept("agent.turn", &old).unwrap(), keys(1));
        assert_eq!(node.accept("agent.turn", &new).unwrap(), keys(2));
        assert_eq!(node.accept("agent.turn", &new).unwrap(), keys(2));

        let error = node.accept("agent.turn", &old).unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.contains("from generation 2 to 1"), "{sentence}");
        assert!(sentence.contains("agent.turn.generation"), "{sentence}");
        // Each record is counted for itself.
        assert!(node.accept("agent.root", &node.write("agent.root", 1)).is_ok());
    }

    #[test]
    fn a_lost_record_is_begun_anew_only_if_it_was_never_counted_on() {
        let node = Node::with_key("k");
        let guard = node.guard("agent.root");
        assert!(guard.check(FIRST).is_ok());
        guard.remember(1).unwrap();
        assert!(guard.check(FIRST).is_ok());
        guard.remember(2).unwrap();
        assert!(matches!(guard.check(FIRST), Err(SealedError::RolledBack { found: 1, .. })));
    }

    #[test]
    fn the_highest_generation_never_falls_and_survives_what_a_crash_left() {
        let node = Node::with_key("k");
        let guard = node.guard("agent.root");
        guard.remember(7).unwrap();
        guard.remember(3).unwrap();
        assert_eq!(guard.read().unwrap(), 7);

        fs::write(node.directory.path().join("state/agent.root.generation.new"), "1").unwrap();
        guard.remember(8).unwrap();
        assert_eq!(guard.read().unwrap(), 8);
        let left = fs::read_dir(node.directory.path().join("state")).unwrap().count();
        assert_eq!(left, 1, "only the file itself stays");
    }

    #[test]
    fn a_generation_file_that_holds_no_number_stops_with_a_sentence() {
        let node = Node::with_key("k");
        let record = node.write("agent.root", 1);
        node.accept("agent.root", &record).unwrap();
        fs::write(&node.guard("agent.root").file, "").unwrap();
        let sentence = node.accept("agent.root", &record).unwrap_err().sentence();
        assert!(sentence.ends_with("it does not hold a number"), "{sentence}");
    }

    #[test]
    fn keys_of_another_shape_are_refused_without_being_quoted() {
        let node = Node::with_key("k");
        let record = Record::seal(&node.seal, "agent.root", 1, &("secret 1", 2, 3));
        let error = node.accept("agent.root", &record).unwrap_err();
        assert!(matches!(error, SealedError::UnknownContent { .. }), "{error}");
        assert!(!error.sentence().contains("secret"));
    }
}
