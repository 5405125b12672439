//! Instance to client and back, signal by signal, with the test as both ends.

use std::time::Duration;

use crate::support::socket::Socket;
use crate::support::{ScriptedStack, run_flow};
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::Options;

#[test]
fn signals_travel_both_ways_in_order() {
    run_flow(async || both_ways(Options::default()).await);
}

pub(crate) async fn both_ways(options: Options) -> anyhow::Result<()> {
    let mut scripted = ScriptedStack::start_with(options).await?;
    let (created, instance) = scripted.create().await?;
    let mut socket = Socket::open(&created, &scripted.stack).await?;

    for n in 0..20 {
        socket.send(&json!({ "type": "candidate", "n": n })).await?;
    }
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    while seen.len() < 20 {
        let (next, signals) = instance.read(cursor.as_deref(), 10).await?;
        seen.extend(signals);
        cursor = Some(next);
    }
    let expected: Vec<_> = (0..20).map(|n| (0, json!({ "type": "candidate", "n": n }))).collect();
    assert_eq!(seen, expected);

    for n in 0..20 {
        let signal = json!({ "type": "candidate", "n": n });
        assert_eq!(instance.write(&format!("w{n}"), 0, signal).await?.status, 200);
    }
    for n in 0..20 {
        assert_eq!(socket.next().await?, json!({ "type": "candidate", "n": n }));
    }
    Ok(())
}

#[test]
fn signals_wait_for_an_instance_that_still_boots() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut socket = Socket::open(&created, &scripted.stack).await?;
        socket.send(&json!({ "type": "discover" })).await?;
        socket.close().await?;
        instance.report("running").await?;
        let (_, signals) = instance.read(None, 10).await?;
        assert_eq!(signals, [(0, json!({ "type": "discover" }))]);
        Ok(())
    });
}

#[test]
fn a_repeated_write_is_stored_once_and_answered_alike() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let offer = json!({ "type": "offer", "sdp": "djA=" });
        let first = instance.write("the-offer", 0, offer.clone()).await?.success()?;
        let again = instance.write("the-offer", 0, offer.clone()).await?.success()?;
        assert_eq!(first, again);
        instance.write("after", 0, json!({ "type": "end" })).await?.success()?;

        let mut socket = Socket::open(&created, &scripted.stack).await?;
        assert_eq!(socket.next().await?, offer);
        assert_eq!(socket.next().await?, json!({ "type": "end" }), "the offer came once");
        Ok(())
    });
}

#[test]
fn a_long_poll_answers_as_soon_as_there_is_something() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut socket = Socket::open(&created, &scripted.stack).await?;
        let (cursor, signals) = instance.read(None, 0).await?;
        assert_eq!(signals, []);
        let wake = json!({ "type": "wake" });
        // The read waits far longer than this test may take.
        let (read, sent) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(10), instance.read(Some(&cursor), 60)),
            socket.send(&wake),
        );
        sent?;
        assert_eq!(read??.1, [(0, wake)]);
        Ok(())
    });
}

#[test]
fn commands_change_with_the_document_and_wake_who_waits() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        instance.report("running").await?;
        let commands = instance.commands(0, 0).await?;
        assert_eq!(
            (&commands["generation"], &commands["signaling"], &commands["desired"]),
            (&json!(0), &json!("open"), &json!("running")),
        );
        let revision = commands["revision"].as_u64().expect("a revision");
        let (waited, joined) =
            tokio::join!(instance.commands(revision, 60), scripted.client.join(&created.id));
        joined?;
        let waited = waited?;
        assert_eq!(waited["generation"], 1);

        // Other changes of the document wake as well, and say nothing new.
        let ended = async {
            let mut last = waited;
            while last["desired"] == "running" {
                let revision = last["revision"].as_u64().expect("a revision");
                last = instance.commands(revision, 60).await?;
            }
            anyhow::Ok(last)
        };
        let (ended, deleted) = tokio::join!(ended, scripted.client.delete(&created.id));
        deleted?;
        assert_eq!(ended?["desired"], "terminated");
        Ok(())
    });
}

#[test]
fn a_new_client_sees_nothing_of_the_one_before() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        instance.report("running").await?;
        let mut first = Socket::open(&created, &scripted.stack).await?;
        first.send(&json!({ "type": "candidate", "of": "first" })).await?;
        instance.write("a", 0, json!({ "type": "offer", "of": "first" })).await?.success()?;
        assert_eq!(first.next().await?["of"], "first");

        let joined = scripted.client.join(&created.id).await?;
        let replaced = first.next().await?;
        assert_eq!(replaced["type"], "error", "the old client is told: {replaced}");

        let mut second = Socket::open(&joined, &scripted.stack).await?;
        // The instance has not noticed yet and writes to the old client.
        instance.write("b", 0, json!({ "type": "candidate", "of": "first" })).await?.success()?;
        instance.write("c", 1, json!({ "type": "offer", "of": "second" })).await?.success()?;
        assert_eq!(second.next().await?["of"], "second");
        second.send(&json!({ "type": "answer", "of": "second" })).await?;
        let answers = crate::support::eventually("answered", async || {
            let (_, signals) = instance.read(None, 5).await?;
            Ok((!signals.is_empty()).then_some(signals))
        })
        .await?;
        assert_eq!(answers, [(1, json!({ "type": "answer", "of": "second" }))]);
        Ok(())
    });
}

#[test]
fn a_cursor_resumes_exactly_and_one_that_is_too_old_is_told() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut socket = Socket::open(&created, &scripted.stack).await?;
        socket.send(&json!({ "type": "one" })).await?;
        socket.send(&json!({ "type": "two" })).await?;
        let (cursor, _) = crate::support::eventually("both", async || {
            let (cursor, signals) = instance.read(None, 5).await?;
            Ok((signals.len() == 2).then_some((cursor, signals)))
        })
        .await?;
        socket.send(&json!({ "type": "three" })).await?;
        let (end, signals) = instance.read(Some(&cursor), 10).await?;
        assert_eq!(signals, [(0, json!({ "type": "three" }))]);
        let (moved, signals) = instance.read(Some(&end), 0).await?;
        assert_eq!(signals, []);

        let foreign = format!("1{moved}");
        let path = instance.path(&format!("/signals?after={foreign}"));
        let gone = instance.http.get(&path).await?;
        assert_eq!(gone.status, 409, "{gone:?}");
        let fresh = gone.body["metadata"]["cursor"].as_str().expect("a fresh cursor").to_owned();
        assert_eq!(instance.read(Some(&fresh), 0).await?.1, []);
        let nonsense = instance.http.get(&instance.path("/signals?after=nonsense")).await?;
        assert_eq!(nonsense.status, 400);
        Ok(())
    });
}

#[test]
fn several_signals_are_written_with_one_request() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let batch: Vec<Value> = (0..3)
            .map(|n| {
                json!({ "id": format!("b{n}"), "generation": 0,
                             "signal": { "type": "candidate", "n": n } })
            })
            .collect();
        let path = instance.path("/signals");
        let answer =
            instance.http.send(Method::POST, &path, Some(json!(batch))).await?.success()?;
        assert_eq!(answer["cursors"].as_array().map(Vec::len), Some(3), "{answer}");
        let mut socket = Socket::open(&created, &scripted.stack).await?;
        for n in 0..3 {
            assert_eq!(socket.next().await?["n"], n);
        }
        Ok(())
    });
}
