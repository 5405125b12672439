//! What an agent does about one session that it has looked at.

use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use stream_ams::InstanceStatus;
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
                let why = self.why_not_ready(document).await;
                // It was looked at a while ago, perhaps by an agent that was held up since.
                let changed = self.context.change(id, |document| {
                    session::apply_due_change(document, agent, self.context.now());
                    session::explain_not_ready(document, &why);
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

    /// Tells why the instance of a session that has begun does not get ready, as far as AMS and
    /// this agent know; empty once it has been.
    async fn why_not_ready(&self, document: &SessionDocument) -> String {
        let Some(instance) = &document.instance_id else { return String::new() };
        if document.status != Status::Created {
            return String::new();
        }
        let said = match self.context.deps.ams.instance(instance).await {
            Ok(Some(instance)) => match instance.status {
                InstanceStatus::Running => "AMS says that it runs".to_owned(),
                InstanceStatus::Created | InstanceStatus::Prepared | InstanceStatus::Started => {
                    "AMS is still starting it".to_owned()
                }
                InstanceStatus::Error => format!("AMS says that it failed, {}", instance.message),
                InstanceStatus::Stopped | InstanceStatus::Deleted => {
                    "AMS says that it was stopped".to_owned()
                }
                InstanceStatus::Unknown => "AMS does not know how it is".to_owned(),
            },
            Ok(None) => "AMS knows it no more".to_owned(),
            Err(error) => error.to_string(),
        };
        let arrived = self.context.arrivals.tell(&document.id);
        arrived.map_or_else(|| said.clone(), |arrived| format!("{said}, {arrived}"))
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
