//! Looking at everything that is stored: every record, every chunk, every file. It changes nothing. docs/format.md says what must hold.
//!
//! It may run beside writers: what is found wrong counts only if the row it was found by is still the same afterwards.

mod bodies;
mod bucket;
mod files;
mod unnamed;

use crate::{
    blob::BlobTree,
    error::StoreError,
    meta::{Partition, Scan},
    record::Bucket,
    rows::{self, verify_record},
    store::{Shared, Store, partition},
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tresor_envelope::{Binding, ContentKey, Envelope};

/// What kind of wrong a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// A row does not authenticate, cannot be decoded, or lies where nothing expects it.
    Record,
    /// A blob or a row that another row names is not there.
    Missing,
    /// A body is longer or shorter than its record says.
    Length,
    /// A chunk or a checksum does not authenticate.
    Damaged,
    /// The data key cannot be had.
    Key,
    /// A file holds what looks like plaintext.
    Plaintext,
    /// Nothing names it.
    Orphan,
    /// It is not of this store, or no blob at all.
    Foreign,
    /// What hangs on a KMS key is not counted right.
    Count,
}

impl ProblemKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Missing => "missing",
            Self::Length => "length",
            Self::Damaged => "damaged",
            Self::Key => "key",
            Self::Plaintext => "plaintext",
            Self::Orphan => "orphan",
            Self::Foreign => "foreign",
            Self::Count => "count",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The bucket's name, or its id where it has none; empty outside of buckets.
    pub bucket: String,
    /// The object's key, the row or the file.
    pub name: String,
    pub what: String,
}

/// What is told while it is found.
#[derive(Clone, Debug)]
pub enum Found {
    Problem(Problem),
    /// The sums so far, after every object.
    Progress(Box<Tally>),
}

/// Sums of what was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub buckets: u64,
    pub rows: u64,
    pub objects: u64,
    pub uploads: u64,
    pub files: u64,
    /// Plaintext that was authenticated, in bytes.
    pub authenticated_bytes: u64,
    /// Objects and bytes by the encryption they really have.
    pub modes: BTreeMap<&'static str, (u64, u64)>,
    /// SSE-C: record, place, length and structure were checked, the chunks need the customer's key.
    pub without_customer_key: u64,
    /// Their KMS key or its material was destroyed or deleted on purpose.
    pub destroyed: u64,
    /// Rows of what a background task still removes.
    pub garbage: u64,
    pub problems: BTreeMap<&'static str, u64>,
}

/// The data key of an object, for whoever may look at everything.
#[derive(Debug)]
pub enum Opened {
    Key(ContentKey),
    /// SSE-C.
    NeedsCustomer,
    /// Destroyed or deleted on purpose: nothing can ever open it.
    Destroyed,
    /// It should open, and does not.
    Failed(String),
}

/// Opens envelopes without asking a policy.
#[async_trait]
pub trait Opener: Send + Sync {
    async fn open(&self, bucket: &Bucket, binding: &Binding, envelope: &Envelope) -> Opened;
}

/// Takes what is found.
pub type Sink<'a> = &'a mut (dyn FnMut(Found) + Send);

/// Rows read at a time: small bodies have 32 KiB each.
const PAGE: usize = 100;
/// How often something that changes while it is looked at is looked at again.
const ATTEMPTS: u32 = 5;

impl Store {
    /// Looks at everything. Errors: Meta or Io when the store cannot be read at all; what is wrong with it goes to `sink`.
    pub async fn verify(
        &self,
        tree: Arc<dyn BlobTree>,
        opener: &dyn Opener,
        sink: Sink<'_>,
    ) -> Result<Tally, StoreError> {
        let mut walk = Walk { store: self, shared: &self.shared, opener, sink, tally: Tally::default() };
        let buckets = walk.catalogue().await?;
        let mut by_id: HashMap<Partition, Bucket> =
            buckets.into_iter().map(|bucket| (partition(bucket.id), bucket)).collect();
        let known: Vec<Partition> = by_id.keys().copied().collect();
        let mut after = None;
        while let Some(place) = self.shared.meta.next_partition(after).await? {
            after = Some(place);
            if place == Partition::CATALOG {
                continue;
            }
            match by_id.remove(&place) {
                Some(bucket) => walk.bucket(&bucket).await?,
                None if place.is_own() => walk.records(place, &[], &[b"unmirrored/"]).await?,
                None => walk.unnamed_partition(place).await?,
            }
        }
        for (place, bucket) in by_id {
            if self.shared.get(place, &rows::bucket_state()).await?.is_none()
                && self.bucket(&bucket.name).await?.is_some_and(|now| now.id == bucket.id)
            {
                walk.problem(ProblemKind::Missing, bucket.name.as_str(), "", "the bucket has no rows of its own");
            }
        }
        walk.files(tree, &known).await?;
        Ok(walk.tally)
    }
}

/// One look at a store.
struct Walk<'a> {
    store: &'a Store,
    shared: &'a Arc<Shared>,
    opener: &'a dyn Opener,
    sink: Sink<'a>,
    tally: Tally,
}

/// A row's key for people.
fn shown(row: &[u8]) -> String {
    match std::str::from_utf8(row) {
        Ok(text) if text.chars().all(|c| !c.is_control()) => text.to_owned(),
        _ => {
            let prefix = row.iter().position(|b| *b == b'/').map_or(0, |at| at + 1);
            format!("{}{}", String::from_utf8_lossy(&row[..prefix]), hex::encode(&row[prefix..]))
        }
    }
}

impl Walk<'_> {
    fn problem(&mut self, kind: ProblemKind, bucket: &str, name: &str, what: impl Into<String>) {
        self.report(Problem { kind, bucket: bucket.to_owned(), name: name.to_owned(), what: what.into() });
    }
    fn report(&mut self, problem: Problem) {
        *self.tally.problems.entry(problem.kind.name()).or_default() += 1;
        (self.sink)(Found::Problem(problem));
    }

    /// A page of rows, and where the next one begins.
    async fn page(
        &mut self,
        place: Partition,
        prefix: &[u8],
        from: Vec<u8>,
    ) -> Result<(Vec<(Vec<u8>, bytes::Bytes)>, Option<Vec<u8>>), StoreError> {
        let page = self.shared.meta.scan(place, Scan { prefix: prefix.to_vec(), from, limit: PAGE }).await?;
        let next = page.entries.last().filter(|_| page.more).map(|(row, _)| [&row[..], &[0]].concat());
        Ok((page.entries, next))
    }

    /// Every bucket that the catalogue names.
    async fn catalogue(&mut self) -> Result<Vec<Bucket>, StoreError> {
        let (mut buckets, mut from) = (Vec::new(), Some(Vec::new()));
        while let Some(at) = from {
            let (entries, next) = self.page(Partition::CATALOG, &[], at).await?;
            for (row, value) in entries {
                self.tally.rows += 1;
                let opened = match row.starts_with(rows::BUCKETS) {
                    true => self.shared.open_bucket_row(&row, &value).map(|bucket| buckets.push(bucket)),
                    false => verify_record(&self.shared.keys.records, Partition::CATALOG, &row, &value),
                };
                if let Err(error) = opened {
                    self.problem(ProblemKind::Record, "", &format!("catalogue {}", shown(&row)), error.to_string());
                }
            }
            from = next;
        }
        Ok(buckets)
    }

    /// Rows below `prefix` of which nothing is known but that they are records, `skipped` prefixes left out.
    async fn records(&mut self, place: Partition, prefix: &[u8], skipped: &[&[u8]]) -> Result<(), StoreError> {
        let mut from = Some(prefix.to_vec());
        while let Some(at) = from {
            let (entries, mut next) = self.page(place, prefix, at).await?;
            for (row, value) in entries {
                if let Some(known) = skipped.iter().find(|known| row.starts_with(known)) {
                    next = crate::meta::successor(known);
                    break;
                }
                self.tally.rows += 1;
                if let Err(error) = verify_record(&self.shared.keys.records, place, &row, &value)
                    && self.shared.get(place, &row).await?.as_ref() == Some(&value)
                {
                    let name = format!("row {} of partition {}", shown(&row), hex::encode(place.0));
                    self.problem(ProblemKind::Record, "", &name, error.to_string());
                }
            }
            from = next;
        }
        Ok(())
    }

    /// A partition that the catalogue does not name. Making or deleting a bucket that was broken off leaves small ones.
    async fn unnamed_partition(&mut self, place: Partition) -> Result<(), StoreError> {
        let (entries, _) = self.page(place, rows::OBJECTS, rows::OBJECTS.to_vec()).await?;
        let Some((row, _)) = entries.first() else {
            self.tally.garbage += 1;
            return Ok(());
        };
        // A bucket that was made meanwhile has a name by now.
        if self.store.all_buckets().await.is_ok_and(|all| all.iter().any(|bucket| partition(bucket.id) == place)) {
            return Ok(());
        }
        let what = "rows of a bucket that the catalogue does not name";
        self.problem(ProblemKind::Orphan, &hex::encode(place.0), &shown(row), what);
        Ok(())
    }
}
