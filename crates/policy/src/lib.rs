//! The IAM policy language: documents read strictly, judged purely, with the statement that decided. Must never know HTTP, storage
//! or a clock; what a request is comes in as `Context`. Source of the rules: the IAM user guide, "Policy evaluation logic" and
//! "IAM JSON policy elements".

mod bindings;
mod condition;
mod context;
mod document;
mod global;
mod json;
mod pattern;

pub use bindings::Bindings;
pub use context::Context;
pub use document::{Judged, MalformedPolicy, Policy, Question, Reach, Statement, Who};
pub use global::RequestFacts;
