//! What browsers let the web pages do: the Content-Security-Policy.

/// Nothing from elsewhere, nothing inline; the signaling socket may be on another name.
pub(crate) const POLICY: &str = "default-src 'self'; connect-src 'self' wss:; img-src 'self' data:; \
    style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
    object-src 'none'; require-trusted-types-for 'script'";

/// The part of [`POLICY`] that keeps every page out of every frame.
pub(crate) const NO_FRAME: &str = "frame-ancestors 'none'";
