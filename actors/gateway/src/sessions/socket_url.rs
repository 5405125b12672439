//! The URL with which a client opens its signaling socket.

use stream_protocol::{Role, SessionId, TokenKind};
use stream_tokens::{Mint, socket_of_account};

use crate::auth::Caller;
use crate::response::{HttpError, token_error};
use crate::state::State;

/// Makes the URLs of sockets for one caller.
pub(crate) struct SocketUrls<'a> {
    pub(crate) state: &'a State,
    /// What the URLs begin with.
    pub(crate) base: &'a str,
    pub(crate) caller: &'a Caller,
}

impl SocketUrls<'_> {
    /// Returns the URL of the socket of client `generation` of `session`, or with the role
    /// [`Adb`](Role::Adb) of the connection `generation` to its ADB. The token in it is good for a
    /// few minutes, and no longer than what the caller came with. Whatever revokes that revokes the
    /// socket's token too.
    ///
    /// # Errors
    ///
    /// Refuses while no token can be made. Whoever needs a URL asks for it before anything else
    /// happens: a client that cannot get in must not replace another one, or leave a session
    /// behind.
    pub(crate) async fn make(
        &self,
        session: &SessionId,
        generation: u64,
        role: Role,
    ) -> Result<String, HttpError> {
        let Self { state, base, caller } = self;
        let (subject, came_with) = match &caller.share {
            Some(share) => (share.id.to_string(), &share.token_id),
            None => (socket_of_account(&caller.name), &caller.claims.id),
        };
        let soon = state.reconnect_tokens.expiry(state.bridge.now());
        let expires = caller.end().map_or(soon, |end| soon.min(end));
        // What is renewed from it ends with the token that the caller came with. A share, whose end
        // may be put off, is looked at while the socket is open.
        let until = caller.token_end();
        let mint = Mint::new(TokenKind::Socket, subject)
            .session(session.clone())
            .role(role)
            .generation(generation)
            .expires(expires)
            .until(until);
        let minted = state.tokens.mint_with_id(came_with, mint).await.map_err(token_error)?;
        let token = minted.token.as_str();
        let socket = if role == Role::Adb { "adb" } else { "slave" };
        Ok(format!("{base}/1.0/sessions/{session}/sockets/{socket}?token={token}"))
    }
}
