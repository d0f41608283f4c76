//! The IAM policy language: documents read strictly, judged purely, with the statement that decided. Must never know HTTP, storage
//! or a clock; what a request is comes in as `Context`. Source of the rules: the IAM user guide, "Policy evaluation logic" and
//! "IAM JSON policy elements".

mod actions;
mod bindings;
mod condition;
mod context;
mod decide;
mod document;
mod global;
mod grant;
mod json;
mod pattern;
mod principal;
mod public;
mod rules;
mod syntax;

pub use actions::known_action;
pub use bindings::Bindings;
pub use condition::Seen;
pub use context::Context;
pub use decide::{
    Decision, Effect, PolicyKind, Reason, Sources, decide_identity, decide_key, decide_resource, decide_trust,
};
pub use document::{Judged, MalformedPolicy, Policy, Question, Statement};
pub use global::RequestFacts;
pub use grant::GrantTerms;
pub use principal::{CallerNames, Kind, NamedCaller, Reach, Requester};
pub use rules::{
    bucket_policy, counted_characters, identity_policy, key_policy, locks_out, session_policy, size, trust_policy,
};
