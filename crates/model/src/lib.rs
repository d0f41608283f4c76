//! The nouns of Tresor. Every type here is a value that has been checked once, at the edge, and owns what it holds.
//! This crate must never do anything: no I/O, no clock of its own, no randomness of its own, no logging.

mod acl;
mod change;
mod checksum;
mod ident;
mod names;
mod principal;
mod range;
mod tags;
mod time;

pub use acl::{Acl, Grant, Grantee, Group, Permission, Reach, TooManyGrants};
pub use change::{ChangeRecord, EventId, MAX_CHANGE_RECORD, RecordTooLong};
pub use checksum::{Checksum, ChecksumAlgorithm, ChecksumType, ETag};
pub use ident::{BucketId, UploadId, VersionId, WriteId, bytes_of_hex};
pub use names::{BucketName, InvalidName, ObjectKey};
pub use principal::{AccountId, Caller, KeyArn, PARTITION, Principal, Session};
pub use range::ByteRange;
pub use tags::{InvalidTags, TagSet};
pub use time::{Clock, Entropy, Identifiers, Timestamp};
