//! Buckets, objects, versions and uploads over two small traits, `MetaStore` and `BlobStore`. docs/format.md section "Rows"
//! gives every stored row. Must never know HTTP, S3's error codes, or a backend.

mod blob;
mod buckets;
pub mod conformance;
mod error;
mod figures;
mod garbage;
mod listed;
mod listing;
mod memory;
mod meta;
mod objects;
mod outbox;
mod parts;
mod quotas;
mod recent;
mod record;
mod rows;
mod store;
mod uploads;
mod verify;

pub use blob::{BlobError, BlobId, BlobStore, BlobTree, Surveyed};
pub use error::StoreError;
pub use figures::StoreFigures;
pub use listing::{Listed, Listing, ListingQuery, UploadListing};
pub use memory::{MemoryBlobs, MemoryMeta};
pub use meta::{
    Batch, Expected, MetaError, MetaStore, PASSING, Page, Partition, Scan, Step, Visit, Write, added, successor,
};
pub use objects::{Deleted, EtagMatch, NewObject, Precondition, VersionChange};
pub use outbox::{WaitingEvent, outbox_row};
pub use record::{Bucket, ETagRule, ObjectMeta, PartRow, StoredChecksums, Upload, Version};
pub use rows::{open_record, seal_record, verify_record};
pub use store::{Store, StoreKeys, zeroize_index::IndexRoot};
pub use uploads::{Completing, NewUpload};
pub use verify::{Found, Opened, Opener, Problem, ProblemKind, Sink, Tally};
