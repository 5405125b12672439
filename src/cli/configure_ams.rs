//! Has AMS ask this agent for sessions: `ams configure`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Deserialize;
use stream_admin::Client;
use stream_ams::{AgentApi, AgentApiUpdate, agent_api, set_agent_api};
use stream_pki::{Fingerprint, Identity, read_secret};
use stream_tokens::{Created, Request};
use zeroize::Zeroizing;

use super::operate::AdminEndpoint;
use super::span::days_from_now;
use crate::config;
use crate::output::say;

/// Whose token it is that AMS has.
const TOKEN_OF: &str = "ams";

#[derive(Args, Debug)]
pub struct Configure {
    /// Also when AMS asks another agent by now, whose place this one takes.
    #[arg(long)]
    replace: bool,
    /// Give AMS another token in the place of the one that it has.
    #[arg(long)]
    new_token: bool,
    /// Days until the token ends that is made.
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    expiration: u64,
    /// Give AMS the token in this file, which `token create --scope ams` has printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_token", "expiration"])]
    token_file: Option<PathBuf>,
    /// SHA-256 of the certificate of the balancer before this agent, where `[agent] pin` is false.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<Fingerprint>,
    #[command(flatten)]
    endpoint: AdminEndpoint,
}

/// The sections that matter here.
#[derive(Deserialize)]
struct Sections {
    agent: stream_sessions::Config,
    ams: stream_ams::Config,
    tls: stream_tls::Config,
}

/// What AMS has to know of this agent, but for the token.
struct Wanted<'a> {
    url: &'a str,
    fingerprint: Fingerprint,
}

/// What is to be set.
#[derive(Debug, Eq, PartialEq)]
struct Changes {
    url: bool,
    token: bool,
    fingerprint: bool,
}

impl Configure {
    /// Sets what is wrong and prints it.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used, AMS asks another agent, or it does not answer or refuses.
    pub(super) fn run(self, default_config: &Path) -> anyhow::Result<()> {
        let path = self.endpoint.config(default_config);
        let Sections { agent, ams, tls } = config::read::<Sections>(path, |sections| {
            sections.ams.check().context("[ams]")?;
            sections.tls.check().context("[tls]")
        })?;
        let wanted = Wanted { url: &agent.url, fingerprint: self.fingerprint(agent.pin, &tls)? };
        let given = self.token_file.as_deref().map(token_in).transpose()?;

        let system = actix::System::new();
        let found = system.block_on(agent_api(&ams))?;
        let is_other_token = self.new_token || given.is_some();
        let changes = changes(&found, &wanted, self.replace, is_other_token)?;
        let token = match (changes.token, given) {
            (false, _) => None,
            (true, Some(token)) => Some(token),
            (true, None) => {
                let client = Client::new(self.endpoint.clone().path(default_config)?);
                Some(system.block_on(new_token(&client, self.expiration))?)
            }
        };
        let update = AgentApiUpdate {
            url: changes.url.then_some(wanted.url),
            token: token.as_ref().map(|token| token.as_str()),
            fingerprint: changes.fingerprint.then_some(wanted.fingerprint),
        };
        system.block_on(set_agent_api(&ams, update))?;
        let Changes { url, token, fingerprint } = changes;
        for (name, is_set, value) in [
            ("agent.api.url", url, wanted.url),
            ("agent.api.token", token, ""),
            ("agent.api.fingerprint", fingerprint, &wanted.fingerprint.to_string()),
        ] {
            match is_set {
                true => {
                    say!("{}", format!("{name} is set now: {value}").trim_end_matches([':', ' ']))
                }
                false => say!("{name} stays as it is"),
            }
        }
        Ok(())
    }

    /// Returns the fingerprint of what AMS is shown where it asks this agent.
    fn fingerprint(&self, pin: bool, tls: &stream_tls::Config) -> anyhow::Result<Fingerprint> {
        match (self.fingerprint, pin) {
            (None, true) => Ok(Identity::load(&tls.certificate, &tls.key)?.fingerprint()),
            (Some(fingerprint), false) => Ok(fingerprint),
            (None, false) => {
                bail!(
                    "a balancer shows its own certificate (agent.pin = false): give --fingerprint"
                )
            }
            (Some(_), true) => bail!(
                "this agent shows its own certificate, whose fingerprint it keeps right: \
                 --fingerprint is for balancers (agent.pin = false)"
            ),
        }
    }
}

/// Returns what differs in what AMS knows. A token stays as long as AMS asks the agent that it is
/// of.
///
/// # Errors
///
/// AMS asks another agent, which nobody has said that this one replaces.
fn changes(
    found: &AgentApi,
    wanted: &Wanted<'_>,
    replace: bool,
    is_other_token: bool,
) -> anyhow::Result<Changes> {
    let is_named = found.names(wanted.url);
    ensure!(
        is_named || found.url.is_empty() || replace,
        "ams asks the agent at {} for sessions, and not {}: nothing has changed; --replace has it \
         ask this one",
        found.url,
        wanted.url
    );
    Ok(Changes {
        url: !is_named,
        token: is_other_token || !is_named || !found.has_token,
        fingerprint: found.fingerprint != Some(wanted.fingerprint),
    })
}

fn token_in(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let bytes = read_secret(file, 1)?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim).filter(|text| !text.is_empty());
    let text = text.with_context(|| format!("{}: a token is text", file.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Has the service make a token for AMS.
async fn new_token(client: &Client, days: u64) -> anyhow::Result<Zeroizing<String>> {
    let expires_at = Some(days_from_now(days));
    let request =
        Request::Create { scope: "ams".to_owned(), subject: TOKEN_OF.to_owned(), expires_at };
    let created: Created = client.ask(&request).await.context(
        "the service makes the token: start it, or give --token-file; nothing has changed at ams",
    )?;
    eprintln!("made a token for ams: id {}", created.id);
    Ok(Zeroizing::new(created.token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://agent-1.example.org:9033";
    const WANTED: Wanted<'_> = Wanted { url: URL, fingerprint: Fingerprint([7; 32]) };

    fn found(url: &str, pin: u8, has_token: bool) -> AgentApi {
        let fingerprint = (pin > 0).then_some(Fingerprint([pin; 32]));
        AgentApi { url: url.to_owned(), fingerprint, has_token }
    }

    fn set(url: bool, token: bool, fingerprint: bool) -> Changes {
        Changes { url, token, fingerprint }
    }

    #[test]
    fn what_is_right_stays_and_a_token_as_long_as_the_agent_is_the_one() {
        for (found, expected) in [
            (found("", 0, false), set(true, true, true)),
            (found("", 7, true), set(true, true, false)),
            (found(URL, 7, true), set(false, false, false)),
            (found("https://AGENT-1.example.org:9033/", 7, true), set(false, false, false)),
            (found(URL, 8, true), set(false, false, true)),
            (found(URL, 7, false), set(false, true, false)),
        ] {
            let changes = changes(&found, &WANTED, false, false).expect("it may be set");
            assert_eq!(changes, expected, "{found:?}");
        }
        let again = changes(&found(URL, 7, true), &WANTED, false, true).expect("it may be set");
        assert_eq!(again, set(false, true, false), "another token was asked for");
    }

    #[test]
    fn another_agent_is_replaced_by_who_says_so_alone() {
        let other = found("https://agent-2.example.org:9033", 7, true);
        let refused = changes(&other, &WANTED, false, true).expect_err("another agent");
        let sentence = refused.to_string();
        assert!(sentence.contains("agent-2.example.org:9033 for sessions"), "{sentence}");
        assert!(sentence.contains("--replace"), "{sentence}");
        let replaced = changes(&other, &WANTED, true, false).expect("it was said");
        assert_eq!(replaced, set(true, true, false), "its token is of another agent");
    }
}
