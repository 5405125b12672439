//! What an agent does about one session that it has looked at.

use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use stream_protocol::{SessionDocument, Status};

use crate::SessionsError;
use crate::context::AgentContext;
use crate::launch::Launcher;
use crate::termination::Terminator;
use crate::transition::NextAction;
use crate::{idle, session};

/// How many sessions are processed at the same time, so that a slow AMS holds up few.
pub(crate) const MAX_CONCURRENT: usize = 32;

/// Takes the next step in the life of a session.
#[derive(Clone)]
pub(crate) struct Processor {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) launcher: Launcher,
    pub(crate) terminator: Rc<Terminator>,
}

impl Processor {
    /// Serves the session if this agent owns it, and does what is due.
    pub(crate) async fn process_session(
        &self,
        document: &SessionDocument,
    ) -> Result<(), SessionsError> {
        let (id, agent) = (&document.id, self.context.agent());
        if self.context.answers_for(document) {
            self.launcher.serve(document).await?;
        }
        match session::next_action(document, agent, self.context.now()) {
            NextAction::BeginEnd { .. } | NextAction::EndAdb | NextAction::RestartIdleTimer => {
                // It was looked at a while ago, perhaps by an agent that was held up since.
                let changed = self.context.change(id, |document| {
                    session::apply_due_change(document, agent, self.context.now());
                    Ok(())
                });
                let present = changed.await?;
                if session::next_action(&present, agent, self.context.now())
                    == NextAction::FinishEnd
                {
                    self.terminator.finish_end(id).await;
                }
            }
            NextAction::CheckClient => self.check_client(document).await?,
            NextAction::FinishEnd => self.terminator.finish_end(id).await,
            NextAction::DeleteKept => self.terminator.delete_kept(id).await?,
            NextAction::None if session::needs_relaunch(document, agent) => {
                self.launcher.resume_launch(document).await?;
            }
            NextAction::None => {}
        }
        Ok(())
    }

    /// Does what is due without a client, unless one has exchanged an answer with the instance.
    async fn check_client(&self, document: &SessionDocument) -> Result<(), SessionsError> {
        let (id, generation) = (&document.id, document.generation);
        let answered = self.context.has_answered(document).await?;
        let changed = self.context.change(id, |document| {
            let now = self.context.now();
            match answered {
                true => idle::on_answer(document, generation, now),
                false => session::end_without_client(document, now),
            }
            Ok(())
        });
        if changed.await?.status == Status::Terminating {
            self.terminator.finish_end(id).await;
        }
        Ok(())
    }
}

/// Does `work` on each of `items`, several at a time. A failure is logged under the item's `label`,
/// left to the next sweep, and holds up no other item.
pub(crate) async fn for_each_concurrent<'a, T: 'a, L: Display, F>(
    items: &'a [T],
    label: impl Fn(&'a T) -> L,
    work: impl Fn(&'a T) -> F,
) where
    F: Future<Output = Result<(), SessionsError>>,
{
    let (label, work) = (&label, &work);
    stream::iter(items)
        .for_each_concurrent(MAX_CONCURRENT, |item| async move {
            if let Err(error) = work(item).await {
                let cause = error.sentence();
                log::warn!(cause:%; "{} is left to the next sweep", label(item));
            }
        })
        .await;
}
