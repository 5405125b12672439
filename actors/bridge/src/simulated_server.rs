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

/// A part of a bucket that was written after some revision.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The keys in the order of their revisions. What was removed has no value.
    pub entries: Vec<(String, u64, Option<Bytes>)>,
    /// The latest revision of the bucket.
    pub last: u64,
}

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

/// A NATS server, and the connection of one unit to it.
pub trait SimulatedServer: Send + Sync {
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

    /// Reads what was written to a bucket after `after`.
    fn written(&self, bucket: Bucket, after: u64) -> Answer<Written>;

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

    /// Reads signals of one subject from a sequence on, and tells how far the log reaches.
    fn signals(&self, subject: String, from: u64) -> Answer<(Vec<(u64, Bytes)>, LogReach)>;

    /// Counts the connects of the unit. Nobody else waits on the receiver: of several that wait,
    /// the order is not always the same.
    fn connects(&self) -> watch::Receiver<u64>;

    fn is_connected(&self) -> bool;

    /// Tells the time of the server.
    fn time(&self) -> ServerTime;
}
