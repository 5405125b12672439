//! What the gateway says of itself.

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::json;
use stream_gateway::admin::Client;

use super::{Envelope, Published};
use crate::support::{APP, eventually, run_flow};

/// Section "Sessions".
#[test]
fn get_applications_names_what_can_be_streamed() {
    run_flow(async || {
        let published = Published::start().await?;
        for path in ["/1.0/applications", "/1.0/applications/"] {
            let applications = published.get(path).await?.is(200)?;
            let listed = applications.as_array().context("an array")?;
            ensure!(listed.iter().any(|application| application["name"] == APP), "{listed:?}");
        }
        Ok(())
    });
}

/// Section "Sessions".
#[test]
fn get_regions_names_where_agents_are() {
    run_flow(async || {
        let published = Published::start().await?;
        let regions = published.get("/1.0/regions").await?.is(200)?;
        let region = regions[0]["name"].as_str().context("a region")?;
        let body = json!({ "app": APP, "region": region });
        let created = published.post("/1.0/sessions", body).await?.is(201)?;
        ensure!(created["region"] == region, "{created}");
        Ok(())
    });
}

/// Section "Configuration".
#[test]
fn config_is_read_and_one_item_changed() {
    run_flow(async || {
        let published = Published::start().await?;
        let nodes = &published.scripted.stack.nodes;
        let operators = Client::new(nodes.admin_socket());
        let token = operators.create_operator("operator", None, Default::default()).await?;
        let operator = published.http.with(Some(&token));
        let name = "session.idle_time_min";
        let change = |value: &str| Some(json!({ "name": name, "value": value }));
        let path = "/1.0/config";
        let changed = operator.send(Method::PATCH, path, change("45")).await?;
        Envelope::of(changed)?.is(200)?;
        eventually("followed", async || {
            let items = Envelope::of(operator.get(path).await?)?.is(200)?;
            Ok((items[name] == "45").then_some(()))
        })
        .await?;
        Envelope::of(operator.send(Method::PATCH, path, change("never")).await?)?.is(400)?;
        published.get(path).await?.is(403)?;
        Envelope::of(published.http.with(None).get(path).await?)?.is(401)?;
        Ok(())
    });
}

/// Section "Authentication".
#[test]
fn get_status_says_more_to_who_is_known() {
    run_flow(async || {
        let published = Published::start().await?;
        let stranger = published.http.with(None).get("/1.0/status").await?;
        let told = Envelope::of(stranger)?.is(200)?;
        ensure!(told == json!({ "status": "healthy" }), "{told}");
        let known = published.get("/1.0/status").await?.is(200)?;
        let expected = json!({ "status": "healthy", "agents": 1, "database_nodes": 1 });
        ensure!(known == expected, "{known}");
        Ok(())
    });
}
