//! Sessions and their sockets.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Envelope, NOWHERE, Published, are_servers, has};
use crate::support::socket::Socket;
use crate::support::{APP, eventually, run_flow};

/// The members of a session.
const SESSION: [&str; 8] =
    ["app", "cluster_id", "container_id", "id", "joinable", "region", "status", "status_message"];

/// Section "Sessions".
#[test]
fn get_sessions_lists_pages_sorts_and_filters() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(published.create().await?.0);
        }
        let all = published.get("/1.0/sessions").await?;
        ensure!(all.body["total_size"] == 3, "{}", all.body);
        let all = all.is(200)?;
        let listed: BTreeSet<&str> =
            all.as_array().into_iter().flatten().flat_map(Value::as_str).collect();
        ensure!(listed == ids.iter().map(String::as_str).collect(), "{all}");
        for word in ["recursion=true", "recursion=1", "recursive=true"] {
            let listed = published.get(&format!("/1.0/sessions?{word}")).await?.is(200)?;
            has(&listed[0], &SESSION)?;
        }
        let page = published.get("/1.0/sessions?limit=1&offset=1").await?;
        ensure!(page.body["total_size"] == 3, "{}", page.body);
        ensure!(page.is(200)? == json!([all[1]]));
        ids.sort();
        for (order, first) in [("asc", &ids[0]), ("desc", &ids[2])] {
            let path = format!("/1.0/sessions?sort_by=id&sort_order={order}");
            let sorted = published.get(&path).await?.is(200)?;
            ensure!(sorted[0] == **first, "{sorted}");
        }
        let none = published.get("/1.0/sessions?status=active").await?.is(200)?;
        ensure!(none == json!([]), "{none}");
        for wrong in ["status=sleeping", "sort_by=weight", "sort_order=up", "limit=-1", "offset=x"]
        {
            published.get(&format!("/1.0/sessions?{wrong}")).await?.is(400)?;
        }
        Ok(())
    });
}

/// Sections "Sessions", "Screens" and "ICE servers".
#[test]
fn post_sessions_creates_one() {
    run_flow(async || {
        let mut published = Published::start().await?;
        // As forms and the JavaScript client write it.
        let body = json!({
            "app": APP, "app_version": "1", "region": "", "joinable": false, "idle_time_min": null,
            "screen": { "width": 719, "height": 1281, "fps": 30, "density": 320 },
            "extra_data": { "user": 12 }, "added_later": true,
        });
        let created = published.post("/1.0/sessions/", body).await?.is(201)?;
        has(&created, &["id", "region", "status", "joinable", "url", "stun_servers"])?;
        are_servers(&created["stun_servers"])?;
        ensure!(created["url"].as_str().is_some_and(|url| url.starts_with("wss://")), "{created}");
        ensure!(created["region"].as_str().is_some_and(|region| !region.is_empty()), "{created}");
        let userdata = published.scripted.booted().await?.userdata;
        let (width, height) = (userdata.display_width, userdata.display_height);
        ensure!((width, height) == (720, 1282), "{width}x{height}");
        ensure!(userdata.extra_data.as_str() == r#"{"user":12}"#, "{:?}", userdata.extra_data);
        for (body, status) in [
            (json!({}), 400),
            (json!({ "app": APP, "screen": { "width": 0, "height": 720 } }), 400),
            (json!({ "app": APP, "screen": { "width": 4096, "height": 2160 } }), 400),
            (json!({ "app": APP, "screen": { "density": 71 } }), 400),
            (json!({ "app": "nobody has it" }), 404),
            (json!({ "app": APP, "app_version": 9 }), 404),
        ] {
            let what = body.to_string();
            published.post("/1.0/sessions", body).await?.is(status).context(what)?;
        }
        // An agent there may just not have announced itself yet, for a moment after the start.
        let elsewhere = json!({ "app": APP, "region": "nowhere" });
        eventually("nowhere", async || {
            let answer = published.post("/1.0/sessions", elsewhere.clone()).await?;
            ensure!([404, 503].contains(&answer.status), "{}", answer.body);
            Ok((answer.status == 404).then_some(()))
        })
        .await?;
        Ok(())
    });
}

/// Section "Sessions", the batch.
#[test]
fn delete_sessions_ends_many_and_tells_of_each() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(published.active().await?.0);
        }
        let path = "/1.0/sessions";
        let some = json!({ "ids": [ids[0], NOWHERE] });
        let partly =
            published.send(Method::DELETE, "/1.0/sessions?sync=true", some).await?.is(207)?;
        ensure!(partly["deleted_sessions"] == json!([ids[0]]), "{partly}");
        let error = &partly["errors"][0];
        has(error, &["session_id", "status_code", "error_message"])?;
        ensure!(error["session_id"] == NOWHERE && error["status_code"] == 404, "{partly}");
        let one = json!({ "ids": [ids[1]] });
        published.send(Method::DELETE, "/1.0/sessions?sync=true", one).await?.is(200)?;
        let other = json!({ "ids": [ids[2]] });
        published.send(Method::DELETE, path, other).await?.is(202)?;
        let nobody = json!({ "ids": [NOWHERE] });
        published.send(Method::DELETE, path, nobody).await?.is(404)?;
        for wrong in [json!({}), json!({ "ids": "all" }), json!({ "ids": ["Not an id!"] })] {
            published.send(Method::DELETE, path, wrong).await?.is(400)?;
        }
        Ok(())
    });
}

/// Sections "Sessions" and "Session life".
#[test]
fn get_session_shows_one() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (id, _instance) = published.active().await?;
        for path in [format!("/1.0/sessions/{id}"), format!("/1.0/sessions/{id}/")] {
            let session = published.get(&path).await?.is(200)?;
            has(&session, &SESSION)?;
            ensure!(session["id"] == id && session["app"] == APP, "{session}");
            let instance = session["container_id"].as_str();
            ensure!(instance.is_some_and(|instance| !instance.is_empty()), "{session}");
        }
        published.get(&format!("/1.0/sessions/{NOWHERE}")).await?.is(404)?;
        published.get("/1.0/sessions/Not-an-id").await?.is(400)?;
        Ok(())
    });
}

/// Section "Sessions".
#[test]
fn delete_session_ends_one() {
    run_flow(async || {
        let mut published = Published::start().await?;
        for query in ["/", "?sync=true", "?force=true", "?force=true&sync=true"] {
            let (id, _instance) = published.active().await?;
            published.delete(&format!("/1.0/sessions/{id}{query}")).await?.is(200)?;
            if query.contains("sync") {
                let listed = published.get("/1.0/sessions").await?.is(200)?;
                ensure!(!listed.as_array().context("a list")?.contains(&json!(id)), "{listed}");
            }
        }
        published.delete(&format!("/1.0/sessions/{NOWHERE}")).await?.is(404)?;
        published.delete("/1.0/sessions/Not-an-id").await?.is(400)?;
        Ok(())
    });
}

/// Section "Sessions".
#[test]
fn post_join_makes_the_caller_the_client() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (booting, instance) = published.create().await?;
        let path = format!("/1.0/sessions/{booting}/join");
        published.post(&path, json!({})).await?.is(400)?;
        instance.report("running").await?.success()?;
        eventually("joined", async || {
            let joined = published.post(&path, json!({ "disconnect_clients": true })).await?;
            Ok((joined.status == 200).then_some(()))
        })
        .await?;
        for body in [
            None,
            Some(String::new()),
            Some(json!({ "disconnect_clients": true }).to_string()),
            Some(json!({ "screen": { "width": 1280, "height": 720 } }).to_string()),
            Some(json!({ "screen": { "density": 320, "fps": 30 }, "later": 1 }).to_string()),
        ] {
            let answer = published.http.send_text(Method::POST, &path, body).await?;
            let joined = Envelope::of(answer)?.is(200)?;
            has(&joined, &["id", "url"])?;
            are_servers(&joined["stun_servers"])?;
        }
        let wrong = json!({ "screen": { "width": "wide" } });
        published.post(&path, wrong).await?.is(400)?;
        published.post(&format!("/1.0/sessions/{NOWHERE}/join"), json!({})).await?.is(404)?;
        published.post("/1.0/sessions/Not-an-id/join", json!({})).await?.is(400)?;
        Ok(())
    });
}

/// Section "Sockets".
#[test]
fn sockets_open_in_both_spellings() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (id, _instance) = published.active().await?;
        let stack = &published.scripted.stack;
        let join = format!("/1.0/sessions/{id}/join");
        for end in ["/sockets/slave?", "/sockets/slave/?"] {
            for spelling in ["/1.0/session/", "/1.0/sessions/"] {
                let joined = published.post(&join, json!({})).await?.is(200)?;
                let url = joined["url"].as_str().context("a URL")?;
                let url = url.replace("/sockets/slave?", end);
                let url =
                    url.replace("/1.0/sessions/", spelling).replace("/1.0/session/", spelling);
                ensure!(url.contains(end) && url.contains(spelling), "{url}");
                Socket::open_url(&url, stack).await?.close().await?;
                let master = url.replace("/sockets/slave", "/sockets/master");
                let refused = Socket::open_url(&master, stack).await.err();
                let refusal = refused.context("instances connect to their agent")?.to_string();
                ensure!(refusal.contains("403"), "{refusal}");
            }
        }
        Ok(())
    });
}
