//! The gateway as published clients use it: one test for each row of its table of endpoints. What
//! is sent and what is read is written out here, and goes through no type of the services. Each
//! names the section of the wire manual that it holds.

mod service;
mod sessions;
mod shares;

use std::collections::BTreeSet;

use crate::support::{APP, Answer, Http, Instance, ScriptedStack, eventually};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};

/// No session and no share.
const NOWHERE: &str = "bvpg7vbmend4td6moir0";

/// An installation as a client finds it.
struct Published {
    scripted: ScriptedStack,
    http: Http,
}

impl Published {
    async fn start() -> anyhow::Result<Self> {
        let scripted = ScriptedStack::start().await?;
        let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
        let http = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        Ok(Self { scripted, http })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Envelope> {
        Envelope::of(self.http.get(path).await?)
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Envelope> {
        Envelope::of(self.http.send(method, path, Some(body)).await?)
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Envelope> {
        self.send(Method::POST, path, body).await
    }

    async fn delete(&self, path: &str) -> anyhow::Result<Envelope> {
        Envelope::of(self.http.send(Method::DELETE, path, None).await?)
    }

    /// Creates a session that others may join; its instance has said nothing yet.
    async fn create(&mut self) -> anyhow::Result<(String, Instance)> {
        let body = json!({ "app": APP, "joinable": true, "idle_time_min": 5 });
        let created = self.post("/1.0/sessions/", body).await?.is(201)?;
        let id = created["id"].as_str().context("an id")?.to_owned();
        Ok((id, self.scripted.booted().await?))
    }

    /// Creates a session whose instance runs and serves ADB.
    async fn active(&mut self) -> anyhow::Result<(String, Instance)> {
        let (id, instance) = self.create().await?;
        let report = json!({ "status": "running", "capabilities": ["adb", "roles"] });
        instance.report_as(report).await?.success()?;
        eventually("active", async || {
            let seen = self.get(&format!("/1.0/sessions/{id}")).await?.is(200)?;
            Ok((seen["status"] == "active").then_some(()))
        })
        .await?;
        Ok((id, instance))
    }

    /// Shares a session and returns the share.
    async fn share(&self, session: &str) -> anyhow::Result<Value> {
        let body = json!({ "type": "adb", "description": "for a test" });
        self.post(&format!("/1.0/sessions/{session}/share"), body).await?.is(200)
    }
}

/// An answer whose envelope repeats what HTTP says.
struct Envelope {
    status: u16,
    body: Value,
}

impl Envelope {
    fn of(answer: Answer) -> anyhow::Result<Self> {
        let Answer { status, body, .. } = answer;
        let (kind, word) =
            if status.is_success() { ("sync", "success") } else { ("error", "failed") };
        let as_told = body["type"] == kind && body["status"] == word;
        ensure!(as_told && body["status_code"] == status.as_u16(), "{status}: {body}");
        let has_reason = body["error"].as_str().is_some_and(|reason| !reason.is_empty());
        ensure!(has_reason != status.is_success(), "{status}: {body}");
        Ok(Self { status: status.as_u16(), body })
    }

    /// Returns the metadata of an answer with this status.
    fn is(self, status: u16) -> anyhow::Result<Value> {
        ensure!(self.status == status, "{} instead of {status}: {}", self.status, self.body);
        Ok(self.body["metadata"].clone())
    }
}

/// Holds that an object has these members at least.
fn has(object: &Value, names: &[&str]) -> anyhow::Result<()> {
    let members: BTreeSet<_> = object.as_object().context("an object")?.keys().collect();
    let missing: Vec<_> = names.iter().filter(|name| object.get(name).is_none()).collect();
    ensure!(missing.is_empty(), "{missing:?} missing among {members:?}");
    Ok(())
}

/// Holds that it is an array of objects with `urls`.
fn are_servers(servers: &Value) -> anyhow::Result<()> {
    let servers = servers.as_array().context("servers are an array, whatever there is")?;
    ensure!(servers.iter().all(|server| server["urls"].is_array()), "{servers:?}");
    Ok(())
}
