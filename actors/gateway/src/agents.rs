//! The agents that are there, and which of them is asked to host a session.

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Presence, Request};

/// Returns what the agents said of themselves lately.
pub(crate) async fn present(bridge: &Bridge) -> Result<Vec<Presence>, BridgeError> {
    let entries = bridge.list::<Presence>(Bucket::Agents).await?;
    Ok(entries.into_iter().map(|(_, entry)| entry.value).collect())
}

/// Keeps those of `agents` that could host `request`.
pub(crate) fn hosts(mut agents: Vec<Presence>, request: &Request) -> Vec<Presence> {
    agents.retain(|agent| {
        !agent.draining
            && agent.capacity > 0
            && (request.region.is_empty() || agent.region == request.region)
            && agent.applications.iter().any(|application| application.name == request.app)
    });
    agents
}

/// Takes the roomier of two random agents out of `hosts`.
///
/// Two draws spread load almost as well as asking for the best of all, and gateways that know the
/// same presences do not all run to the same agent. `draw` returns a number below its argument.
pub(crate) fn take(
    hosts: &mut Vec<Presence>,
    mut draw: impl FnMut(usize) -> usize,
) -> Option<Presence> {
    let first = match hosts.len() {
        0 => return None,
        1 => 0,
        count => {
            let first = draw(count);
            let second = (first + 1 + draw(count - 1)) % count;
            if hosts[second].capacity > hosts[first].capacity { second } else { first }
        }
    };
    Some(hosts.swap_remove(first))
}

/// Returns a random number below `count`.
pub(crate) fn random(count: usize) -> usize {
    let bytes = stream_pki::random_bytes::<8>();
    // The bias of the remainder is far below what anybody could notice.
    (u64::from_le_bytes(*bytes) % count.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Application, Screen};

    use super::*;

    fn agent(name: &str, region: &str, capacity: u32) -> Presence {
        Presence {
            agent: name.parse().unwrap(),
            region: region.to_owned(),
            cluster: "c".to_owned(),
            applications: vec![Application { name: "app".to_owned() }],
            capacity,
            draining: false,
            version: "1".to_owned(),
        }
    }

    fn request(app: &str, region: &str) -> Request {
        Request {
            app: app.to_owned(),
            app_version: None,
            region: region.to_owned(),
            screen: Screen::default(),
            joinable: false,
            ephemeral: true,
            idle_time_min: 0,
            extra_data: serde_json::Value::Null,
        }
    }

    #[test]
    fn only_agents_with_room_application_and_region_host() {
        let draining = Presence { draining: true, ..agent("draining", "eu", 5) };
        let agents =
            vec![agent("eu", "eu", 1), agent("us", "us", 1), agent("full", "eu", 0), draining];
        let names = |request: &Request| -> Vec<String> {
            hosts(agents.clone(), request).iter().map(|host| host.agent.to_string()).collect()
        };
        assert_eq!(names(&request("app", "")), ["eu", "us"]);
        assert_eq!(names(&request("app", "us")), ["us"]);
        assert!(names(&request("app", "asia")).is_empty());
        assert!(names(&request("other", "")).is_empty());
    }

    #[test]
    fn the_roomier_of_the_two_drawn_is_taken() {
        let all = [agent("a", "", 1), agent("b", "", 9), agent("c", "", 5)];
        for first in 0..3 {
            for step in 0..2 {
                let mut hosts = all.to_vec();
                let mut draws = [first, step].into_iter();
                let taken = take(&mut hosts, |_| draws.next().unwrap()).unwrap();
                let second = (first + 1 + step) % 3;
                assert_ne!(first, second, "two different agents are compared");
                assert_eq!(taken.capacity, all[first].capacity.max(all[second].capacity));
                assert_eq!(hosts.len(), 2);
                assert!(!hosts.contains(&taken));
            }
        }
    }

    #[test]
    fn the_last_agent_is_taken_and_then_there_is_none() {
        let mut hosts = vec![agent("a", "", 1)];
        assert!(take(&mut hosts, random).is_some());
        assert!(take(&mut hosts, random).is_none());
    }
}
