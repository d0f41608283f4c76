//! The in-memory reference: what every engine is measured against, and what tests run on.

use crate::{
    blob::{BlobError, BlobId, BlobStore, BlobTree, Surveyed},
    meta::{Batch, Expected, MetaError, MetaStore, Page, Partition, Scan, Step, Visit, Write, added},
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::BTreeMap, io, ops::Range};
use tokio::sync::mpsc;
use tresor_envelope::{CipherStream, SealedBody};

#[derive(Debug, Default)]
pub struct MemoryMeta(Mutex<BTreeMap<(Partition, Vec<u8>), Bytes>>);

#[async_trait]
impl MetaStore for MemoryMeta {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        Ok(self.0.lock().get(&(partition, key.to_vec())).cloned())
    }

    async fn scan(&self, partition: Partition, scan: Scan) -> Result<Page, MetaError> {
        Page::collect(scan.limit, |visit| self.walk(partition, &scan.prefix, &scan.from, visit))
    }

    fn walk(&self, partition: Partition, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), MetaError> {
        let rows = self.0.lock();
        let mut from = from.max(prefix).to_vec();
        loop {
            let mut below = rows
                .range((partition, from)..)
                .take_while(|((at, key), _)| *at == partition && key.starts_with(prefix));
            from = loop {
                match below.next().map(|((_, key), value)| visit(key, value)) {
                    Some(Step::Next) => {}
                    Some(Step::Seek(to)) => break to,
                    Some(Step::End) | None => return Ok(()),
                }
            };
        }
    }

    async fn next_partition(&self, after: Option<Partition>) -> Result<Option<Partition>, MetaError> {
        Ok(self.0.lock().keys().map(|(at, _)| *at).find(|at| after.is_none_or(|after| *at > after)))
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), MetaError> {
        batch.check()?;
        let mut rows = self.0.lock();
        for (key, expected) in &batch.guards {
            let stored = rows.get(&(partition, key.clone()));
            let holds = match expected {
                Expected::Absent => stored.is_none(),
                Expected::Value(value) => stored == Some(value),
            };
            if !holds {
                return Err(MetaError::Conflict);
            }
        }
        for (key, write) in batch.writes {
            let at = (partition, key);
            match write {
                Write::Put(value) => {
                    rows.insert(at, value);
                }
                Write::Delete => {
                    rows.remove(&at);
                }
                Write::Add(by) => match added(rows.get(&at).map(|row| &row[..]), by) {
                    Some(row) => {
                        rows.insert(at, Bytes::copy_from_slice(&row));
                    }
                    None => {
                        rows.remove(&at);
                    }
                },
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
pub struct MemoryBlobs(Mutex<BTreeMap<BlobId, Bytes>>);

#[async_trait]
impl BlobStore for MemoryBlobs {
    async fn write(&self, id: &BlobId, body: &mut SealedBody) -> Result<u64, BlobError> {
        let mut all = Vec::new();
        while let Some(piece) = body.next().await? {
            all.extend_from_slice(&piece);
        }
        let length = all.len() as u64;
        self.0.lock().insert(*id, all.into());
        Ok(length)
    }

    async fn read(&self, id: &BlobId, range: Range<u64>, _unit: usize) -> io::Result<CipherStream> {
        let all = self.0.lock().get(id).cloned().ok_or(io::ErrorKind::NotFound)?;
        if range.start > range.end || range.end > all.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let piece = all.slice(range.start as usize..range.end as usize);
        Ok(CipherStream::new(futures_util::stream::iter([Ok(piece)])))
    }

    async fn remove(&self, id: &BlobId) -> io::Result<()> {
        self.0.lock().remove(id);
        Ok(())
    }

    async fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Vec<BlobId>> {
        let all = self.0.lock();
        Ok(all.keys().filter(|id| after.is_none_or(|after| **id > after)).take(limit).copied().collect())
    }
}

#[async_trait]
impl BlobTree for MemoryBlobs {
    async fn survey(&self, out: mpsc::Sender<Surveyed>) -> io::Result<()> {
        let all: Vec<Surveyed> = {
            let blobs = self.0.lock();
            let file = |(id, bytes): (&BlobId, &Bytes)| Surveyed {
                path: id.to_string(),
                blob: Some(*id),
                bytes: bytes.len() as u64,
            };
            blobs.iter().map(file).collect()
        };
        for file in all {
            if out.send(file).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn sample(&self, path: &str, bytes: usize) -> io::Result<Vec<u8>> {
        let id: BlobId = path.parse().map_err(|_| io::ErrorKind::NotFound)?;
        let all = self.0.lock().get(&id).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(all[..bytes.min(all.len())].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_reference_conforms() {
        crate::conformance::meta(&MemoryMeta::default()).await;
        crate::conformance::blobs(&MemoryBlobs::default()).await;
    }
}
