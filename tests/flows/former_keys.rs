//! A store of 0.1, which kept the sealed keys of both services in one bucket, and the units that
//! find it.

use std::time::Duration;

use crate::support::{eventually, run_flow};
use anyhow::{Context, ensure};
use async_nats::jetstream::kv;
use stream_bridge::Bridge;
use stream_dev::keys::{KeyStore, write_secret};
use stream_dev::nats::Nats;
use stream_protocol::subjects::{Bucket, FORMER_KEYS, NatsUser};
use stream_protocol::{Op, Timestamp, TokenKind};
use stream_supervisor::Supervisor;
use stream_tokens::{Config, Mint, Service, Tokens};

use super::nats::operator;

const RECORD: &str = "agent.root";

/// A store, and the secrets of the units.
struct Store {
    nats: Nats,
    dir: tempfile::TempDir,
}

impl Store {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        write_secret(dir.path().join("sealing.key"), "s".repeat(43))?;
        write_secret(dir.path().join("root.key"), "r".repeat(64))?;
        let nats = Nats::start(&dir.path().join("nats"), &KeyStore::shared()?)?;
        Ok(Self { nats, dir })
    }

    /// Starts an agent's tokens; `name` remembers what the one of that name before it has seen.
    fn unit(&self, name: &str) -> anyhow::Result<Unit> {
        let supervisor = Supervisor::default();
        let nats = self.nats.bridge();
        let bridge = Bridge::start_as(NatsUser::Agent, nats, name, &supervisor)?;
        let path = |name: &str| self.dir.path().join(name);
        let config = Config {
            sealing_key: path("sealing.key"),
            first_root_key: path("root.key"),
            state: path(name),
        };
        let tokens = Tokens::start(config, Service::Agent, bridge.clone(), &supervisor)?;
        Ok(Unit { supervisor, tokens })
    }

    /// Has the store be one of 0.1 that holds `record`.
    async fn age(&self, record: Vec<u8>) -> anyhow::Result<kv::Store> {
        let jetstream = operator(&self.nats).await?;
        jetstream.delete_stream(format!("KV_{}", Bucket::KeysAgent.name())).await?;
        let bucket = FORMER_KEYS.to_owned();
        let config = kv::Config { bucket, history: 1, ..kv::Config::default() };
        let former = jetstream.create_key_value(config).await?;
        former.put(RECORD, record.into()).await?;
        Ok(former)
    }

    /// Returns the record of this version as it lies in the store.
    async fn record(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let bucket = operator(&self.nats).await?.get_key_value(Bucket::KeysAgent.name()).await?;
        Ok(bucket.get(RECORD).await?.map(Into::into))
    }
}

struct Unit {
    supervisor: Supervisor,
    tokens: Tokens,
}

impl Unit {
    async fn ready(&self) -> anyhow::Result<()> {
        eventually("keys", async || Ok(self.tokens.ready().await.ok())).await
    }

    async fn mint(&self) -> anyhow::Result<String> {
        let expires = Timestamp::now() + Duration::from_secs(600);
        let mint = Mint::new(TokenKind::Ams, "test").expires(expires);
        Ok(self.tokens.mint(mint).await?.token.to_string())
    }

    /// Ends it as the stop of its process would.
    fn stop(&self) {
        self.supervisor.stop();
    }
}

#[test]
fn keys_of_an_old_store_are_copied_once_whoever_starts_and_stay_what_they_were() {
    run_flow(async || {
        let store = Store::new()?;
        let before = store.unit("before")?;
        before.ready().await?;
        before.tokens.rotate(Duration::ZERO).await?;
        let token = before.mint().await?;
        before.stop();
        let written = store.record().await?.context("a record")?;
        let former = store.age(written.clone()).await?;

        // At once, one that has seen the keys and two that have not.
        let units = ["before", "one", "two"].map(|name| store.unit(name));
        let units: Vec<_> = units.into_iter().collect::<anyhow::Result<_>>()?;
        for unit in &units {
            unit.ready().await?;
            unit.tokens.verify(&token, Op::SessionRead, None).await?;
        }
        assert_eq!(store.record().await?, Some(written.clone()), "copied as it is");
        let left = former.get(RECORD).await?.map(Vec::from);
        assert_eq!(left, Some(written), "and left where it was");

        // From here on the copy alone counts, and what a unit of 0.1 writes does not.
        units[0].tokens.rotate(Duration::ZERO).await?;
        let token = units[0].mint().await?;
        former.put(RECORD, "what a unit of 0.1 has written".into()).await?;
        for unit in &units {
            let verified =
                async || Ok(unit.tokens.verify(&token, Op::SessionRead, None).await.ok().map(drop));
            eventually("verified", verified).await?;
        }
        let again = store.unit("three")?;
        again.ready().await?;
        again.tokens.verify(&token, Op::SessionRead, None).await?;
        Ok(())
    });
}

#[test]
fn old_keys_that_went_back_are_not_copied() {
    run_flow(async || {
        let store = Store::new()?;
        let unit = store.unit("one")?;
        unit.ready().await?;
        let first = store.record().await?.context("a record")?;
        unit.tokens.rotate(Duration::ZERO).await?;
        unit.stop();
        store.age(first).await?;

        let again = store.unit("one")?;
        let sentence = eventually("refused", async || {
            let refused = again.tokens.ready().await.err().context("old keys are good")?;
            Ok(Some(refused.to_string()).filter(|sentence| sentence.contains("went back")))
        })
        .await?;
        assert!(sentence.contains("agent.root.generation"), "{sentence}");
        ensure!(store.record().await?.is_none(), "it is not copied");
        Ok(())
    });
}
