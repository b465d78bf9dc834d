//! The token that Rounds holds: got when it is first needed, renewed before it ends, and got anew when it cannot be.
//!
//! However many callers wait, there is one login at a time, in a task of its own: a caller who gives up does not end it,
//! for it may have used up something that works only once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rounds_core::ports::{CallContext, PortError, PortErrorKind};
use secrecy::SecretString;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::LIMIT;
use super::api::Api;
use super::login::{Credential, Granted, Login, Mark, NoLogin, renew, revoke};

/// Between two tries to renew a token that still lasts.
const TRY_AGAIN: Duration = Duration::from_secs(15);
/// How long a credential that was refused is not shown again, at first; twice as long each time.
const REFUSED: Duration = Duration::from_secs(1);
const REFUSED_MOST: Duration = Duration::from_secs(60);

/// A token to use, and which one it is.
pub(super) struct Ticket {
    pub(super) token: SecretString,
    pub(super) generation: u64,
}

pub(super) struct Session {
    pub(super) api: Api,
    login: Login,
    state: Mutex<State>,
    /// Held by who logs in or renews.
    flight: Arc<tokio::sync::Mutex<()>>,
    changed: Arc<Notify>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    generation: u64,
    failed: Option<Failed>,
    refused: Option<Refused>,
    is_kept: bool,
}

struct Held {
    token: SecretString,
    generation: u64,
    /// What it was got with.
    of: Mark,
    /// How long it lasted when it was new: what a renewal is measured by.
    full: Option<Duration>,
    ends: Option<Instant>,
    /// When it is renewed or got anew.
    due: Option<Instant>,
    renewable: bool,
}

/// The last try that gave no token: those who waited for it share its error.
struct Failed {
    at: Instant,
    kind: PortErrorKind,
    message: String,
    retry_after: Option<Duration>,
}

impl Failed {
    fn new(error: &PortError) -> Self {
        let (kind, message) = (error.kind, error.message.clone());
        Self { at: Instant::now(), kind, message, retry_after: error.retry_after }
    }

    fn error(&self) -> PortError {
        PortError::new(self.kind, self.message.clone()).with_retry_after(self.retry_after)
    }
}

/// A credential that Vault refused, and until when it is not shown again: some methods lock out who tries too often.
struct Refused {
    of: Mark,
    times: u32,
    until: Instant,
    message: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("address", &self.api.address.as_str()).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What keeps the token fresh ends with it.
        self.stop.cancel();
    }
}

impl Session {
    pub(super) fn new(api: Api, login: Login) -> Self {
        Self {
            api,
            login,
            state: Mutex::default(),
            flight: Arc::default(),
            changed: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a token that Vault refused can be replaced at all.
    pub(super) fn can_log_in_anew(&self) -> bool {
        !self.login.is_given() || self.login.is_exchanged()
    }

    /// A token that works as far as anybody knows, and is not the one that was refused.
    pub(super) async fn token(self: &Arc<Self>, refused: Option<u64>) -> Result<Ticket, PortError> {
        let arrived = Instant::now();
        if self.stop.is_cancelled() {
            return Err(PortError::new(PortErrorKind::Unavailable, "Vault is not asked any more: the server stops"));
        }
        self.keep_fresh();
        let exchanged = if self.login.is_exchanged() { Some(self.login.credential().await?) } else { None };
        let now = exchanged.as_ref().map(Credential::mark);
        if let Some(ticket) = self.held(refused, now) {
            return Ok(ticket);
        }
        let flight = Arc::clone(&self.flight).lock_owned().await;
        if let Some(ticket) = self.held(refused, now) {
            return Ok(ticket);
        }
        // An error that came while this caller waited is theirs, too: the next try would be the same one.
        if let Some(failed) = self.state().failed.as_ref().filter(|failed| failed.at >= arrived) {
            return Err(failed.error());
        }
        self.in_a_task(flight, refused, now).await.unwrap_or_else(|ended| {
            let why = if ended.is_panic() { "it panicked" } else { "it was ended" };
            Err(PortError::new(PortErrorKind::Unavailable, format!("logging in to Vault: {why}")))
        })
    }

    /// The token at hand, unless it is over, was refused, or another one lies in its file.
    fn held(&self, refused: Option<u64>, exchanged: Option<Mark>) -> Option<Ticket> {
        let state = self.state();
        let held = state.held.as_ref()?;
        let good = refused != Some(held.generation)
            && held.ends.is_none_or(|ends| Instant::now() < ends)
            && exchanged.is_none_or(|now| now == held.of);
        good.then(|| Ticket { token: held.token.clone(), generation: held.generation })
    }

    /// Renews the token or logs in. The task ends within [`LIMIT`].
    fn in_a_task(
        self: &Arc<Self>,
        flight: OwnedMutexGuard<()>,
        refused: Option<u64>,
        exchanged: Option<Mark>,
    ) -> tokio::task::JoinHandle<Result<Ticket, PortError>> {
        let session = Arc::clone(self);
        tokio::spawn(async move {
            let _flight = flight;
            let late = || {
                let why = format!("logging in to Vault: no complete answer within {} s", LIMIT.as_secs());
                Err(PortError::new(PortErrorKind::Timeout, why))
            };
            let made = tokio::time::timeout(LIMIT, session.refresh(refused, exchanged)).await;
            let made = made.unwrap_or_else(|_| late());
            match &made {
                Ok(_) => session.state().failed = None,
                Err(error) => session.state().failed = Some(Failed::new(error)),
            }
            session.changed.notify_waiters();
            made
        })
    }

    async fn refresh(&self, refused: Option<u64>, exchanged: Option<Mark>) -> Result<Ticket, PortError> {
        let cx = CallContext::with_timeout(LIMIT);
        if let Some(ticket) = self.held(refused, exchanged) {
            let renewable = self.state().held.as_ref().is_some_and(|held| held.renewable);
            if renewable {
                match renew(&self.api, &cx, &ticket.token).await {
                    Ok(granted) => return Ok(self.renewed(ticket, granted)),
                    Err(NoLogin::Failed(error)) => return Err(error),
                    Err(NoLogin::Refused(error)) if self.login.is_given() => {
                        // It is used for as long as it lasts.
                        self.not_renewable();
                        return Err(error);
                    }
                    Err(NoLogin::Refused(error)) => {
                        tracing::info!(%error, "the token for Vault is not renewed any more: logging in anew");
                    }
                }
            } else if self.login.is_given() {
                return Ok(ticket);
            }
        }
        self.log_in(&cx, refused).await
    }

    async fn log_in(&self, cx: &CallContext, refused: Option<u64>) -> Result<Ticket, PortError> {
        let credential = self.login.credential().await?;
        let mark = credential.mark();
        if refused.is_some() && self.login.is_given() && self.state().held.as_ref().is_some_and(|held| held.of == mark)
        {
            let why = "the token for Vault is the one that was refused, and no other was given";
            return Err(PortError::new(PortErrorKind::Unauthorized, why));
        }
        if let Some(refused) = self.state().refused.as_ref().filter(|refused| refused.of == mark) {
            let left = refused.until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                let seconds = left.as_secs() + 1;
                let message = format!("{} (not tried again for {seconds} s)", refused.message);
                return Err(PortError::new(PortErrorKind::Unauthorized, message));
            }
        }
        match self.login.log_in(&self.api, cx, &credential).await {
            Ok(granted) => Ok(self.got(mark, granted)),
            Err(NoLogin::Failed(error)) => Err(error),
            Err(NoLogin::Refused(error)) => {
                let mut state = self.state();
                let before = state.refused.take().filter(|refused| refused.of == mark);
                let times = before.map_or(0, |refused| refused.times.saturating_add(1));
                let pause = REFUSED.saturating_mul(1 << times.min(6)).min(REFUSED_MOST);
                let (until, message) = (Instant::now() + pause, error.message.clone());
                state.refused = Some(Refused { of: mark, times, until, message });
                Err(error)
            }
        }
    }

    fn got(&self, of: Mark, granted: Granted) -> Ticket {
        let now = Instant::now();
        let Granted { token, ttl, renewable } = granted;
        tracing::debug!(method = self.login.name(), ttl = ?ttl, renewable, "there is a token for Vault");
        let mut state = self.state();
        state.generation += 1;
        state.refused = None;
        let generation = state.generation;
        state.held = Some(Held {
            token: token.clone(),
            generation,
            of,
            full: ttl,
            ends: ttl.map(|ttl| now + ttl),
            // A given token that nobody can renew is used to its end: there is nothing to do before.
            due: ttl.filter(|_| renewable || !self.login.is_given()).map(|ttl| now + ttl * 2 / 3),
            renewable,
        });
        Ticket { token, generation }
    }

    fn renewed(&self, ticket: Ticket, granted: Granted) -> Ticket {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(held) = state.held.as_mut().filter(|held| held.generation == ticket.generation) {
            // No time at all means "for ever" in a token that never had an end; in this one the last second has begun.
            let ttl = granted.ttl.or(held.full.map(|_| Duration::ZERO));
            held.ends = ttl.map(|ttl| now + ttl);
            held.due = ttl.map(|ttl| now + ttl * 2 / 3);
            // Vault gives less and less as the maximum comes near: then a new one is better than the rest of this one.
            let little = matches!((ttl, held.full), (Some(ttl), Some(full)) if ttl < full / 3);
            held.renewable = granted.renewable && (self.login.is_given() || !little);
            if !held.renewable && self.login.is_given() {
                held.due = None;
            }
        }
        ticket
    }

    /// The token could not be replaced just now. It is tried again while it lasts; after that, by whoever needs one.
    fn later(&self) {
        let now = Instant::now();
        if let Some(held) = self.state().held.as_mut().filter(|held| held.due.is_some()) {
            let left = held.ends.map_or(TRY_AGAIN, |ends| ends.saturating_duration_since(now));
            held.due = (!left.is_zero()).then(|| now + (left / 4).clamp(Duration::from_secs(1), TRY_AGAIN));
        }
    }

    fn not_renewable(&self) {
        if let Some(held) = self.state().held.as_mut() {
            held.renewable = false;
            held.due = None;
        }
    }

    /// Starts, once, what renews the token while nobody asks. It ends when this does.
    fn keep_fresh(self: &Arc<Self>) {
        if !std::mem::replace(&mut self.state().is_kept, true) {
            tokio::spawn(keep(Arc::downgrade(self), Arc::clone(&self.changed), self.stop.clone()));
        }
    }

    /// When something is to be done; `None`: when something has changed.
    fn due(&self) -> Option<Instant> {
        self.state().held.as_ref()?.due
    }

    /// Ends the token, if Rounds made it, and whatever is under way.
    pub(super) async fn close(&self, limit: Duration) {
        self.stop.cancel();
        let held = self.state().held.take();
        let Some(held) = held.filter(|_| !self.login.is_given()) else { return };
        let cx = CallContext::with_timeout(limit);
        if let Err(error) = revoke(&self.api, &cx, &held.token).await {
            tracing::debug!(%error, "the token for Vault could not be revoked; it ends by itself");
        }
    }
}

/// Renews the token when that is due, for as long as there is somebody to use it.
async fn keep(session: Weak<Session>, changed: Arc<Notify>, stop: CancellationToken) {
    loop {
        // Heard of from here on, so that nothing is missed between the look and the wait.
        let mut news = std::pin::pin!(changed.notified());
        news.as_mut().enable();
        let due = match session.upgrade() {
            Some(session) => session.due(),
            None => return,
        };
        let until = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = news => continue,
            () = until => {}
        }
        let Some(session) = session.upgrade() else { return };
        let flight = Arc::clone(&session.flight).lock_owned().await;
        // Somebody may have done it meanwhile.
        if session.due().is_none_or(|due| Instant::now() < due) {
            continue;
        }
        if let Ok(Err(error)) = session.in_a_task(flight, None, None).await {
            tracing::warn!(%error, "the token for Vault could not be kept fresh");
            session.later();
        }
    }
}
