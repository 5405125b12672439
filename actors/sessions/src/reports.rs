//! What instances say of themselves.

use stream_protocol::{Report, SessionDocument, SessionId};

use crate::SessionsError;
use crate::launch::Launcher;
use crate::session;

impl Launcher {
    /// Takes what an instance says of itself, and returns the document that is stored then. A
    /// session that comes back by it is from then on this agent's, if its instance is here.
    pub(crate) async fn take_report(
        &self,
        id: &SessionId,
        report: &Report,
    ) -> Result<SessionDocument, SessionsError> {
        let (context, retention) = (&self.context, self.context.config.retention());
        // Whoever drains would only hand it over.
        let takes = !context.drain.is_draining();
        let cluster = context.last_cluster().await.ok().filter(|_| takes);
        let changed = context.change(id, |document| {
            let has_ended = document.status.is_final();
            session::on_report(document, report, retention, context.now())?;
            let is_back = has_ended && !document.status.is_final();
            if is_back && cluster.as_ref() == Some(&document.cluster) {
                document.owner = Some(context.agent().clone());
            }
            Ok(())
        });
        let document = changed.await?;
        context.arrivals.forget(id);
        if context.answers_for(&document) {
            self.serve(&document).await?;
            if let Some(instance) = &document.instance_id {
                self.served.add_instance(instance.clone(), id.clone());
            }
        }
        Ok(document)
    }
}
