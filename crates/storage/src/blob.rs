//! Write-once blobs, named by us and never by a user.

use async_trait::async_trait;
use std::{fmt, io, ops::Range, str::FromStr};
use tokio::sync::mpsc;
use tresor_envelope::{BodyError, CipherStream, SealedBody};
use tresor_model::{BucketId, Entropy};

/// The name of one blob: bucket, write (or upload), part and a nonce, so that a part uploaded again has another name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId {
    pub bucket: BucketId,
    /// The write id of a single PUT, or the upload id of a part.
    pub owner: [u8; 16],
    /// 0 for a single PUT.
    pub part: u16,
    pub nonce: [u8; 8],
}

impl BlobId {
    pub fn fresh(bucket: BucketId, owner: [u8; 16], part: u16, entropy: &dyn Entropy) -> Self {
        let mut nonce = [0; 8];
        entropy.fill(&mut nonce);
        Self { bucket, owner, part, nonce }
    }
}

impl fmt::Display for BlobId {
    /// 84 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = hex::encode(self.owner);
        write!(f, "{}{owner}{}{}", self.bucket, hex::encode(self.part.to_be_bytes()), hex::encode(self.nonce))
    }
}
impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

impl FromStr for BlobId {
    type Err = tresor_model::InvalidName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; 42] = tresor_model::bytes_of_hex(text).ok_or(tresor_model::InvalidName)?;
        let (bucket, rest) = bytes.split_first_chunk::<16>().ok_or(tresor_model::InvalidName)?;
        let (owner, rest) = rest.split_first_chunk::<16>().ok_or(tresor_model::InvalidName)?;
        let (part, rest) = rest.split_first_chunk::<2>().ok_or(tresor_model::InvalidName)?;
        let nonce = rest.first_chunk::<8>().ok_or(tresor_model::InvalidName)?;
        Ok(Self {
            bucket: BucketId::from_bytes(*bucket),
            owner: *owner,
            part: u16::from_be_bytes(*part),
            nonce: *nonce,
        })
    }
}

/// Why a blob could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("a blob could not be written: {0}")]
    Io(#[from] io::Error),
}

#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Drains `body`. Durable and whole on return; after an error nothing of it can be read, though a remnant may be listed.
    /// Returns the blob's length in bytes.
    async fn write(&self, id: &BlobId, body: &mut SealedBody) -> Result<u64, BlobError>;
    /// In pieces of a multiple of `unit` bytes each but for the last.
    /// Errors: NotFound, UnexpectedEof for a range beyond the blob (at once or while streaming).
    async fn read(&self, id: &BlobId, range: Range<u64>, unit: usize) -> io::Result<CipherStream>;
    /// Removing what is not there succeeds.
    async fn remove(&self, id: &BlobId) -> io::Result<()>;
    /// Ids above `after`, ascending, at most `limit`.
    async fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Vec<BlobId>>;
}

/// A file among the blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Below the root of the blobs, with `/` between names.
    pub path: String,
    /// Nothing for a file that is no blob, or not in the place of the blob it is named like.
    pub blob: Option<BlobId>,
    pub bytes: u64,
}

/// The files behind a blob store, for whoever looks for what does not belong there. It changes nothing.
#[async_trait]
pub trait BlobTree: Send + Sync + fmt::Debug {
    /// Sends every file, in any order; ends early when nobody takes them any more.
    async fn survey(&self, out: mpsc::Sender<Surveyed>) -> io::Result<()>;
    /// The first bytes of a file, at most `bytes`. Errors: NotFound.
    async fn sample(&self, path: &str, bytes: usize) -> io::Result<Vec<u8>>;
}
