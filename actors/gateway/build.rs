//! Compresses the files of the web pages once, so that no request waits for it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=ui");
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from);
    let out = out.ok_or_else(|| io::Error::other("cargo names no OUT_DIR"))?;
    compress(Path::new("ui"), &out.join("ui"))
}

/// Writes every file in `from` and below it into `to`, with `.gz` behind its name.
fn compress(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (from, mut name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if from.is_dir() {
            compress(&from, &to.join(name))?;
            continue;
        }
        name.push(".gz");
        let mut file = GzEncoder::new(File::create(to.join(name))?, Compression::best());
        file.write_all(&fs::read(&from)?)?;
        file.finish()?;
    }
    Ok(())
}
