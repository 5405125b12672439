//! What a token may allow: a closed list, one table for both services.

use std::fmt;
use std::str::FromStr;

macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($word => Ok(Self::$variant),)* _ => Err(()) }
            }
        }
    };
}

string_enum! {
    /// An operation, the word of an `allow` caveat.
    Op {
        AccountRead = "account.read",
        AgentDrain = "agent.drain",
        AgentRead = "agent.read",
        ApplicationRead = "application.read",
        CommandRead = "command.read",
        ConfigRead = "config.read",
        ConfigUpdate = "config.update",
        EventRead = "event.read",
        IceMint = "ice.mint",
        RegionRead = "region.read",
        RelayRead = "relay.read",
        SessionCreate = "session.create",
        SessionDelete = "session.delete",
        SessionExplain = "session.explain",
        SessionJoin = "session.join",
        SessionRead = "session.read",
        SessionReport = "session.report",
        ShareCreate = "share.create",
        ShareDelete = "share.delete",
        ShareRead = "share.read",
        ShareUpdate = "share.update",
        SignalRead = "signal.read",
        SignalWrite = "signal.write",
        StatusRead = "status.read",
    }
}

string_enum! {
    /// Whom a token was made for, part of its identifier.
    TokenKind {
        /// A service account of the gateway; the subject is its name.
        Account = "account",
        /// AMS; the subject is a name given by the operator.
        Ams = "ams",
        /// One instance; the subject is its session.
        Instance = "instance",
        /// Who watches a unit of the agent: its state and metrics; the subject is a name given by
        /// the operator.
        Monitor = "monitor",
        /// A service account of the gateway that also looks after the deployment; the subject is
        /// its name.
        Operator = "operator",
        /// Whoever has the link of a share; the subject is its id.
        Share = "share",
        /// One socket of a client; the subject is `account:<name>`, or the share it came through.
        Socket = "socket",
    }
}

impl TokenKind {
    /// The operations a fresh token of this kind allows.
    pub fn ops(self) -> &'static [Op] {
        match self {
            Self::Account => &[
                Op::ApplicationRead,
                Op::RegionRead,
                Op::SessionCreate,
                Op::SessionDelete,
                Op::SessionJoin,
                Op::SessionRead,
                Op::ShareCreate,
                Op::ShareDelete,
                Op::ShareRead,
                Op::ShareUpdate,
                Op::StatusRead,
            ],
            Self::Ams => &[Op::SessionCreate, Op::SessionDelete, Op::SessionRead],
            Self::Instance => &[
                Op::CommandRead,
                Op::IceMint,
                Op::SessionRead,
                Op::SessionReport,
                Op::SignalRead,
                Op::SignalWrite,
            ],
            Self::Monitor => &[Op::StatusRead],
            Self::Operator => &[
                Op::AccountRead,
                Op::AgentDrain,
                Op::AgentRead,
                Op::ApplicationRead,
                Op::ConfigRead,
                Op::ConfigUpdate,
                Op::EventRead,
                Op::RegionRead,
                Op::RelayRead,
                Op::SessionCreate,
                Op::SessionDelete,
                Op::SessionExplain,
                Op::SessionJoin,
                Op::SessionRead,
                Op::ShareCreate,
                Op::ShareDelete,
                Op::ShareRead,
                Op::ShareUpdate,
                Op::StatusRead,
            ],
            Self::Share => &[Op::SessionJoin, Op::SessionRead],
            Self::Socket => &[Op::SignalRead, Op::SignalWrite],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_do_what_an_account_may_and_more() {
        let (account, operator) = (TokenKind::Account.ops(), TokenKind::Operator.ops());
        assert!(account.iter().all(|op| operator.contains(op)));
        let more: Vec<_> = operator.iter().filter(|op| !account.contains(op)).collect();
        let words: Vec<_> = more.into_iter().map(|op| op.as_str()).collect();
        let expected = "account.read agent.drain agent.read config.read config.update event.read \
            relay.read session.explain";
        assert_eq!(words.join(" "), expected);
    }
}
