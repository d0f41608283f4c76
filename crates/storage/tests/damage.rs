//! Must show 5, on the metadata: every byte of every row of a bucket flipped in turn, rows under another's key, parts dropped,
//! reordered and duplicated. Whatever is done, a read gives the right bytes or an error.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tresor_digest::{DigestPlan, Digester, Digests};
use tresor_envelope::{
    Binding, BodyError, DataKey, Envelope, Header, PartParams, PlainSource, RecordKey, SealedBody, SseMode,
    WrappedKeys, seal, unwrap, wrap,
};
use tresor_model::{
    AccountId, BucketName, ChecksumAlgorithm, ChecksumType, Clock, ETag, Entropy, ObjectKey, TagSet, Timestamp,
    UploadId, WriteId,
};
use tresor_storage::{
    Batch, Bucket, ETagRule, IndexRoot, MemoryBlobs, MemoryMeta, MetaStore, NewObject, NewUpload, ObjectMeta,
    Partition, Precondition, Scan, Store, StoreKeys,
};

#[derive(Debug, Default)]
struct Machine(AtomicU64);
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
struct World {
    machine: Arc<Machine>,
    meta: Arc<MemoryMeta>,
    store: Store,
    bucket: Bucket,
}

const KEK: [u8; 32] = [9; 32];

impl World {
    async fn new() -> Self {
        let (machine, meta) = (Arc::new(Machine::default()), Arc::new(MemoryMeta::default()));
        let keys = StoreKeys { records: RecordKey::derive(&[1; 32]), index: IndexRoot::new([2; 32]) };
        let store = Store::new(meta.clone(), Arc::new(MemoryBlobs::default()), keys, machine.clone(), machine.clone());
        let name: BucketName = "damage".parse().unwrap();
        let bucket = store.create_bucket(&name, &account(), "us-east-1", Vec::new()).await.unwrap();
        Self { machine, meta, store, bucket }
    }

    fn issue(&self, key: &ObjectKey, write: WriteId) -> (tresor_envelope::ContentKey, Envelope) {
        let header = Header::new(SseMode::S3, "");
        let data_key = DataKey::generate(&*self.machine);
        let binding = Binding { bucket: self.bucket.id, key: key.clone(), write };
        let wrapped = wrap(&KEK, &*self.machine, &binding.digest(&header), data_key.expose());
        Envelope::assemble(header, data_key, None, WrappedKeys { wrapped, ..WrappedKeys::default() }, Vec::new())
            .unwrap()
    }

    fn recover(&self, envelope: &Envelope, key: &ObjectKey, write: WriteId) -> Option<tresor_envelope::ContentKey> {
        let binding = Binding { bucket: self.bucket.id, key: key.clone(), write };
        let plain = unwrap(&KEK, &binding.digest(&envelope.header), &envelope.wrapped).ok()?;
        envelope.unlock(DataKey::from_bytes(plain[..].try_into().ok()?), None).ok()
    }

    fn sealed(&self, key: tresor_envelope::ContentKey, envelope: &Envelope, number: u16, body: &[u8]) -> SealedBody {
        let mut digester =
            Digester::new(&DigestPlan { md5: true, sha256: false, checksums: vec![ChecksumAlgorithm::Crc32] });
        digester.update(body);
        let source = Whole { body: Some(Bytes::copy_from_slice(body)), digests: digester.finish() };
        seal(key, &envelope.header, PartParams::fresh(number, &*self.machine), Box::new(source))
    }

    async fn put(&self, name: &str, body: &[u8]) {
        let key: ObjectKey = name.parse().unwrap();
        let write = WriteId::fresh(self.machine.now(), &*self.machine);
        let (content, envelope) = self.issue(&key, write);
        let sealed = self.sealed(content, &envelope, 1, body);
        let new = NewObject {
            key,
            write,
            owner: account(),
            meta: ObjectMeta { user: vec![("k".into(), "v".into())], ..ObjectMeta::default() },
            tags: TagSet::default(),
            envelope,
            key_id: "key".into(),
            material_id: "1".into(),
            etag: ETagRule::Md5,
            checksum_kind: ChecksumType::FullObject,
            precondition: Precondition::default(),
        };
        self.store.put_object(&self.bucket, new, sealed).await.unwrap();
    }

    async fn put_parts(&self, name: &str, bodies: &[Vec<u8>]) {
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
        };
        let upload = self.store.create_upload(&self.bucket, new).await.unwrap();
        let mut listed: Vec<(u16, ETag)> = Vec::new();
        for (number, body) in (1..).zip(bodies) {
            let content = self.recover(&envelope, &key, write).unwrap();
            let sealed = self.sealed(content, &envelope, number, body);
            listed.push((number, self.store.put_part(&self.bucket, &upload, sealed, number).await.unwrap().etag));
        }
        let completing = self.store.begin_complete(&self.bucket, upload).await.unwrap();
        let chosen = completing.choose(&listed, 0).unwrap();
        completing.finish(&chosen, None, &Precondition::default()).await.unwrap();
    }

    /// What a client would get: the bytes, or nothing.
    async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let key: ObjectKey = name.parse().unwrap();
        let version = self.store.version(&self.bucket, &key, None).await.ok()??;
        let content = self.recover(&version.envelope, &key, version.write)?;
        let mut plain = self.store.open(&self.bucket, &version, content, 0..version.size).await.ok()?;
        let mut all = Vec::new();
        loop {
            match plain.next().await {
                Ok(Some(piece)) => all.extend_from_slice(&piece),
                Ok(None) => return Some(all),
                Err(_) => return None,
            }
        }
    }

    async fn rows(&self) -> Vec<(Vec<u8>, Bytes)> {
        let scan = Scan { prefix: Vec::new(), from: Vec::new(), limit: 1000 };
        self.meta.scan(self.partition(), scan).await.unwrap().entries
    }
    fn partition(&self) -> Partition {
        Partition(*self.bucket.id.as_bytes())
    }
    async fn set(&self, row: &[u8], value: Bytes) {
        self.meta.commit(self.partition(), Batch::default().put(row.to_vec(), value)).await.unwrap();
    }
    async fn drop_row(&self, row: &[u8]) {
        self.meta.commit(self.partition(), Batch::default().delete(row.to_vec())).await.unwrap();
    }
}

fn account() -> AccountId {
    "111122223333".parse().unwrap()
}

/// Rows whose bytes a read depends on: objects, small bodies, parts.
fn matters(row: &[u8]) -> bool {
    [&b"o/"[..], b"b/", b"p/"].iter().any(|prefix| row.starts_with(prefix))
}

#[tokio::test]
async fn every_byte_of_every_row_matters() {
    let world = World::new().await;
    let (small, large) = (vec![7; 300], (0..100_000_u32).map(|n| n as u8).collect::<Vec<u8>>());
    let parts = [vec![1; 70_000], vec![2; 10], vec![3; 40_000]];
    world.put("small", &small).await;
    world.put("large", &large).await;
    world.put_parts("parts", &parts).await;
    let expected = [("small", small), ("large", large), ("parts", parts.concat())];
    let rows: Vec<_> = world.rows().await.into_iter().filter(|(row, _)| matters(row)).collect();
    assert_eq!(rows.len(), 3 + 1 + 3, "three records, one small body, three parts");
    for (row, value) in rows {
        for n in 0..value.len() {
            let mut broken = value.to_vec();
            broken[n] ^= 1 << (n % 8);
            world.set(&row, broken.into()).await;
            let mut errors = 0;
            for (name, body) in &expected {
                match world.get(name).await {
                    Some(got) => assert!(got == *body, "byte {n} of row {row:?} changed what {name} reads"),
                    None => errors += 1,
                }
            }
            assert_eq!(errors, 1, "byte {n} of row {row:?} went unnoticed");
        }
        for cut in [0, 1, value.len() / 2, value.len() - 1] {
            if cut > 0 {
                world.set(&row, value.slice(..cut)).await;
                let read = futures_util::future::join_all(expected.iter().map(|(name, _)| world.get(name))).await;
                assert_eq!(read.iter().filter(|got| got.is_none()).count(), 1, "row {row:?} cut at {cut}");
            }
        }
        world.set(&row, value).await;
    }
    for (name, body) in &expected {
        assert!(world.get(name).await.as_ref() == Some(body));
    }
}

#[tokio::test]
async fn rows_under_another_key_do_not_open() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.put(name, name.repeat(100).as_bytes()).await;
    }
    let rows = world.rows().await;
    for prefix in [&b"o/"[..], b"b/"] {
        let of: Vec<_> = rows.iter().filter(|(row, _)| row.starts_with(prefix)).collect();
        assert_eq!(of.len(), 2);
        world.set(&of[0].0, of[1].1.clone()).await;
        let first = world.get("a").await;
        assert!(first.is_none() || first.as_deref() == Some("a".repeat(100).as_bytes()));
        assert!([first, world.get("b").await].iter().any(Option::is_none));
        world.set(&of[0].0, of[0].1.clone()).await;
    }
    // A record under a name that has none.
    let (row, value) = rows.iter().find(|(row, _)| row == b"o/a").unwrap();
    world.set(b"o/c", value.clone()).await;
    assert_eq!(world.get("c").await, None);
    assert!(world.get("a").await.is_some(), "{row:?}");
}

#[tokio::test]
async fn parts_dropped_reordered_duplicated_or_replaced_are_found() {
    let world = World::new().await;
    let parts: Vec<Vec<u8>> = (0..4_u8).map(|n| vec![n; 1000]).collect();
    world.put_parts("k", &parts).await;
    world.put_parts("other", &parts).await;
    let whole = parts.concat();
    let upload = {
        let rows = world.rows().await;
        let first = rows.iter().find(|(row, _)| row.starts_with(b"p/")).unwrap().0.clone();
        first[..18].to_vec()
    };
    let all = world.rows().await;
    let rows: Vec<_> = all.iter().filter(|(row, _)| row.starts_with(&upload)).cloned().collect();
    let others: Vec<_> =
        all.iter().filter(|(row, _)| row.starts_with(b"p/") && !row.starts_with(&upload)).cloned().collect();
    assert_eq!((rows.len(), others.len()), (4, 4));
    let name = if world.get("k").await.is_some() { "k" } else { "other" };
    let victim = {
        world.drop_row(&rows[1].0).await;
        let victim = if world.get("k").await.is_none() { "k" } else { "other" };
        assert_eq!(world.get(victim).await, None, "{name}");
        world.set(&rows[1].0, rows[1].1.clone()).await;
        victim
    };
    assert!(world.get(victim).await.as_ref() == Some(&whole));
    // Two rows in each other's place, one row twice, and a row of another upload.
    for (at, value) in [(0, &rows[1].1), (1, &rows[2].1), (3, &rows[0].1), (2, &others[2].1)] {
        world.set(&rows[at].0, value.clone()).await;
        assert_eq!(world.get(victim).await, None, "row {at}");
        world.set(&rows[at].0, rows[at].1.clone()).await;
    }
    // A part that was never chosen.
    let extra = [&rows[3].0[..rows[3].0.len() - 2], &[0, 9]].concat();
    world.set(&extra, rows[3].1.clone()).await;
    assert!(world.get(victim).await.is_none_or(|got| got == whole));
    world.drop_row(&extra).await;
    assert!(world.get(victim).await.as_ref() == Some(&whole));
}
