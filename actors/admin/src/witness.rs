//! Who hears of what operators order.

use serde_json::Value;
use stream_protocol::Refusal;

/// What an operator orders.
pub struct Order {
    /// The id of the user.
    pub uid: u32,
    /// The name of the operation.
    pub op: String,
    /// All of the request. There may be secrets in it.
    pub request: Value,
}

/// Hears of each request before it is carried out, and may refuse it. `()` hears nothing.
pub trait Witness: Clone + Send + 'static {
    /// What is known of a request that is carried out.
    type Begun;

    /// Hears of `order`.
    ///
    /// # Errors
    ///
    /// The request is not carried out, and answered with the refusal.
    fn begin(&self, order: &Order) -> impl Future<Output = Result<Self::Begun, Refusal>>;

    /// Hears what came of it, before that is answered.
    fn end(&self, begun: Self::Begun, outcome: Result<(), &Refusal>) -> impl Future<Output = ()>;
}

impl Witness for () {
    type Begun = ();

    async fn begin(&self, _: &Order) -> Result<(), Refusal> {
        Ok(())
    }

    async fn end(&self, (): (), _: Result<(), &Refusal>) {}
}
