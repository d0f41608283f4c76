//! RocksDB as the index of the log: what it is told, and what it says about how much of the log it holds.

use crate::log::Row;
use bytes::Bytes;
use rocksdb::{DB, Direction, FlushOptions, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use tresor_storage::{MetaError, Page, Partition, Scan, Step, Visit, successor};

/// Above every partition of a bucket: where the index says how much of the log it holds.
pub(crate) const APPLIED: &[u8] = &[0xff; 17];

pub(crate) fn engine(error: impl std::fmt::Display) -> MetaError {
    MetaError::Engine(error.to_string())
}

pub(crate) fn full(partition: Partition, key: &[u8]) -> Vec<u8> {
    [&partition.0[..], key].concat()
}

/// Bytes of a row in RocksDB's memory besides its key and value; more than in a batch.
const FRAME: usize = 40;

/// Writes rows into the index and what it holds of the log then; does not sync. The last write of a row counts. Returns the bytes that
/// it takes in RocksDB's memory, about.
pub(crate) fn index(db: &DB, mark: Mark, rows: &[Row]) -> Result<usize, rocksdb::Error> {
    let length = |(key, value): &Row| FRAME + key.len() + value.as_ref().map_or(0, Bytes::len);
    let mark = (APPLIED.to_vec(), Some(mark.bytes().to_vec().into()));
    let mut rows: Vec<&Row> = rows.iter().chain([&mark]).collect();
    let bytes = rows.iter().map(|row| length(row)).sum();
    // Neighbours find their place by each other.
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut batch = WriteBatch::with_capacity_bytes(bytes);
    for (key, value) in rows {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    db.write_opt(batch, &options)?;
    Ok(bytes)
}

/// Makes everything in the index durable.
pub(crate) fn flush(db: &DB) -> Result<(), rocksdb::Error> {
    let mut options = FlushOptions::default();
    options.set_wait(true);
    db.flush_opt(&options)
}

/// How much of the log the index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The last entry whose rows it holds, but for those that pass.
    pub applied: u64,
    /// The last entry from which no row passes any more: each is gone, or in the index. Never above `applied`.
    pub floor: u64,
}

impl Mark {
    const NOTHING: Self = Self { applied: 0, floor: 0 };

    /// Errors: Engine.
    pub(crate) fn read(db: &DB) -> Result<Self, MetaError> {
        let Some(bytes) = db.get(APPLIED).map_err(engine)? else { return Ok(Self::NOTHING) };
        let (numbers, rest) = bytes.as_chunks::<8>();
        let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
        match (numbers, rest) {
            // Of a version that put every row into the index.
            ([applied], []) => Ok(Self { applied: number(applied), floor: number(applied) }),
            ([applied, floor], []) => Ok(Self { applied: number(applied), floor: number(floor) }),
            _ => Err(engine("the index does not say what it holds")),
        }
    }

    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.applied.to_be_bytes());
        bytes[8..].copy_from_slice(&self.floor.to_be_bytes());
        bytes
    }
}

/// Shows what the index holds as `MetaStore::walk` says.
fn walk(db: &DB, partition: Partition, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), MetaError> {
    let prefix = full(partition, prefix);
    let mut options = ReadOptions::default();
    if let Some(end) = successor(&prefix) {
        options.set_iterate_upper_bound(end);
    }
    let mut rows = db.raw_iterator_opt(options);
    rows.seek(full(partition, from).max(prefix.clone()));
    while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(&prefix)) {
        match visit(&key[partition.0.len()..], value) {
            Step::Next => rows.next(),
            Step::Seek(to) => rows.seek(full(partition, &to)),
            Step::End => return Ok(()),
        }
    }
    rows.status().map_err(engine)
}

/// Shows what the index holds, and newer rows above it that ascend from `from` on: each in the place of the index's, or, without a
/// value, instead of it.
pub(crate) fn walk_below<'n>(
    newer: impl Iterator<Item = (&'n [u8], Option<&'n [u8]>)>,
    db: &DB,
    partition: Partition,
    prefix: &[u8],
    from: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), MetaError> {
    let mut newer = newer.peekable();
    if newer.peek().is_none() {
        return walk(db, partition, prefix, from, visit);
    }
    // Whether the walk goes on behind a row. One that is skipped is still looked at: newer rows are few, and none are in a listing's way.
    let mut step = Step::Next;
    let mut show = |row: &[u8], value: Option<&[u8]>| {
        let skipped = matches!(&step, Step::Seek(to) if row < &to[..]);
        if let Some(value) = value.filter(|_| !skipped) {
            step = visit(row, value);
        }
        step != Step::End
    };
    let mut goes_on = true;
    walk(db, partition, prefix, from, &mut |row, value| {
        let mut replaced = false;
        while goes_on && let Some((above, newest)) = newer.next_if(|(above, _)| *above <= row) {
            replaced = above == row;
            goes_on = show(above, newest);
        }
        goes_on = goes_on && (replaced || show(row, Some(value)));
        if goes_on { Step::Next } else { Step::End }
    })?;
    while goes_on && let Some((above, newest)) = newer.next() {
        goes_on = show(above, newest);
    }
    Ok(())
}

pub(crate) fn read_page(db: &DB, partition: Partition, scan: &Scan) -> Result<Page, MetaError> {
    Page::collect(scan.limit, |visit| walk(db, partition, &scan.prefix, &scan.from, visit))
}

pub(crate) fn read_partition(db: &DB, after: Option<Partition>) -> Result<Option<Partition>, MetaError> {
    let from = match after.map(|after| successor(&after.0)) {
        Some(None) => return Ok(None),
        Some(Some(from)) => from,
        None => Vec::new(),
    };
    match db.iterator(IteratorMode::From(&from, Direction::Forward)).next() {
        None => Ok(None),
        Some(row) => {
            let (key, _) = row.map_err(engine)?;
            // What the index holds of the log is no row of a partition.
            Ok(key.first_chunk::<16>().filter(|_| key[..] != *APPLIED).map(|partition| Partition(*partition)))
        }
    }
}
