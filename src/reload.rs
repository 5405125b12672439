//! Reads the files of a running service again: what can change while it runs does, and of all else
//! it is told that it waits for a restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use stream_protocol::{Refusal, RefusalCode};
use stream_tls::CertificateReloader;
use tokio::sync::Mutex;

use crate::config::{ConfigError, differing_keys};
use crate::notify::{Notice, ServiceManager};
use crate::surroundings::Surroundings;

/// A key whose value is another one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Change {
    pub key: String,
    pub before: Value,
    pub after: Value,
}

/// What came of reading the files again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ReloadReport {
    /// What holds from now on.
    pub applied: Vec<Change>,
    /// What holds after a restart.
    pub after_restart: Vec<Change>,
    /// Whether clients are shown another certificate from now on.
    pub certificate: bool,
}

impl ReloadReport {
    /// Compares the configuration `read` with what holds: of the keys that are `live` that is what
    /// was read `last`, of all others what the service was `started` with.
    fn of<C: Serialize>(started: &C, last: &C, read: &C, live: &[&str]) -> Self {
        let is_live = |key: &str| live.contains(&key);
        let changes = |before: &C, wanted: bool| {
            let keys = differing_keys(before, read).into_iter();
            let keys = keys.filter(|key| is_live(key) == wanted);
            let change =
                |key: String| Change { before: value(before, &key), after: value(read, &key), key };
            keys.map(change).collect()
        };
        Self {
            applied: changes(last, true),
            after_restart: changes(started, false),
            certificate: false,
        }
    }
}

/// The value of `section.key`.
fn value<C: Serialize>(config: &C, key: &str) -> Value {
    let (section, key) = key.split_once('.').unwrap_or((key, ""));
    let config = serde_json::to_value(config).unwrap_or_default();
    config.get(section).and_then(|section| section.get(key)).cloned().unwrap_or_default()
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unset = |value: &Value| match value {
            Value::Null => "not set".to_owned(),
            value => value.to_string(),
        };
        let parts = [("from now on", &self.applied), ("after a restart", &self.after_restart)];
        for (when, changes) in parts.into_iter().filter(|(_, changes)| !changes.is_empty()) {
            writeln!(f, "{when}:")?;
            for Change { key, before, after } in changes {
                writeln!(f, "  {key}: {} -> {}", unset(before), unset(after))?;
            }
        }
        if self.certificate {
            writeln!(f, "clients are shown another certificate from now on")?;
        }
        if *self == Self::default() {
            writeln!(f, "nothing has changed")?;
        }
        Ok(())
    }
}

/// Reads the files of one service again.
pub(crate) struct Reloader<C> {
    file: Option<PathBuf>,
    manager: Arc<ServiceManager>,
    certificates: CertificateReloader,
    started: C,
    /// What was read last. Held while the files are read: one after the other.
    last: Mutex<C>,
    /// The keys that change while the service runs.
    live: &'static [&'static str],
}

impl<C: Clone + Serialize> Reloader<C> {
    pub(crate) fn new(
        surroundings: &Surroundings,
        certificates: CertificateReloader,
        started: C,
        live: &'static [&'static str],
    ) -> Self {
        let (file, manager) = (surroundings.file.clone(), Arc::clone(&surroundings.manager));
        let last = Mutex::new(started.clone());
        Self { file, manager, certificates, started, last, live }
    }

    /// Has `read` read the file and judge it as a whole, and `apply` take up what can change, all
    /// or nothing of it; then the certificates are read again.
    ///
    /// # Errors
    ///
    /// The file cannot be used: nothing has changed then.
    pub(crate) async fn reload(
        &self,
        read: impl FnOnce(&Path) -> Result<C, ConfigError>,
        apply: impl AsyncFnOnce(&C) -> anyhow::Result<()>,
    ) -> Result<ReloadReport, String> {
        let mut last = self.last.lock().await;
        self.manager.tell(&[Notice::reloading()]);
        let reloaded = async {
            let mut report = ReloadReport::default();
            if let Some(file) = &self.file {
                let config = read(file).map_err(|error| error.to_string())?;
                let applied = apply(&config).await;
                applied.map_err(|error| format!("{}: {error:#}", file.display()))?;
                report = ReloadReport::of(&self.started, &*last, &config, self.live);
                *last = config;
            }
            report.certificate = self.certificates.reload().await.unwrap_or_else(|error| {
                log::warn!(cause:% = error; "the certificates could not be read again");
                false
            });
            Ok(report)
        };
        let reloaded = reloaded.await;
        self.manager.tell(&[Notice::Ready]);
        match &reloaded {
            Ok(report) => log_report(report),
            Err(cause) => {
                log::error!(cause:%; "the configuration is refused, and nothing changes");
            }
        }
        reloaded
    }
}

/// Names the keys, and no values: who reads logs need not be who reads configurations.
fn log_report(report: &ReloadReport) {
    let keys = |changes: &[Change]| {
        changes.iter().map(|change| change.key.as_str()).collect::<Vec<_>>().join(" ")
    };
    if !report.applied.is_empty() {
        log::info!(keys = keys(&report.applied).as_str(); "these keys have changed");
    }
    if !report.after_restart.is_empty() {
        let keys = keys(&report.after_restart);
        log::warn!(keys = keys.as_str(); "these keys change with a restart only");
    }
}

/// Returns the answer to an operator who had the files read again.
///
/// # Errors
///
/// Refuses with the reason why nothing has changed.
pub(crate) fn reloaded(reloaded: Result<ReloadReport, String>) -> Result<Value, Refusal> {
    let refused = |cause: String| {
        Refusal::new(RefusalCode::Malformed, format!("{cause}: nothing has changed"))
    };
    Ok(serde_json::json!(reloaded.map_err(refused)?))
}

/// What an operator asks of a service: to read its files again, or something else.
pub(crate) enum OrReload<R> {
    Reload,
    Other(R),
}

/// The operation of a request to reload.
pub(crate) const RELOAD: &str = "reload";

impl<'de, R: DeserializeOwned> Deserialize<'de> for OrReload<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let request = Value::deserialize(deserializer)?;
        if request.get("op").and_then(Value::as_str) == Some(RELOAD) {
            return Ok(Self::Reload);
        }
        R::deserialize(request).map(Self::Other).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_told_what_holds_now_and_what_waits() {
        let started = json!({ "turn": { "stun": ["a"] }, "api": { "workers": 2, "listen": "x" } });
        let mut last = started.clone();
        last["turn"]["stun"] = json!(["b"]);
        let mut read = last.clone();
        read["turn"]["stun"] = json!(["b", "c"]);
        read["api"] = json!({ "workers": 4, "listen": "x", "more": true });
        let report = ReloadReport::of(&started, &last, &read, &["turn.stun"]);
        assert_eq!(
            report.to_string(),
            "from now on:\n  turn.stun: [\"b\"] -> [\"b\",\"c\"]\n\
             after a restart:\n  api.more: not set -> true\n  api.workers: 2 -> 4\n"
        );
        // What waits is told each time, and what holds once.
        let report = ReloadReport::of(&started, &read, &read, &["turn.stun"]);
        assert!(report.applied.is_empty() && report.after_restart.len() == 2, "{report:?}");
        let same = ReloadReport::of(&started, &started, &started, &["turn.stun"]);
        assert_eq!(same.to_string(), "nothing has changed\n");
    }

    #[test]
    fn a_request_to_reload_is_told_from_all_others() {
        type Request = OrReload<Vec<u32>>;
        assert!(matches!(serde_json::from_value(json!({"op": "reload"})), Ok(Request::Reload)));
        assert!(matches!(serde_json::from_value(json!([1])), Ok(Request::Other(_))));
        assert!(serde_json::from_value::<Request>(json!({"op": "double"})).is_err());
    }
}
