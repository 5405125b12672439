//! The instance's sockets and the client's resume, frame by frame.

use crate::support::socket::Socket;
use crate::support::{ScriptedStack, run_flow};
use reqwest::Method;
use serde_json::{Value, json};
use stream_protocol::SignalQuota;
use tokio_tungstenite::tungstenite::Message;

/// The client's socket address with a place to go on from.
fn resuming(url: &str, cursor: &str) -> String {
    format!("{url}&after={cursor}")
}

fn cursor(frame: &Value) -> String {
    frame["cursor"].as_str().expect("a cursor").to_owned()
}

#[test]
fn signals_travel_both_ways_between_two_sockets() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut client = Socket::open(&created, &scripted.stack).await?;
        let mut master = Socket::open_instance(&instance, "master", &scripted.stack).await?;
        for n in 0..50 {
            client.send(&json!({ "type": "candidate", "of": "client", "n": n })).await?;
            master.send(&json!({ "type": "candidate", "of": "instance", "n": n })).await?;
        }
        for n in 0..50 {
            assert_eq!(
                master.next().await?,
                json!({ "type": "candidate", "of": "client", "n": n })
            );
            let signal = json!({ "type": "candidate", "of": "instance", "n": n });
            assert_eq!(client.next().await?, signal);
        }
        Ok(())
    });
}

#[test]
fn a_bare_socket_of_the_instance_ends_with_its_client() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        instance.report("running").await?.success()?;
        let mut master = Socket::open_instance(&instance, "master", &scripted.stack).await?;
        scripted.client.join(&created.id).await?;
        let told = master.next().await?;
        assert_eq!(told["message"], "another client has joined the session", "{told}");
        assert!(matches!(master.next_frame().await?, Some(Message::Close(_))));
        Ok(())
    });
}

#[test]
fn an_instance_changes_from_rest_to_a_socket_and_back_without_losing_its_place() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut client = Socket::open(&created, &scripted.stack).await?;
        let signal = |n: u64| json!({ "type": "candidate", "n": n });
        client.send(&signal(0)).await?;
        let (after, read) = instance.read(None, 10).await?;
        assert_eq!(read, [(0, signal(0))]);

        client.send(&signal(1)).await?;
        let path = format!("master?after={after}");
        let mut master = Socket::open_instance(&instance, &path, &scripted.stack).await?;
        assert_eq!(master.next().await?, json!({ "type": "resumed", "cursor": after }));
        let frame = master.next().await?;
        assert_eq!((&frame["signal"], &frame["generation"]), (&signal(1), &json!(0)));
        client.send(&signal(2)).await?;
        let frame = master.next().await?;
        assert_eq!(frame["signal"], signal(2));
        // Writes in envelopes are acknowledged, and a repeat is stored once.
        let offer = json!({ "id": "o-1", "generation": 0, "signal": { "type": "offer" } });
        master.send(&offer).await?;
        let stored = master.next().await?;
        assert_eq!((&stored["type"], &stored["id"]), (&json!("stored"), &json!("o-1")));
        drop(master);

        client.send(&signal(3)).await?;
        let (_, read) = instance.read(Some(&cursor(&frame)), 10).await?;
        assert_eq!(read, [(0, signal(3))]);
        let again = instance.write("o-1", 0, json!({ "type": "offer" })).await?.success()?;
        assert_eq!(again["cursors"], json!([stored["cursor"]]));
        assert_eq!(client.next().await?, json!({ "type": "offer" }));
        instance.write("end", 0, json!({ "type": "end" })).await?.success()?;
        assert_eq!(client.next().await?, json!({ "type": "end" }), "the offer came once");
        Ok(())
    });
}

#[test]
fn a_client_that_comes_back_goes_on_where_it_was() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        instance.write("a", 0, json!({ "type": "a" })).await?.success()?;
        let mut client = Socket::open_url(&resuming(&created.url, ""), &scripted.stack).await?;
        assert_eq!(client.next().await?["type"], "resumed");
        let frame = client.next().await?;
        assert_eq!(frame["signal"], json!({ "type": "a" }));
        let answer = json!({ "id": "answer", "signal": { "type": "answer" } });
        client.send(&answer).await?;
        assert_eq!(client.next().await?["type"], "stored");
        drop(client);

        instance.write("b", 0, json!({ "type": "b" })).await?.success()?;
        let url = resuming(&created.url, &cursor(&frame));
        let mut client = Socket::open_url(&url, &scripted.stack).await?;
        let resumed = json!({ "type": "resumed", "cursor": frame["cursor"] });
        assert_eq!(client.next().await?, resumed, "the first frame");
        assert_eq!(client.next().await?["signal"], json!({ "type": "b" }));
        // It does not know whether its answer arrived, and sends it again.
        client.send(&answer).await?;
        assert_eq!(client.next().await?["type"], "stored");
        assert_eq!(instance.read(None, 10).await?.1, [(0, json!({ "type": "answer" }))]);
        Ok(())
    });
}

#[test]
fn a_cursor_that_leads_nowhere_is_told_in_the_first_frame() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        instance.write("a", 0, json!({ "type": "a" })).await?.success()?;
        // Of another log: the client has seen nothing of this one.
        let url = resuming(&created.url, "1-7");
        let mut client = Socket::open_url(&url, &scripted.stack).await?;
        let told = client.next().await?;
        assert_eq!(told["type"], "history_gone");
        assert_eq!(client.next().await?["signal"], json!({ "type": "a" }), "what it never saw");
        instance.write("b", 0, json!({ "type": "b" })).await?.success()?;
        assert_eq!(client.next().await?["signal"], json!({ "type": "b" }));
        // The cursor it was told leads there as well.
        let url = resuming(&created.url, &cursor(&told));
        let mut client = Socket::open_url(&url, &scripted.stack).await?;
        assert_eq!(client.next().await?["type"], "resumed");
        assert_eq!(client.next().await?["signal"], json!({ "type": "a" }));
        let nonsense = resuming(&created.url, "nonsense");
        assert!(Socket::open_url(&nonsense, &scripted.stack).await.is_err());
        Ok(())
    });
}

#[test]
fn a_client_cannot_speak_for_another() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, _instance) = scripted.create().await?;
        let mut client = Socket::open_url(&resuming(&created.url, ""), &scripted.stack).await?;
        assert_eq!(client.next().await?["type"], "resumed");
        client.send(&json!({ "id": "x", "generation": 1, "signal": { "type": "x" } })).await?;
        let told = client.next().await?;
        assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!(5)), "{told}");
        Ok(())
    });
}

#[test]
fn commands_and_reports_travel_over_the_control_socket() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut control = Socket::open_instance(&instance, "control", &scripted.stack).await?;
        let first = control.next().await?;
        assert_eq!((&first["generation"], &first["desired"]), (&json!(0), &json!("running")));
        control.send(&json!({ "client": "connected", "generation": 0 })).await?;
        let mut answer = control.next().await?;
        while answer["desired"] == "running" {
            answer = control.next().await?;
        }
        assert_eq!(answer["type"], "refused", "it boots: {answer}");
        control.send(&json!({ "status": "running" })).await?;
        let status = async || {
            let session = scripted.client.get(&created.id).await?;
            Ok((session.status == "active").then_some(()))
        };
        crate::support::eventually("active", status).await?;
        scripted.client.join(&created.id).await?;
        let mut commands = control.next().await?;
        while commands["generation"] != 1 {
            commands = control.next().await?;
        }
        drop(control);

        // What it knows already is not told again.
        let path = format!("control?after={}", commands["revision"]);
        let mut control = Socket::open_instance(&instance, &path, &scripted.stack).await?;
        let resumed = control.next().await?;
        assert_eq!(resumed, json!({ "type": "resumed", "cursor": commands["revision"] }));
        let mut confused = Socket::open_instance(&instance, &path, &scripted.stack).await?;
        assert_eq!(confused.next().await?, resumed);
        confused.send(&json!({ "status": "no such" })).await?;
        assert_eq!(confused.next().await?["type"], "error");

        scripted.client.delete(&created.id).await?;
        // What the agent notes meanwhile is told, too.
        let mut last = control.next().await?;
        while last["desired"] == "running" {
            last = control.next().await?;
        }
        assert_eq!(last["desired"], "terminated");
        while last["desired"] == "terminated" {
            last = control.next().await?;
        }
        assert_eq!(last["message"], "token revoked", "its token ends with the session: {last}");
        Ok(())
    });
}

#[test]
fn a_session_that_ends_ends_its_sockets_and_opens_none() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut master = Socket::open_instance(&instance, "master", &scripted.stack).await?;
        scripted.client.delete(&created.id).await?;
        assert_eq!(master.next().await?["message"], "session is ending");
        let ended = async || {
            let session = instance.http.send(Method::GET, &instance.path(""), None).await?;
            let status = &session.body["metadata"]["status"];
            Ok((status == "terminated" || session.status == 401).then_some(()))
        };
        crate::support::eventually("ended", ended).await?;
        assert!(Socket::open_instance(&instance, "master", &scripted.stack).await.is_err());
        Ok(())
    });
}

#[test]
fn what_a_client_may_write_does_not_grow_with_its_sockets() {
    // As many signals of this size are a minute's bytes.
    const SIGNALS: usize = 10;
    const BYTES: usize = SignalQuota::BYTES / (SIGNALS + 1) + 1;
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, _instance) = scripted.create().await?;
        let url = resuming(&created.url, "");
        let mut sockets = [
            Socket::open_url(&url, &scripted.stack).await?,
            Socket::open_url(&url, &scripted.stack).await?,
        ];
        for socket in &mut sockets {
            assert_eq!(socket.next().await?["type"], "resumed");
        }
        let signal = |n: usize| json!({ "id": format!("s{n}"), "signal": { "type": "x", "text": "a".repeat(BYTES) } });
        for n in 0..SIGNALS {
            let socket = &mut sockets[n % 2];
            socket.send(&signal(n)).await?;
            assert_eq!(socket.next().await?["type"], "stored");
        }
        for socket in &mut sockets {
            socket.send(&signal(SIGNALS)).await?;
            let told = socket.next().await?;
            assert!(
                told["message"].as_str().is_some_and(|text| text.starts_with("too many signals")),
                "{told}"
            );
        }
        Ok(())
    });
}

#[test]
fn the_third_socket_of_a_client_ends_its_first() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let mut first = Socket::open(&created, &scripted.stack).await?;
        let mut second = Socket::open(&created, &scripted.stack).await?;
        let mut third = Socket::open(&created, &scripted.stack).await?;
        let told = first.next().await?;
        assert_eq!(told["message"], "the client has opened the socket again", "{told}");
        assert!(matches!(first.next_frame().await?, Some(Message::Close(_))));
        instance.write("a", 0, json!({ "type": "a" })).await?.success()?;
        for socket in [&mut second, &mut third] {
            assert_eq!(socket.next().await?, json!({ "type": "a" }));
        }
        Ok(())
    });
}
