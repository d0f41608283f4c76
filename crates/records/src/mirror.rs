//! The mirror of wrapped keys in a second place. The store comes first: a change whose copy cannot be written stands, is logged, and is
//! copied again every round until it succeeds; `is_behind` tells meanwhile. Removals go to the mirror first, so that a row that is only
//! in the mirror was lost from the store and not removed from it.
//!
//! Erasure secrets are never mirrored: a copy of one would outlive the key's destruction.

use crate::{KeyRecords, MIRRORED, RawRow, TOMBSTONES, failed};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tresor_kms::{AliasRecord, KeyStoreError};
use tresor_storage::{Batch, Partition, Scan, Write, open_record, verify_record};

/// Rows whose removal the mirror did not take: `unmirrored/` and the row.
const UNMIRRORED: &[u8] = b"unmirrored/";
/// Rows that a report names.
const MAX_NAMED: usize = 100;
const PAGE: usize = 50;

/// Where copies of rows are kept. Every call is durable on return.
pub trait Mirror: Send + Sync + fmt::Debug {
    fn put(&self, row: &RawRow) -> io::Result<()>;
    /// Keeps what is there for a restore, and puts another row beside it.
    fn put_beside(&self, row: &RawRow) -> io::Result<()>;
    /// Removing what is not there succeeds.
    fn remove(&self, key: &[u8]) -> io::Result<()>;
    /// Every row.
    fn rows(&self) -> io::Result<Vec<RawRow>>;
}

#[derive(Debug)]
pub(crate) struct Mirrored {
    to: Arc<dyn Mirror>,
    /// Changes and the comparison go one after the other.
    order: tokio::sync::Mutex<()>,
    behind: AtomicBool,
    /// Rows that only the mirror has: they are not overwritten.
    lost: Mutex<BTreeSet<Vec<u8>>>,
}

impl Mirrored {
    fn failed(&self, error: &io::Error) {
        self.behind.store(true, Ordering::Relaxed);
        tracing::error!(%error, "the key mirror could not be written: it is behind until a later round succeeds");
    }

    /// Work on files, off the threads that serve.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Mirror) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let to = Arc::clone(&self.to);
        tokio::task::spawn_blocking(move || work(&*to)).await.map_err(io::Error::other)?
    }
}

/// Rows of a batch that the mirror keeps, and the new value.
fn mirrored(batch: &Batch) -> Vec<(Vec<u8>, Option<Bytes>)> {
    let kept = batch.writes.iter().filter(|(row, _)| MIRRORED.iter().any(|prefix| row.starts_with(prefix)));
    kept.filter_map(|(row, write)| match write {
        Write::Put(value) => Some((row.clone(), Some(value.clone()))),
        Write::Delete => Some((row.clone(), None)),
        Write::Add(_) => None,
    })
    .collect()
}

impl KeyRecords {
    /// Keeps a copy of every key, alias, grant, owned key and tombstone there.
    #[must_use]
    pub fn with_mirror(mut self, to: Arc<dyn Mirror>) -> Self {
        let (order, behind, lost) = (tokio::sync::Mutex::default(), AtomicBool::new(true), Mutex::default());
        self.mirror = Some(Mirrored { to, order, behind, lost });
        self
    }

    /// Whether the mirror lacks a change; nothing without a mirror.
    pub fn mirror_is_behind(&self) -> Option<bool> {
        self.mirror.as_ref().map(|mirror| mirror.behind.load(Ordering::Relaxed))
    }

    /// Whether only the mirror has this key: it is to be restored, not made anew.
    pub fn is_lost(&self, account: &str, key_id: &str) -> bool {
        let row = format!("key/{account}/{key_id}").into_bytes();
        self.mirror.as_ref().is_some_and(|mirror| mirror.lost.lock().contains(&row))
    }

    /// Commits a batch of changes of keys, and copies it.
    pub(crate) async fn commit_mirrored(&self, batch: Batch) -> Result<(), KeyStoreError> {
        let Some(mirror) = &self.mirror else {
            return self.meta.commit(Partition::KMS, batch).await.map_err(failed);
        };
        let _order = mirror.order.lock().await;
        let rows = mirrored(&batch);
        let removed: Vec<Vec<u8>> =
            rows.iter().filter(|(_, value)| value.is_none()).map(|(row, _)| row.clone()).collect();
        if !removed.is_empty() {
            let going = removed.clone();
            if let Err(error) = mirror.work(move |to| going.iter().try_for_each(|row| to.remove(row))).await {
                mirror.failed(&error);
                // Durable before the removal, so that a row that only the mirror has is not taken for a lost one.
                for some in removed.chunks(PAGE) {
                    let noted =
                        some.iter().fold(Batch::default(), |batch, row| batch.put([UNMIRRORED, row].concat(), vec![1]));
                    self.meta.commit(Partition::KMS, noted).await.map_err(failed)?;
                }
            }
        }
        self.meta.commit(Partition::KMS, batch).await.map_err(failed)?;
        let lost = mirror.lost.lock().clone();
        let put: Vec<(bool, RawRow)> = rows
            .into_iter()
            .filter_map(|(key, value)| Some((lost.contains(&key), RawRow { key, value: value?.to_vec() })))
            .collect();
        if !put.is_empty() {
            let keys: Vec<Vec<u8>> = put.iter().map(|(_, row)| row.key.clone()).collect();
            let copied = mirror.work(move |to| {
                put.iter().try_for_each(|(lost, row)| if *lost { to.put_beside(row) } else { to.put(row) })
            });
            match copied.await {
                Ok(()) => mirror.lost.lock().retain(|row| !keys.contains(row)),
                Err(error) => mirror.failed(&error),
            }
        }
        Ok(())
    }

    /// Compares store and mirror: the mirror gets what it lacks. Names the rows that only the mirror has. Errors: KeyStoreError, also
    /// when the mirror cannot be read or written; it is behind then.
    pub async fn compare_mirror(&self) -> Result<Vec<String>, KeyStoreError> {
        let Some(mirror) = &self.mirror else { return Ok(Vec::new()) };
        let _order = mirror.order.lock().await;
        mirror.behind.store(true, Ordering::Relaxed);
        self.forget_removed(mirror).await?;
        let stored = self.export().await?;
        let mut copies: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        for row in mirror.work(|to| to.rows()).await.map_err(failed)? {
            copies.entry(row.key).or_default().push(row.value);
        }
        let mut lacking = Vec::new();
        for row in stored {
            if copies.remove(&row.key).is_none_or(|values| !values.contains(&row.value)) {
                lacking.push(row);
            }
        }
        let (mut lost, mut gone) = (BTreeSet::new(), Vec::new());
        for (key, values) in copies {
            let known = values.iter().any(|value| verify_record(&self.records, Partition::KMS, &key, value).is_ok());
            if known && !self.was_destroyed(&key, &values).await? {
                lost.insert(key);
            } else {
                // Of a key that was destroyed, or none of this store.
                gone.push(key);
            }
        }
        let copied = mirror.work(move |to| {
            lacking.iter().try_for_each(|row| to.put(row))?;
            gone.iter().try_for_each(|row| to.remove(row))
        });
        copied.await.map_err(failed)?;
        let names = lost.iter().take(MAX_NAMED).map(|row| String::from_utf8_lossy(row).into_owned()).collect();
        *mirror.lost.lock() = lost;
        mirror.behind.store(false, Ordering::Relaxed);
        Ok(names)
    }

    /// Takes rows out of the mirror that were removed while it could not be written.
    async fn forget_removed(&self, mirror: &Mirrored) -> Result<(), KeyStoreError> {
        loop {
            let scan = Scan { prefix: UNMIRRORED.to_vec(), from: UNMIRRORED.to_vec(), limit: PAGE };
            let page = self.meta.scan(Partition::KMS, scan).await.map_err(failed)?;
            let mut batch = Batch::default();
            let mut removed = Vec::new();
            for (noted, _) in page.entries {
                let row = noted[UNMIRRORED.len()..].to_vec();
                if self.meta.get(Partition::KMS, &row).await.map_err(failed)?.is_none() {
                    removed.push(row);
                }
                batch = batch.delete(noted);
            }
            mirror.work(move |to| removed.iter().try_for_each(|row| to.remove(row))).await.map_err(failed)?;
            if !batch.writes.is_empty() {
                self.meta.commit(Partition::KMS, batch).await.map_err(failed)?;
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Whether a row is of a key whose tombstone the store has.
    async fn was_destroyed(&self, row: &[u8], values: &[Vec<u8>]) -> Result<bool, KeyStoreError> {
        if row.starts_with(TOMBSTONES) {
            return Ok(false);
        }
        match self.key_of(row, values.first().map_or(&[], Vec::as_slice))? {
            Some(id) => self.is_destroyed(&id).await,
            None => Ok(false),
        }
    }

    /// The id of the key that a row is about; nothing for an owned key. Errors: KeyStoreError.
    pub(crate) fn key_of(&self, row: &[u8], value: &[u8]) -> Result<Option<String>, KeyStoreError> {
        let text = String::from_utf8_lossy(row);
        let mut pieces = text.split('/');
        Ok(match pieces.next() {
            Some("key" | "grant") => pieces.nth(1).map(str::to_owned),
            Some("alias") => {
                let alias: AliasRecord = open_record(&self.records, Partition::KMS, row, value).map_err(failed)?;
                Some(alias.key_id)
            }
            _ => None,
        })
    }
}
