//! The endpoints about applications, regions and the state of the service.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::HttpRequest;
use actix_web::web::Data;
use serde::Serialize;
use stream_protocol::{Op, Presence, Refusal, RefusalCode};

use crate::auth::{authorize, has_token};
use crate::catalogues::CatalogueMap;
use crate::placement;
use crate::response::{HandlerResult, ok, token_error};
use crate::state::State;

/// What has a name.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Named {
    name: String,
}

/// Where there are agents.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Region {
    name: String,
    /// URLs of STUN servers by which a browser learns how far it is, without a credential.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(default))]
    stun_servers: Vec<String>,
}

/// The state of the service.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ServiceStatus"))]
pub(crate) struct Status {
    status: Health,
    /// How many agents there are; only with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "usize"))]
    agents: Option<usize>,
    /// How many servers NATS has; only with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "usize"))]
    database_nodes: Option<usize>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum Health {
    Healthy,
    Unhealthy,
}

/// GET `/1.0/applications`: the applications that at least one agent has.
pub(crate) async fn applications(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::ApplicationRead, None).await?;
    let present = placement::list(&state.bridge).await?;
    let catalogues = state.catalogues.of(&state.bridge, &present).await;
    Ok(ok(application_names(&catalogues)))
}

/// GET `/1.0/regions`: the regions with at least one agent.
pub(crate) async fn regions(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::RegionRead, None).await?;
    Ok(ok(regions_of(placement::list(&state.bridge).await?)))
}

/// GET `/1.0/status`: whether NATS is connected; with a token also how many agents and
/// servers of NATS there are.
///
/// # Errors
///
/// Refuses until the token keys are loaded for the first time, and while the gateway drains.
pub(crate) async fn status(request: HttpRequest, state: Data<State>) -> HandlerResult {
    let caller = has_token(&request, &state);
    if caller {
        authorize(&request, &state, Op::StatusRead, None).await?;
    }
    state.tokens.ready().await.map_err(token_error)?;
    if state.drain.is_draining() {
        return Err(Refusal::new(RefusalCode::Draining, "the gateway is draining").into());
    }
    let link = state.bridge.status().await;
    let status = if link.connected { Health::Healthy } else { Health::Unhealthy };
    let agents = match caller && link.connected {
        true => Some(placement::list(&state.bridge).await?.len()),
        false => None,
    };
    let database_nodes = agents.map(|_| link.servers);
    Ok(ok(Status { status, agents, database_nodes }))
}

fn application_names(catalogues: &CatalogueMap) -> BTreeSet<Named> {
    let applications = catalogues.values().flat_map(|catalogue| &catalogue.applications);
    applications.map(|name| Named { name: name.clone() }).collect()
}

fn regions_of(agents: Vec<Presence>) -> Vec<Region> {
    let mut regions = BTreeMap::<_, BTreeSet<_>>::new();
    for Presence { region, stun_servers, .. } in agents {
        regions.entry(region).or_default().extend(stun_servers);
    }
    let named = regions.into_iter().filter(|(name, _)| !name.is_empty());
    let first = |urls: BTreeSet<_>| urls.into_iter().take(Presence::MOST_STUN_SERVERS).collect();
    named.map(|(name, urls)| Region { name, stun_servers: first(urls) }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalogues::Catalogue;

    #[test]
    fn what_several_agents_have_is_listed_once() {
        let catalogue = |agent: &str, names: &[&str]| {
            (agent.parse().unwrap(), Arc::new(Catalogue::of_applications(names)))
        };
        let catalogues =
            [catalogue("a", &["b", "a"]), catalogue("b", &["b"]), catalogue("c", &[])].into();
        let text = serde_json::to_string(&application_names(&catalogues)).unwrap();
        assert_eq!(text, r#"[{"name":"a"},{"name":"b"}]"#);
        let agent = |region: &str| -> Presence {
            serde_json::from_str(&format!(
                r#"{{"agent":"a","region":"{region}","cluster":"","capacity":1,"draining":false,
                    "version":"1"}}"#
            ))
            .unwrap()
        };
        let mut agents = ["us", "eu", "", "eu", "eu"].map(agent).to_vec();
        agents[1].stun_servers = vec!["stun:b".to_owned()];
        agents[3].stun_servers = vec!["stun:b".to_owned(), "stun:a".to_owned()];
        let text = serde_json::to_string(&regions_of(agents)).unwrap();
        let eu = r#"{"name":"eu","stun_servers":["stun:a","stun:b"]}"#;
        assert_eq!(text, format!(r#"[{eu},{{"name":"us"}}]"#));
    }
}
