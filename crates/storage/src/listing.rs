//! Listing objects and uploads: rows in order, rolled up at a delimiter, skipping whole prefixes by seeking behind them.

use crate::{
    error::StoreError,
    meta::{Scan, successor},
    record::{Bucket, Listed, ListedRecord, Upload},
    rows::{self, open_record},
    store::{Store, partition},
};
use tresor_model::{ETag, ObjectKey, UploadId, VersionId};

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

/// Objects, or keys rolled up at the delimiter, each ascending.
#[derive(Debug, Default)]
pub struct Listing {
    pub versions: Vec<Listed>,
    pub prefixes: Vec<String>,
    /// The last key or prefix given, when more follow.
    pub next: Option<String>,
}

#[derive(Debug, Default)]
pub struct UploadListing {
    pub uploads: Vec<Upload>,
    pub prefixes: Vec<String>,
    /// The last key or prefix given, and the last upload if it was one, when more follow.
    pub next: Option<(String, Option<UploadId>)>,
}

/// The most rows read at a time.
const PAGE: usize = 1001;
/// Rows read at a time where the next one may be rolled up with all that follow it; four times as many after each such page.
const FEW: usize = 32;

/// One step of a listing.
enum Item {
    Row(String, Vec<u8>, bytes::Bytes),
    Prefix(String),
}

impl Item {
    fn name(&self) -> &str {
        match self {
            Self::Row(name, ..) | Self::Prefix(name) => name,
        }
    }
}

impl Store {
    pub async fn list_objects(&self, bucket: &Bucket, query: &ListingQuery) -> Result<Listing, StoreError> {
        let prefix = [rows::OBJECTS, query.prefix.as_bytes()].concat();
        let from = match &query.after {
            None => prefix.clone(),
            Some(after) => behind(rows::OBJECTS, after, after.as_bytes(), query, &[0]),
        };
        let name = |row: &[u8]| String::from_utf8(row.strip_prefix(rows::OBJECTS)?.to_vec()).ok();
        let group = |rolled: &str| [rows::OBJECTS, rolled.as_bytes()].concat();
        let (items, more) = self.walk(bucket, prefix, from, query, name, group).await?;
        let index = self.shared.index_key(bucket.id);
        let next = items.last().filter(|_| more).map(|item| item.name().to_owned());
        let mut listing = Listing { next, versions: Vec::with_capacity(items.len()), prefixes: Vec::new() };
        let mut tags = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Prefix(prefix) => listing.prefixes.push(prefix),
                Item::Row(name, row, value) => {
                    let key: ObjectKey =
                        name.parse().map_err(|_| StoreError::Corrupt("an object's row has no valid key"))?;
                    let record: ListedRecord =
                        open_record(&self.shared.keys.records, partition(bucket.id), &row, &value)?;
                    tags.push((*record.write.as_bytes(), record.sealed_etag));
                    listing.versions.push(Listed {
                        key,
                        version_id: if record.null { VersionId::Null } else { VersionId::Id(record.write) },
                        owner: record.owner,
                        modified: record.modified,
                        size: record.size,
                        etag: ETag { digest: record.sealed_etag, parts: record.parts },
                        storage_class: record.meta.storage_class,
                    });
                }
            }
        }
        for (listed, digest) in listing.versions.iter_mut().zip(index.open_all(&tags)) {
            listed.etag.digest = digest;
        }
        Ok(listing)
    }

    pub async fn list_uploads(&self, bucket: &Bucket, query: &ListingQuery) -> Result<UploadListing, StoreError> {
        let prefix = [rows::UPLOADS, &rows::escaped(query.prefix.as_bytes())].concat();
        let from = match (&query.after, &query.after_upload) {
            (None, _) => prefix.clone(),
            (Some(after), Some(upload)) => {
                [rows::UPLOADS, &rows::escaped(after.as_bytes()), &[0, 1], upload.as_bytes(), &[0]].concat()
            }
            // Behind every upload of the key: 0x00 0x02 is above the terminator and below every longer key.
            (Some(after), None) => behind(rows::UPLOADS, after, &rows::escaped(after.as_bytes()), query, &[0, 2]),
        };
        let name = |row: &[u8]| String::from_utf8(rows::unescape(row.strip_prefix(rows::UPLOADS)?)?.0).ok();
        let group = |rolled: &str| [rows::UPLOADS, &rows::escaped(rolled.as_bytes())].concat();
        let (items, more) = self.walk(bucket, prefix, from, query, name, group).await?;
        let mut listing = UploadListing::default();
        for item in items {
            listing.next = Some((item.name().to_owned(), None));
            match item {
                Item::Prefix(prefix) => listing.prefixes.push(prefix),
                Item::Row(name, row, value) => {
                    let upload = self.shared.open_upload(bucket, &row, value)?;
                    listing.next = Some((name, Some(upload.id)));
                    listing.uploads.push(upload);
                }
            }
        }
        listing.next = listing.next.filter(|_| more);
        Ok(listing)
    }

    /// Reads rows from `from` on and rolls them up. `name` reads a row's key, `group` makes the row prefix of a rolled-up key.
    async fn walk(
        &self,
        bucket: &Bucket,
        prefix: Vec<u8>,
        mut from: Vec<u8>,
        query: &ListingQuery,
        name: impl Fn(&[u8]) -> Option<String>,
        group: impl Fn(&str) -> Vec<u8>,
    ) -> Result<(Vec<Item>, bool), StoreError> {
        let mut items: Vec<Item> = Vec::new();
        if query.limit == 0 {
            return Ok((items, false));
        }
        let few = if query.delimiter.is_some() { FEW } else { PAGE };
        let mut rows = few;
        'pages: loop {
            let limit = rows.min(query.limit + 1);
            let page =
                self.shared.meta.scan(partition(bucket.id), Scan { prefix: prefix.clone(), from, limit }).await?;
            from = match page.entries.last() {
                Some((row, _)) => [&row[..], &[0]].concat(),
                None => return Ok((items, false)),
            };
            for (row, value) in page.entries {
                let key = name(&row).ok_or(StoreError::Corrupt("a row has no valid key"))?;
                if items.len() == query.limit {
                    return Ok((items, true));
                }
                match rolled_up(&key, query) {
                    Some(rolled) => {
                        let next = successor(&group(&rolled));
                        items.push(Item::Prefix(rolled));
                        // Everything else below the prefix is skipped with one seek.
                        rows = few;
                        match next {
                            Some(next) => from = next,
                            None => return Ok((items, false)),
                        }
                        continue 'pages;
                    }
                    None => items.push(Item::Row(key, row, value)),
                }
            }
            if !page.more {
                return Ok((items, false));
            }
            rows = PAGE.min(rows * 4);
        }
    }
}

/// Where a listing goes on: behind a rolled-up prefix, or behind one key (`tail` is what follows a key's row).
fn behind(section: &[u8], after: &str, row_text: &[u8], query: &ListingQuery, tail: &[u8]) -> Vec<u8> {
    let row = [section, row_text].concat();
    let is_rolled = rolled_up(after, query).is_some_and(|rolled| rolled == after);
    let behind = if is_rolled { successor(&row).unwrap_or_else(|| row.clone()) } else { [&row[..], tail].concat() };
    let first = [section, query.prefix.as_bytes()].concat();
    if section == rows::OBJECTS { behind.max(first) } else { behind }
}

/// The common prefix that a key is rolled up into, if it is.
fn rolled_up(key: &str, query: &ListingQuery) -> Option<String> {
    let delimiter = query.delimiter.as_deref().filter(|d| !d.is_empty())?;
    let rest = key.strip_prefix(&query.prefix)?;
    let at = rest.find(delimiter)?;
    Some(key[..query.prefix.len() + at + delimiter.len()].to_owned())
}
