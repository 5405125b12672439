//! What a simulation has to offer in the place of AMS.

use reqwest::Url;
use serde_json::Value;
use stream_supervisor::LocalBoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::error::AmsError;

/// AMS as one unit reaches it. What it answers is read as AMS's own answers are.
pub trait SimulatedAms: Send + Sync {
    /// Answers a request, with an HTTP status and an envelope, or never. Fails when AMS is away.
    fn ask(
        &self,
        method: &str,
        url: &Url,
        body: Option<&Value>,
    ) -> LocalBoxFuture<'static, Result<(u16, Value), AmsError>>;

    /// Brings the events from now on, each as AMS writes it.
    fn events(&self) -> UnboundedReceiver<String>;
}
