//! Keys that the units of one role share: kept in NATS sealed and counted, so that who can write
//! there can neither read them nor bring old ones back.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stream_pki::{Seal, SecretError, write_new};
use stream_protocol::error_chain;
use stream_protocol::subjects::Bucket;
use zeroize::Zeroizing;

use crate::{Bridge, BridgeError};

/// The generation of the record that the first unit writes.
const FIRST_GENERATION: u64 = 1;

/// How often a change is repeated on what another unit wrote meanwhile.
const MAX_CAS_ATTEMPTS: usize = 8;

/// One sealed record of a service's bucket of keys: its key there, what opens it, and the highest
/// generation that this node has seen. Clones are cheap and share all of it.
///
/// A record is sealed for its key and its generation, so that neither another record nor an older
/// one can stand in. The generation grows by one with each write; the highest is remembered in a
/// file, and a record below it is refused, also after a restart.
///
/// ```no_run
/// # use std::path::Path;
/// # use std::sync::Arc;
/// # use stream_bridge::{Bridge, SealedError, SealedRecord};
/// # use stream_pki::Seal;
/// # use stream_protocol::subjects::Bucket;
/// # async fn example(bridge: Bridge) -> Result<(), Box<dyn std::error::Error>> {
/// let seal = Arc::new(Seal::load(Path::new("/etc/stream/sealing.key"))?);
/// let state = Path::new("/var/lib/stream-agent");
/// let (bucket, name) = (Bucket::KeysAgent, "agent.example");
/// let record = SealedRecord::<Vec<String>>::new(bridge, seal, bucket, name, state);
/// // Of several units that start at once one writes the first keys, and all get those.
/// let keys = record.load(|| Ok(vec!["first".to_owned()])).await?;
/// // Tried again when another unit was faster.
/// let add = |keys: &mut Vec<String>| Ok::<_, SealedError>(keys.push("second".to_owned()));
/// assert_eq!(record.update(add).await?.len(), keys.len() + 1);
/// # Ok(())
/// # }
/// ```
pub struct SealedRecord<T> {
    inner: Arc<Inner>,
    content: PhantomData<fn() -> T>,
}

struct Inner {
    bridge: Bridge,
    seal: Arc<Seal>,
    bucket: Bucket,
    name: String,
    guard: RollbackGuard,
}

impl<T> Clone for SealedRecord<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), content: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> SealedRecord<T> {
    /// Returns the record under the key `name` in `bucket`, opened with `seal`. Its highest
    /// generation is kept in the directory `state`. Nothing is read yet.
    pub fn new(
        bridge: Bridge,
        seal: Arc<Seal>,
        bucket: Bucket,
        name: impl Into<String>,
        state: &Path,
    ) -> Self {
        let name = name.into();
        let guard = RollbackGuard::new(state, &name);
        Self { inner: Arc::new(Inner { bridge, seal, bucket, name, guard }), content: PhantomData }
    }

    /// Returns the keys as the store has them; writes the record with `first` when there is none.
    /// One that 0.1 has left in its bucket is copied as it is instead, and stays there. It is
    /// judged as any other, so that it cannot bring old keys back.
    ///
    /// # Errors
    ///
    /// [`SealedError::NoFirst`] when there is no record and `first` has nothing to begin it with,
    /// [`SealedError::RolledBack`] when a later generation was seen than the one that is there.
    pub async fn load(
        &self,
        first: impl FnOnce() -> Result<T, SecretError>,
    ) -> Result<T, SealedError> {
        let Inner { bridge, seal, bucket, name, guard } = &*self.inner;
        let read = async || bridge.read::<Sealed>(*bucket, name).await;
        let sealed = match read().await? {
            Some(entry) => entry.value,
            None => {
                let sealed = match bridge.read_former_key::<Sealed>(name).await? {
                    Some(former) => {
                        // What does not open, or went back, is nothing to begin with.
                        former.value.accept::<T>(seal, name, guard)?;
                        log::info!(record:% = name; "keys of 0.1 are copied to their own bucket");
                        former.value
                    }
                    None => {
                        // A record that was counted further and is gone is not begun anew.
                        guard.check(FIRST_GENERATION)?;
                        Sealed::seal(seal, name, FIRST_GENERATION, &first()?)
                    }
                };
                match bridge.create(*bucket, name, &sealed).await {
                    // When another unit was faster all take what that one wrote. What this one
                    // wrote is read back: only what can be read is known to be stored.
                    Ok(_) | Err(BridgeError::Conflict) => {
                        read().await?.ok_or(BridgeError::Conflict)?.value
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        sealed.accept(seal, name, guard)
    }

    /// Gives `on_read` what [`load`](Self::load) returns: at once, whenever a unit wrote the
    /// record, and every 20 s at the latest; more often while the keys cannot be had. Logs why they
    /// cannot, once for each reason, and when they can be had again; that NATS is away is told by
    /// the bridge. Never ends.
    pub async fn watch(
        &self,
        first: impl Fn() -> Result<T, SecretError>,
        on_read: impl Fn(Result<T, Arc<SealedError>>),
    ) {
        let name = &self.inner.name;
        let mut reported: Option<String> = None;
        let refresh = async || {
            let read = self.load(&first).await.map_err(Arc::new);
            let failure = read.as_ref().err().filter(|error| !error.is_away());
            let failure = failure.map(|error| error.sentence());
            match &failure {
                Some(cause) if reported != failure => {
                    log::warn!(record:% = name, cause:%; "sealed keys cannot be read");
                }
                None if reported.is_some() && read.is_ok() => {
                    log::info!(record:% = name; "sealed keys can be read again");
                }
                _ => {}
            }
            let found = read.is_ok();
            // What was wrong before NATS went away still is.
            if found || failure.is_some() {
                reported = failure;
            }
            on_read(read);
            found
        };
        self.inner.bridge.watch(self.inner.bucket, name, refresh).await;
    }

    /// Applies `edit` to the keys, stores them as the next generation, and returns them; repeats
    /// both when another unit was faster, so `edit` may run several times.
    ///
    /// # Errors
    ///
    /// What `edit` returns, with the record left as it is. Otherwise what [`load`](Self::load)
    /// fails with, or [`BridgeError::NotFound`] when there is no record.
    pub async fn update<E: From<SealedError>>(
        &self,
        edit: impl Fn(&mut T) -> Result<(), E>,
    ) -> Result<T, E> {
        let Inner { bridge, seal, bucket, name, guard } = &*self.inner;
        for _ in 0..MAX_CAS_ATTEMPTS {
            let read = bridge.read::<Sealed>(*bucket, name).await.map_err(SealedError::from)?;
            let entry = read.ok_or(SealedError::Bridge(BridgeError::NotFound))?;
            let mut keys: T = entry.value.accept(seal, name, guard)?;
            edit(&mut keys)?;
            let generation = entry.value.generation + 1;
            let sealed = Sealed::seal(seal, name, generation, &keys);
            match bridge.update(*bucket, name, &sealed, entry.revision).await {
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
    /// Whether it passes by itself as soon as NATS is there.
    fn is_away(&self) -> bool {
        matches!(self, Self::Bridge(BridgeError::Disconnected(_)))
    }

    /// Returns the error and its causes in one sentence.
    pub fn sentence(&self) -> String {
        error_chain(self)
    }
}

/// What the bucket holds. The generation is part of what the seal covers.
#[derive(Deserialize, Serialize)]
struct Sealed {
    generation: u64,
    sealed: String,
}

impl Sealed {
    fn seal<T: Serialize>(seal: &Seal, name: &str, generation: u64, keys: &T) -> Self {
        let plain = Zeroizing::new(serde_json::to_vec(keys).expect("keys serialize"));
        let sealed = STANDARD.encode(seal.seal(&associated_data(name, generation), &plain));
        Self { generation, sealed }
    }

    fn open<T: DeserializeOwned>(&self, seal: &Seal, name: &str) -> Result<T, SealedError> {
        let broken = || SealedError::CannotUnseal { name: name.to_owned() };
        let sealed = STANDARD.decode(&self.sealed).map_err(|_| broken())?;
        let data = associated_data(name, self.generation);
        let plain = seal.open(&data, &sealed).map_err(|_| broken())?;
        // The parser's error is dropped: it may quote what it read.
        serde_json::from_slice(&plain)
            .map_err(|_| SealedError::UnknownContent { name: name.to_owned() })
    }

    /// Returns the keys. The generation counts only once they opened: before, anybody may have
    /// written it.
    fn accept<T: DeserializeOwned>(
        &self,
        seal: &Seal,
        name: &str,
        guard: &RollbackGuard,
    ) -> Result<T, SealedError> {
        let keys = self.open(seal, name)?;
        guard.check(self.generation)?;
        guard.remember(self.generation)?;
        Ok(keys)
    }
}

/// Returns what a seal is bound to beside the keys themselves.
fn associated_data(name: &str, generation: u64) -> Vec<u8> {
    format!("{name} {generation}").into_bytes()
}

/// The highest generation of one record that this node has seen, in a file of its own.
struct RollbackGuard {
    name: String,
    file: PathBuf,
}

impl RollbackGuard {
    fn new(state: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), file: state.join(format!("{name}.generation")) }
    }

    /// Refuses a generation below the highest.
    fn check(&self, found: u64) -> Result<(), SealedError> {
        let remembered = self.read()?;
        if found >= remembered {
            return Ok(());
        }
        let (name, file) = (self.name.clone(), self.file.clone());
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
            write_new(&file, key.repeat(32).as_bytes(), 0o600).unwrap();
            Self { seal: Seal::load(file).unwrap(), directory }
        }

        fn write(&self, name: &str, generation: u64) -> Sealed {
            Sealed::seal(&self.seal, name, generation, &keys(generation))
        }

        fn accept(&self, name: &str, record: &Sealed) -> Result<Keys, SealedError> {
            record.accept(&self.seal, name, &self.guard(name))
        }

        fn guard(&self, name: &str) -> RollbackGuard {
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
        let counted = Sealed { generation: 2, ..record };
        assert!(node.accept("gateway.root", &counted).is_err());
        let garbage = Sealed { generation: 1, sealed: "no base64!".into() };
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
        assert!(guard.check(FIRST_GENERATION).is_ok());
        guard.remember(1).unwrap();
        assert!(guard.check(FIRST_GENERATION).is_ok());
        guard.remember(2).unwrap();
        assert!(matches!(
            guard.check(FIRST_GENERATION),
            Err(SealedError::RolledBack { found: 1, .. })
        ));
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
        let record = Sealed::seal(&node.seal, "agent.root", 1, &("secret 1", 2, 3));
        let error = node.accept("agent.root", &record).unwrap_err();
        assert!(matches!(error, SealedError::UnknownContent { .. }), "{error}");
        assert!(!error.sentence().contains("secret"));
    }
}
