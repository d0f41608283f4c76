//! MetaStore on RocksDB. One thread commits: it checks the guards of every waiting batch in order, writes them together and syncs
//! the log once, so that many small writes share one sync. Must be named only where the server is assembled.

use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, ReadOptions, WriteBatch,
    WriteOptions,
};
use std::{collections::HashMap, fmt, path::Path, sync::Arc, thread};
use tokio::sync::{mpsc, oneshot};
use tresor_storage::{Batch, Expected, MetaError, MetaStore, Page, Partition, Scan, Write, added};

/// Commits that may wait; more wait at the sender.
const MAX_WAITING: usize = 4096;
/// Batches that share one sync.
const MAX_GROUP: usize = 512;
/// Bytes that share one sync.
const MAX_GROUP_BYTES: usize = 8 << 20;
/// Cache of blocks, in bytes.
const BLOCK_CACHE: usize = 64 << 20;
/// One memtable, in bytes; with the log it bounds what a start replays.
const WRITE_BUFFER: usize = 32 << 20;
/// The log's size at which tables are flushed, in bytes: recovery stays within seconds.
const MAX_LOG: u64 = 256 << 20;
/// Values from this size on lie in blob files, so that compaction does not copy small bodies.
const MIN_BLOB: u64 = 1024;
/// Open files.
const MAX_OPEN_FILES: i32 = 512;

/// The metadata of one store in one directory.
pub struct RocksMeta {
    db: Arc<DB>,
    /// Taken when the store is dropped, which ends the thread.
    commits: Option<mpsc::Sender<Commit>>,
    committer: Option<thread::JoinHandle<()>>,
}

impl Drop for RocksMeta {
    /// Waits for the committing thread: RocksDB must be closed before the process ends.
    fn drop(&mut self) {
        drop(self.commits.take());
        if let Some(thread) = self.committer.take() {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for RocksMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksMeta({})", self.db.path().display())
    }
}

struct Commit {
    partition: Partition,
    batch: Batch,
    answer: oneshot::Sender<Result<(), MetaError>>,
}

fn engine(error: impl fmt::Display) -> MetaError {
    MetaError::Engine(error.to_string())
}

impl RocksMeta {
    /// Opens or makes the database in `directory`. Errors: Engine.
    pub fn open(directory: &Path) -> Result<Self, MetaError> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE));
        blocks.set_bloom_filter(10.0, false);
        blocks.set_cache_index_and_filter_blocks(true);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(WRITE_BUFFER);
        options.set_max_total_wal_size(MAX_LOG);
        options.set_enable_blob_files(true);
        options.set_min_blob_size(MIN_BLOB);
        options.set_enable_blob_gc(true);
        options.set_max_open_files(MAX_OPEN_FILES);
        options.set_keep_log_file_num(5);
        options.set_paranoid_checks(true);
        let db = Arc::new(DB::open(&options, directory).map_err(engine)?);
        let (commits, waiting) = mpsc::channel(MAX_WAITING);
        let committer = Committer { db: Arc::clone(&db), broken: None };
        let thread =
            thread::Builder::new().name("commit".into()).spawn(move || committer.run(waiting)).map_err(engine)?;
        Ok(Self { db, commits: Some(commits), committer: Some(thread) })
    }
}

fn full(partition: Partition, key: &[u8]) -> Vec<u8> {
    [&partition.0[..], key].concat()
}

#[async_trait]
impl MetaStore for RocksMeta {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        Ok(self.db.get(full(partition, key)).map_err(engine)?.map(Bytes::from))
    }

    async fn scan(&self, partition: Partition, scan: Scan) -> Result<Page, MetaError> {
        let db = Arc::clone(&self.db);
        let read = move || {
            let prefix = full(partition, &scan.prefix);
            let from = full(partition, &scan.from).max(prefix.clone());
            let mut options = ReadOptions::default();
            if let Some(end) = successor(&prefix) {
                options.set_iterate_upper_bound(end);
            }
            let mut page = Page::default();
            for row in db.iterator_opt(IteratorMode::From(&from, Direction::Forward), options) {
                let (key, value) = row.map_err(engine)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                if page.entries.len() == scan.limit {
                    page.more = true;
                    break;
                }
                page.entries.push((key[partition.0.len()..].to_vec(), Bytes::from(value)));
            }
            Ok(page)
        };
        tokio::task::spawn_blocking(read).await.map_err(engine)?
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), MetaError> {
        batch.check()?;
        let (answer, answered) = oneshot::channel();
        let gone = |_| MetaError::Engine("the committing thread has ended".into());
        let commits = self.commits.as_ref().ok_or_else(|| gone(()))?;
        commits.send(Commit { partition, batch, answer }).await.map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}

/// The smallest key above every key that starts with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < 0xff {
            next.push(last + 1);
            return Some(next);
        }
    }
    None
}

struct Committer {
    db: Arc<DB>,
    /// Set by a write that failed: what lies in the log is unknown then, so nothing is acknowledged any more.
    broken: Option<String>,
}

/// What the group has written so far, seen by the guards of its later batches.
type Overlay = HashMap<Vec<u8>, Option<Bytes>>;

impl Committer {
    fn run(mut self, mut waiting: mpsc::Receiver<Commit>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut group = vec![first];
            let mut bytes = 0;
            while group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
                match waiting.try_recv() {
                    Ok(commit) => {
                        bytes += size(&commit.batch);
                        group.push(commit);
                    }
                    Err(_) => break,
                }
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Commit>) {
        let mut overlay = Overlay::new();
        let mut batch = WriteBatch::default();
        let mut accepted = Vec::with_capacity(group.len());
        for commit in group {
            match self.apply(&commit, &mut overlay, &mut batch) {
                Ok(()) => accepted.push(commit.answer),
                Err(error) => drop(commit.answer.send(Err(error))),
            }
        }
        let written = match (&self.broken, accepted.is_empty()) {
            (Some(why), _) => Err(why.clone()),
            (None, true) => return,
            (None, false) => {
                let mut options = WriteOptions::default();
                options.set_sync(true);
                self.db.write_opt(batch, &options).map_err(|error| error.to_string())
            }
        };
        if let Err(why) = &written
            && self.broken.is_none()
        {
            tracing::error!(error = %why, "the metadata log failed; no write is accepted until a restart");
            self.broken = Some(why.clone());
        }
        for answer in accepted {
            // A caller that is gone does not need its answer.
            drop(answer.send(written.clone().map_err(MetaError::Engine)));
        }
    }

    /// Checks a batch's guards against what is stored and what the group wrote before it, then adds its writes.
    fn apply(&self, commit: &Commit, overlay: &mut Overlay, batch: &mut WriteBatch) -> Result<(), MetaError> {
        for (key, expected) in &commit.batch.guards {
            let stored = self.read(overlay, &full(commit.partition, key))?;
            let holds = match expected {
                Expected::Absent => stored.is_none(),
                Expected::Value(value) => stored.as_ref() == Some(value),
            };
            if !holds {
                return Err(MetaError::Conflict);
            }
        }
        // Counters are read before anything of this batch is added, so that a failing read leaves no half of it behind.
        let mut rows: Vec<(Vec<u8>, Option<Bytes>)> = Vec::with_capacity(commit.batch.writes.len());
        for (key, write) in &commit.batch.writes {
            let key = full(commit.partition, key);
            let value = match write {
                Write::Put(value) => Some(value.clone()),
                Write::Delete => None,
                Write::Add(by) => {
                    let earlier = rows.iter().rev().find(|(row, _)| *row == key).map(|(_, value)| value.clone());
                    let stored = match earlier {
                        Some(value) => value,
                        None => self.read(overlay, &key)?,
                    };
                    added(stored.as_deref(), *by).map(|row| Bytes::copy_from_slice(&row))
                }
            };
            rows.push((key, value));
        }
        for (key, value) in rows {
            match &value {
                Some(value) => batch.put(&key, value),
                None => batch.delete(&key),
            }
            overlay.insert(key, value);
        }
        Ok(())
    }

    fn read(&self, overlay: &Overlay, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        match overlay.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.db.get(key).map_err(engine)?.map(Bytes::from)),
        }
    }
}

fn size(batch: &Batch) -> usize {
    batch
        .writes
        .iter()
        .map(|(key, write)| {
            key.len()
                + match write {
                    Write::Put(value) => value.len(),
                    Write::Delete => 0,
                    Write::Add(_) => 16,
                }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        tresor_storage::conformance::meta(&RocksMeta::open(directory.path()).unwrap()).await;
    }

    #[tokio::test]
    async fn what_was_committed_is_there_after_opening_again() {
        let directory = tempfile::tempdir().unwrap();
        let at = Partition([1; 16]);
        {
            let meta = RocksMeta::open(directory.path()).unwrap();
            meta.commit(at, Batch::default().put(b"k".to_vec(), vec![7; 5000])).await.unwrap();
        }
        let reopened = RocksMeta::open(directory.path()).unwrap();
        assert_eq!(reopened.get(at, b"k").await.unwrap().unwrap().len(), 5000);
    }
}
