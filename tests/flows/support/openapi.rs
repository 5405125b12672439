//! An API as its service describes it.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::{Map, Value};
use stream_protocol::Op;

use super::Http;

pub(crate) const DOCUMENT: &str = "/1.0/openapi.json";

/// One operation of a document.
pub(crate) struct Operation {
    pub(crate) id: String,
    /// In capitals.
    pub(crate) method: String,
    /// As in the document, `{id}` and all.
    pub(crate) path: String,
    pub(crate) op: Option<Op>,
    pub(crate) token: Token,
    pub(crate) needs_body: bool,
    /// The status of a success; where nothing succeeds, of the refusal.
    pub(crate) success: u16,
    /// Every status that is described, the one of a success among them.
    pub(crate) statuses: BTreeSet<u16>,
}

/// Where the token is taken from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    Header,
    /// In the header, and nothing is refused without.
    Optional,
    Query,
    /// Nobody asks for one.
    Unused,
}

/// Asks a service for its document, without a token.
pub(crate) async fn document(http: &Http) -> anyhow::Result<Value> {
    let answer = http.with(None).get(DOCUMENT).await?;
    anyhow::ensure!(answer.status == 200 && answer.body.is_object(), "{answer:?}");
    Ok(answer.body)
}

/// Returns all that a document describes. Refuses one that cannot be understood.
pub(crate) fn operations(document: &Value) -> anyhow::Result<Vec<Operation>> {
    let paths = document["paths"].as_object().context("paths")?;
    let members = paths.iter().flat_map(|(path, item)| {
        item.as_object().into_iter().flatten().map(move |(name, value)| (path, name, value))
    });
    let operations = members.filter(|(_, name, _)| *name != "parameters");
    operations.map(|(path, method, value)| operation(path, method, value)).collect()
}

fn operation(path: &str, method: &str, value: &Value) -> anyhow::Result<Operation> {
    let op = value.get("x-op").map(|op| {
        op.as_str().and_then(|op| op.parse().ok()).with_context(|| format!("{op} is no op"))
    });
    let responses = value["responses"].as_object().context("responses")?;
    let statuses: BTreeSet<u16> = responses.keys().filter_map(|key| key.parse().ok()).collect();
    Ok(Operation {
        id: value["operationId"].as_str().context("an id")?.to_owned(),
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        op: op.transpose()?,
        token: token(&value["security"])?,
        needs_body: value["requestBody"]["required"] == true,
        success: *statuses.first().context("an answer")?,
        statuses,
    })
}

fn token(security: &Value) -> anyhow::Result<Token> {
    let ways = security.as_array().context("security")?;
    let named = |way: &Value, name: &str| way.as_object().is_some_and(|way| way.contains_key(name));
    let optional = ways.iter().any(|way| way.as_object().is_some_and(Map::is_empty));
    let (header, query) =
        (ways.iter().any(|way| named(way, "header")), ways.iter().any(|way| named(way, "query")));
    Ok(match (optional, header, query) {
        (false, false, false) => Token::Unused,
        (true, true, false) => Token::Optional,
        (false, true, false) => Token::Header,
        (false, false, true) => Token::Query,
        _ => anyhow::bail!("{security} is not understood"),
    })
}
