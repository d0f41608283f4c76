//! Writing, reading and deleting objects. The blob is durable before the commit that names it; a small body travels inside that
//! commit.

use crate::{
    blob::{BlobError, BlobId},
    error::StoreError,
    figures::add,
    garbage::ReadGuard,
    meta::{Batch, Expected},
    parts::FoundParts,
    record::{Body, Bucket, ETagRule, Garbage, ObjectMeta, PartRow, StoredChecksums, Version, VersionRecord},
    rows::{self, seal_record},
    store::{COMMIT_ATTEMPTS, Shared, Store, partition, to_version},
    uploads::root_hash,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{io, ops::Range, sync::Arc};
use tresor_envelope::{
    CipherSource, CipherStream, ContentKey, Envelope, Header, PlainBody, SealedBody, SealedPart, SseMode, open,
};
use tresor_model::{AccountId, Acl, ChangeRecord, ChecksumType, ETag, ObjectKey, TagSet, VersionId, WriteId};

/// The largest sealed body that lies beside its record, in bytes.
pub(crate) const INLINE_MAX: usize = 32 * 1024;

/// Rows of parts that are read one by one; more are read sooner with all others of the object.
const ROWS_ONE_BY_ONE: usize = 8;

/// A tag that a write demands of the current version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagMatch {
    /// Any current version.
    Any,
    /// A tag that no object can have.
    Never,
    Tag(ETag),
}

impl EtagMatch {
    fn holds(&self, etag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::Never => false,
            Self::Tag(tag) => tag == etag,
        }
    }
}

/// What a write demands of the current version, judged in its own commit.
#[derive(Clone, Debug, Default)]
pub struct Precondition {
    pub if_match: Option<EtagMatch>,
    /// `If-None-Match: *`
    pub if_none_match_any: bool,
}

/// A new object but for its body.
#[derive(Debug)]
pub struct NewObject {
    pub key: ObjectKey,
    pub write: WriteId,
    pub owner: AccountId,
    pub meta: ObjectMeta,
    pub tags: TagSet,
    pub envelope: Envelope,
    /// The KMS key and material that wrapped its data key; empty for SSE-C.
    pub key_id: String,
    pub material_id: String,
    pub etag: ETagRule,
    pub checksum_kind: ChecksumType,
    pub precondition: Precondition,
    /// `None`: the owner has full control and nobody else any.
    pub acl: Option<Acl>,
}

/// The KMS key and material whose loss makes an object unreadable, and which is therefore counted: none where no account can lose
/// it, because the server owns the key (SSE-S3) or never has it (SSE-C).
pub(crate) fn hangs_on(envelope: &Envelope, key_id: String, material_id: String) -> (String, String) {
    match envelope.header.mode {
        SseMode::S3 | SseMode::Customer => (String::new(), String::new()),
        SseMode::Kms | SseMode::KmsBucketKey | SseMode::Dsse => (key_id, material_id),
    }
}

/// What a delete did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deleted {
    pub delete_marker: bool,
    pub version_id: Option<VersionId>,
}

/// What can be replaced about a version that stays.
#[derive(Clone, Debug)]
pub enum VersionChange {
    Tags(TagSet),
    Acl(Acl),
}

impl Store {
    /// Stores `body` as the current version. Errors: Body, PreconditionFailed, NoSuchKey (If-Match without an object),
    /// NoSuchBucket, Conflict.
    pub async fn put_object(
        &self,
        bucket: &Bucket,
        new: NewObject,
        mut body: SealedBody,
    ) -> Result<Version, StoreError> {
        let shared = &self.shared;
        let small = body.take_small(INLINE_MAX).await?;
        let guard = match &small {
            Some(_) => None,
            None => {
                let id = BlobId::fresh(bucket.id, *new.write.as_bytes(), 0, &*shared.entropy);
                Some(shared.write_blob(id, &mut body).await?)
            }
        };
        let done = body.finish()?;
        let index = shared.index_key(bucket.id);
        let etag = shared.etag(new.etag, &done.digests);
        let checksums = done.sealed_checksums.map(|sealed| StoredChecksums {
            salt: done.part.salt,
            sealed,
            kind: new.checksum_kind,
        });
        let size = done.part.length;
        let (key_id, material_id) = hangs_on(&new.envelope, new.key_id, new.material_id);
        let record = VersionRecord {
            write: new.write,
            null: true,
            delete_marker: false,
            owner: new.owner,
            modified: shared.clock.now(),
            size,
            sealed_etag: index.seal(new.write.as_bytes(), &etag),
            parts: None,
            envelope: new.envelope,
            key_id,
            material_id,
            meta: new.meta,
            tags: new.tags,
            checksums,
            body: match &guard {
                Some(guard) => Body::Blob(done.part, guard.id.nonce),
                None => Body::Inline(done.part),
            },
            acl: new.acl,
        };
        let mut batch = Batch::default();
        if let Some(small) = small {
            batch = batch.put(rows::inline(&new.write), small);
        }
        if let Some(guard) = &guard {
            batch = batch.put(rows::blob_owner(&guard.id.owner, &guard.id.nonce), vec![1]);
        }
        shared.commit_version(bucket, &new.key, &record, &new.precondition, batch, self.record.as_ref()).await?;
        match guard {
            Some(guard) => guard.keep(),
            None => add(&shared.counts.inline_writes, 1),
        }
        Ok(to_version(&index, new.key, record))
    }

    /// The current version, or the one that is named.
    pub async fn version(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<&VersionId>,
    ) -> Result<Option<Arc<Version>>, StoreError> {
        let Some(value) = self.shared.get(partition(bucket.id), &rows::object(key)).await? else { return Ok(None) };
        let current = match self.shared.recent.version(bucket.id, key, &value) {
            Some(known) => known,
            None => {
                let index = self.shared.index_key(bucket.id);
                let read = Arc::new(self.shared.version(bucket, &index, key.clone(), &value)?);
                self.shared.recent.keep_version(bucket.id, &value, &read);
                read
            }
        };
        Ok(Some(current).filter(|current| version.is_none_or(|asked| *asked == current.version_id)))
    }

    /// The parts of an object made by a multipart upload, ascending; checked against the version's root hash. Errors: Corrupt,
    /// Overtaken.
    pub async fn parts(&self, bucket: &Bucket, version: &Version) -> Result<Vec<PartRow>, StoreError> {
        let Body::Parts { upload, chosen, root } = &version.body else { return Ok(Vec::new()) };
        let mut all = self.shared.part_rows(bucket, upload).await?;
        all.retain(|row| chosen.iter().any(|(first, last)| (*first..=*last).contains(&row.number)));
        let count: usize = chosen.iter().map(|(first, last)| usize::from(last - first) + 1).sum();
        if all.len() != count || root_hash(all.iter().map(|part| &part.raw)) != *root {
            return Err(self.not_its_parts(bucket, version).await?);
        }
        Ok(all)
    }

    /// Why the rows of a version's parts are not those that its record names. Errors: those of reading.
    async fn not_its_parts(&self, bucket: &Bucket, version: &Version) -> Result<StoreError, StoreError> {
        Ok(match self.version(bucket, &version.key, None).await? {
            Some(current) if current.write == version.write => {
                StoreError::Corrupt("the parts of an object are not those it was made of")
            }
            _ => StoreError::Overtaken,
        })
    }

    /// Opens the plaintext bytes `range`. Errors: Corrupt, Io; later ones come from the body.
    pub async fn open(
        &self,
        bucket: &Bucket,
        version: &Version,
        key: ContentKey,
        range: Range<u64>,
    ) -> Result<PlainBody, StoreError> {
        let shared = Arc::clone(&self.shared);
        // Before anything is looked at: what is overwritten from now on stays until this read has ended.
        let guard = ReadGuard::new(
            &shared,
            match &version.body {
                Body::Inline(_) | Body::Blob(..) => *version.write.as_bytes(),
                Body::Parts { upload, .. } => *upload.as_bytes(),
            },
        );
        let (parts, places) = match &version.body {
            Body::Inline(_) | Body::Blob(..) => self.places(bucket, version).await?,
            Body::Parts { .. } => {
                let found = self.found_parts(bucket, version, &range).await?;
                (found.sealed, Places::Blobs(found.blobs))
            }
        };
        if parts.iter().map(|part| part.length).sum::<u64>() != version.size {
            return Err(StoreError::Corrupt("the parts of an object do not add up to its size"));
        }
        Ok(open(key, &version.envelope.header, parts, range, Box::new(Reader { shared, places, _guard: guard }))?)
    }

    /// The parts of a body and where their ciphertexts lie, by their rows. Errors: Corrupt, Overtaken.
    pub(crate) async fn places(
        &self,
        bucket: &Bucket,
        version: &Version,
    ) -> Result<(Arc<[SealedPart]>, Places), StoreError> {
        Ok(match &version.body {
            Body::Inline(part) => {
                ([part.clone()].into(), Places::Inline(partition(bucket.id), rows::inline(&version.write)))
            }
            Body::Blob(part, nonce) => {
                let id = BlobId { bucket: bucket.id, owner: *version.write.as_bytes(), part: 0, nonce: *nonce };
                ([part.clone()].into(), Places::Blobs([id].into()))
            }
            Body::Parts { upload, .. } => {
                let found = FoundParts::new(bucket.id, upload, self.parts(bucket, version).await?);
                (found.sealed, Places::Blobs(found.blobs))
            }
        })
    }

    /// The parts of a multipart object for reading `range`. What is kept of them counts while the rows of those that the range touches are
    /// what they were; otherwise all rows are held against the root hash, and that they are authentic follows from it.
    /// Errors: Corrupt, Overtaken.
    async fn found_parts(
        &self,
        bucket: &Bucket,
        version: &Version,
        range: &Range<u64>,
    ) -> Result<FoundParts, StoreError> {
        let Body::Parts { upload, chosen, root } = &version.body else {
            return Err(StoreError::Corrupt("an object without parts was read by its parts"));
        };
        let name = (bucket.id, *upload, *root);
        let kept = self.shared.parts.get(&name);
        if let Some(found) = kept.as_ref().filter(|found| found.touched(range).len() <= ROWS_ONE_BY_ONE) {
            for part in found.touched(range) {
                let row = rows::part(upload, found.sealed[part].number);
                let value = self.shared.get(partition(bucket.id), &row).await?;
                if !value.is_some_and(|value| found.is_row(part, &value)) {
                    return Err(self.not_its_parts(bucket, version).await?);
                }
            }
            return Ok(found.clone());
        }
        let mut rows = self.shared.sealed_part_rows(bucket, upload).await?;
        rows.retain(|(row, _)| {
            row.last_chunk().is_some_and(|number| {
                let number = u16::from_be_bytes(*number);
                chosen.iter().any(|(first, last)| (*first..=*last).contains(&number))
            })
        });
        if root_hash(rows.iter().map(|(_, value)| value)) != *root {
            return Err(self.not_its_parts(bucket, version).await?);
        }
        if let Some(found) = kept {
            return Ok(found);
        }
        let index = self.shared.index_key(bucket.id);
        let open = |(row, value): (Vec<u8>, Bytes)| self.shared.open_part(bucket, &index, &row, value);
        let found = FoundParts::new(bucket.id, upload, rows.into_iter().map(open).collect::<Result<_, _>>()?);
        self.shared.parts.keep(name, &found);
        Ok(found)
    }

    /// Opens one part that lies in one blob. Errors: Corrupt; later ones come from the body.
    pub(crate) fn open_blob(
        &self,
        key: ContentKey,
        header: &Header,
        part: SealedPart,
        id: BlobId,
    ) -> Result<PlainBody, StoreError> {
        let shared = Arc::clone(&self.shared);
        let guard = ReadGuard::new(&shared, id.owner);
        let length = part.length;
        let reader = Reader { shared, places: Places::Blobs([id].into()), _guard: guard };
        Ok(open(key, header, vec![part], 0..length, Box::new(reader))?)
    }

    /// Removes an object. Errors: PreconditionFailed; NoSuchKey for If-Match on what is not there.
    pub async fn delete_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<&VersionId>,
        if_match: Option<EtagMatch>,
    ) -> Result<Deleted, StoreError> {
        let shared = &self.shared;
        let row = rows::object(key);
        for attempt in 0..COMMIT_ATTEMPTS {
            let Some(raw) = shared.get(partition(bucket.id), &row).await? else {
                return if if_match.is_some() { Err(StoreError::NoSuchKey) } else { Ok(Deleted::default()) };
            };
            let current = shared.version(bucket, &shared.index_key(bucket.id), key.clone(), &raw)?;
            if version.is_some_and(|asked| *asked != current.version_id) {
                return Ok(Deleted { delete_marker: false, version_id: version.copied() });
            }
            if if_match.as_ref().is_some_and(|tag| !tag.holds(&current.etag)) {
                return Err(StoreError::PreconditionFailed);
            }
            let batch = Batch::default().guard(row.clone(), Expected::Value(raw)).delete(row.clone());
            let (batch, garbage) = shared.drop_version(&current, batch);
            match shared.commit(bucket, batch, self.record.as_ref()).await {
                Err(StoreError::Conflict) => shared.back_off(attempt).await,
                other => {
                    other?;
                    shared.collector.wake(bucket.id, garbage);
                    return Ok(Deleted { delete_marker: false, version_id: version.copied() });
                }
            }
        }
        Err(StoreError::Conflict)
    }

    /// Changes a version that was read before, as it is. Errors: NoSuchKey, Conflict when another one is there by now.
    pub async fn change_version(
        &self,
        bucket: &Bucket,
        version: &Version,
        change: &VersionChange,
    ) -> Result<(), StoreError> {
        let shared = &self.shared;
        let row = rows::object(&version.key);
        for attempt in 0..COMMIT_ATTEMPTS {
            let raw = shared.get(partition(bucket.id), &row).await?.ok_or(StoreError::NoSuchKey)?;
            let mut record: VersionRecord = rows::open_record(&shared.keys.records, partition(bucket.id), &row, &raw)?;
            if record.write != version.write {
                return Err(StoreError::Conflict);
            }
            match change {
                VersionChange::Tags(tags) => record.tags = tags.clone(),
                VersionChange::Acl(acl) => record.acl = Some(acl.clone()),
            }
            let value = seal_record(&shared.keys.records, partition(bucket.id), &row, &record);
            let batch = Batch::default().guard(row.clone(), Expected::Value(raw)).put(row.clone(), value);
            match shared.commit(bucket, batch, self.record.as_ref()).await {
                Err(StoreError::Conflict) => shared.back_off(attempt).await,
                other => return other,
            }
        }
        Err(StoreError::Conflict)
    }
}

impl Shared {
    /// The entity tag of a body by its rule.
    pub(crate) fn etag(&self, rule: ETagRule, digests: &tresor_digest::Digests) -> [u8; 16] {
        match (rule, digests.md5) {
            (ETagRule::Md5, Some(md5)) => md5,
            (ETagRule::Md5, None) | (ETagRule::Opaque, _) => {
                let mut random = [0; 16];
                self.entropy.fill(&mut random);
                random
            }
        }
    }

    /// Makes `record` the current version of `key`, with the rows of `batch`, and drops the version it replaces.
    pub(crate) async fn commit_version(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        record: &VersionRecord,
        precondition: &Precondition,
        batch: Batch,
        change: Option<&ChangeRecord>,
    ) -> Result<(), StoreError> {
        let row = rows::object(key);
        let index = self.index_key(bucket.id);
        let value = seal_record(&self.keys.records, partition(bucket.id), &row, record);
        let mut batch = batch.put(row.clone(), value);
        if !record.key_id.is_empty() {
            batch = batch
                .put(rows::key_use(&record.key_id, &record.material_id, key), record.write.as_bytes().to_vec())
                .add(rows::key_count(&record.key_id, &record.material_id), [1, record.size as i64]);
        }
        for attempt in 0..COMMIT_ATTEMPTS {
            let raw = self.get(partition(bucket.id), &row).await?;
            let current = match &raw {
                Some(raw) => Some(self.version(bucket, &index, key.clone(), raw)?),
                None => None,
            };
            judge(precondition, current.as_ref())?;
            let mut this = Batch::default().unchanged(row.clone(), raw.as_ref());
            let mut garbage = None;
            if let Some(current) = &current {
                (this, garbage) = self.drop_version(current, this);
            }
            // The new version's rows come after the old one's are dropped: both may name the same row.
            this.guards.extend(batch.guards.iter().cloned());
            this.writes.extend(batch.writes.iter().cloned());
            match self.commit(bucket, this, change).await {
                Err(StoreError::Conflict) => self.back_off(attempt).await,
                other => {
                    other?;
                    self.collector.wake(bucket.id, garbage);
                    return Ok(());
                }
            }
        }
        Err(StoreError::Conflict)
    }

    /// Adds what removing a version takes; the object's own row is the caller's. Returns the garbage row's id, if there is one.
    fn drop_version(&self, version: &Version, mut batch: Batch) -> (Batch, Option<[u8; 16]>) {
        if !version.key_id.is_empty() {
            batch = batch
                .delete(rows::key_use(&version.key_id, &version.material_id, &version.key))
                .add(rows::key_count(&version.key_id, &version.material_id), [-1, -(version.size as i64)]);
        }
        match &version.body {
            Body::Inline(_) => (batch.delete(rows::inline(&version.write)), None),
            Body::Blob(_, nonce) => {
                let owner = *version.write.as_bytes();
                let (batch, id) = self.add_garbage(batch, &Garbage::Blob { owner, part: 0, nonce: *nonce });
                (batch.delete(rows::blob_owner(&owner, nonce)), Some(id))
            }
            Body::Parts { upload, .. } => {
                let (batch, id) = self.add_garbage(batch, &Garbage::Parts { upload: *upload, keep: Vec::new() });
                (batch, Some(id))
            }
        }
    }

    pub(crate) fn add_garbage(&self, batch: Batch, garbage: &Garbage) -> (Batch, [u8; 16]) {
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        (batch.put(rows::garbage(&id), minicbor::to_vec(garbage).expect("encoding into a Vec cannot fail")), id)
    }

    /// Writes a blob. Until the guard is told to keep it, dropping the guard removes the blob.
    pub(crate) async fn write_blob(
        self: &Arc<Self>,
        id: BlobId,
        body: &mut SealedBody,
    ) -> Result<BlobGuard, BlobError> {
        self.in_flight.lock().insert(id);
        let guard = BlobGuard { shared: Arc::clone(self), id, kept: false };
        let length = self.blobs.write(&id, body).await?;
        add(&self.counts.blob_writes, 1);
        add(&self.counts.blob_bytes, length);
        Ok(guard)
    }
}

fn judge(precondition: &Precondition, current: Option<&Version>) -> Result<(), StoreError> {
    if precondition.if_none_match_any && current.is_some() {
        return Err(StoreError::PreconditionFailed);
    }
    match (&precondition.if_match, current) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(StoreError::NoSuchKey),
        (Some(tag), Some(current)) if tag.holds(&current.etag) => Ok(()),
        (Some(_), Some(_)) => Err(StoreError::PreconditionFailed),
    }
}

/// A blob that no commit names yet.
pub(crate) struct BlobGuard {
    shared: Arc<Shared>,
    pub id: BlobId,
    kept: bool,
}

impl BlobGuard {
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for BlobGuard {
    fn drop(&mut self) {
        let (shared, id) = (Arc::clone(&self.shared), self.id);
        if self.kept {
            shared.in_flight.lock().remove(&id);
            return;
        }
        // Without a runtime the process is ending; the next start's sweep finds the blob.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // A commit whose answer was lost may have named the blob after all.
                let owned = crate::garbage::is_owned(&shared, &id).await.unwrap_or(true);
                if !owned && let Err(error) = shared.blobs.remove(&id).await {
                    tracing::warn!(%error, blob = %id, "an abandoned blob stays until the next sweep");
                }
                shared.in_flight.lock().remove(&id);
            });
        }
    }
}

/// Where the parts of one object lie.
pub(crate) enum Places {
    Inline(crate::Partition, Vec<u8>),
    Blobs(Arc<[BlobId]>),
}

struct Reader {
    shared: Arc<Shared>,
    places: Places,
    _guard: ReadGuard,
}

#[async_trait]
impl CipherSource for Reader {
    async fn read(&mut self, part: usize, range: Range<u64>, unit: usize) -> io::Result<CipherStream> {
        match &self.places {
            Places::Blobs(ids) => {
                let id = ids.get(part).ok_or(io::ErrorKind::InvalidInput)?;
                self.shared.blobs.read(id, range, unit).await
            }
            Places::Inline(partition, row) => {
                let value = self.shared.meta.get(*partition, row).await.map_err(io::Error::other)?;
                let value = value.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a small body is gone"))?;
                let end = usize::try_from(range.end).unwrap_or(usize::MAX);
                let start = usize::try_from(range.start).unwrap_or(usize::MAX);
                let piece: Bytes = match end <= value.len() && start <= end {
                    true => value.slice(start..end),
                    false => return Err(io::ErrorKind::UnexpectedEof.into()),
                };
                Ok(CipherStream::new(futures_util::stream::iter([Ok(piece)])))
            }
        }
    }
}
