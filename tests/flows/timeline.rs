//! What happened to a session, as operators read it: every hop with its time, and a failure at the
//! hop where it came about.

use crate::browser::{drive, run_script};
use crate::support::socket::Socket;
use crate::support::{APP, Http, Instance, ScriptedStack, becomes, eventually, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_gateway::admin::Client;
use stream_simulators::client::JoinedSession;

struct Explained {
    scripted: ScriptedStack,
    operator: Http,
    account: Http,
}

impl Explained {
    async fn start(options: Options) -> anyhow::Result<Self> {
        let scripted = ScriptedStack::start_with(options).await?;
        let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
        let operators = Client::new(nodes.admin_socket());
        let operator = operators.create_operator("operator", None, Default::default()).await?;
        let account = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        let operator = account.with(Some(&operator));
        Ok(Self { scripted, operator, account })
    }

    async fn running(&mut self) -> anyhow::Result<(JoinedSession, Instance)> {
        let (session, instance) = self.scripted.create().await?;
        instance.report("running").await?.success()?;
        becomes(&self.scripted.client, &session.id, "active").await?;
        Ok((session, instance))
    }

    async fn entries(&self, session: &str) -> anyhow::Result<Vec<Value>> {
        let path = format!("/1.0/sessions/{session}/timeline");
        let timeline = self.operator.get(&path).await?.success()?;
        Ok(timeline["entries"].as_array().context("entries")?.clone())
    }

    /// Waits for an entry of `hop` whose text holds `words`: nobody waits for what is written.
    async fn entry(&self, session: &str, hop: &str, words: &str) -> anyhow::Result<Value> {
        let name = format!("{hop} with {words}");
        eventually(&name, async || {
            let entries = self.entries(session).await?;
            let says =
                |entry: &&Value| entry["text"].as_str().is_some_and(|text| text.contains(words));
            Ok(entries.iter().filter(|entry| entry["hop"] == hop).find(says).cloned())
        })
        .await
    }
}

#[test]
fn every_hop_of_a_session_is_told_in_order_until_after_its_end() {
    run_flow(async || {
        let mut told = Explained::start(Options::default()).await?;
        let (session, instance) = told.running().await?;
        let id = session.id.as_str();
        let mut socket = Socket::open(&session, &told.scripted.stack).await?;
        instance.write("s-1", 0, json!({ "type": "offer", "sdp": "dg==" })).await?.success()?;
        ensure!(socket.next().await?["type"] == "offer");
        socket.send(&json!({ "type": "answer", "sdp": "dg==" })).await?;
        told.entry(id, "answer", "from client 0 to the instance").await?;
        let connected = json!({ "client": "connected", "generation": 0 });
        instance.report_as(connected).await?.success()?;
        told.entry(id, "client", "is connected").await?;
        socket.close().await?;
        told.entry(id, "socket", "has closed the socket").await?;
        told.account.send(Method::DELETE, &format!("/1.0/sessions/{id}"), None).await?.success()?;
        told.entry(id, "end", "the session is terminated").await?;

        let entries = told.entries(id).await?;
        let hops: Vec<_> = entries.iter().filter_map(|entry| entry["hop"].as_str()).collect();
        let expected = [
            "create", "place", "launch", "boot", "socket", "offer", "answer", "client", "socket",
            "end",
        ];
        let mut rest = hops.iter();
        let in_order = expected.iter().all(|hop| rest.any(|told| told == hop));
        ensure!(in_order, "{hops:?}");
        let times: Vec<_> = entries.iter().filter_map(|entry| entry["at_ms"].as_u64()).collect();
        ensure!(times.is_sorted() && times.len() == entries.len(), "{times:?}");
        ensure!(entries.iter().all(|entry| entry["unit"] != ""), "{entries:?}");
        for hop in ["create", "launch", "boot"] {
            let entry = entries.iter().find(|entry| entry["hop"] == hop).context("an entry")?;
            ensure!(entry["took_ms"].is_u64(), "{entry}");
        }
        ensure!(entries.iter().all(|entry| entry["failed"] == false), "{entries:?}");
        // No right is among them.
        let text = serde_json::to_string(&entries)?;
        ensure!(!text.contains(&told.scripted.stack.token) && !text.contains("token="), "{text}");
        Ok(())
    });
}

#[test]
fn a_failure_is_told_at_its_hop_also_of_a_session_that_was_never_there() {
    run_flow(async || {
        let mut told = Explained::start(Options::default()).await?;
        let (session, instance) = told.running().await?;
        let report = json!({ "status": "error", "message": "the image does not boot" });
        instance.report_as(report).await?.success()?;
        let failure = told.entry(&session.id, "end", "the image does not boot").await?;
        ensure!(failure["failed"] == true, "{failure}");

        let key = told.account.keyed("a-version-that-nobody-has");
        let body = json!({ "app": APP, "app_version": 9 });
        let refused = key.send(Method::POST, "/1.0/sessions", Some(body)).await?;
        ensure!(refused.status == 404, "{refused:?}");
        let id = eventually("the one that failed", async || {
            let path = "/1.0/sessions?status=error";
            let listed = told.account.get(path).await?.success()?;
            let ids = listed.as_array().context("a list")?.iter().filter_map(Value::as_str);
            Ok(ids.map(str::to_owned).find(|id| *id != session.id))
        })
        .await?;
        let failure = told.entry(&id, "end", "AMS knows no such application").await?;
        ensure!(failure["failed"] == true, "{failure}");
        let timeline = told.operator.get(&format!("/1.0/sessions/{id}/timeline")).await?;
        let verdict = &timeline.success()?["verdict"];
        ensure!(verdict["hop"] == "launch" && verdict["fault"] == "image_missing", "{verdict}");
        Ok(())
    });
}

#[test]
fn who_is_turned_away_is_told_once_with_a_count() {
    run_flow(async || {
        let mut told = Explained::start(Options::default()).await?;
        let (session, _instance) = told.scripted.create().await?;
        let join = format!("/1.0/sessions/{}/join", session.id);
        for _ in 0..5 {
            let refused = told.account.send(Method::POST, &join, None).await?;
            ensure!(refused.status == 400, "{refused:?}");
        }
        let counted = eventually("counted", async || {
            let entry = told.entry(&session.id, "refusal", "was turned away").await?;
            Ok((entry["count"] == 4).then_some(entry))
        })
        .await?;
        ensure!(counted["text"].as_str().is_some_and(|text| text.contains("active")), "{counted}");
        let entries = told.entries(&session.id).await?;
        let refusals = entries.iter().filter(|entry| entry["hop"] == "refusal").count();
        ensure!(refusals == 1, "{entries:?}");
        Ok(())
    });
}

#[test]
fn a_time_line_is_for_operators_and_of_sessions_that_were_there() {
    run_flow(async || {
        let mut told = Explained::start(Options::default()).await?;
        let (session, _instance) = told.scripted.create().await?;
        let path = format!("/1.0/sessions/{}/timeline", session.id);
        ensure!(told.account.get(&path).await?.status == 403);
        ensure!(told.account.with(None).get(&path).await?.status == 401);
        let nobody = "/1.0/sessions/abcdefghij0123456789";
        let refused = told.account.send(Method::POST, &format!("{nobody}/join"), None).await?;
        ensure!(refused.status == 404, "{refused:?}");
        ensure!(told.operator.get(&format!("{nobody}/timeline")).await?.status == 404);
        ensure!(told.operator.get("/1.0/sessions/Not-an-id/timeline").await?.status == 400);
        Ok(())
    });
}

#[test]
fn the_bars_of_a_time_line_stand_where_they_belong_without_a_browser() -> anyhow::Result<()> {
    run_script("timeline_axis", [concat!(env!("CARGO_MANIFEST_DIR"), "/actors/gateway/ui")])
}

/// Returns how many first frames the gateway has measured, and their milliseconds in all.
async fn first_frames(account: &Http) -> anyhow::Result<(u64, f64)> {
    let answer = account.get("/metrics").await?;
    let page = answer.body.as_str().context("a page")?;
    let name = "anbox_stream_gateway_client_first_frame_duration_seconds";
    let value = |kind: &str| {
        let begin = format!("{name}_{kind}{{}} ");
        page.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or("0").to_owned()
    };
    Ok((value("count").parse()?, value("sum").parse::<f64>()? * 1000.0))
}

#[test]
fn the_first_frame_of_the_player_is_on_the_time_line_and_in_the_scrape() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let operators = Client::new(stack.nodes.admin_socket());
        let operator = operators.create_operator("operator", None, Default::default()).await?;
        let pin = stack.nodes.gateway_pin()?;
        let account = Http::new(&stack.nodes.gateway_url(), Some(&stack.token), pin)?;
        ensure!(first_frames(&account).await? == (0, 0.0), "before there was one");

        let seen = drive("session", &stack, false).await?;
        let session = seen["session"].as_str().context("a session")?;
        let path = format!("/1.0/sessions/{session}/timeline");
        let timeline = account.with(Some(&operator)).get(&path).await?.success()?;
        let entries = timeline["entries"].as_array().context("entries")?;
        let hops: Vec<_> = entries.iter().filter_map(|entry| entry["hop"].as_str()).collect();
        let frames: Vec<_> = entries.iter().filter(|entry| entry["hop"] == "frame").collect();
        let [frame] = frames[..] else { anyhow::bail!("{hops:?}") };
        let took = frame["took_ms"].as_u64().context("a time")?;
        let told = frame["text"].as_str().context("a text")?;
        ensure!(told.ends_with(&format!(": first frame after {took} ms")), "{frame}");
        // It began when the client asked, and there was an answer before there was a picture.
        let place = |hop| hops.iter().position(|told| *told == hop).context("a hop");
        ensure!(place("create")? < place("answer")? && place("answer")? < place("frame")?);
        let created = entries[0]["at_ms"].as_u64().context("a time")?;
        let lasted = frame["at_ms"].as_u64().context("a time")? - created;
        ensure!(took > 0 && took < lasted + 30_000, "{took} ms, {lasted} ms after its creation");

        let (count, sum) = first_frames(&account).await?;
        ensure!(count == 1 && (sum - took as f64).abs() < 0.5, "{count} of {sum} ms, not {took}");
        stack.stop().await;
        Ok(())
    });
}

#[test]
fn what_a_client_says_of_its_first_frame_counts_once_and_reaches_no_instance() {
    run_flow(async || {
        let mut told = Explained::start(Options::default()).await?;
        let (session, instance) = told.running().await?;
        let report = |after: &str| format!(r#"{{"type":"first_frame","after_ms":{after}}}"#);
        let long = format!("7,\"pad\":\"{}\"", "a".repeat(9_999));
        let nonsense = ["-1", "7.5", "600001", "\"7\"", "null", "1e400", "{}", long.as_str()];
        let begin = r#"{"type":"first_frame"}"#.to_owned();
        let broken = r#"{"type":"first_frame","after_ms":7"#.to_owned();
        let hostile: Vec<_> = nonsense.map(report).into_iter().chain([begin, broken]).collect();

        // As published clients open it, and as the player does.
        let enveloped = format!("{}&after=", session.url);
        for (url, enveloped) in [(session.url.as_str(), false), (enveloped.as_str(), true)] {
            let mut socket = Socket::open_url(url, &told.scripted.stack).await?;
            for text in &hostile {
                socket.send_text(text.clone()).await?;
            }
            socket.send_text(report("1234")).await?;
            socket.send_text(report("5678")).await?;
            let last = json!({ "type": "last", "enveloped": enveloped });
            let frame = if enveloped { json!({ "id": "l", "signal": last }) } else { last };
            socket.send(&frame).await?;
            // The socket is there, and the instance has heard nothing else of it.
            let heard = eventually("heard", async || {
                let (_, signals) = instance.read(None, 1).await?;
                let is_last = |(_, signal): &(u64, Value)| signal["enveloped"] == enveloped;
                Ok(signals.iter().any(is_last).then_some(signals))
            });
            let heard = heard.await?;
            ensure!(heard.len() == 1 + usize::from(enveloped), "{heard:?}");
            socket.close().await?;
        }
        told.entry(&session.id, "frame", "first frame after 1234 ms").await?;
        let frames = eventually("one of each socket", async || {
            let entries = told.entries(&session.id).await?;
            let frames = entries.into_iter().filter(|entry| entry["hop"] == "frame");
            let frames: Vec<_> = frames.map(|entry| entry["text"].clone()).collect();
            Ok((frames.len() >= 2).then_some(frames))
        });
        let frames = frames.await?;
        ensure!(frames == ["client 0: first frame after 1234 ms"; 2], "{frames:?}");
        let (count, sum) = first_frames(&told.account).await?;
        ensure!(count == 2 && (sum - 2468.0).abs() < 0.5, "{count} of {sum} ms");
        Ok(())
    });
}
