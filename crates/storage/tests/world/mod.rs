//! A store on the in-memory reference with a stand-in for the key ring, for the tests beside this folder.
#![allow(clippy::unwrap_used, dead_code, reason = "tests may panic, and each uses a part of this")]

use async_trait::async_trait;
use bytes::Bytes;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tresor_digest::{DigestPlan, Digester, Digests, Kernel};
use tresor_envelope::{
    Binding, BodyError, DataKey, Envelope, Header, PartParams, PlainSource, RecordKey, SealedBody, SseMode,
    WrappedKeys, seal, unwrap, wrap,
};
use tresor_model::{
    AccountId, BucketName, ChecksumAlgorithm, ChecksumType, Clock, ETag, Entropy, ObjectKey, TagSet, Timestamp,
    UploadId, WriteId,
};
use tresor_storage::{
    Batch, BlobStore, BlobTree, Bucket, ETagRule, IndexRoot, MemoryBlobs, MemoryMeta, MetaStore, NewObject, NewUpload,
    ObjectMeta, Partition, Precondition, Scan, Store, StoreError, StoreKeys, Upload,
};

/// Time that counts and randomness that is SHA-256 of a counter.
#[derive(Debug, Default)]
pub struct Machine(AtomicU64);
impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
}
impl Entropy for Machine {
    fn fill(&self, out: &mut [u8]) {
        for piece in out.chunks_mut(32) {
            let n = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            piece.copy_from_slice(&tresor_digest::sha256(&n)[..piece.len()]);
        }
    }
}

struct Whole {
    body: Option<Bytes>,
    digests: Digests,
}
#[async_trait]
impl PlainSource for Whole {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        Ok(self.body.take())
    }
    fn digests(&mut self) -> Digests {
        self.digests.clone()
    }
}

/// A store on the in-memory reference, with one bucket, and a stand-in for the key ring that binds keys as it does.
pub struct World {
    pub machine: Arc<Machine>,
    pub meta: Arc<dyn MetaStore>,
    pub store: Store,
    pub blobs: Arc<dyn BlobStore>,
    pub tree: Arc<dyn BlobTree>,
    pub bucket: Bucket,
}

const KEK: [u8; 32] = [9; 32];

impl World {
    pub async fn new() -> Self {
        let blobs = Arc::new(MemoryBlobs::default());
        Self { tree: blobs.clone(), ..Self::on(Arc::new(MemoryMeta::default()), blobs).await }
    }

    async fn on(meta: Arc<dyn MetaStore>, blobs: Arc<dyn BlobStore>) -> Self {
        Self::try_on(meta, blobs).await.unwrap()
    }

    pub async fn try_on(meta: Arc<dyn MetaStore>, blobs: Arc<dyn BlobStore>) -> Result<Self, StoreError> {
        let machine = Arc::new(Machine::default());
        let keys = StoreKeys { records: RecordKey::derive(&[1; 32]), index: IndexRoot::new(&[2; 32]) };
        let store = Store::new(meta.clone(), blobs.clone(), keys, machine.clone(), machine.clone());
        let name: BucketName = "damage".parse().unwrap();
        let bucket = store.create_bucket(&name, &account(), "us-east-1", Vec::new()).await?;
        Ok(Self { machine, meta, store, blobs, tree: Arc::new(MemoryBlobs::default()), bucket })
    }

    fn issue(&self, key: &ObjectKey, write: WriteId) -> (tresor_envelope::ContentKey, Envelope) {
        let header = Header::new(SseMode::Kms, "key");
        let data_key = DataKey::generate(&*self.machine);
        let binding = Binding { bucket: self.bucket.id, key: key.clone(), write };
        let wrapped = wrap(&KEK, &*self.machine, &binding.digest(&header), data_key.expose());
        Envelope::assemble(header, data_key, None, WrappedKeys { wrapped, ..WrappedKeys::default() }, Vec::new())
            .unwrap()
    }

    pub fn recover(&self, envelope: &Envelope, key: &ObjectKey, write: WriteId) -> Option<tresor_envelope::ContentKey> {
        let binding = Binding { bucket: self.bucket.id, key: key.clone(), write };
        let plain = unwrap(&KEK, &binding.digest(&envelope.header), &envelope.wrapped).ok()?;
        envelope.unlock(DataKey::from_bytes(plain[..].try_into().ok()?), None).ok()
    }

    fn sealed(&self, key: tresor_envelope::ContentKey, envelope: &Envelope, number: u16, body: &[u8]) -> SealedBody {
        let mut digester = Digester::new(
            &DigestPlan { md5: true, sha256: false, checksums: vec![ChecksumAlgorithm::Crc32] },
            Kernel::Scalar,
        );
        digester.update(body);
        let source = Whole { body: Some(Bytes::copy_from_slice(body)), digests: digester.finish() };
        seal(key, &envelope.header, PartParams::fresh(number, &*self.machine), Box::new(source))
    }

    pub async fn put(&self, name: &str, body: &[u8]) {
        self.try_put(name, body).await.unwrap();
    }

    pub async fn try_put(&self, name: &str, body: &[u8]) -> Result<(), StoreError> {
        let meta = ObjectMeta { user: vec![("k".into(), "v".into())], ..ObjectMeta::default() };
        self.try_put_as(name, body, account(), meta).await
    }

    pub async fn try_put_as(
        &self,
        name: &str,
        body: &[u8],
        owner: AccountId,
        meta: ObjectMeta,
    ) -> Result<(), StoreError> {
        let key: ObjectKey = name.parse().unwrap();
        let write = WriteId::fresh(self.machine.now(), &*self.machine);
        let (content, envelope) = self.issue(&key, write);
        let sealed = self.sealed(content, &envelope, 1, body);
        let new = NewObject {
            key,
            write,
            owner,
            meta,
            tags: TagSet::default(),
            envelope,
            key_id: "key".into(),
            material_id: "1".into(),
            etag: ETagRule::Md5,
            checksum_kind: ChecksumType::FullObject,
            precondition: Precondition::default(),
            acl: None,
        };
        self.store.put_object(&self.bucket, new, sealed).await.map(drop)
    }

    pub async fn put_parts(&self, name: &str, bodies: &[Vec<u8>]) {
        self.try_put_parts(name, bodies).await.unwrap();
    }

    pub async fn try_put_parts(&self, name: &str, bodies: &[Vec<u8>]) -> Result<(), StoreError> {
        let (upload, listed) = self.try_begin_parts(name, bodies).await?;
        let completing = self.store.begin_complete(&self.bucket, upload).await?;
        let chosen = completing.choose(&listed, 0)?;
        completing.finish(&chosen, None, &Precondition::default()).await.map(drop)
    }

    /// An upload that stays in progress.
    pub async fn begin_parts(&self, name: &str, bodies: &[Vec<u8>]) {
        self.try_begin_parts(name, bodies).await.unwrap();
    }

    async fn try_begin_parts(&self, name: &str, bodies: &[Vec<u8>]) -> Result<(Upload, Vec<(u16, ETag)>), StoreError> {
        let key: ObjectKey = name.parse().unwrap();
        let write = WriteId::fresh(self.machine.now(), &*self.machine);
        let (_, envelope) = self.issue(&key, write);
        let new = NewUpload {
            key: key.clone(),
            id: UploadId::fresh(self.machine.now(), &*self.machine),
            write,
            owner: account(),
            meta: ObjectMeta::default(),
            tags: TagSet::default(),
            envelope: envelope.clone(),
            key_id: String::new(),
            material_id: String::new(),
            etag: ETagRule::Md5,
            checksum: None,
            acl: None,
            object_owner: None,
            said: Vec::new(),
        };
        let upload = self.store.create_upload(&self.bucket, new).await?;
        let mut listed: Vec<(u16, ETag)> = Vec::new();
        for (number, body) in (1..).zip(bodies) {
            let content = self.recover(&envelope, &key, write).unwrap();
            let sealed = self.sealed(content, &envelope, number, body);
            listed.push((number, self.store.put_part(&self.bucket, &upload, sealed, number).await?.etag));
        }
        Ok((upload, listed))
    }

    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete_object(&self.bucket, &name.parse().unwrap(), None, None).await.map(drop)
    }

    /// What a client would get: the bytes, or nothing.
    pub async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let key: ObjectKey = name.parse().unwrap();
        let size = self.store.version(&self.bucket, &key, None).await.ok()??.size;
        self.get_range(name, 0..size).await
    }

    /// What a client would get of a range: the bytes, or nothing.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Option<Vec<u8>> {
        let key: ObjectKey = name.parse().unwrap();
        let version = self.store.version(&self.bucket, &key, None).await.ok()??;
        let content = self.recover(&version.envelope, &key, version.write)?;
        let mut plain = self.store.open(&self.bucket, &version, content, range).await.ok()?;
        let mut all = Vec::new();
        loop {
            match plain.next().await {
                Ok(Some(piece)) => all.extend_from_slice(&piece),
                Ok(None) => return Some(all),
                Err(_) => return None,
            }
        }
    }

    pub async fn rows(&self) -> Vec<(Vec<u8>, Bytes)> {
        let scan = Scan { prefix: Vec::new(), from: Vec::new(), limit: 1000 };
        self.meta.scan(self.partition(), scan).await.unwrap().entries
    }
    pub fn partition(&self) -> Partition {
        Partition(*self.bucket.id.as_bytes())
    }
    pub async fn set(&self, row: &[u8], value: Bytes) {
        self.meta.commit(self.partition(), Batch::default().put(row.to_vec(), value)).await.unwrap();
    }
    pub async fn drop_row(&self, row: &[u8]) {
        self.meta.commit(self.partition(), Batch::default().delete(row.to_vec())).await.unwrap();
    }
}

pub fn account() -> AccountId {
    "111122223333".parse().unwrap()
}
