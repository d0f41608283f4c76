//! MetaStore on a log of our own with RocksDB as its index. One thread commits: it checks the guards of every waiting batch in
//! order, appends them together and syncs once, so that many small writes share one sync; RocksDB itself is flushed now and then
//! and never synced for a commit (docs/decisions/0001). Must be named only where the server is assembled.

mod committer;
mod index;
mod log;
mod passing;
mod reader;
mod segment;

pub use reader::RocksReader;

use crate::{
    committer::{Commit, Committer},
    index::{Mark, engine, flush, full, index, read_page, read_partition, walk_below},
    log::{Entry, Log},
    passing::{Passing, is_passing, joined},
};
use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, ChecksumType, DB, DBCompressionType, Options};
use std::{fmt, fs, path::Path, sync::Arc, thread};
use tokio::sync::{mpsc, oneshot};
use tresor_storage::{Batch, MetaError, MetaStore, Page, Partition, Scan, Visit};

/// Commits that may wait; more wait at the sender.
const MAX_WAITING: usize = 4096;
/// Cache of blocks, in bytes.
const BLOCK_CACHE: usize = 64 << 20;
/// One memtable, in bytes.
const WRITE_BUFFER: usize = 32 << 20;
/// Values from this size on lie in blob files, so that compaction does not copy small bodies.
const MIN_BLOB: u64 = 1024;
/// Share of a memtable that its filter may take.
const MEMTABLE_BLOOM: f64 = 0.03;
/// Open files.
const MAX_OPEN_FILES: i32 = 512;

/// The metadata of one store in one directory.
pub struct RocksMeta {
    db: Arc<DB>,
    passing: Arc<Passing>,
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

fn options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    let cache = Cache::new_lru_cache(BLOCK_CACHE);
    blocks.set_block_cache(&cache);
    // RocksDB's own CRC-32C is slow without the instructions that a portable build leaves out.
    blocks.set_checksum_type(ChecksumType::XXH3);
    blocks.set_bloom_filter(10.0, false);
    // In pieces: the whole of a large file's index is more than one of the cache's 64 parts holds, so it would be read and unpacked
    // again for every row.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_cache_index_and_filter_blocks(true);
    // A read asks the newest files first, each time: not by the cache.
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(MIN_BLOB);
    options.set_blob_cache(&cache);
    // One thread writes; most rows it asks about are not there.
    options.set_allow_concurrent_memtable_write(false);
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM);
    options.set_enable_blob_gc(true);
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_keep_log_file_num(5);
    options.set_paranoid_checks(true);
    options
}

impl RocksMeta {
    /// Opens or makes the metadata in `directory` and replays what the index lacks. Errors: Engine.
    pub fn open(directory: &Path) -> Result<Self, MetaError> {
        fs::create_dir_all(directory).map_err(engine)?;
        let db = Arc::new(DB::open(&options(), directory.join("index")).map_err(engine)?);
        let mark = Mark::read(&db)?;
        let passing = Arc::new(Passing::below(&db)?);
        let (log, entries) = Log::open(&directory.join("log"), mark).map_err(engine)?;
        fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(engine)?;
        if !entries.is_empty() {
            tracing::info!(entries = entries.len(), "replaying the log");
            replay(&db, &passing, mark, entries)?;
        }
        let (commits, waiting) = mpsc::channel(MAX_WAITING);
        let committer = Committer::new(Arc::clone(&db), Arc::clone(&passing), log);
        let thread =
            thread::Builder::new().name("commit".into()).spawn(move || committer.run(waiting)).map_err(engine)?;
        Ok(Self { db, passing, commits: Some(commits), committer: Some(thread) })
    }
}

/// Brings the index up to the end of the log, passing rows included: every segment is free afterwards.
fn replay(db: &DB, passing: &Passing, mut mark: Mark, entries: Vec<Entry>) -> Result<(), MetaError> {
    for entry in entries {
        let rows = passing.take(entry.sequence, entry.rows);
        if entry.sequence > mark.applied {
            mark.applied = entry.sequence;
            index(db, mark, &rows).map_err(engine)?;
        }
    }
    mark.floor = mark.applied;
    passing.spill(|rows| index(db, mark, rows)).map_err(engine)?;
    flush(db).map_err(engine)
}

#[async_trait]
impl MetaStore for RocksMeta {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        let key = full(partition, key);
        if is_passing(&key)
            && let Some(value) = self.passing.get(&key)
        {
            return Ok(Some(value));
        }
        Ok(self.db.get(key).map_err(engine)?.map(Bytes::from))
    }

    async fn scan(&self, partition: Partition, scan: Scan) -> Result<Page, MetaError> {
        let db = Arc::clone(&self.db);
        // In this order: a row that goes to the index meanwhile is seen twice, and not missed.
        let above = self.passing.page(partition, &scan);
        let read = move || Ok(joined(above, read_page(&db, partition, &scan)?, scan.limit));
        tokio::task::spawn_blocking(read).await.map_err(engine)?
    }

    fn walk(&self, partition: Partition, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), MetaError> {
        let all = Scan { prefix: prefix.to_vec(), from: from.to_vec(), limit: usize::MAX };
        let above = self.passing.page(partition, &all);
        let above = above.iter().map(|(row, value)| (&row[..], Some(&value[..])));
        walk_below(above, &self.db, partition, prefix, from, visit)
    }

    async fn next_partition(&self, after: Option<Partition>) -> Result<Option<Partition>, MetaError> {
        let above = self.passing.partition(after);
        Ok(read_partition(&self.db, after)?.into_iter().chain(above).min())
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

#[cfg(test)]
mod tests {
    use super::*;
    use tresor_storage::PASSING;

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

    /// A copy of the directory is what a crash at that moment leaves; the index is behind the log there.
    #[tokio::test]
    async fn a_copy_made_while_it_runs_has_every_commit_that_was_acknowledged() {
        let (directory, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let meta = RocksMeta::open(directory.path()).unwrap();
        let at = Partition([1; 16]);
        let key = |n: u32| n.to_be_bytes().to_vec();
        // More than a checkpoint, so that segments are recycled on the way.
        for n in 0..120_u32 {
            let batch = Batch::default()
                .put(key(n), vec![n as u8; 900_000])
                .delete(key(n.wrapping_sub(10)))
                .add(b"sum".to_vec(), [1, 2]);
            meta.commit(at, batch).await.unwrap();
            if n % 40 == 39 {
                let copy = copies.path().join(n.to_string());
                until_still(&meta.db);
                copy_all(directory.path(), &copy);
                let copied = RocksMeta::open(&copy).unwrap();
                assert_eq!(copied.get(at, &key(n)).await.unwrap().unwrap(), vec![n as u8; 900_000]);
                assert_eq!(copied.get(at, &key(n - 9)).await.unwrap().unwrap().len(), 900_000);
                assert_eq!(copied.get(at, &key(n - 10)).await.unwrap(), None);
                let sum = [i64::from(n + 1).to_be_bytes(), i64::from(2 * n + 2).to_be_bytes()].concat();
                assert_eq!(copied.get(at, b"sum").await.unwrap().unwrap(), sum);
            }
        }
    }

    /// Rows that pass lie in the log and in memory, RocksDB flushes beside them, and segments are recycled: a crash still finds those
    /// that wait, and no other.
    #[tokio::test]
    async fn what_passes_is_found_after_a_crash_as_long_as_it_waits() {
        let (directory, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let meta = RocksMeta::open(directory.path()).unwrap();
        let at = Partition([1; 16]);
        let event = |n: u32| [PASSING, &n.to_be_bytes()].concat();
        let waits = |n: u32, now: u32| n + 20 > now || n.is_multiple_of(40);
        let all = Scan { prefix: PASSING.to_vec(), from: Vec::new(), limit: 1000 };
        // So much that what never goes must leave the log for the index.
        for now in 0..170_u32 {
            let mut batch = Batch::default().put(b"body".to_vec(), vec![now as u8; 900_000]).put(event(now), vec![7]);
            if let Some(gone) = now.checked_sub(20).filter(|gone| !waits(*gone, now)) {
                batch = batch.delete(event(gone));
            }
            meta.commit(at, batch).await.unwrap();
            if now == 60 || now == 169 {
                let expected: Vec<_> = (0..=now).filter(|n| waits(*n, now)).map(event).collect();
                let check = |page: Page| {
                    assert_eq!(page.entries.into_iter().map(|(row, _)| row).collect::<Vec<_>>(), expected, "at {now}");
                };
                check(meta.scan(at, all.clone()).await.unwrap());
                assert_eq!(meta.passing.floor(0) > 100, now == 169, "the oldest goes to the index in the end");
                until_still(&meta.db);
                let copy = copies.path().join(now.to_string());
                copy_all(directory.path(), &copy);
                check(RocksReader::open(&copy).unwrap().scan(at, all.clone()).await.unwrap());
                let copied = RocksMeta::open(&copy).unwrap();
                check(copied.scan(at, all.clone()).await.unwrap());
                copied.commit(at, expected.iter().cloned().fold(Batch::default(), Batch::delete)).await.unwrap();
                assert!(copied.scan(at, all.clone()).await.unwrap().entries.is_empty());
                drop(copied);
                let reopened = RocksMeta::open(&copy).unwrap();
                assert!(reopened.scan(at, all.clone()).await.unwrap().entries.is_empty());
                assert_eq!(reopened.get(at, b"body").await.unwrap().unwrap()[0], now as u8);
            }
        }
    }

    /// The index of a version that put every row into it.
    #[tokio::test]
    async fn an_index_that_knows_nothing_of_rows_that_pass_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let at = Partition([1; 16]);
        let event = [PASSING, b"1"].concat();
        {
            let meta = RocksMeta::open(directory.path()).unwrap();
            meta.commit(at, Batch::default().put(b"k".to_vec(), "v").put(event.clone(), "e")).await.unwrap();
        }
        {
            let db = DB::open(&options(), directory.path().join("index")).unwrap();
            let mark = Mark::read(&db).unwrap();
            assert_eq!(mark, Mark { applied: 1, floor: 1 });
            db.put(index::APPLIED, mark.applied.to_be_bytes()).unwrap();
        }
        let meta = RocksMeta::open(directory.path()).unwrap();
        assert_eq!(meta.get(at, &event).await.unwrap().as_deref(), Some(&b"e"[..]));
        meta.commit(at, Batch::default().delete(event.clone())).await.unwrap();
        drop(meta);
        let meta = RocksMeta::open(directory.path()).unwrap();
        assert_eq!(meta.get(at, &event).await.unwrap(), None);
        assert_eq!(meta.get(at, b"k").await.unwrap().as_deref(), Some(&b"v"[..]));
    }

    /// A copy is a moment only while RocksDB moves no files.
    fn until_still(db: &DB) {
        let moving =
            ["rocksdb.num-running-flushes", "rocksdb.mem-table-flush-pending", "rocksdb.num-running-compactions"];
        while moving.iter().any(|name| db.property_int_value(*name).unwrap() != Some(0)) {
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn copy_all(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy_all(&path, &target);
            } else {
                fs::copy(&path, &target).unwrap();
            }
        }
    }
}
