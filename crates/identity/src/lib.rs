//! Accounts, users, groups, roles, access keys and sessions: who signs, and what binds him. Everything is held in memory, compiled,
//! and changed on a copy, so that a change counts from the next request on. Must never see a request body or know a protocol.

mod account;
mod aws_policies;
mod directory;
mod draft;
mod error;
mod inspect;
mod keys;
pub mod limits;
mod members;
mod names;
mod policies;
mod providers;
mod records;
mod secret;
mod session;
mod web_identity;
mod world;

pub use account::Account;
pub use aws_policies::all as aws_policies;
pub use directory::{Directory, DirectoryParts, NoSigner, Writing};
pub use error::{DirectoryError, IdentityError};
pub use inspect::Unusable;
pub use members::{MemberUpdate, NewMember};
pub use names::check_tags;
pub use policies::{NewPolicy, TagTarget};
pub use records::{
    AccessKeyRecord, IdentityChange, IdentityRecord, IdentityStore, KeptRow, Kind, PolicyRecord, PolicyVersion,
    ProviderRecord, RoleDetail, arn,
};
pub use secret::SecretAccessKey;
pub use session::{Issued, NewSession, Subject};
pub use web_identity::{Claims, Issuers, Jwks, WebIdentity};
pub use world::{AccountState, Credential, Managed, Member, World};

#[cfg(test)]
mod tests;
