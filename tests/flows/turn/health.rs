//! Which relays are handed out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use stream_dev::coturn::Coturn;
use stream_dev::faketime;
use stream_dev::keys::KeyStore;
use stream_turn::{ProbeError, ProbeReport, RelayState, Request, TurnError};

use super::relays::{PROBE, Relays, can_relay, credential};
use crate::support::{eventually, run_flow};

#[test]
fn a_relay_that_dies_or_hangs_is_withheld_and_comes_back_and_the_list_is_never_empty() {
    run_flow(async || {
        let mut bench = Relays::start(3, 3600).await?;
        assert_eq!(bench.handed_out().await?.len(), 3);
        let secret = bench.secret.clone();

        bench.relays[0].process().kill();
        assert!(bench.until(0, false, &[1, 2]).await? <= 2 * PROBE, "killed");
        bench.relays[0].restart(&[&secret])?;
        assert!(bench.until(0, true, &[1, 2]).await? <= 3 * PROBE, "restarted");

        bench.relays[1].process().suspend()?;
        assert!(bench.until(1, false, &[0, 2]).await? <= 2 * PROBE, "hanging");
        let table = bench.turn.probe().await?;
        assert!(table[1].timings.binding.is_err() && table[1].state == RelayState::Withheld);
        assert!(table[2].timings.allocate.is_ok() && table[2].state == RelayState::Healthy);
        bench.relays[1].process().wake()?;
        assert!(bench.until(1, true, &[0, 2]).await? <= 3 * PROBE, "awake");

        let urls: Vec<_> = bench.relays.iter().map(Coturn::url).collect();
        bench.turn.drain(&urls[2], true).await?;
        assert_eq!(bench.handed_out().await?, BTreeSet::from([0, 1]), "drained at once");
        bench.turn.relays().await?;
        bench.relays[0].process().kill();
        bench.relays[1].process().kill();
        let failure = async || Ok(bench.turn.relays().await.err());
        let failure = eventually("in failure", failure).await?;
        let left = bench.issue().await?;
        assert_eq!(left.len(), 1, "the least bad, and not the drained one: {left:?}");
        assert_ne!(left[0].urls, [urls[2].as_str()]);
        assert!(failure.to_string().contains("as the least bad"), "{failure}");

        bench.turn.drain(&urls[2], false).await?;
        bench.turn.drain(&urls[0], true).await?;
        bench.turn.drain(&urls[1], true).await?;
        let last = bench.turn.drain(&urls[2], true).await;
        assert!(matches!(last, Err(TurnError::Refused(_))), "the last one cannot be drained");
        assert_eq!(bench.handed_out().await?, BTreeSet::from([2]));
        Ok(())
    });
}

/// Checks that a credential of now is good at the first relay, whose clock is at `now`, and that
/// both relays are found well.
async fn serves_at(bench: &Relays, now: &str) -> anyhow::Result<()> {
    let servers = bench.issue().await?;
    let url = bench.relays[0].url();
    let server = servers.iter().find(|server| server.urls[0] == url).context("none")?;
    let (username, password) = credential(server)?;
    ensure!(can_relay(&bench.relays[0], &username, &password).await?, "at {now}");
    let probed = bench.turn.probe().await?;
    let serves = |row: &&ProbeReport| row.timings.allocate.is_ok();
    ensure!(probed.iter().filter(serves).count() == 2, "at {now}: {probed:?}");
    Ok(())
}

/// coturn judges a credential by its own clock.
#[test]
fn a_relay_whose_clock_is_wrong_by_less_than_a_credential_lives_serves_and_is_handed_out() {
    run_flow(async || {
        let mut bench = Relays::start(2, 2 * 3600).await?;
        let (secret, dir) = (bench.secret.clone(), tempfile::tempdir()?);
        let clock = dir.path().join("clock");
        fs::write(&clock, "+0")?;
        bench.relays[0].restart_with(&faketime::from_file(&clock), &[&secret])?;
        for now in ["+3600", "+0", "-3600"] {
            fs::write(&clock, now)?;
            serves_at(&bench, now).await?;
        }
        // The clock that measures pauses is wrong as well, from the start.
        for ahead in ["+3600s", "-3600s"] {
            bench.relays[0].restart_with(&faketime::all_ahead(ahead), &[&secret])?;
            serves_at(&bench, ahead).await?;
        }
        bench.relays[0].restart_with(&faketime::from_file(&clock), &[&secret])?;
        // It has taken no notice of the files, or it refuses now.
        fs::write(&clock, "+7300")?;
        let begun = bench.until(0, false, &[1]).await?;
        println!("withheld after {begun:?}");
        let row = bench.turn.probe().await?.remove(0);
        assert!(row.timings.allocate.is_err(), "it is two hours ahead: {row:?}");
        Ok(())
    });
}

#[test]
fn a_relay_is_probed_inside_tls_too_and_withheld_when_its_certificate_is_a_strangers() {
    run_flow(async || {
        let keys = KeyStore::shared()?;
        let (relay, stranger) = (keys.signed("relay")?, keys.signed("nats")?);

        let bench = Relays::start_with_tls(relay.pair.clone(), relay.authority).await?;
        let probed = bench.turn.probe().await?;
        assert_eq!(probed.iter().map(|row| row.transport).collect::<Vec<_>>(), ["udp", "tls"]);
        for row in &probed {
            assert!(row.timings.binding.is_ok() && row.timings.allocate.is_ok(), "{row:?}");
        }
        bench.turn.relays().await?;
        let tls_url = bench.relays[0].tls_url().context("a way inside TLS")?;
        assert_eq!(bench.issue().await?[0].urls, [bench.relays[0].url(), tls_url]);

        let bench = Relays::start_with_tls(relay.pair, stranger.authority).await?;
        let probed = bench.turn.probe().await?;
        assert!(probed[0].timings.allocate.is_ok(), "{:?}", probed[0]);
        let refused = |end: &Result<_, ProbeError>| matches!(end, Err(ProbeError::Tls(_)));
        let inside = &probed[1].timings;
        assert!(refused(&inside.binding) && refused(&inside.allocate), "{inside:?}");
        let shown = bench.turn.clone().answer(Request::Probe {}).await?;
        let why = "TLS with it fails: its certificate comes from an authority that is not among \
                   the trusted ones";
        assert_eq!((&shown[1]["way"], &shown[1]["allocate"]["Err"]), (&"tls".into(), &why.into()));
        let failure = async || Ok(bench.turn.relays().await.err());
        assert!(eventually("in failure", failure).await?.to_string().contains("as the least bad"));
        assert_eq!(bench.turn.probe().await?[1].state, RelayState::Withheld);
        Ok(())
    });
}

/// As operators do it: both authorities in the file, a reload of the agent, another certificate at
/// the relay, which coturn reads at SIGUSR2, and then the next authority alone.
#[test]
fn the_authority_of_a_relay_is_replaced_while_it_is_handed_out() {
    run_flow(async || {
        let (keys, dir) = (KeyStore::shared()?, tempfile::tempdir()?);
        let (before, after) = (keys.signed("relay")?, keys.signed("nats")?);
        let pair = before.pair.copy(dir.path(), "relay")?;
        let ca = dir.path().join("relay-ca.crt");
        let trusted = |authorities: &[&Path]| -> anyhow::Result<()> {
            let read = authorities.iter().map(fs::read_to_string);
            Ok(fs::write(&ca, read.collect::<Result<String, _>>()?)?)
        };
        trusted(&[&before.authority])?;
        let mut bench = Relays::start_with_tls(pair.clone(), ca.clone()).await?;
        let inside_tls = async |bench: &Relays| -> anyhow::Result<_> {
            let changes = bench.turn.take_up(&bench.config).await?;
            ensure!(changes.is_empty(), "{changes:?}");
            Ok(bench.turn.probe().await?.remove(1).timings.allocate)
        };
        inside_tls(&bench).await??;

        trusted(&[&before.authority, &after.authority])?;
        inside_tls(&bench).await??;
        for (from, to) in
            [(&after.pair.certificate, &pair.certificate), (&after.pair.key, &pair.key)]
        {
            fs::copy(from, to)?;
        }
        bench.relays[0].process().signal(Signal::USR2)?;
        inside_tls(&bench).await??;
        trusted(&[&after.authority])?;
        eventually("shown", async || Ok(inside_tls(&bench).await?.ok())).await?;
        bench.turn.relays().await?;
        trusted(&[&before.authority])?;
        let refused = inside_tls(&bench).await?;
        assert!(matches!(refused, Err(ProbeError::Tls(_))), "{refused:?}");
        Ok(())
    });
}
