//! What can go wrong in the store, in its own words.

use crate::{blob::BlobError, meta::MetaError};
use tresor_envelope::{BodyError, EnvelopeError};
use tresor_model::AccountId;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The body of a write failed; its own error inside.
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("a precondition does not hold")]
    PreconditionFailed,
    /// A write kept losing against others.
    #[error("a conflicting operation is in progress")]
    Conflict,
    #[error("the store is busy")]
    Busy,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("the bucket exists")]
    BucketExists { owner: AccountId },
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("no such key")]
    NoSuchKey,
    #[error("no such upload")]
    NoSuchUpload,
    #[error("part {0} is missing or has another entity tag")]
    InvalidPart(u16),
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    #[error("part {number} has {size} bytes, the least is {minimum}")]
    EntityTooSmall { number: u16, size: u64, minimum: u64 },
    /// The version was replaced, and its parts removed, between finding and opening it.
    #[error("the version was replaced meanwhile")]
    Overtaken,
    /// A record or body does not authenticate or decode.
    #[error("a stored record is damaged: {0}")]
    Corrupt(&'static str),
    #[error("the metadata engine failed: {0}")]
    Meta(String),
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
}

impl From<MetaError> for StoreError {
    fn from(error: MetaError) -> Self {
        match error {
            MetaError::Conflict => Self::Conflict,
            MetaError::Retry => Self::Busy,
            other => Self::Meta(other.to_string()),
        }
    }
}

impl From<BlobError> for StoreError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Body(body) => Self::Body(body),
            BlobError::Io(error) => Self::Io(error),
        }
    }
}

impl From<EnvelopeError> for StoreError {
    fn from(error: EnvelopeError) -> Self {
        Self::Corrupt(match error {
            EnvelopeError::NotAuthentic => "it does not authenticate",
            EnvelopeError::Malformed => "it is malformed",
        })
    }
}
