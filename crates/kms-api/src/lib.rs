//! The AWS KMS protocol over the key ring: JSON 1.1, `X-Amz-Target: TrentService.*`. What a key is, who may use it and in which state
//! is decided in `tresor-kms`; must never hold key logic.

mod fault;
mod fields;
mod ops;
mod page;
mod recording;
mod service;
mod table;

pub use recording::{Learnt, SpanRecording};
pub use service::KmsService;
pub use table::{OperationRow, operations};
