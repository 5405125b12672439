//! What the TLS servers of a unit present, kept fresh: the certificate, and the keys of session
//! tickets.
//!
//! Two actors, which nobody asks during a handshake. `pki` ([`CertificateReloader`]) follows the
//! certificate files and replaces in time what `init` has made ([`Renewer`]); `tickets`
//! ([`share_ticket_keys`]) follows the ticket keys, which lie sealed in NATS and are shared by the
//! units of one service, so that a client that comes back to another unit, or to one that was
//! restarted, resumes instead of paying for a full handshake. Both write into one
//! [`ServerIdentity`](stream_pki::ServerIdentity), which every server reads.
//!
//! | part | on restart | why |
//! |---|---|---|
//! | the identity that is presented | kept | a failure must not close the listener |
//! | digests of the certificate files | rebuilt | the next read computes them again |
//! | who is told the one certificate that it pins | kept | it is named once, at the start |
//! | whether that was told | rebuilt | it is told again, in case the failure came in between |
//! | the ticket keys in use | kept | clients resume while NATS is away |
//! | when this unit last added a ticket key | kept | a failing actor must not add one each time |
//! | why the ticket keys could not be read | rebuilt | at worst it is logged once more |

mod reload;
mod renewal;
mod single_pin;
mod ticket_keyring;
mod tickets;

pub use reload::{CertificateReloader, Config};
pub use renewal::Renewer;
pub use single_pin::SetPin;
pub use tickets::{TicketConfig, share_ticket_keys};
