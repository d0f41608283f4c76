//! The AWS CloudTrail protocol over the audit trail: JSON 1.1, `X-Amz-Target: com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.*`.
//! Events are read, never written here. Must never show an account the events of another one.

mod fault;
mod lookup;
mod service;
mod table;

pub use service::{CloudTrailService, History};
pub use table::{OperationRow, operations};
