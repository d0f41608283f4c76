//! One audit event for every request: opened before anything is judged, sealed when the answer has been sent, kept in chained files.
//! Must never hold a body, a header's value or a secret.

mod event;
mod newest;
mod span;
mod text;
mod trail;
mod transfer;

pub use event::{Claimed, Event, Origin, Tls, uuid};
pub use newest::{Newest, ORDER_SLACK_MS};
pub use span::{AuditSink, AuditSpan};
pub use trail::{Broken, Head, Trail, TrailLimits, Verified, public_key, search, verify};
pub use transfer::Transfer;
