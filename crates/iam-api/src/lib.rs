//! IAM and STS on the wire: the Query protocol over the directory of identities. Must never hold a rule of identities: those stand
//! in tresor-identity, and what a policy means in tresor-policy.

mod authorize;
mod fault;
mod fields;
mod ops;
mod page;
mod service;
mod table;
mod telling;
mod xml;

pub use service::{Api, IamService, StsService};
pub use table::{OperationRow, operations};
