//! Decisions from elsewhere: what somebody answered to a message, in the channel it was sent to.
//!
//! The channel proves where an answer comes from, and its connector says which account that is; everything else is the
//! same as on the page: the same authorization, the same state machine, the same audit row, with the channel added.

use std::sync::Arc;

use super::approvals::{ApprovalView, Approvals};
use super::decide::{Decision, Via};
use super::error::Error;
use super::guard::{SLACK, guarded};
use super::plans::{Approval, Plans};
use super::shared::Shared;
use crate::access::{ActorType, Principal};
use crate::connector::{Connector, Role};
use crate::id::{ConnectorId, OrgId};
use crate::plan::{ApprovalRequest, Plan, RequestKind};
use crate::ports::store::StoreExt;
use crate::ports::{Answer, CallContext, Inbound, Notifier, PortError, PortErrorKind, Reply, Seen, Wish};
use crate::step::Tier;

/// Answers from channels.
pub struct Channels<'a> {
    pub(crate) shared: &'a Shared,
}

/// An answer that its channel proved. Only [`Channels::verify`] makes one, so that nothing else can be decided with.
#[derive(Clone)]
pub struct Heard {
    channel: Arc<Connector>,
    port: Arc<dyn Notifier>,
    answer: Answer,
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heard").field("channel", &self.channel.id).field("answer", &self.answer).finish_non_exhaustive()
    }
}

impl Heard {
    /// The organisation of the channel: whoever answers is looked for in there and nowhere else.
    #[must_use]
    pub fn org_id(&self) -> &OrgId {
        &self.channel.org_id
    }

    /// The name of the channel's connector.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel.name
    }

    /// Who answered, as the channel names them.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.answer.user
    }

    /// The login of the account that they are mapped to.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.answer.login.as_deref()
    }

    /// What they want.
    #[must_use]
    pub fn wish(&self) -> &Wish {
        &self.answer.wish
    }

    /// What audit rows say of it.
    pub(crate) fn audit(&self) -> [(&'static str, String); 3] {
        [
            ("via", self.channel.kind.clone()),
            ("channelId", self.channel.id.to_string()),
            ("channelUser", self.answer.user.clone()),
        ]
    }

    /// A decision on a request is about what the message showed, and a button does not replace a look at what is lost.
    pub(crate) fn fits(&self, plan: &Plan, request: &ApprovalRequest) -> Result<(), Error> {
        let (Wish::Approve(seen) | Wish::Reject(seen)) = &self.answer.wish else {
            return Err(Error::Invalid("there is nothing to decide in this answer".into()));
        };
        if seen.digest != request.digest || request.digest != plan.digest {
            return Err(Error::Conflict {
                code: "digest_mismatch",
                message: format!(
                    "the plan is no longer what the message showed: it is at revision {}; look at it again",
                    plan.revision
                ),
            });
        }
        let tier = match request.kind {
            RequestKind::Plan => plan.tier(),
            RequestKind::Step { ordinal } => plan.step(ordinal).map_or(Tier::Destructive, |step| step.review.tier),
        };
        if matches!(self.answer.wish, Wish::Approve(_)) && tier == Tier::Destructive {
            return Err(Error::Conflict {
                code: "needs_the_page",
                message: "it is destructive, and its page asks for the name of what is lost: approve it there".into(),
            });
        }
        Ok(())
    }
}

impl Channels<'_> {
    /// Asks a channel whether something came from it. There is no principal yet, so nothing is told about the connector
    /// that the proof does not come with.
    ///
    /// # Errors
    /// [`Error::NotFound`]: there is no such channel, or it takes no answers. [`Error::Port`] of kind `Unauthorized`: it
    /// is not proved. Any other: it is, and is not understood.
    pub async fn verify(&self, channel: ConnectorId, inbound: &Inbound) -> Result<Heard, Error> {
        let shared = self.shared;
        let not_found = || Error::not_found("channel that takes answers", channel);
        let row = shared.store.connector(channel).await?.map(|found| found.value);
        let row = row.filter(|row| row.role == Role::Notifier).ok_or_else(not_found)?;
        let live = match shared.live.notifier(shared.store.as_ref(), &row.org_id, channel).await {
            Ok(live) => live,
            Err(Error::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%channel, %error, "an answer came for a channel that cannot be built");
                return Err(not_found());
            }
        };
        let answers = live.port.answers().ok_or_else(not_found)?;
        let cx = CallContext::with_timeout(shared.settings.query_timeout);
        let answer = guarded(shared, cx.timeout + SLACK, answers.verify(&cx, inbound, shared.now())).await;
        let answer = answer.map_err(|broken| {
            Error::Port(PortError::new(PortErrorKind::Unavailable, format!("the channel did not answer: {broken}")))
        })??;
        Ok(Heard { channel: live.row, port: Arc::clone(&live.port), answer })
    }

    /// Decides what somebody answered, as the account that they are mapped to. Auto-edit is never set so.
    ///
    /// # Errors
    /// The principal is not the mapped account or no person, `plans:approve` is missing, the request is no longer open, the
    /// plan is not what the message showed, or it is destructive and has to be approved on its page.
    pub async fn decide(&self, who: &Principal, heard: &Heard) -> Result<ApprovalView, Error> {
        let approvals = Approvals { shared: self.shared };
        let is_them = who.org_id == *heard.org_id() && Some(who.login.as_str()) == heard.login();
        if !is_them {
            return Err(Error::Invalid(format!("{} is not who answered in {}", who.login, heard.channel())));
        }
        let (seen, approves) = match heard.wish() {
            Wish::Approve(seen) => (seen, true),
            Wish::Reject(seen) => (seen, false),
            Wish::Nothing => return Err(Error::Invalid("there is nothing to decide in this answer".into())),
        };
        if who.actor().kind != ActorType::User && !who.is_agent {
            // An agent is refused below, as everywhere (rule 8).
            return Err(Error::Invalid(format!("{} is a program: people answer in channels", who.login)));
        }
        let Seen { request_id, digest } = seen;
        let view = approvals.load(who, *request_id).await?;
        let decision = match (view.request.kind, approves) {
            (RequestKind::Plan, true) => {
                let approval = Approval { auto_edit: false, digest: Some(digest.clone()) };
                Decision::Approve { approval, reason: None }
            }
            (RequestKind::Plan, false) => Decision::Reject(None),
            (RequestKind::Step { ordinal }, true) => Decision::ApproveStep { ordinal, reason: None },
            (RequestKind::Step { ordinal }, false) => Decision::RejectStep { ordinal, reason: None },
        };
        let plans = Plans { shared: self.shared };
        let via = Via { request: Some(*request_id), channel: Some(heard) };
        let plan = plans.decide_via(who, view.plan.id, via, &decision).await?;
        approvals.view(plan, *request_id)
    }

    /// Says in the channel what became of an answer.
    ///
    /// # Errors
    /// It was not said.
    pub async fn reply(&self, heard: &Heard, reply: &Reply) -> Result<(), Error> {
        let Some(answers) = heard.port.answers() else { return Ok(()) };
        let cx = CallContext::with_timeout(self.shared.settings.query_timeout);
        let said = guarded(self.shared, cx.timeout + SLACK, answers.reply(&cx, &heard.answer.reply_to, reply)).await;
        said.map_err(|broken| {
            Error::Port(PortError::new(PortErrorKind::Unavailable, format!("the channel did not answer: {broken}")))
        })??;
        Ok(())
    }
}
