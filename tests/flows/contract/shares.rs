//! Shares and what they connect.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::json;

use super::{Envelope, NOWHERE, Published, are_servers, has};
use crate::support::{eventually, run_flow};

/// The members of a share; lists have all but the last.
const SHARE: [&str; 7] =
    ["created_at", "description", "expiry_at", "id", "session_id", "type", "url"];

/// Sections "Shares" and "ADB".
#[test]
fn post_share_makes_five_for_adb_and_no_more() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (id, _instance) = published.active().await?;
        let path = format!("/1.0/sessions/{id}/share");
        let end = 2_000_000_000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let made = published.share(&id).await?;
        has(&made, &["id", "type", "url", "expiry_at", "expiry_min"])?;
        let url = made["url"].as_str().unwrap_or_default();
        ensure!(url.contains(&format!("/1.0/sessions/{id}/connect?type=adb&token=")), "{made}");
        let life = made["expiry_at"].as_u64().unwrap_or_default().saturating_sub(now);
        ensure!((12 * 3600 - 60..=12 * 3600 + 60).contains(&life), "12 h: {life}");
        let soon = json!({ "type": "adb", "expiry_at": now + 600, "expiry_min": 60 });
        let made = published.post(&path, soon).await?.is(200)?;
        ensure!(made["expiry_at"] == now + 600, "the second counts, not the minutes: {made}");
        for _ in 0..3 {
            published.share(&id).await?;
        }
        published.post(&path, json!({ "type": "adb" })).await?.is(403)?;
        for wrong in
            [json!({}), json!({ "type": "vnc" }), json!({ "type": "adb", "expiry_at": end })]
        {
            published.post(&path, wrong).await?.is(400)?;
        }
        let nowhere = format!("/1.0/sessions/{NOWHERE}/share");
        published.post(&nowhere, json!({ "type": "adb" })).await?.is(404)?;
        Ok(())
    });
}

/// Sections "ADB" and "Authentication".
#[test]
fn get_connect_answers_a_share_with_a_socket() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (id, instance) = published.active().await?;
        let share = published.share(&id).await?;
        let url = share["url"].as_str().context("a URL")?;
        let (_, query) = url.split_once("/connect?").context("a query")?;
        let stranger = published.http.with(None);
        for spelling in ["session", "sessions"] {
            let path = format!("/1.0/{spelling}/{id}/connect");
            let connected =
                Envelope::of(stranger.get(&format!("{path}?{query}")).await?)?.is(200)?;
            let socket = connected["url"].as_str().context("a URL")?;
            ensure!(socket.contains("/sockets/adb?token="), "{connected}");
            are_servers(&connected["stun_servers"])?;
            for (query, status) in [
                (query.replace("type=adb", "type=vnc"), 400),
                (query.replace("type=adb&", ""), 400),
                ("type=adb".to_owned(), 401),
                (format!("{query}x"), 401),
            ] {
                let answer = stranger.get(&format!("{path}?{query}")).await?;
                Envelope::of(answer)?.is(status).with_context(|| query.clone())?;
            }
        }
        instance.report("error").await?.success()?;
        eventually("inactive", async || {
            let answer = stranger.get(&format!("/1.0/sessions/{id}/connect?{query}")).await?;
            // Inactive first, and a moment later the share has ended with its session.
            Ok(matches!(answer.status.as_u16(), 400 | 401).then_some(()))
        })
        .await
    });
}

/// Section "Shares".
#[test]
fn get_shares_lists_and_pages() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (first, _instance) = published.active().await?;
        let (second, _other) = published.active().await?;
        let mut ids = Vec::new();
        for session in [&first, &first, &second] {
            let share = published.share(session).await?;
            ids.push(share["id"].as_str().context("an id")?.to_owned());
        }
        let all = published.get("/1.0/shares").await?;
        ensure!(all.body["total_size"] == 3, "{}", all.body);
        let listed: BTreeSet<String> = serde_json::from_value(all.is(200)?)?;
        ensure!(listed == ids.iter().cloned().collect(), "{listed:?}");
        let page = published.get("/1.0/shares?limit=2&offset=2").await?.is(200)?;
        ensure!(page.as_array().is_some_and(|page| page.len() == 1), "{page}");
        let path = format!("/1.0/shares?recursion=true&session_id={second}");
        let listed = published.get(&path).await?.is(200)?;
        let [share] = &listed.as_array().context("a list")?[..] else { anyhow::bail!("{listed}") };
        has(share, &SHARE[..6])?;
        ensure!(share["id"] == ids[2] && share["session_id"] == second, "{share}");
        ensure!(share.get("url").is_none(), "a list gives no right away: {share}");
        published.get("/1.0/shares?limit=-1").await?.is(400)?;
        Ok(())
    });
}

/// Section "Shares".
#[test]
fn get_share_shows_one_with_its_url() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (id, _instance) = published.active().await?;
        let made = published.share(&id).await?;
        let path = format!("/1.0/shares/{}", made["id"].as_str().context("an id")?);
        let share = published.get(&path).await?.is(200)?;
        has(&share, &SHARE)?;
        ensure!(share["url"] == made["url"] && share["description"] == "for a test", "{share}");
        published.get(&format!("/1.0/shares/{NOWHERE}")).await?.is(404)?;
        published.get("/1.0/shares/Not-an-id").await?.is(400)?;
        Ok(())
    });
}

/// Section "Shares".
#[test]
fn patch_share_changes_its_end_and_description() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (id, _instance) = published.active().await?;
        let made = published.share(&id).await?;
        let path = format!("/1.0/shares/{}", made["id"].as_str().context("an id")?);
        let later = made["expiry_at"].as_u64().context("an end")? + 3600;
        let body = json!({ "expiry_at": later, "description": "for longer" });
        let changed = published.send(Method::PATCH, &path, body).await?.is(200)?;
        has(&changed, &SHARE)?;
        let as_asked = changed["expiry_at"] == later && changed["description"] == "for longer";
        ensure!(as_asked, "{changed}");
        for wrong in [json!({ "expiry_at": 1 }), json!({ "expiry_at": "soon" })] {
            published.send(Method::PATCH, &path, wrong).await?.is(400)?;
        }
        let nowhere = format!("/1.0/shares/{NOWHERE}");
        published.send(Method::PATCH, &nowhere, json!({ "description": "" })).await?.is(404)?;
        Ok(())
    });
}

/// Section "Shares".
#[test]
fn delete_share_ends_one() {
    run_flow(async || {
        let mut published = Published::start().await?;
        let (id, _instance) = published.active().await?;
        for (query, status) in [("?sync=false", 202), ("?sync=true", 200)] {
            let share = published.share(&id).await?;
            let path = format!("/1.0/shares/{}", share["id"].as_str().context("an id")?);
            published.delete(&format!("{path}{query}")).await?.is(status)?;
            published.get(&path).await?.is(404)?;
        }
        published.delete(&format!("/1.0/shares/{NOWHERE}")).await?.is(404)?;
        published.delete("/1.0/shares/Not-an-id").await?.is(400)?;
        Ok(())
    });
}
