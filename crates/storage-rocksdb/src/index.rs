//! RocksDB as the index of the log: what it is told, and what it says about how much of the log it holds.

use crate::log::Row;
use rocksdb::{DB, FlushOptions, WriteBatch, WriteOptions};
use tresor_storage::{MetaError, Partition};

/// Above every partition of a bucket: where the index says up to which entry it holds the log.
pub(crate) const APPLIED: &[u8] = &[0xff; 17];

pub(crate) fn engine(error: impl std::fmt::Display) -> MetaError {
    MetaError::Engine(error.to_string())
}

pub(crate) fn full(partition: Partition, key: &[u8]) -> Vec<u8> {
    [&partition.0[..], key].concat()
}

/// Writes entries of the log into the index, which does not sync.
pub(crate) fn index(db: &DB, sequence: u64, rows: &[Row]) -> Result<(), rocksdb::Error> {
    let mut batch = WriteBatch::default();
    for (key, value) in rows {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    batch.put(APPLIED, sequence.to_be_bytes());
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    db.write_opt(batch, &options)
}

/// Makes everything in the index durable.
pub(crate) fn flush(db: &DB) -> Result<(), rocksdb::Error> {
    let mut options = FlushOptions::default();
    options.set_wait(true);
    db.flush_opt(&options)
}

/// The last entry of the log that the index holds.
pub(crate) fn applied(db: &DB) -> Result<u64, MetaError> {
    match db.get(APPLIED).map_err(engine)? {
        None => Ok(0),
        Some(bytes) => {
            Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| engine("the index does not say what it holds"))?))
        }
    }
}
