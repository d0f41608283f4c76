//! Multipart uploads. A part is a row of its own from UploadPart until its object goes; completing an upload touches none of them.

use crate::{
    blob::BlobId,
    error::StoreError,
    meta::{Batch, Expected, MetaError, Partition, Scan},
    objects::{Precondition, hangs_on},
    record::{
        Body, Bucket, ETagRule, Garbage, ObjectMeta, PartRecord, PartRow, StoredChecksums, Upload, UploadRecord,
        Version, VersionRecord,
    },
    rows::{self, open_record, seal_record},
    store::{COMMIT_ATTEMPTS, Shared, Store, partition, to_version},
};
use bytes::Bytes;
use std::sync::Arc;
use tresor_envelope::{Envelope, IndexKey, SealedBody};
use tresor_model::{
    AccountId, Acl, ChangeRecord, ChecksumAlgorithm, ChecksumType, ETag, ObjectKey, TagSet, UploadId, WriteId,
};

/// A new upload.
#[derive(Debug)]
pub struct NewUpload {
    pub key: ObjectKey,
    pub id: UploadId,
    pub write: WriteId,
    pub owner: AccountId,
    pub meta: ObjectMeta,
    pub tags: TagSet,
    pub envelope: Envelope,
    pub key_id: String,
    pub material_id: String,
    pub etag: ETagRule,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// The list of the object that completing makes.
    pub acl: Option<Acl>,
    /// Who will own the object, if not `owner`.
    pub object_owner: Option<AccountId>,
    /// What policies may ask about parts and that stands nowhere else, by header name.
    pub said: Vec<(String, String)>,
}

/// Part rows read at a time.
const PAGE: usize = 1000;

impl Store {
    pub async fn create_upload(&self, bucket: &Bucket, new: NewUpload) -> Result<Upload, StoreError> {
        let shared = &self.shared;
        let (key_id, material_id) = hangs_on(&new.envelope, new.key_id, new.material_id);
        let record = UploadRecord {
            write: new.write,
            owner: new.owner,
            initiated: shared.clock.now(),
            envelope: new.envelope,
            key_id,
            material_id,
            meta: new.meta,
            tags: new.tags,
            etag: new.etag,
            checksum: new.checksum,
            completing: None,
            acl: new.acl,
            object_owner: new.object_owner,
            said: Some(new.said),
        };
        let row = rows::upload(&new.key, &new.id);
        let raw = seal_record(&shared.keys.records, partition(bucket.id), &row, &record);
        let batch = Batch::default().guard(row.clone(), Expected::Absent).put(row, raw.clone());
        shared.commit(bucket, batch, self.record.as_ref()).await?;
        Ok(to_upload(new.key, new.id, record, raw))
    }

    /// An upload in progress. Errors: NoSuchUpload.
    pub async fn upload(&self, bucket: &Bucket, key: &ObjectKey, id: &UploadId) -> Result<Upload, StoreError> {
        let row = rows::upload(key, id);
        let raw = self.shared.get(partition(bucket.id), &row).await?.ok_or(StoreError::NoSuchUpload)?;
        let record = open_record(&self.shared.keys.records, partition(bucket.id), &row, &raw)?;
        Ok(to_upload(key.clone(), *id, record, raw))
    }

    /// Stores one part, in place of an earlier one of its number. Errors: Body, NoSuchUpload, NoSuchBucket.
    pub async fn put_part(
        &self,
        bucket: &Bucket,
        upload: &Upload,
        mut body: SealedBody,
        number: u16,
    ) -> Result<PartRow, StoreError> {
        let shared = &self.shared;
        shared.check_open(upload)?;
        let id = BlobId::fresh(bucket.id, *upload.id.as_bytes(), number, &*shared.entropy);
        let guard = shared.write_blob(id, &mut body).await?;
        let done = body.finish()?;
        let index = shared.index_key(bucket.id);
        let digest = shared.etag(upload.etag, &done.digests);
        let record = PartRecord {
            sealed_etag: index.seal(&done.part.stream, &digest),
            sealed: done.part,
            modified: shared.clock.now(),
            sealed_checksums: done.sealed_checksums,
            nonce: id.nonce,
        };
        let row = rows::part(&upload.id, number);
        let value = seal_record(&shared.keys.records, partition(bucket.id), &row, &record);
        let upload_row = rows::upload(&upload.key, &upload.id);
        for attempt in 0..COMMIT_ATTEMPTS {
            let before = shared.get(partition(bucket.id), &row).await?;
            let mut batch = Batch::default()
                .guard(upload_row.clone(), Expected::Value(upload.raw.clone()))
                .unchanged(row.clone(), before.as_ref())
                .put(row.clone(), value.clone());
            let mut garbage = None;
            if let Some(before) = &before {
                let old: PartRecord = open_record(&shared.keys.records, partition(bucket.id), &row, before)?;
                let blob = Garbage::Blob { owner: *upload.id.as_bytes(), part: number, nonce: old.nonce };
                let (with, id) = shared.add_garbage(batch, &blob);
                batch = with;
                garbage = Some(id);
            }
            match shared.commit(bucket, batch, self.record.as_ref()).await {
                Err(StoreError::Conflict) => {
                    let now = shared.get(partition(bucket.id), &upload_row).await?;
                    if now.as_ref() != Some(&upload.raw) {
                        return Err(StoreError::NoSuchUpload);
                    }
                    shared.back_off(attempt).await;
                }
                other => {
                    other?;
                    guard.keep();
                    shared.collector.wake(bucket.id, garbage);
                    return Ok(to_part(&index, record, value));
                }
            }
        }
        Err(StoreError::Conflict)
    }

    /// Parts above `after`, ascending, at most `limit`; the flag tells that more follow.
    pub async fn upload_parts(
        &self,
        bucket: &Bucket,
        upload: &Upload,
        after: u16,
        limit: usize,
    ) -> Result<(Vec<PartRow>, bool), StoreError> {
        let prefix = rows::parts(&upload.id);
        let from = [rows::part(&upload.id, after), vec![0]].concat();
        let page = self.shared.meta.scan(partition(bucket.id), Scan { prefix, from, limit }).await?;
        let index = self.shared.index_key(bucket.id);
        let parts: Result<Vec<PartRow>, StoreError> =
            page.entries.into_iter().map(|(row, value)| self.shared.open_part(bucket, &index, &row, value)).collect();
        Ok((parts?, page.more))
    }

    /// Ends an upload and drops its parts. Errors: NoSuchUpload.
    pub async fn abort_upload(&self, bucket: &Bucket, upload: &Upload) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.check_open(upload)?;
        let row = rows::upload(&upload.key, &upload.id);
        let batch = Batch::default().guard(row.clone(), Expected::Value(upload.raw.clone())).delete(row);
        let (batch, id) = shared.add_garbage(batch, &Garbage::Parts { upload: upload.id, keep: Vec::new() });
        match shared.commit(bucket, batch, self.record.as_ref()).await {
            Err(StoreError::Conflict) => Err(StoreError::NoSuchUpload),
            other => {
                other?;
                shared.collector.wake(bucket.id, Some(id));
                Ok(())
            }
        }
    }

    /// Closes an upload for new parts, so that what is checked is what is committed. Dropping the result opens it again.
    /// Errors: NoSuchUpload; Conflict when this server is completing it already.
    pub async fn begin_complete(&self, bucket: &Bucket, upload: Upload) -> Result<Completing, StoreError> {
        let shared = &self.shared;
        shared.check_open(&upload)?;
        let row = rows::upload(&upload.key, &upload.id);
        let record = UploadRecord { completing: Some(shared.run), ..upload.record.clone() };
        let raw = seal_record(&shared.keys.records, partition(bucket.id), &row, &record);
        let close = Batch::default().guard(row.clone(), Expected::Value(upload.raw.clone())).put(row, raw.clone());
        // Nothing has changed yet that anybody sees: the record travels with the commit that makes the object.
        match shared.commit(bucket, close, None).await {
            Err(StoreError::Conflict) => return Err(StoreError::NoSuchUpload),
            other => other?,
        }
        let mut completing = Completing {
            shared: Arc::clone(shared),
            bucket: bucket.clone(),
            upload,
            closed: raw,
            parts: Vec::new(),
            record: self.record.clone(),
            done: false,
        };
        completing.parts = shared.part_rows(bucket, &completing.upload.id).await?;
        Ok(completing)
    }

    /// The object that an upload became, if it still is the current version: a repeated Complete answers the same.
    pub async fn completed(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: &UploadId,
    ) -> Result<Option<Arc<Version>>, StoreError> {
        let current = self.version(bucket, key, None).await?;
        Ok(current.filter(|version| matches!(&version.body, Body::Parts { upload, .. } if upload == id)))
    }
}

/// An upload that is being completed.
pub struct Completing {
    shared: Arc<Shared>,
    bucket: Bucket,
    pub upload: Upload,
    closed: Bytes,
    parts: Vec<PartRow>,
    record: Option<ChangeRecord>,
    done: bool,
}

impl std::fmt::Debug for Completing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Completing({:?})", self.upload.id)
    }
}

impl Completing {
    /// The parts that a client lists, by number and entity tag. `minimum` is the least size of all but the last, in bytes.
    /// Errors: InvalidPartOrder, InvalidPart, EntityTooSmall.
    pub fn choose(&self, listed: &[(u16, ETag)], minimum: u64) -> Result<Vec<PartRow>, StoreError> {
        if listed.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(StoreError::InvalidPartOrder);
        }
        let mut chosen = Vec::with_capacity(listed.len());
        for (number, etag) in listed {
            let found = self.parts.binary_search_by_key(number, |part| part.number).ok().map(|n| &self.parts[n]);
            chosen.push(found.filter(|part| part.etag == *etag).ok_or(StoreError::InvalidPart(*number))?.clone());
        }
        if let Some((_, before)) = chosen.split_last()
            && let Some(small) = before.iter().find(|part| part.size < minimum)
        {
            return Err(StoreError::EntityTooSmall { number: small.number, size: small.size, minimum });
        }
        Ok(chosen)
    }

    /// Makes the chosen parts an object. Errors: PreconditionFailed, NoSuchKey, NoSuchBucket, Conflict; the upload is open again
    /// after one.
    pub async fn finish(
        mut self,
        chosen: &[PartRow],
        checksums: Option<StoredChecksums>,
        precondition: &Precondition,
    ) -> Result<Version, StoreError> {
        let shared = Arc::clone(&self.shared);
        let bucket = self.bucket.clone();
        let index = shared.index_key(bucket.id);
        let digests: Vec<[u8; 16]> = chosen.iter().map(|part| part.etag.digest).collect();
        let digest = tresor_digest::md5(&digests.concat());
        let UploadRecord { write, owner, object_owner, envelope, key_id, material_id, meta, tags, acl, .. } =
            self.upload.record.clone();
        let ranges = ranges(chosen);
        let record = VersionRecord {
            write,
            null: true,
            delete_marker: false,
            owner: object_owner.unwrap_or(owner),
            modified: shared.clock.now(),
            size: chosen.iter().map(|part| part.size).sum(),
            sealed_etag: index.seal(write.as_bytes(), &digest),
            parts: Some(chosen.len() as u16),
            envelope,
            key_id,
            material_id,
            meta,
            tags,
            checksums,
            body: Body::Parts {
                upload: self.upload.id,
                chosen: ranges.clone(),
                root: root_hash(chosen.iter().map(|part| &part.raw)),
            },
            acl,
        };
        let row = rows::upload(&self.upload.key, &self.upload.id);
        let mut batch = Batch::default().guard(row.clone(), Expected::Value(self.closed.clone())).delete(row);
        let mut leftover = None;
        if chosen.len() < self.parts.len() {
            let (with, id) = shared.add_garbage(batch, &Garbage::Parts { upload: self.upload.id, keep: ranges });
            batch = with;
            leftover = Some(id);
        }
        let change = self.record.as_ref();
        if let Err(error) = shared.commit_version(&bucket, &self.upload.key, &record, precondition, batch, change).await
        {
            self.cancel().await;
            return Err(error);
        }
        self.done = true;
        shared.collector.wake(bucket.id, leftover);
        Ok(to_version(&index, self.upload.key.clone(), record))
    }
}

impl Completing {
    fn reopening(&self) -> Batch {
        let row = rows::upload(&self.upload.key, &self.upload.id);
        Batch::default().guard(row.clone(), Expected::Value(self.closed.clone())).put(row, self.upload.raw.clone())
    }

    /// Opens the upload again.
    pub async fn cancel(mut self) {
        self.done = true;
        reopen(&self.shared, partition(self.bucket.id), self.reopening()).await;
    }
}

async fn reopen(shared: &Shared, partition: Partition, batch: Batch) {
    match shared.meta.commit(partition, batch).await {
        // It was committed after all, or aborted.
        Ok(()) | Err(MetaError::Conflict) => {}
        Err(error) => tracing::warn!(%error, "an upload stays closed until the next start"),
    }
}

impl Drop for Completing {
    /// A caller that went away leaves the upload open too.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (shared, partition, batch) = (Arc::clone(&self.shared), partition(self.bucket.id), self.reopening());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { reopen(&shared, partition, batch).await });
        }
    }
}

impl Shared {
    /// An upload that this server is completing takes no parts and cannot be aborted. Errors: Conflict.
    fn check_open(&self, upload: &Upload) -> Result<(), StoreError> {
        if upload.record.completing == Some(self.run) { Err(StoreError::Conflict) } else { Ok(()) }
    }

    /// Every part of an upload, ascending.
    pub(crate) async fn part_rows(&self, bucket: &Bucket, upload: &UploadId) -> Result<Vec<PartRow>, StoreError> {
        let index = self.index_key(bucket.id);
        let rows = self.sealed_part_rows(bucket, upload).await?;
        rows.into_iter().map(|(row, value)| self.open_part(bucket, &index, &row, value)).collect()
    }

    /// The rows of every part of an upload, ascending, as they are stored: not yet authentic.
    pub(crate) async fn sealed_part_rows(
        &self,
        bucket: &Bucket,
        upload: &UploadId,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let prefix = rows::parts(upload);
        let mut from = prefix.clone();
        let mut all = Vec::new();
        loop {
            let scan = Scan { prefix: prefix.clone(), from, limit: PAGE };
            let page = self.meta.scan(partition(bucket.id), scan).await?;
            from = page.entries.last().map_or_else(Vec::new, |(row, _)| [&row[..], &[0]].concat());
            all.extend(page.entries);
            if !page.more {
                return Ok(all);
            }
        }
    }

    pub(crate) fn open_part(
        &self,
        bucket: &Bucket,
        index: &IndexKey,
        row: &[u8],
        raw: Bytes,
    ) -> Result<PartRow, StoreError> {
        let record: PartRecord = open_record(&self.keys.records, partition(bucket.id), row, &raw)?;
        Ok(to_part(index, record, raw))
    }

    pub(crate) fn open_upload(&self, bucket: &Bucket, row: &[u8], raw: Bytes) -> Result<Upload, StoreError> {
        let corrupt = || StoreError::Corrupt("an upload's row has no valid key");
        let (key, id) = row.strip_prefix(rows::UPLOADS).and_then(rows::unescape).ok_or_else(corrupt)?;
        let key = String::from_utf8(key).ok().and_then(|key| key.parse().ok()).ok_or_else(corrupt)?;
        let id = UploadId::from_bytes(id.try_into().map_err(|_| corrupt())?);
        let record = open_record(&self.keys.records, partition(bucket.id), row, &raw)?;
        Ok(to_upload(key, id, record, raw))
    }
}

fn to_upload(key: ObjectKey, id: UploadId, record: UploadRecord, raw: Bytes) -> Upload {
    Upload {
        key,
        id,
        write: record.write,
        owner: record.owner.clone(),
        initiated: record.initiated,
        envelope: record.envelope.clone(),
        meta: record.meta.clone(),
        etag: record.etag,
        checksum: record.checksum,
        tags: record.tags.clone(),
        said: record.said.clone(),
        record,
        raw,
    }
}

fn to_part(index: &IndexKey, record: PartRecord, raw: Bytes) -> PartRow {
    PartRow {
        number: record.sealed.number,
        size: record.sealed.length,
        etag: ETag { digest: index.open(&record.sealed.stream, &record.sealed_etag), parts: None },
        modified: record.modified,
        sealed_checksums: record.sealed_checksums,
        sealed: record.sealed,
        nonce: record.nonce,
        raw,
    }
}

/// SHA-256 over the rows, each behind its length.
pub(crate) fn root_hash<'a>(rows: impl IntoIterator<Item = &'a Bytes>) -> [u8; 32] {
    let mut hash = tresor_digest::Sha256::new();
    hash.update(b"tresor/v1/parts");
    for row in rows {
        hash.update(&(row.len() as u32).to_be_bytes());
        hash.update(row);
    }
    hash.finish()
}

/// Part numbers as inclusive ranges.
fn ranges(parts: &[PartRow]) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for part in parts {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == part.number => *last = part.number,
            _ => ranges.push((part.number, part.number)),
        }
    }
    ranges
}
