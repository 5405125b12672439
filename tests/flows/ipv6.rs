//! The services where they are reached over IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::support::{APP, Http, STEP_TIMEOUT, becomes, eventually, run_flow};
use stream_agent::gateway::{Gateway, GatewayConfig};
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::NodeFiles;
use stream_protocol::Screen;
use stream_simulators::client::Viewer;

#[test]
fn a_session_streams_whose_services_listen_on_the_loopback_of_ipv6() {
    run_flow(async || {
        let host = Ipv6Addr::LOCALHOST.into();
        let stack = Stack::start(Options { host, ..Options::default() }).await?;
        let client = stack.client()?;
        let created = client.create(APP, Screen::default()).await?;
        assert!(created.url.starts_with("wss://[::1]:"), "{}", created.url);
        // Its instance has reached the agent over IPv6 before it offers.
        let viewer = Viewer::connect(&created, vec![stack.nodes.gateway_pin()?]).await?;
        viewer.wait_frames(5, STEP_TIMEOUT).await?;
        becomes(&client, &created.id, "active").await?;
        viewer.disconnect().await;
        client.delete(&created.id).await?;
        stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
        stack.stop().await;
        Ok(())
    });
}

#[test]
fn a_gateway_that_listens_on_every_address_is_reached_by_both_versions_and_limits_ipv4_by_address()
{
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let joined = stack.nodes.join_gateway("every-address", &KeyStore::shared()?)?;
        let nodes = NodeFiles { host: Ipv6Addr::UNSPECIFIED.into(), ..joined };
        let mut config = stack.config.clone();
        // An address that were seen as one of a network of IPv6 would share its few connections.
        config.gateway = "http.connections_per_address = 1".parse()?;
        let gateway = Gateway::start(GatewayConfig::read(&nodes.write_gateway(&config)?)?)?;
        let mut clients = Vec::new();
        for host in [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()] {
            let url = NodeFiles { host, ..nodes.clone() }.gateway_url();
            let http = Http::new(&url, None, nodes.gateway_pin()?)?;
            // NATS is there soon after the start.
            let serves = async || Ok((http.get("/1.0/status").await?.status == 200).then_some(()));
            eventually(&url, serves).await?;
            // It keeps its connection.
            clients.push(http);
        }
        gateway.stop().await;
        stack.stop().await;
        Ok(())
    });
}
