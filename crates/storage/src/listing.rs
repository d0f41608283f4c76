//! Listing objects and uploads: one walk over rows in order, read where they lie, rolled up at a delimiter, whole prefixes skipped by
//! seeking behind them. A page of objects makes no allocation for a key.

use crate::{
    error::StoreError,
    listed::ListedRecord,
    meta::{Partition, Step, successor},
    record::{Bucket, Upload},
    rows,
    store::{Shared, Store, partition},
};
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc};
use tresor_envelope::{IndexKey, RecordGroup, RecordKey};
use tresor_model::{AccountId, BucketId, ETag, ObjectKey, Timestamp, UploadId, VersionId, WriteId};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListingQuery {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only what comes after this key (or rolled-up prefix).
    pub after: Option<String>,
    /// For uploads: only what comes after this upload of the key `after`.
    pub after_upload: Option<UploadId>,
    /// Keys and rolled-up prefixes together.
    pub limit: usize,
}

/// Objects that room is made for at once: S3's largest page.
const ROOM: usize = 1000;

/// Objects, or keys rolled up at the delimiter, each ascending.
#[derive(Debug, Default)]
pub struct Listing {
    /// The keys of all objects, one after the other.
    keys: String,
    objects: Vec<Entry>,
    /// Every owner and every storage class of the objects once.
    owners: Vec<AccountId>,
    classes: Vec<String>,
    pub prefixes: Vec<String>,
    /// The last key or prefix given, when more follow.
    pub next: Option<String>,
}

/// An object of a listing; what is text lies in the listing.
#[derive(Debug)]
struct Entry {
    /// Where its key ends; it begins where the one before it ends.
    key_end: usize,
    write: WriteId,
    null: bool,
    owner: usize,
    modified: Timestamp,
    size: u64,
    etag: ETag,
    class: Option<usize>,
}

/// One object in a listing.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'l> {
    pub key: &'l str,
    pub version_id: VersionId,
    pub owner: &'l AccountId,
    pub modified: Timestamp,
    /// Bytes of plaintext.
    pub size: u64,
    pub etag: ETag,
    /// `None` is STANDARD.
    pub storage_class: Option<&'l str>,
}

impl Listing {
    pub fn objects(&self) -> impl Iterator<Item = Listed<'_>> {
        let mut begin = 0;
        self.objects.iter().map(move |entry| Listed {
            key: &self.keys[std::mem::replace(&mut begin, entry.key_end)..entry.key_end],
            version_id: if entry.null { VersionId::Null } else { VersionId::Id(entry.write) },
            owner: &self.owners[entry.owner],
            modified: entry.modified,
            size: entry.size,
            etag: entry.etag,
            storage_class: entry.class.map(|class| &self.classes[class][..]),
        })
    }
    /// Objects and rolled-up prefixes together.
    pub fn count(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
    /// Each owner of an object once.
    pub fn owners(&self) -> &[AccountId] {
        &self.owners
    }
    /// Bytes of the keys and prefixes.
    pub fn text_bytes(&self) -> usize {
        self.keys.len() + self.prefixes.iter().map(String::len).sum::<usize>()
    }

    /// Takes over the objects of a group, which is empty then. Errors: Corrupt.
    fn take(&mut self, key: &RecordKey, group: &mut RecordGroup) -> Result<(), StoreError> {
        for (row, record) in key.open_group(group)? {
            self.add(&Section::Objects.key(row)?, &ListedRecord::read(rows::cbor(record)?)?)?;
        }
        group.clear();
        Ok(())
    }

    fn add(&mut self, key: &str, record: &ListedRecord<'_>) -> Result<(), StoreError> {
        if !(1..=ObjectKey::MAX_BYTES).contains(&key.len()) {
            return Err(StoreError::Corrupt("an object's row has no valid key"));
        }
        self.keys.push_str(key);
        let owner = match self.owners.iter().rposition(|known| known.as_str() == record.owner) {
            Some(known) => known,
            None => {
                let owner = record.owner.parse().map_err(|_| StoreError::Corrupt("an object has no valid owner"))?;
                self.owners.push(owner);
                self.owners.len() - 1
            }
        };
        let class = record.storage_class.map(|class| {
            self.classes.iter().rposition(|known| known == class).unwrap_or_else(|| {
                self.classes.push(class.to_owned());
                self.classes.len() - 1
            })
        });
        self.objects.push(Entry {
            key_end: self.keys.len(),
            write: record.write,
            null: record.null,
            owner,
            modified: record.modified,
            size: record.size,
            etag: ETag { digest: record.sealed_etag, parts: record.parts },
            class,
        });
        Ok(())
    }

    /// Entity tags come from their rows sealed.
    fn open_etags(&mut self, index: &IndexKey) {
        let sealed: Vec<_> = self.objects.iter().map(|entry| (*entry.write.as_bytes(), entry.etag.digest)).collect();
        for (entry, digest) in self.objects.iter_mut().zip(index.open_all(&sealed)) {
            entry.etag.digest = digest;
        }
    }
}

#[derive(Debug, Default)]
pub struct UploadListing {
    pub uploads: Vec<Upload>,
    pub prefixes: Vec<String>,
    /// The last key or prefix given, and the last upload if it was one, when more follow.
    pub next: Option<(String, Option<UploadId>)>,
}

/// The kinds of rows that are listed by their keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Objects,
    Uploads,
}

impl Section {
    fn rows(self) -> &'static [u8] {
        match self {
            Self::Objects => rows::OBJECTS,
            Self::Uploads => rows::UPLOADS,
        }
    }
    /// What every row of a key begins with, and of those that begin with a prefix.
    fn row(self, text: &str) -> Vec<u8> {
        match self {
            Self::Objects => [rows::OBJECTS, text.as_bytes()].concat(),
            Self::Uploads => [rows::UPLOADS, &rows::escaped(text.as_bytes())].concat(),
        }
    }
    /// A row's key. Errors: Corrupt.
    fn key(self, row: &[u8]) -> Result<Cow<'_, str>, StoreError> {
        let key = row.strip_prefix(self.rows()).and_then(|rest| match self {
            Self::Objects => std::str::from_utf8(rest).ok().map(Cow::Borrowed),
            Self::Uploads => String::from_utf8(rows::unescape(rest)?.0).ok().map(Cow::Owned),
        });
        key.ok_or(StoreError::Corrupt("a row has no valid key"))
    }
    /// Where a listing goes on: behind a rolled-up prefix, or behind one key (`tail` is what follows a key's row).
    fn behind(self, after: &str, query: &ListingQuery, tail: &[u8]) -> Vec<u8> {
        let row = self.row(after);
        if rolled_up(after, query) == Some(after) { successor(&row).unwrap_or(row) } else { [&row[..], tail].concat() }
    }
}

/// The common prefix that a key is rolled up into, if it is.
fn rolled_up<'k>(key: &'k str, query: &ListingQuery) -> Option<&'k str> {
    let delimiter = query.delimiter.as_deref().filter(|d| !d.is_empty())?;
    let at = key.strip_prefix(&query.prefix)?.find(delimiter)?;
    Some(&key[..query.prefix.len() + at + delimiter.len()])
}

/// One step of a listing.
enum Item<'w> {
    Row { row: &'w [u8], value: &'w [u8] },
    Prefix(&'w str),
}

/// Rolls up the rows of one walk and shows what a listing gives of them.
struct Rolling<'q, S> {
    section: Section,
    query: &'q ListingQuery,
    show: S,
    given: usize,
    /// The name of what was given last.
    last: String,
    more: bool,
}

impl<S: FnMut(Item<'_>) -> Result<(), StoreError>> Rolling<'_, S> {
    fn step(&mut self, row: &[u8], value: &[u8]) -> Result<Step, StoreError> {
        if self.given == self.query.limit {
            self.more = true;
            return Ok(Step::End);
        }
        self.given += 1;
        let key = self.section.key(row)?;
        let rolled = rolled_up(&key, self.query);
        self.last.clear();
        self.last.push_str(rolled.unwrap_or(&key));
        let Some(rolled) = rolled else {
            (self.show)(Item::Row { row, value })?;
            return Ok(Step::Next);
        };
        (self.show)(Item::Prefix(rolled))?;
        // Everything else below the prefix is skipped with one seek.
        Ok(successor(&self.section.row(rolled)).map_or(Step::End, Step::Seek))
    }
}

impl Shared {
    /// Shows the items of a listing from the row `from` on; the name of the last one, when more follow.
    fn roll(
        &self,
        place: Partition,
        section: Section,
        from: &[u8],
        query: &ListingQuery,
        show: impl FnMut(Item<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<String>, StoreError> {
        if query.limit == 0 {
            return Ok(None);
        }
        let mut rolling = Rolling { section, query, show, given: 0, last: String::new(), more: false };
        let mut failed = None;
        self.meta.walk(place, &section.row(&query.prefix), from, &mut |row, value| {
            rolling.step(row, value).unwrap_or_else(|error| {
                failed = Some(error);
                Step::End
            })
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(Some(rolling.last).filter(|_| rolling.more)),
        }
    }

    /// Blocks.
    fn objects(&self, bucket: BucketId, query: &ListingQuery) -> Result<Listing, StoreError> {
        let place = partition(bucket);
        let from = match &query.after {
            None => Section::Objects.row(&query.prefix),
            Some(after) => Section::Objects.behind(after, query, &[0]),
        };
        let mut listing = Listing { objects: Vec::with_capacity(query.limit.min(ROOM)), ..Listing::default() };
        let mut group = RecordGroup::new(&place.0);
        listing.next = self.roll(place, Section::Objects, &from, query, |item| {
            match item {
                Item::Prefix(prefix) => listing.prefixes.push(prefix.to_owned()),
                Item::Row { row, value } => {
                    let (record, mac) = rows::split(value)?;
                    group.add(row, record, mac);
                    if group.is_full() {
                        listing.take(&self.keys.records, &mut group)?;
                    }
                }
            }
            Ok(())
        })?;
        listing.take(&self.keys.records, &mut group)?;
        listing.open_etags(&self.index_key(bucket));
        Ok(listing)
    }

    /// Blocks.
    fn uploads(&self, bucket: &Bucket, query: &ListingQuery) -> Result<UploadListing, StoreError> {
        let from = match (&query.after, &query.after_upload) {
            (None, _) => Section::Uploads.row(&query.prefix),
            (Some(after), Some(upload)) => {
                [&Section::Uploads.row(after), &[0, 1][..], upload.as_bytes(), &[0]].concat()
            }
            // Behind every upload of the key: 0x00 0x02 is above the terminator and below every longer key.
            (Some(after), None) => Section::Uploads.behind(after, query, &[0, 2]),
        };
        let mut listing = UploadListing::default();
        let mut last = None;
        let next = self.roll(partition(bucket.id), Section::Uploads, &from, query, |item| {
            last = match item {
                Item::Prefix(prefix) => {
                    listing.prefixes.push(prefix.to_owned());
                    None
                }
                Item::Row { row, value } => {
                    let upload = self.open_upload(bucket, row, Bytes::copy_from_slice(value))?;
                    let id = upload.id;
                    listing.uploads.push(upload);
                    Some(id)
                }
            };
            Ok(())
        })?;
        listing.next = next.map(|name| (name, last));
        Ok(listing)
    }
}

impl Store {
    pub async fn list_objects(&self, bucket: &Bucket, query: &ListingQuery) -> Result<Listing, StoreError> {
        let (shared, bucket, query) = (Arc::clone(&self.shared), bucket.id, query.clone());
        blocking(move || shared.objects(bucket, &query)).await
    }

    pub async fn list_uploads(&self, bucket: &Bucket, query: &ListingQuery) -> Result<UploadListing, StoreError> {
        let (shared, bucket, query) = (Arc::clone(&self.shared), bucket.clone(), query.clone());
        blocking(move || shared.uploads(&bucket, &query)).await
    }
}

/// Reads a page on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
}
