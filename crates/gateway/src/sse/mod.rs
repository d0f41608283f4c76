//! Server-side encryption on the wire: what a client asks (`intent`), what will happen (`resolve`), what the answer says (`reply`).

pub(crate) mod configuration;
pub(crate) mod customer;
pub(crate) mod intent;
pub(crate) mod reply;
pub(crate) mod resolve;
