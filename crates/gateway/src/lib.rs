//! The S3 protocol: it turns an authenticated HTTP request into a typed input, asks once whether that is permitted, runs it, and
//! turns the output into S3's answer. It must never touch a backend: it knows `Store`, `KeyRing` and `Directory` only.

mod acl;
mod addressing;
mod authorize;
mod body;
mod catalogue;
mod conditions;
mod derive;
mod error;
mod explain;
mod fields;
mod headers;
mod judged;
mod operation;
mod ops;
mod post;
mod rules;
mod said;
mod serve;
mod sse;
mod table;
mod xml;

pub use derive::{Asked, Derived, Pairs, Required, Role, Signed, derive};
pub use explain::{KeyQuestion, StoredQuestion};
pub use serve::{Gateway, GatewayParts, GatewaySettings};
pub use table::{OperationRow, operations};
