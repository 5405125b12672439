//! What a simulation has to offer in the place of a NATS server, as one unit reaches it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{LocalBoxFuture, Recipient};
use tokio::sync::{mpsc, watch};

use crate::{BridgeError, Continuity, Entry, IncomingRequest};

/// An answer that comes when the simulated server gives it, or never.
pub type Answer<T> = LocalBoxFuture<'static, Result<T, BridgeError>>;

/// What a write takes for granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// There is no record.
    Nothing,
    /// Whatever is there.
    Anything,
    /// The record is still the one of this revision.
    Revision(u64),
}

/// One record as a bucket holds it: its key, its revision, and its value unless it was removed.
pub type Stored = (String, u64, Option<Bytes>);

/// What is published once it is stored: a change of a record, or a signal.
#[derive(Clone, Debug)]
pub struct Published {
    pub subject: String,
    pub sequence: u64,
    /// The sequence before it on its subject, 0 if there was none.
    pub previous: u64,
    pub payload: Bytes,
}

/// From where to where the signal log reaches.
#[derive(Clone, Copy, Debug)]
pub struct LogReach {
    pub epoch: u64,
    pub first: u64,
    pub last: u64,
}

/// What the server keeps, and its clock.
#[derive(Clone, Copy, Debug)]
pub struct ServerTime {
    /// When the store was made.
    pub created: SystemTime,
    pub now: SystemTime,
}

/// A NATS server or a cluster of them, and the connection of one unit to it.
///
/// What is asked of the server that leads is told as it is. What any server answers may lag behind
/// that, if there are several.
pub trait SimulatedServer: Send + Sync {
    /// Whether several servers keep what is stored.
    fn is_replicated(&self) -> bool;

    /// Reads one record.
    fn read(&self, bucket: Bucket, key: String) -> Answer<Option<Entry<Bytes>>>;

    /// Writes one record, and answers its revision.
    fn write(
        &self,
        bucket: Bucket,
        key: String,
        value: Bytes,
        expected: Expected,
        ttl: Option<Duration>,
    ) -> Answer<u64>;

    /// Removes one record, checked against a revision if there is one.
    fn remove(&self, bucket: Bucket, key: String, revision: Option<u64>) -> Answer<()>;

    /// Reads what was written to a bucket after `after`, in the order of the revisions, and tells
    /// whether that was all. Any server answers.
    fn written(&self, bucket: Bucket, after: u64) -> Answer<(Vec<Stored>, bool)>;

    /// Reads what was written first to a bucket after `after`, at the server that leads.
    fn next_written(&self, bucket: Bucket, after: u64) -> Answer<Option<Stored>>;

    /// Tells how long a bucket exists, and its latest revision.
    fn look(&self, bucket: Bucket) -> Answer<(Continuity, u64)>;

    /// Sends a request to whoever serves its subject.
    fn request(&self, subject: String, body: Bytes, deadline: Duration) -> Answer<Bytes>;

    /// Has requests on a subject told to `to`.
    fn serve(&self, subject: String, group: Option<&'static str>, to: Recipient<IncomingRequest>);

    /// Ends [`SimulatedServer::serve`].
    fn stop_serving(&self, subject: &str);

    /// Brings what is published live on a subject.
    fn follow(&self, subject: String) -> Answer<mpsc::UnboundedReceiver<Published>>;

    /// Stores a signal under an id, unless the last one of its subject is another than `expected`.
    fn append(
        &self,
        subject: String,
        id: String,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Answer<u64>;

    /// Reads signals of one subject from a sequence on, and tells whether those were all. Any
    /// server answers.
    fn signals(&self, subject: String, from: u64) -> Answer<(Vec<(u64, Bytes)>, bool)>;

    /// Tells the last signal of each subject whose sequence is `from` or more. Any server answers.
    fn last_signals(&self, subjects: Vec<String>, from: u64) -> Answer<Vec<(String, u64)>>;

    /// Reads the first signal of a subject from a sequence on, at the server that leads.
    fn first_signal(&self, subject: String, from: u64) -> Answer<Option<(u64, Bytes)>>;

    /// Tells the last signal of a subject that is kept, by the server that leads.
    fn last_signal(&self, subject: String) -> Answer<Option<u64>>;

    /// Tells how far the log reaches, by the server that leads.
    fn reach(&self) -> Answer<LogReach>;

    /// Tells the oldest and the newest of the last signals of each subject that were copied.
    fn copies(&self) -> Answer<(u64, u64)>;

    /// Tells the last signal of a subject that was copied.
    fn last_copied(&self, subject: String) -> Answer<Option<u64>>;

    /// Tells the sequence of a signal whose copy is still there.
    fn copied(&self, copy: u64) -> Answer<Option<u64>>;

    /// Counts the connects of the unit. Nobody else waits on the receiver: of several that wait,
    /// the order is not always the same.
    fn connects(&self) -> watch::Receiver<u64>;

    fn is_connected(&self) -> bool;

    /// Tells the time of the server.
    fn time(&self) -> ServerTime;
}
