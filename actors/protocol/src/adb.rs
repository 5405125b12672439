//! Who uses the ADB of an instance: one peer for each share, apart from the session's client.

use serde::{Deserialize, Serialize};

use crate::{ShareId, Timestamp};

/// A peer that uses ADB, as its instance is told of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AdbPeer {
    /// The share that the peer came through; its signals are read and written by this name.
    pub share: ShareId,
    /// Grows whenever the share is connected anew, which ends the connection before.
    pub generation: u64,
}

/// A connection to ADB, as the session document keeps it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AdbConnection {
    #[serde(flatten)]
    pub peer: AdbPeer,
    /// When the share ends, and the connection with it.
    pub until: Timestamp,
}

/// The connections to the ADB of one instance.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AdbConnections {
    /// Counts the connections that were made. Each has its number as its generation, so that none
    /// comes twice, whatever becomes of its share.
    pub made: u64,
    /// Those that have not ended, one of a share at most.
    pub present: Vec<AdbConnection>,
}

impl AdbConnections {
    /// Begins the next connection through `share` in place of the one it has, and forgets those
    /// that are over at `now`.
    pub fn connect(&mut self, share: &ShareId, until: Timestamp, now: Timestamp) {
        self.end_overdue(now);
        self.end(share);
        self.made += 1;
        let peer = AdbPeer { share: share.clone(), generation: self.made };
        self.present.push(AdbConnection { peer, until });
    }

    /// Returns the generation of the connection through `share`, if there is one.
    pub fn generation(&self, share: &ShareId) -> Option<u64> {
        self.find(share).map(|connection| connection.peer.generation)
    }

    /// Returns the peers that the instance is to serve.
    pub fn peers(&self) -> Vec<AdbPeer> {
        self.present.iter().map(|connection| connection.peer.clone()).collect()
    }

    /// Has the connection through `share` last until `until`, if there is one.
    pub fn prolong(&mut self, share: &ShareId, until: Timestamp) {
        let of_share = |connection: &&mut AdbConnection| connection.peer.share == *share;
        if let Some(connection) = self.present.iter_mut().find(of_share) {
            connection.until = until;
        }
    }

    /// Ends the connection through `share`.
    pub fn end(&mut self, share: &ShareId) {
        self.present.retain(|connection| connection.peer.share != *share);
    }

    /// Ends all connections: whoever is to serve them knows none of them.
    pub fn end_all(&mut self) {
        self.present.clear();
    }

    /// Ends the connections whose share is over at `now`.
    pub fn end_overdue(&mut self, now: Timestamp) {
        self.present.retain(|connection| now < connection.until);
    }

    /// Returns whether there is a connection whose share is over at `now`.
    pub fn is_any_overdue(&self, now: Timestamp) -> bool {
        self.present.iter().any(|connection| now >= connection.until)
    }

    fn find(&self, share: &ShareId) -> Option<&AdbConnection> {
        self.present.iter().find(|connection| connection.peer.share == *share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_one_connection_and_no_generation_comes_twice() {
        let mut adb = AdbConnections::default();
        let (one, other) = (ShareId::random(), ShareId::random());
        adb.connect(&one, 100.into(), 0.into());
        adb.connect(&other, 100.into(), 0.into());
        adb.connect(&one, 100.into(), 0.into());
        assert_eq!((adb.generation(&one), adb.generation(&other)), (Some(3), Some(2)));
        assert_eq!(adb.peers().len(), 2);
        adb.end(&one);
        assert_eq!(adb.generation(&one), None);
        adb.connect(&one, 100.into(), 0.into());
        assert_eq!(adb.generation(&one), Some(4));
        adb.end_all();
        adb.connect(&other, 100.into(), 0.into());
        assert_eq!(adb.generation(&other), Some(5));
    }

    #[test]
    fn a_connection_ends_with_its_share_whose_end_may_be_put_off() {
        let mut adb = AdbConnections::default();
        let (short, long) = (ShareId::random(), ShareId::random());
        adb.connect(&short, 100.into(), 0.into());
        adb.connect(&long, 100.into(), 0.into());
        adb.prolong(&long, 200.into());
        assert!(!adb.is_any_overdue(99.into()) && adb.is_any_overdue(100.into()));
        adb.end_overdue(100.into());
        assert_eq!((adb.generation(&short), adb.generation(&long)), (None, Some(2)));
        adb.connect(&short, 300.into(), 200.into());
        assert_eq!(adb.peers().len(), 1, "what is over goes with the next one");
    }

    #[test]
    fn a_peer_and_its_end_are_members_of_one_object() {
        let share: ShareId = "abcdefghij0123456789".parse().unwrap();
        let mut adb = AdbConnections::default();
        adb.connect(&share, 7.into(), 0.into());
        let text =
            r#"{"made":1,"present":[{"share":"abcdefghij0123456789","generation":1,"until":7}]}"#;
        assert_eq!(serde_json::to_string(&adb).unwrap(), text);
        assert_eq!(serde_json::from_str::<AdbConnections>(text).unwrap(), adb);
    }
}
