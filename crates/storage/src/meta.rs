//! Ordered, partitioned, transactional metadata: the contract, not the engine.

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;

/// What one commit may touch: a bucket, or one of the store's own sections. Nothing is atomic across two of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub [u8; 16]);

impl Partition {
    /// Bucket names.
    pub const CATALOG: Self = Self([0; 16]);
    /// KMS keys and aliases.
    pub const KMS: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    /// Users, groups, roles, managed policies and identity providers.
    pub const IAM: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

    /// Whether it is one of the store's own sections: no bucket's id begins like that.
    pub fn is_own(&self) -> bool {
        self.0[..15] == [0; 15]
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partition({})", hex::encode(self.0))
    }
}

/// Why metadata could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// A guard did not hold: the caller decides.
    #[error("a guard did not hold")]
    Conflict,
    /// The engine asks to try again.
    #[error("the metadata engine is busy")]
    Retry,
    /// The batch is beyond the contract's limits.
    #[error("a batch of {keys} keys and {bytes} bytes is too large")]
    TooLarge { keys: usize, bytes: usize },
    #[error("the metadata engine failed: {0}")]
    Engine(String),
}

/// What a guard demands of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    Value(Bytes),
}

/// One write. Values are never empty.
#[derive(Clone, Debug)]
pub enum Write {
    Put(Bytes),
    Delete,
    /// Adds to a row of two counters, 16 bytes big-endian; a missing row counts as zeros, a row of zeros is deleted.
    Add([i64; 2]),
}

/// All or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub guards: Vec<(Vec<u8>, Expected)>,
    pub writes: Vec<(Vec<u8>, Write)>,
}

impl Batch {
    /// The most keys of one batch, guards and writes together.
    pub const MAX_KEYS: usize = 100;
    /// The most bytes of one batch: keys and values.
    pub const MAX_BYTES: usize = 1 << 20;

    pub fn guard(mut self, key: Vec<u8>, expected: Expected) -> Self {
        self.guards.push((key, expected));
        self
    }
    /// Guards that a row is as it was read.
    pub fn unchanged(self, key: Vec<u8>, read: Option<&Bytes>) -> Self {
        self.guard(key, read.cloned().map_or(Expected::Absent, Expected::Value))
    }
    pub fn put(mut self, key: Vec<u8>, value: impl Into<Bytes>) -> Self {
        self.writes.push((key, Write::Put(value.into())));
        self
    }
    pub fn delete(mut self, key: Vec<u8>) -> Self {
        self.writes.push((key, Write::Delete));
        self
    }
    pub fn add(mut self, key: Vec<u8>, by: [i64; 2]) -> Self {
        self.writes.push((key, Write::Add(by)));
        self
    }

    /// Bytes of the rows it writes: keys and values.
    pub fn bytes(&self) -> usize {
        let value = |write: &Write| match write {
            Write::Put(value) => value.len(),
            Write::Delete => 0,
            Write::Add(_) => 16,
        };
        self.writes.iter().map(|(key, write)| key.len() + value(write)).sum()
    }

    /// Every engine calls this first. Errors: TooLarge.
    pub fn check(&self) -> Result<(), MetaError> {
        let (keys, bytes) = (self.guards.len() + self.writes.len(), self.bytes());
        if keys > Self::MAX_KEYS || bytes > Self::MAX_BYTES { Err(MetaError::TooLarge { keys, bytes }) } else { Ok(()) }
    }
}

/// Applies `Write::Add` to a stored row; `None` means that the row is to be deleted.
pub fn added(stored: Option<&[u8]>, by: [i64; 2]) -> Option<[u8; 16]> {
    let read = |n: usize| -> i64 {
        stored.and_then(|row| row.get(n * 8..n * 8 + 8)?.try_into().ok()).map_or(0, i64::from_be_bytes)
    };
    let sums = [read(0).saturating_add(by[0]), read(1).saturating_add(by[1])];
    let mut row = [0; 16];
    row[..8].copy_from_slice(&sums[0].to_be_bytes());
    row[8..].copy_from_slice(&sums[1].to_be_bytes());
    (sums != [0, 0]).then_some(row)
}

/// The smallest byte string above every one that starts with `prefix`; `None` if there is none.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < 0xff {
            next.push(last + 1);
            return Some(next);
        }
    }
    None
}

/// Rows whose key starts with `prefix` and is not below `from`, ascending.
#[derive(Clone, Debug)]
pub struct Scan {
    pub prefix: Vec<u8>,
    pub from: Vec<u8>,
    pub limit: usize,
}

/// One snapshot's answer; `more` tells whether rows were left.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub entries: Vec<(Vec<u8>, Bytes)>,
    pub more: bool,
}

/// Rows that begin like this pass: each is written once and soon removed. An engine may keep them apart from those that stay; durable, and
/// seen by every read, they are all the same.
pub const PASSING: &[u8] = b"e/";

/// What a walk does after a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Next,
    /// On at the first row that is not below this key, which is above the row.
    Seek(Vec<u8>),
    End,
}

/// Looks at a row, its key and its value, where the engine holds them.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Step + 'v;

impl Page {
    /// The first `limit` rows that `walk` shows.
    pub fn collect(
        limit: usize,
        walk: impl FnOnce(&mut Visit<'_>) -> Result<(), MetaError>,
    ) -> Result<Self, MetaError> {
        let mut page = Self::default();
        walk(&mut |key, value| {
            if page.entries.len() == limit {
                page.more = true;
                return Step::End;
            }
            page.entries.push((key.to_vec(), Bytes::copy_from_slice(value)));
            Step::Next
        })?;
        Ok(page)
    }
}

/// The metadata engine.
#[async_trait]
pub trait MetaStore: Send + Sync + fmt::Debug {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, MetaError>;
    async fn scan(&self, partition: Partition, scan: Scan) -> Result<Page, MetaError>;
    /// Shows the rows of one snapshot whose key starts with `prefix` and is not below `from`, ascending, until one ends it. It reads
    /// from the disk on the thread that calls it, and `visit` must not call the engine.
    fn walk(&self, partition: Partition, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), MetaError>;
    /// The first partition above `after` that has a row.
    async fn next_partition(&self, after: Option<Partition>) -> Result<Option<Partition>, MetaError>;
    /// All or nothing; durable on return. Errors: Conflict, Retry, TooLarge, Engine.
    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), MetaError>;
}
