//! The bridge against a real nats-server: records, the signal log, and the loss of the server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::nats::operator;
use crate::support::{eventually, run_flow};
use serde::{Deserialize, Serialize};
use stream_bridge::{Bridge, BridgeError, RecordChange, SignalReader};
use stream_dev::keys::KeyStore;
use stream_dev::nats::Nats;
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{Cursor, Direction, NewSignal, SessionId, Signal};
use stream_supervisor::Supervisor;

/// How soon a change must be told.
const HINT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Record {
    n: u64,
}

struct Store {
    bridge: Bridge,
    supervisor: Supervisor,
    nats: Nats,
    _dir: tempfile::TempDir,
}

impl Store {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let nats = Nats::start(&dir.path().join("nats"), &KeyStore::shared()?)?;
        let supervisor = Supervisor::default();
        let bridge = Bridge::start(nats.bridge(), "test", &supervisor)?;
        eventually("connected", async || Ok(bridge.status().await.connected.then_some(()))).await?;
        Ok(Self { bridge, supervisor, nats, _dir: dir })
    }
}

fn posted(id: &str, generation: u64) -> NewSignal {
    NewSignal {
        id: id.parse().expect("an id"),
        generation,
        signal: Signal::parse(format!(r#"{{"type":"candidate","id":"{id}"}}"#)).expect("a signal"),
    }
}

/// Returns the cursors of the next `count` signals at least.
async fn read(reader: &mut SignalReader, count: usize) -> anyhow::Result<Vec<Cursor>> {
    let mut cursors = Vec::new();
    while cursors.len() < count {
        match reader.next().await {
            Ok(page) => cursors.extend(page.signals.into_iter().map(|signal| signal.cursor)),
            Err(error) if error.is_transient() => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(cursors)
}

#[test]
fn a_reader_gets_what_several_writers_write_once_and_in_the_order_of_the_log() {
    const WRITERS: usize = 4;
    const EACH: usize = 250;
    run_flow(async || {
        let store = Store::start().await?;
        let (session, to) = (SessionId::random(), Direction::ToInstance);
        let mut reader = store.bridge.signals().reader(&session, to, None, 0);
        let writing = (0..WRITERS).map(async |writer| {
            let mut cursors = Vec::new();
            for n in 0..EACH {
                let signal = posted(&format!("w{writer}-{n}"), 0);
                cursors.push(store.bridge.signals().writer(&session, to).append(&signal).await?);
            }
            anyhow::Ok(cursors)
        });
        let writing = futures_util::future::try_join_all(writing);
        let (written, read) = tokio::try_join!(writing, read(&mut reader, WRITERS * EACH))?;
        let mut written: Vec<_> = written.into_iter().flatten().collect();
        written.sort_by_key(|cursor| cursor.sequence);
        assert_eq!(read, written);
        Ok(())
    });
}

#[test]
fn a_reader_ahead_of_the_log_is_told_and_can_go_on_from_where_it_is_sent() {
    run_flow(async || {
        let store = Store::start().await?;
        let (session, to) = (SessionId::random(), Direction::ToInstance);
        let first = store.bridge.signals().writer(&session, to).append(&posted("a", 0)).await?;
        let ahead = Cursor { sequence: first.sequence + 7, ..first };
        let mut reader = store.bridge.signals().reader(&session, to, Some(ahead), 0);
        let Err(BridgeError::HistoryGone { fresh }) = reader.next().await else {
            panic!("it should not be read")
        };
        let mut reader = store.bridge.signals().reader(&session, to, Some(fresh), 0);
        let second = store.bridge.signals().writer(&session, to).append(&posted("b", 0)).await?;
        assert_eq!(read(&mut reader, 1).await?, [second]);
        Ok(())
    });
}

#[test]
fn a_record_is_changed_only_by_who_has_seen_it() {
    run_flow(async || {
        let store = Store::start().await?;
        let bridge = &store.bridge;
        let bucket = Bucket::Sessions;
        assert_eq!(bridge.read::<Record>(bucket, "a").await?, None);
        let first = bridge.create(bucket, "a", &Record { n: 1 }).await?;
        let taken = bridge.create(bucket, "a", &Record { n: 2 }).await;
        assert!(matches!(taken, Err(BridgeError::Conflict)), "{taken:?}");
        let second = bridge.update(bucket, "a", &Record { n: 3 }, first).await?;
        let late = bridge.update(bucket, "a", &Record { n: 4 }, first).await;
        assert!(matches!(late, Err(BridgeError::Conflict)), "{late:?}");
        let read = bridge.read::<Record>(bucket, "a").await?.expect("it is there");
        assert_eq!((read.value, read.revision), (Record { n: 3 }, second));

        let late = bridge.remove_revision(bucket, "a", first).await;
        assert!(matches!(late, Err(BridgeError::Conflict)), "{late:?}");
        assert!(bridge.read::<Record>(bucket, "a").await?.is_some(), "it is another record now");
        bridge.remove_revision(bucket, "a", second).await?;
        assert_eq!(bridge.read::<Record>(bucket, "a").await?, None);
        bridge.create(bucket, "a", &Record { n: 4 }).await?;
        bridge.remove(bucket, "a").await?;
        assert_eq!(bridge.read::<Record>(bucket, "a").await?, None);
        bridge.create(bucket, "a", &Record { n: 5 }).await?;
        Ok(())
    });
}

#[test]
fn a_list_holds_every_record_that_is_there_and_no_other() {
    run_flow(async || {
        let store = Store::start().await?;
        let bridge = &store.bridge;
        // More than one question fetches.
        for n in 0..600 {
            bridge.create(Bucket::Accounts, &format!("key-{n}"), &Record { n }).await?;
        }
        for n in (0..600).step_by(3) {
            bridge.remove(Bucket::Accounts, &format!("key-{n}")).await?;
        }
        let mut listed: Vec<_> = bridge.list::<Record>(Bucket::Accounts).await?;
        listed.sort_by_key(|(_, entry)| entry.value.n);
        let keys: Vec<_> = listed.into_iter().map(|(key, _)| key).collect();
        let expected: Vec<_> =
            (0..600).filter(|n| n % 3 != 0).map(|n| format!("key-{n}")).collect();
        assert_eq!(keys, expected);
        Ok(())
    });
}

#[test]
fn a_reader_of_changes_hears_of_each_once_and_of_what_is_removed_or_expires() {
    run_flow(async || {
        let store = Store::start().await?;
        let bridge = &store.bridge;
        let changes = async |after: u64| {
            let mut found = BTreeMap::new();
            let take = |key, change: RecordChange<Record>| {
                let number = match change {
                    RecordChange::Stored(entry) => Some(entry.value.n),
                    RecordChange::Removed | RecordChange::Unreadable => None,
                };
                found.insert(key, number);
            };
            let revision = bridge.changes(Bucket::Shares, after, take).await?;
            anyhow::Ok((found, revision))
        };
        assert_eq!(changes(0).await?, (BTreeMap::new(), 0));
        for (n, key) in ["kept", "removed", "changed", "expired"].into_iter().enumerate() {
            bridge.put(Bucket::Shares, key, &Record { n: n as u64 }).await?;
        }
        let (all, revision) = changes(0).await?;
        assert_eq!((all.len(), all["changed"], revision), (4, Some(2), 4));
        assert_eq!(changes(revision).await?, (BTreeMap::new(), revision));

        bridge.remove(Bucket::Shares, "removed").await?;
        bridge.put(Bucket::Shares, "changed", &Record { n: 7 }).await?;
        let second = Duration::from_secs(1);
        bridge.update_with_ttl(Bucket::Shares, "expired", &Record { n: 3 }, 4, second).await?;
        let name = |key: &str, n| (key.to_owned(), n);
        let expected = BTreeMap::from([
            name("removed", None),
            name("changed", Some(7)),
            name("expired", None),
        ]);
        eventually("expired", async || {
            let (found, last) = changes(revision).await?;
            Ok((found == expected && last > revision).then_some(()))
        })
        .await?;
        let listed = bridge.list::<Record>(Bucket::Shares).await?;
        let keys: Vec<_> = listed.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["changed", "kept"]);
        Ok(())
    });
}

#[test]
fn a_record_that_expires_goes_away_and_its_followers_hear_of_changes() {
    run_flow(async || {
        let store = Store::start().await?;
        let bridge = &store.bridge;
        let revision = bridge.create(Bucket::Sessions, "b", &Record { n: 1 }).await?;
        let mut hints = bridge.subscribe_changes(Bucket::Sessions, "b").await?;
        let ttl = Duration::from_secs(1);
        bridge.update_with_ttl(Bucket::Sessions, "b", &Record { n: 2 }, revision, ttl).await?;
        let begun = Instant::now();
        hints.changed(HINT_TIMEOUT).await;
        assert!(begun.elapsed() < HINT_TIMEOUT, "nobody told");
        assert_eq!(
            bridge.read::<Record>(Bucket::Sessions, "b").await?.map(|entry| entry.value.n),
            Some(2)
        );
        eventually("gone", async || {
            Ok(bridge.read::<Record>(Bucket::Sessions, "b").await?.is_none().then_some(()))
        })
        .await
    });
}

#[test]
fn the_log_numbers_signals_and_stores_a_repeated_one_once() {
    run_flow(async || {
        let store = Store::start().await?;
        let bridge = &store.bridge;
        let (session, other) = (SessionId::random(), SessionId::random());
        let to = Direction::ToClient;
        let first = bridge.signals().writer(&session, to).append(&posted("one", 0)).await?;
        bridge.signals().writer(&other, to).append(&posted("one", 0)).await?;
        assert_eq!(
            bridge.signals().writer(&session, to).append(&posted("one", 0)).await?,
            first,
            "a repeat"
        );
        let second = bridge.signals().writer(&session, to).append(&posted("two", 1)).await?;
        assert!(second.sequence > first.sequence + 1, "the other session lies between");

        let all = bridge.signals().reader(&session, to, None, 0).next().await?;
        assert_eq!(all.signals.len(), 1, "only the generation asked for");
        assert_eq!(all.cursor, second, "but read to the end");
        let page = bridge.signals().reader(&session, to, Some(first), 0).next().await?;
        assert_eq!(page.signals.iter().map(|s| s.generation).collect::<Vec<_>>(), [1]);
        assert_eq!(
            bridge.signals().reader(&session, Direction::ToInstance, None, 0).next().await?.signals,
            [],
            "the other direction is another log"
        );
        Ok(())
    });
}

#[test]
fn the_present_generation_is_found_behind_many_signals_of_those_before() {
    run_flow(async || {
        let store = Store::start().await?;
        let bridge = &store.bridge;
        let (session, to) = (SessionId::random(), Direction::ToInstance);
        for n in 0..700 {
            bridge.signals().writer(&session, to).append(&posted(&format!("old-{n}"), 0)).await?;
        }
        let new = bridge.signals().writer(&session, to).append(&posted("new", 1)).await?;
        let page = bridge.signals().reader(&session, to, None, 1).next().await?;
        assert_eq!(page.signals.iter().map(|s| s.cursor).collect::<Vec<_>>(), [new]);
        Ok(())
    });
}

#[test]
fn an_empty_read_moves_the_cursor_past_what_others_wrote() {
    run_flow(async || {
        let store = Store::start().await?;
        let bridge = &store.bridge;
        let (session, other) = (SessionId::random(), SessionId::random());
        let to = Direction::ToInstance;
        let start = bridge.signals().writer(&session, to).append(&posted("x", 0)).await?;
        let mut last = start;
        for n in 0..10 {
            last = bridge.signals().writer(&other, to).append(&posted(&format!("n{n}"), 0)).await?;
        }
        let page = bridge.signals().reader(&session, to, Some(start), 0).next().await?;
        assert_eq!((page.signals.len(), page.cursor), (0, last));

        let foreign = Cursor { epoch: start.epoch + 1, ..start };
        let gone = bridge.signals().reader(&session, to, Some(foreign), 0).next().await;
        assert!(matches!(gone, Err(BridgeError::HistoryGone { fresh }) if fresh == last));
        let ahead = Cursor { sequence: last.sequence + 1, ..last };
        assert!(bridge.signals().reader(&session, to, Some(ahead), 0).next().await.is_err());
        Ok(())
    });
}

/// Has the log drop what it holds up to `last`, as if it were too old, once that is copied.
async fn drop_signals(store: &Store, last: Cursor) -> anyhow::Result<()> {
    let jetstream = operator(&store.nats).await?;
    let log = jetstream.get_stream(subjects::SIGNALS).await?;
    let ends = jetstream.get_stream(subjects::SIGNAL_ENDS).await?;
    eventually("the ends are copied", async || {
        let copied = ends.get_info().await?.state.last_sequence;
        let Ok(copy) = ends.get_raw_message(copied).await else { return Ok(None) };
        let source = copy.headers.get("Nats-Stream-Source").map(ToString::to_string);
        let sequence = source.as_deref().and_then(|source| source.split(' ').nth(1));
        let sequence: Option<u64> = sequence.and_then(|number| number.parse().ok());
        Ok(sequence.is_some_and(|sequence| sequence >= last.sequence).then_some(()))
    })
    .await?;
    log.purge().sequence(last.sequence + 1).await?;
    Ok(())
}

#[test]
fn a_reader_that_missed_nothing_is_not_told_that_others_signals_are_gone() {
    run_flow(async || {
        let store = Store::start().await?;
        let signals = store.bridge.signals();
        let to = Direction::ToInstance;
        let (session, other, silent) =
            (SessionId::random(), SessionId::random(), SessionId::random());
        let reader = |session, after| signals.reader(session, to, Some(after), 0);
        let mut writer = signals.writer(&session, to);
        let first = writer.append(&posted("first", 0)).await?;
        let last = signals.writer(&other, to).append(&posted("other", 0)).await?;
        drop_signals(&store, last).await?;

        for quiet in [&session, &silent] {
            let page = reader(quiet, first).next().await?;
            assert_eq!((page.signals.len(), page.cursor), (0, last), "it has seen all there was");
        }
        let start = Cursor { sequence: 0, ..first };
        let gone = reader(&session, start).next().await;
        assert!(matches!(gone, Err(BridgeError::HistoryGone { fresh }) if fresh == last));

        // The same writer, another, and one that was there before the other.
        let second = writer.append(&posted("second", 0)).await?;
        let third = signals.writer(&session, to).append(&posted("third", 0)).await?;
        let fourth = writer.append(&posted("fourth", 0)).await?;
        assert_eq!(read(&mut reader(&session, first), 3).await?, [second, third, fourth]);
        drop_signals(&store, third).await?;
        assert_eq!(read(&mut reader(&session, third), 1).await?, [fourth]);
        let Err(BridgeError::HistoryGone { fresh }) = reader(&session, second).next().await else {
            panic!("the third was missed")
        };
        assert_eq!(read(&mut reader(&session, fresh), 1).await?, [fourth], "what is kept");
        Ok(())
    });
}

#[test]
fn a_reader_is_told_when_nobody_knows_what_it_missed() {
    run_flow(async || {
        let store = Store::start().await?;
        let (signals, to) = (store.bridge.signals(), Direction::ToInstance);
        let (session, other) = (SessionId::random(), SessionId::random());
        let first = signals.writer(&session, to).append(&posted("first", 0)).await?;
        let last = signals.writer(&other, to).append(&posted("other", 0)).await?;
        drop_signals(&store, last).await?;
        // A writer of the version before says nothing of the one before.
        let payload = r#"{"v":1,"generation":0,"signal":{"type":"candidate"}}"#;
        let jetstream = operator(&store.nats).await?;
        let stored = jetstream.publish(subjects::signal(&session, to), payload.into()).await?;
        let sequence = stored.await?.sequence;
        let gone = signals.reader(&session, to, Some(first), 0).next().await;
        let before = Cursor { sequence: sequence - 1, ..first };
        assert!(matches!(gone, Err(BridgeError::HistoryGone { fresh }) if fresh == before));

        // Copies that were lost prove nothing.
        drop_signals(&store, Cursor { sequence, ..first }).await?;
        jetstream.get_stream(subjects::SIGNAL_ENDS).await?.purge().await?;
        let gone = signals.reader(&session, to, Some(before), 0).next().await;
        assert!(matches!(gone, Err(BridgeError::HistoryGone { .. })), "{gone:?}");
        Ok(())
    });
}

#[test]
fn what_was_acknowledged_outlives_the_server_and_the_actor() {
    run_flow(async || {
        let mut store = Store::start().await?;
        let bridge = store.bridge.clone();
        let session = SessionId::random();
        let to = Direction::ToClient;
        let mut cursors = Vec::new();
        for n in 0..20 {
            cursors.push(
                bridge.signals().writer(&session, to).append(&posted(&format!("n{n}"), 0)).await?,
            );
        }
        bridge.create(Bucket::Sessions, "c", &Record { n: 7 }).await?;
        let mut reader = bridge.signals().reader(&session, to, None, 0);
        assert_eq!(reader.next().await?.signals.len(), 20);

        let mut hints = bridge.subscribe_changes(Bucket::Sessions, "d").await?;
        store.nats.kill();
        eventually("away", async || {
            let away = bridge.read::<Record>(Bucket::Sessions, "c").await;
            Ok(matches!(away, Err(BridgeError::Disconnected(_))).then_some(()))
        })
        .await?;
        store.nats.restart()?;
        eventually("back", async || Ok(bridge.status().await.connected.then_some(()))).await?;
        // A reader that was there before goes on.
        cursors.push(bridge.signals().writer(&session, to).append(&posted("after", 0)).await?);
        let next = tokio::time::timeout(Duration::from_secs(10), read(&mut reader, 1)).await??;
        assert_eq!(next, cursors[20..]);
        let page = bridge.signals().reader(&session, to, None, 0).next().await?;
        assert_eq!(page.signals.iter().map(|s| s.cursor).collect::<Vec<_>>(), cursors);
        // So do hints: they say at once that something may have been missed, and then what comes.
        for n in 0..2 {
            let begun = Instant::now();
            hints.changed(HINT_TIMEOUT).await;
            assert!(begun.elapsed() < HINT_TIMEOUT, "nobody told");
            bridge.put(Bucket::Sessions, "d", &Record { n }).await?;
        }
        // Presence lies in memory and its bucket has to be made again.
        bridge.put(Bucket::Agents, "agent", &Record { n: 1 }).await?;

        assert!(store.supervisor.crash("bridge"));
        eventually("rebuilt", async || {
            let rebuilt = store.supervisor.status()[0].restarts == 1;
            Ok((rebuilt && bridge.status().await.connected).then_some(()))
        })
        .await?;
        assert_eq!(bridge.read::<Record>(Bucket::Sessions, "c").await?.map(|e| e.value.n), Some(7));
        let repeated = bridge.signals().writer(&session, to).append(&posted("after", 0)).await?;
        assert_eq!(Some(&repeated), cursors.last(), "the window of ids outlives both");
        cursors.push(bridge.signals().writer(&session, to).append(&posted("last", 0)).await?);
        assert_eq!(read(&mut reader, 1).await?, cursors[21..]);
        Ok(())
    });
}
