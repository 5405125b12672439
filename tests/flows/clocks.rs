//! Units whose clocks are wrong.

use std::time::Duration;

use crate::support::fleet::Fleet;
use crate::support::{APP, eventually, light_instances, run_flow};
use anyhow::ensure;
use reqwest::Method;
use stream_dev::in_process::Options;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Request, SessionDocument, SessionId, Status};

#[test]
fn an_agent_whose_clock_is_ahead_ends_nothing_before_its_time() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), ..Options::default() };
        let mut fleet = Fleet::start(options, 1, 1).await?;
        fleet.agents[0].replace_ahead("+120s").await?;
        fleet.all_present().await?;
        // Two sessions that no agent has claimed: for one it is too late, the other has its time.
        let store = async |deadline| {
            let id = SessionId::random();
            let now = fleet.bridge.now();
            let document = SessionDocument::new(id.clone(), Request::for_app("a"), now, deadline);
            fleet.bridge.create(Bucket::Sessions, id.as_str(), &document).await?;
            anyhow::Ok(id)
        };
        let now = fleet.bridge.now();
        let in_time = store(now + Duration::from_secs(60)).await?;
        let late = store(now - Duration::from_secs(1)).await?;
        let status = async |id: &SessionId| {
            let read = fleet.bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
            anyhow::Ok(read.map(|entry| entry.value.status))
        };
        // A sweep looks at both.
        eventually("ended", async || {
            Ok((status(&late).await? == Some(Status::Error)).then_some(()))
        })
        .await?;
        assert_eq!(status(&in_time).await?, Some(Status::Created));

        // A session runs as it should, and the operator is told.
        let created = fleet.http.create_with_key(APP, "a").await?.success()?;
        let path = format!("/1.0/sessions/{}", created["id"].as_str().unwrap_or_default());
        eventually("active", async || {
            let view = fleet.http.send(Method::GET, &path, None).await?.success()?;
            Ok((view["status"] == "active").then_some(()))
        })
        .await?;
        let log = std::fs::read_to_string(fleet.agents[0].process.log())?;
        ensure!(log.contains("the clock is wrong"), "{log}");
        Ok(())
    });
}
