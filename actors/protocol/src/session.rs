//! The session document: the one record of a session, and who may write which part of it.
//!
//! A gateway creates it. The agent that claims it writes everything but `desired` and `generation`,
//! which belong to the gateways; whoever ends a session sets `desired.state`. Every write names the
//! revision that was read before. See [state](crate::manual::state#session-document).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    AdbConnections, AgentId, Capabilities, Capability, InstanceName, JsonText, KeptInstance,
    SessionId, Timestamp,
};

/// How many causes a document keeps; the oldest go first.
const MAX_CAUSES: usize = 8;

/// The most characters of a cause. What others say is part of some, and a document that grows
/// beyond the size of a record could not be written any more.
const MAX_CAUSE_CHARS: usize = 400;

/// The record of one session. It never holds a token, a TURN password or a candidate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SessionDocument {
    pub id: SessionId,
    /// Who had the instance launched, and so whose it is.
    #[serde(default)]
    pub origin: Origin,
    /// Counts the clients that joined; see [generation](crate::manual::state#generation).
    pub generation: u64,
    /// The agent that owns the session. Another one of the cluster
    /// [adopts](crate::manual::state#adoption) it when the owner falls silent.
    pub owner: Option<AgentId>,
    /// Why the gateway asked the agent that claimed the session first; empty when AMS launched the
    /// instance.
    #[serde(default)]
    pub placement: String,
    /// The AMS cluster the instance runs in; empty until claimed, unless AMS launched it.
    pub cluster: String,
    /// Where the agent is that launched the instance; empty until claimed, and where AMS did.
    #[serde(default)]
    pub launch_region: String,
    pub desired: Desired,
    pub status: Status,
    /// Name of the present launch, written before AMS is asked, so that a crash leaves a trace.
    /// `None` for an instance that AMS launched by itself.
    pub instance_name: Option<InstanceName>,
    /// The id AMS gave, once it answered.
    pub instance_id: Option<String>,
    /// When the present status ends in `error` unless it changes before.
    pub deadline: Option<Timestamp>,
    /// Whether the session ends, or has ended, because of a failure.
    #[serde(default)]
    pub failed: bool,
    /// Whether the launch was refused for the moment, so that whoever asked may ask again.
    #[serde(default)]
    pub launch_refused: bool,
    /// Whether a gateway wrote the end because no agent was there: the instance may still run. The
    /// record stays for 30 days, or until an agent of the cluster has looked for the instance and
    /// takes the mark away.
    #[serde(default)]
    pub instance_left_behind: bool,
    /// The instance, where it outlives the end of the session: it may be started again, or its logs
    /// may be read.
    #[serde(default)]
    pub kept_instance: Option<KeptInstance>,
    /// Id of the instance's token: its tokens of other ids open nothing any more. By an id nobody
    /// gets in.
    #[serde(default)]
    pub instance_token: Option<String>,
    /// When the instance said last that it runs; [`Timestamp::EPOCH`] before the first time.
    #[serde(default)]
    pub running_since: Timestamp,
    /// What the instance says it can do; nothing before it has said that it runs.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The screen of the latest client that controls or did; `None` while that is the one of the
    /// request. A viewer leaves it as it is.
    #[serde(default)]
    pub last_screen: Option<Screen>,
    /// Grows when client and instance are to fetch new TURN credentials.
    #[serde(default)]
    pub ice_renewal: u64,
    /// When `ice_renewal` grew last; [`Timestamp::EPOCH`] before the first time.
    #[serde(default)]
    pub ice_renewed_at: Timestamp,
    /// The account that asked for the session; `None` when AMS did.
    #[serde(default)]
    pub made_by: Option<Maker>,
    /// Since when there is no client; `None` while there is one, and before the instance runs.
    #[serde(default)]
    pub idle: Option<Idle>,
    /// The generation whose client the instance last said to be connected. Whoever joins replaces
    /// that one, and may go before its own stream is connected.
    #[serde(default)]
    pub connected: Option<u64>,
    /// Who uses the ADB of the instance, beside its client.
    #[serde(default)]
    pub adb: AdbConnections,
    /// Why the status changed, the latest last.
    pub causes: Vec<Cause>,
    pub request: Request,
    pub created_at: Timestamp,
}

impl SessionDocument {
    /// Returns the document of a session that a client asks for and no agent has claimed yet.
    pub fn new(id: SessionId, request: Request, now: Timestamp, deadline: Timestamp) -> Self {
        let client = Client { screen: request.screen, role: Role::Control };
        Self {
            id,
            origin: Origin::Client,
            generation: 0,
            owner: None,
            placement: String::new(),
            cluster: String::new(),
            launch_region: String::new(),
            desired: Desired { state: DesiredState::Running, client: Some(client) },
            status: Status::Created,
            instance_name: None,
            instance_id: None,
            deadline: Some(deadline),
            failed: false,
            launch_refused: false,
            instance_left_behind: false,
            kept_instance: None,
            instance_token: None,
            running_since: Timestamp::EPOCH,
            capabilities: Capabilities::default(),
            last_screen: None,
            ice_renewal: 0,
            ice_renewed_at: Timestamp::EPOCH,
            made_by: None,
            idle: None,
            connected: None,
            adb: AdbConnections::default(),
            causes: Vec::new(),
            request,
            created_at: now,
        }
    }

    /// Returns the document of a session whose instance AMS launched by itself. It has no client
    /// yet.
    pub fn of_instance(
        id: SessionId,
        (cluster, instance): (String, String),
        request: Request,
        now: Timestamp,
        deadline: Timestamp,
    ) -> Self {
        let desired = Desired { state: DesiredState::Running, client: None };
        Self {
            origin: Origin::Ams,
            cluster,
            instance_id: Some(instance),
            desired,
            ..Self::new(id, request, now, deadline)
        }
    }

    /// Returns whether the document stays after the end until a client deletes it. No client asks
    /// for the session of an instance that AMS launched, so that one never stays.
    pub fn outlives_its_end(&self) -> bool {
        self.origin == Origin::Client && !self.request.ephemeral
    }

    /// Returns the region where the session runs; until that is known the one it was asked for in.
    pub fn region(&self) -> &str {
        match self.launch_region.as_str() {
            "" => &self.request.region,
            region => region,
        }
    }

    /// Returns whether the session has ended for good: no instance of it can bring it back, and
    /// none is to be deleted.
    pub fn is_over(&self) -> bool {
        self.status.is_final() && self.kept_instance.is_none()
    }

    /// Returns whether the session has ended and its instance may bring it back at `now`.
    pub fn may_restart(&self, now: Timestamp) -> bool {
        let wanted = self.desired.state == DesiredState::Running;
        wanted && self.kept_instance.as_ref().is_some_and(|kept| kept.may_restart(now))
    }

    /// Returns whether a client with the role [`View`](Role::View) can do no more than that.
    pub fn has_roles(&self) -> bool {
        self.capabilities.has(Capability::Roles)
    }

    /// Returns whether the instance serves ADB.
    pub fn has_adb(&self) -> bool {
        self.capabilities.has(Capability::Adb)
    }

    /// Returns whether a client has come to the instance as it runs now: one is there, one was, or
    /// the instance has answered one.
    pub fn client_has_come(&self) -> bool {
        let came = |idle: &Idle| idle.left || idle.answered;
        self.status == Status::Active && self.idle.as_ref().is_none_or(came)
    }

    /// Returns the screen of the device, as far as it is known.
    pub fn screen(&self) -> Screen {
        self.last_screen.unwrap_or(self.request.screen)
    }

    /// Returns whether the session has no instance, and gets none: its launch was refused for the
    /// moment. It may be launched anew under its id. An instance that has said that it runs was
    /// launched, whatever the answer of AMS was.
    pub fn never_launched(&self) -> bool {
        let has_run = self.running_since != Timestamp::EPOCH;
        self.launch_refused && self.instance_id.is_none() && !has_run
    }

    /// Returns whether lists hold the session without being asked for its status: while it lives,
    /// and after its end if it is kept or has failed with an instance.
    pub fn is_listed(&self) -> bool {
        match self.status {
            Status::Created | Status::Active | Status::Terminating => true,
            Status::Terminated => self.outlives_its_end(),
            Status::Error => {
                self.outlives_its_end()
                    || self.instance_id.is_some()
                    || self.kept_instance.is_some()
            }
        }
    }

    /// Adds a cause, of which the first 400 characters are kept; the oldest one
    /// goes when there are too many.
    pub fn push_cause(&mut self, at: Timestamp, text: impl Into<String>) {
        if self.causes.len() >= MAX_CAUSES {
            self.causes.remove(0);
        }
        let mut text = text.into();
        if let Some((end, _)) = text.char_indices().nth(MAX_CAUSE_CHARS) {
            text.truncate(end);
        }
        self.causes.push(Cause { at, text });
    }

    /// Returns the latest cause, for `status_message`; empty when there is none.
    pub fn last_cause(&self) -> &str {
        self.causes.last().map_or("", |cause| &cause.text)
    }
}

/// What becomes of the present client when another one joins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The present client stays and the newcomer is refused.
    Reject,
    /// The present client is replaced; published clients rely on that.
    #[default]
    Replace,
}

/// Who had the instance of a session launched.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// AMS, on behalf of one of its own users, who may go on using the instance without us.
    Ams,
    /// A client, which asked a gateway.
    #[default]
    Client,
}

/// Who has made something: the account that was made with the token of this id, whatever its token
/// is now. One made later under its name has another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Maker {
    pub account: String,
    pub token_id: String,
}

/// A session that runs without a client.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Idle {
    pub since: Timestamp,
    /// The generation at that time; a later join restarts the idle time.
    pub generation: u64,
    /// Whether a client was there before.
    pub left: bool,
    /// Whether the instance answered a client since. Instances that report no clients tell no other
    /// way that one came.
    #[serde(default)]
    pub answered: bool,
    /// Whether the client that was named did not come, and is named no more unless it has a socket.
    #[serde(default)]
    pub dismissed: bool,
}

/// What the gateways want of a session.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Desired {
    pub state: DesiredState,
    pub client: Option<Client>,
}

/// Whether the session is to run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    Running,
    Terminated,
}

/// The client that the instance is to serve.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Client {
    pub screen: Screen,
    pub role: Role,
}

/// What a client may do: control the instance, only view it, or use ADB.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Adb,
    Control,
    View,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adb => "adb",
            Self::Control => "control",
            Self::View => "view",
        })
    }
}

/// Where a session is in its [life](crate::manual::wire#session-life), in order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Created,
    Active,
    Terminating,
    Terminated,
    Error,
}

impl Status {
    /// Returns whether the session has ended and its document is a
    /// [tombstone](crate::manual::state#tombstones).
    pub fn is_final(self) -> bool {
        matches!(self, Self::Terminated | Self::Error)
    }

    /// Returns what may be told of the session to whoever has no right to read it: why it came so
    /// may name accounts, agents and what AMS said. Empty while there is nothing to tell.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Created | Self::Active => "",
            Self::Terminating => "session is ending",
            Self::Terminated => "session has ended",
            Self::Error => "session has failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Active => "active",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
            Self::Error => "error",
        })
    }
}

/// Why something happened to a session, and when.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Cause {
    pub at: Timestamp,
    pub text: String,
}

/// What the client asked for, with the [defaults](crate::manual::wire#sessions) filled in.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Request {
    pub app: String,
    pub app_version: Option<u64>,
    pub region: String,
    pub screen: Screen,
    pub joinable: bool,
    pub ephemeral: bool,
    /// Minutes without a client before the instance is stopped; 0 is never.
    pub idle_time_min: u64,
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Seconds that a session may run until its first client comes; 0 is for ever. The gateway sets
    /// it where neither [joinable](Self::joinable) nor an idle time says when the session ends.
    #[serde(default)]
    pub first_client_s: u64,
    /// Passed to the instance byte for byte.
    pub extra_data: JsonText,
}

/// The [screen](crate::manual::wire#screens) that a client wants.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Screen {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = Screen::MAX_LONG_SIDE)))]
    pub width: u32,
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = Screen::MAX_LONG_SIDE)))]
    pub height: u32,
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = Screen::MAX_FPS)))]
    pub fps: u32,
    #[cfg_attr(feature = "schema", schemars(range(min = Screen::MIN_DENSITY, max = Screen::MAX_DENSITY)))]
    pub density: u32,
}

impl Default for Screen {
    fn default() -> Self {
        Self { width: 1280, height: 720, fps: 60, density: 240 }
    }
}

/// A screen is outside its [limits](crate::manual::wire#screens).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScreenError {
    #[error("screen.density is between {} and {}", Screen::MIN_DENSITY, Screen::MAX_DENSITY)]
    Density,
    #[error("screen.fps is between 1 and {}", Screen::MAX_FPS)]
    Fps,
    #[error(
        "a screen has between 1x1 and {}x{} pixels",
        Screen::MAX_LONG_SIDE,
        Screen::MAX_SHORT_SIDE
    )]
    Size,
}

impl Screen {
    /// The longer side, in pixels.
    pub const MAX_LONG_SIDE: u32 = 3840;

    /// The shorter side, in pixels.
    pub const MAX_SHORT_SIDE: u32 = 2160;

    /// Frames a second.
    pub const MAX_FPS: u32 = 240;

    /// Dots per inch.
    pub const MIN_DENSITY: u32 = 72;
    pub const MAX_DENSITY: u32 = 10_000;

    /// Returns the screen with odd sizes rounded up by one, because encoders need even ones.
    ///
    /// # Errors
    ///
    /// Refuses a screen outside the limits.
    pub fn checked(self) -> Result<Self, ScreenError> {
        // Portrait screens turn the limit by 90 degrees.
        let (long, short) = (self.width.max(self.height), self.width.min(self.height));
        if short < 1 || long > Self::MAX_LONG_SIDE || short > Self::MAX_SHORT_SIDE {
            return Err(ScreenError::Size);
        }
        if !(1..=Self::MAX_FPS).contains(&self.fps) {
            return Err(ScreenError::Fps);
        }
        if !(Self::MIN_DENSITY..=Self::MAX_DENSITY).contains(&self.density) {
            return Err(ScreenError::Density);
        }
        let even = |size: u32| size + size % 2;
        Ok(Self { width: even(self.width), height: even(self.height), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_screens_are_rounded_up_and_wild_ones_refused() {
        let odd = Screen { width: 719, height: 1279, ..Screen::default() };
        let even = odd.checked().expect("within the limits");
        assert_eq!((even.width, even.height), (720, 1280));
        assert_eq!(Screen { width: 0, ..odd }.checked(), Err(ScreenError::Size));
        assert_eq!(Screen { width: 3841, ..odd }.checked(), Err(ScreenError::Size));
        assert_eq!(Screen { density: 71, ..odd }.checked(), Err(ScreenError::Density));
        assert_eq!(Screen { fps: 0, ..odd }.checked(), Err(ScreenError::Fps));
    }

    #[test]
    fn a_session_that_ended_is_listed_if_it_is_kept_or_has_failed_with_an_instance() {
        let listed = |status, ephemeral, instance: Option<&str>| {
            let request = Request { ephemeral, ..SessionDocument::sample().request };
            let instance_id = instance.map(str::to_owned);
            let sample = SessionDocument::sample();
            SessionDocument { status, request, instance_id, ..sample }.is_listed()
        };
        for status in [Status::Created, Status::Active, Status::Terminating] {
            assert!(listed(status, true, None), "{status}");
        }
        assert!(!listed(Status::Terminated, true, Some("i")));
        assert!(listed(Status::Terminated, false, Some("i")));
        assert!(listed(Status::Error, true, Some("i")));
        assert!(!listed(Status::Error, true, None), "whoever asked was told");
        assert!(listed(Status::Error, false, None));
    }

    #[test]
    fn a_client_has_come_when_it_is_there_has_left_or_was_answered() {
        let idle =
            Idle { since: 1.into(), generation: 0, left: false, answered: false, dismissed: false };
        let has_come = |status, idle| {
            SessionDocument { status, idle, ..SessionDocument::sample() }.client_has_come()
        };
        assert!(!has_come(Status::Created, None), "it does not run yet");
        assert!(!has_come(Status::Active, Some(idle.clone())));
        assert!(has_come(Status::Active, None), "it is there");
        assert!(has_come(Status::Active, Some(Idle { left: true, ..idle.clone() })));
        assert!(has_come(Status::Active, Some(Idle { answered: true, ..idle })));
    }

    #[test]
    fn only_the_latest_causes_are_kept() {
        let mut document = SessionDocument::sample();
        for n in 0..20 {
            document.push_cause(n.into(), format!("cause {n}"));
        }
        assert_eq!(document.causes.len(), MAX_CAUSES);
        assert_eq!(document.last_cause(), "cause 19");
        document.push_cause(20.into(), "ä".repeat(100_000));
        assert_eq!(document.last_cause(), "ä".repeat(MAX_CAUSE_CHARS), "whoever's words these are");
    }
}
