//! Which agent is asked to host a session: power of two choices.

use stream_bridge::Bridge;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Presence, Refusal, RefusalCode, Request};

use crate::catalogues::CatalogueMap;

/// Returns the presence of every agent whose lease has not run out.
pub(crate) async fn list(bridge: &Bridge) -> Result<Vec<Presence>, Refusal> {
    let entries = bridge.list::<Presence>(Bucket::Agents).await?;
    Ok(entries.into_iter().map(|(_, entry)| entry.value).collect())
}

/// Returns those of `agents` that could host `request` now. While not `all_announced`, agents of
/// other regions may be there as well.
///
/// # Errors
///
/// Refuses with the reason: no agent is there, none has the application in the region by its
/// catalogue, or those that have it are full or cannot launch.
pub(crate) fn eligible(
    mut agents: Vec<Presence>,
    catalogues: &CatalogueMap,
    request: &Request,
    all_announced: bool,
) -> Result<Vec<Presence>, Refusal> {
    if agents.is_empty() {
        return Err(Refusal::new(RefusalCode::Unavailable, "no agent is there"));
    }
    agents.retain(|agent| request.region.is_empty() || agent.region == request.region);
    if agents.is_empty() && !all_announced {
        let sentence = "no agent of this region has announced itself yet";
        return Err(Refusal::new(RefusalCode::Unavailable, sentence));
    }
    let all_known = agents.iter().all(|agent| catalogues.contains_key(&agent.agent));
    let offers = |agent: &Presence| {
        catalogues.get(&agent.agent).is_some_and(|catalogue| catalogue.offers(&request.app))
    };
    agents.retain(offers);
    if agents.is_empty() && !all_known {
        let sentence = "an agent has not said yet what it can launch";
        return Err(Refusal::new(RefusalCode::Unavailable, sentence));
    }
    let able =
        |agent: &&Presence| agent.unavailable.is_none() && !agent.draining && agent.capacity > 0;
    let hosts: Vec<_> = agents.iter().filter(able).cloned().collect();
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    if agents.is_empty() {
        return Err(Refusal::new(RefusalCode::NotFound, "no agent can host this session"));
    }
    match agents.into_iter().find_map(|agent| agent.unavailable) {
        Some(cause) => {
            log::info!(cause:%; "no agent can host a session");
            let sentence = "the agents that could host this session can launch nothing now";
            Err(Refusal::new(RefusalCode::Unavailable, sentence))
        }
        None => Err(Refusal::new(RefusalCode::Busy, "no agent has a free place")),
    }
}

/// Draws two random agents, takes the one with more free places out of `hosts`, and returns it with
/// the reason in words.
///
/// Two draws spread load almost as well as picking the best of all, and gateways that know the same
/// presences do not all pick the same agent. `draw` returns a number below its argument.
pub(crate) fn pick(
    hosts: &mut Vec<Presence>,
    mut draw: impl FnMut(usize) -> usize,
) -> Option<(Presence, String)> {
    let count = hosts.len();
    let (picked, other) = match count {
        0 => return None,
        1 => (0, None),
        count => {
            let first = draw(count);
            let second = (first + 1 + draw(count - 1)) % count;
            match hosts[second].capacity > hosts[first].capacity {
                true => (second, Some(first)),
                false => (first, Some(second)),
            }
        }
    };
    let against = match other.map(|other| &hosts[other]) {
        None => "no other could host it".to_owned(),
        Some(Presence { agent, capacity, .. }) => {
            format!("drawn with {agent}, which had {capacity}, from {count} that could host it")
        }
    };
    let host = hosts.swap_remove(picked);
    let Presence { agent, region, capacity, .. } = &host;
    let reason = format!("{agent} in region {region} had {capacity} free places; {against}");
    Some((host, reason))
}

/// Returns a random number below `count`.
pub(crate) fn random(count: usize) -> usize {
    let bytes = stream_pki::random_bytes::<8>();
    // The bias of the remainder is far below what anybody could notice.
    (u64::from_le_bytes(*bytes) % count.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalogues::Catalogue;

    fn agent(name: &str, region: &str, capacity: u32) -> Presence {
        Presence {
            agent: name.parse().unwrap(),
            region: region.to_owned(),
            cluster: "c".to_owned(),
            catalogue: String::new(),
            capacity,
            draining: false,
            unavailable: None,
            version: "1".to_owned(),
            stun_servers: Vec::new(),
        }
    }

    /// What all of them can launch.
    fn catalogues(agents: &[Presence]) -> CatalogueMap {
        let catalogue = Arc::new(Catalogue::of_applications(&["app", "jammy:android15:amd64"]));
        agents.iter().map(|agent| (agent.agent.clone(), Arc::clone(&catalogue))).collect()
    }

    fn request(app: &str, region: &str) -> Request {
        Request { region: region.to_owned(), ..Request::for_app(app) }
    }

    #[test]
    fn only_agents_with_room_application_and_region_host() {
        let draining = Presence { draining: true, ..agent("draining", "eu", 5) };
        let agents =
            vec![agent("eu", "eu", 1), agent("us", "us", 1), agent("full", "eu", 0), draining];
        let names = |request: &Request| -> Vec<String> {
            let known = catalogues(&agents);
            let hosts = eligible(agents.clone(), &known, request, true).unwrap_or_default();
            hosts.iter().map(|host| host.agent.to_string()).collect()
        };
        assert_eq!(names(&request("app", "")), ["eu", "us"]);
        assert_eq!(names(&request("app", "us")), ["us"]);
        assert_eq!(names(&request("jammy:android15:amd64", "us")), ["us"]);
        assert!(names(&request("app", "asia")).is_empty());
        assert!(names(&request("other", "")).is_empty());
    }

    #[test]
    fn who_is_refused_learns_whether_to_come_back() {
        let refused = |agents: &[Presence], app: &str| {
            eligible(agents.to_vec(), &catalogues(agents), &request(app, ""), true).unwrap_err()
        };
        assert_eq!(refused(&[], "app").code, RefusalCode::Unavailable);
        assert_eq!(refused(&[agent("a", "", 5)], "other").code, RefusalCode::NotFound);
        let full = agent("full", "", 0);
        assert_eq!(refused(std::slice::from_ref(&full), "app").code, RefusalCode::Busy);
        let away = Presence { unavailable: Some("ams is away".to_owned()), ..agent("a", "", 5) };
        let refusal = refused(&[full, away], "app");
        assert_eq!(
            (refusal.code, refusal.message.as_str()),
            (
                RefusalCode::Unavailable,
                "the agents that could host this session can launch nothing now"
            )
        );
    }

    #[test]
    fn a_region_may_have_an_agent_that_has_not_announced_itself_again() {
        let refused = |region: &str, app: &str, all_announced| {
            let agents = vec![agent("a", "eu", 5)];
            let known = catalogues(&agents);
            eligible(agents, &known, &request(app, region), all_announced).unwrap_err().code
        };
        assert_eq!(refused("us", "app", false), RefusalCode::Unavailable);
        assert_eq!(refused("us", "app", true), RefusalCode::NotFound);
        assert_eq!(refused("eu", "other", false), RefusalCode::NotFound, "its agent says so");
    }

    #[test]
    fn an_agent_whose_catalogue_is_not_read_yet_may_have_the_application() {
        let agents = [agent("a", "", 5), agent("b", "", 5)];
        let mut known = catalogues(&agents);
        known.remove(&agents[1].agent);
        let ask = |app: &str| eligible(agents.to_vec(), &known, &request(app, ""), true);
        assert_eq!(ask("app").expect("a host").len(), 1);
        assert_eq!(ask("other").unwrap_err().code, RefusalCode::Unavailable);
    }

    #[test]
    fn the_roomier_of_the_two_drawn_is_taken() {
        let all = [agent("a", "", 1), agent("b", "", 9), agent("c", "", 5)];
        for first in 0..3 {
            for step in 0..2 {
                let mut hosts = all.to_vec();
                let mut draws = [first, step].into_iter();
                let (picked, why) = pick(&mut hosts, |_| draws.next().unwrap()).unwrap();
                let second = (first + 1 + step) % 3;
                assert_ne!(first, second, "two different agents are compared");
                assert_eq!(picked.capacity, all[first].capacity.max(all[second].capacity));
                let other = all[first].capacity.min(all[second].capacity);
                assert!(why.contains(&format!("which had {other}, from 3")), "{why}");
                assert_eq!(hosts.len(), 2);
                assert!(!hosts.contains(&picked));
            }
        }
    }

    #[test]
    fn the_last_agent_is_taken_and_then_there_is_none() {
        let mut hosts = vec![agent("a", "", 1)];
        assert!(pick(&mut hosts, random).is_some());
        assert!(pick(&mut hosts, random).is_none());
    }
}
