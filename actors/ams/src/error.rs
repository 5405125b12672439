use stream_protocol::InstanceName;
use stream_supervisor::AskError;

/// What AMS says, with other words around it, when no node has the resources that an instance
/// needs. No public document lists its errors.
const NO_ROOM: [&str; 2] = ["no suitable node", "not enough resources"];

/// Returns whether AMS says by `text` that it has no room for an instance.
pub(crate) fn says_no_room(text: &str) -> bool {
    NO_ROOM.iter().any(|words| text.contains(words))
}

/// Why AMS did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AmsError {
    /// AMS cannot be reached, shows another certificate than the trusted one, or does not trust
    /// ours; a sentence of the form `what: detail`. Whether a call under way took effect is not
    /// known.
    #[error("ams is away: {0}")]
    Unreachable(String),
    /// AMS wants to be left alone for a while, and said so more than once.
    #[error("ams is busy: {0}")]
    Busy(String),
    /// The name of a launch is taken, yet no instance has it: one is just going.
    #[error("the name of the instance is taken")]
    Conflict,
    /// The name of a launch is taken by an instance that another launch made.
    #[error("an instance that is none of ours has the name {0}: see `amc show {0}`")]
    NameTaken(InstanceName),
    /// A deletion that ended well, and yet the instance is there.
    #[error("ams says the instance is deleted, yet it is still there")]
    NotDeleted,
    #[error("ams knows no such application or instance")]
    NotFound,
    #[error("ams refused with code {code}: {text}")]
    Refused { code: u16, text: String },
    /// No answer within the deadline. Whether the call took effect is not known.
    #[error("ams gave no answer in time")]
    TimedOut,

    /// AMS said something that is not its protocol.
    #[error("ams gave an answer that cannot be read: {0}")]
    Malformed(String),

    /// Our own configuration; only from [`Ams::start`](crate::Ams::start).
    #[error("{0}")]
    Config(String),
    /// The actor is gone, stuck or restarting.
    #[error("the client of ams is unavailable")]
    Unavailable(#[from] AskError),
}

impl AmsError {
    /// Whether the same call may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Busy(_)
            | Self::Conflict
            | Self::NotDeleted
            | Self::TimedOut
            | Self::Unavailable(_) => true,
            Self::Config(_)
            | Self::Malformed(_)
            | Self::NameTaken(_)
            | Self::NotFound
            | Self::Refused { .. } => false,
        }
    }
}

impl AmsError {
    /// Whether AMS refused a launch because it has no room for the instance.
    pub fn is_want_of_room(&self) -> bool {
        matches!(self, Self::Refused { text, .. } | Self::Busy(text) if says_no_room(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_time_can_heal_is_passing() {
        assert!(AmsError::TimedOut.is_transient());
        assert!(AmsError::Busy(String::new()).is_transient());
        assert!(!AmsError::Refused { code: 400, text: String::new() }.is_transient());
        assert!(!AmsError::NotFound.is_transient());
    }

    #[test]
    fn a_launch_that_is_refused_for_want_of_room_is_told_from_others() {
        let refused = |text: &str| AmsError::Refused { code: 500, text: text.to_owned() };
        assert!(refused("no suitable node found").is_want_of_room());
        assert!(!refused("no such image").is_want_of_room());
        assert!(!AmsError::TimedOut.is_want_of_room());
    }
}
