//! The store against a map: random writes, parts, deletes and listings over engines that fail at random, before or after they did
//! what they were asked. What was acknowledged holds, what failed happened whole or not at all, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tresor_envelope::{CipherStream, SealedBody};
use tresor_storage::{
    Batch, BlobError, BlobId, BlobStore, ListingQuery, MemoryBlobs, MemoryMeta, MetaError, MetaStore, Page, Partition,
    Scan, Visit,
};
use world::World;

/// Numbers without a pattern, the same in every run of a seed.
#[derive(Debug)]
struct Dice(AtomicU64);
impl Dice {
    fn roll(&self, below: u64) -> u64 {
        let step = |n: u64| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap();
        (before >> 33) % below
    }
}

/// Fails one commit in twelve: half of them after it was done, so that only its answer is lost.
#[derive(Debug)]
struct FaultyMeta(MemoryMeta, Arc<Dice>);
#[async_trait]
impl MetaStore for FaultyMeta {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        self.0.get(partition, key).await
    }
    async fn scan(&self, partition: Partition, scan: Scan) -> Result<Page, MetaError> {
        self.0.scan(partition, scan).await
    }
    fn walk(&self, partition: Partition, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), MetaError> {
        self.0.walk(partition, prefix, from, visit)
    }
    async fn next_partition(&self, after: Option<Partition>) -> Result<Option<Partition>, MetaError> {
        self.0.next_partition(after).await
    }
    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), MetaError> {
        match self.1.roll(24) {
            0 => Err(MetaError::Engine("before".into())),
            1 => {
                self.0.commit(partition, batch).await?;
                Err(MetaError::Engine("after".into()))
            }
            2 => Err(MetaError::Retry),
            _ => self.0.commit(partition, batch).await,
        }
    }
}

/// Fails one write in ten, half of them leaving a whole blob, and one removal in ten.
#[derive(Debug)]
struct FaultyBlobs(MemoryBlobs, Arc<Dice>);
#[async_trait]
impl BlobStore for FaultyBlobs {
    async fn write(&self, id: &BlobId, body: &mut SealedBody) -> Result<u64, BlobError> {
        match self.1.roll(20) {
            0 => Err(io::Error::other("before").into()),
            1 => {
                self.0.write(id, body).await?;
                Err(io::Error::other("after").into())
            }
            _ => self.0.write(id, body).await,
        }
    }
    async fn read(&self, id: &BlobId, range: Range<u64>, unit: usize) -> io::Result<CipherStream> {
        self.0.read(id, range, unit).await
    }
    async fn remove(&self, id: &BlobId) -> io::Result<()> {
        if self.1.roll(10) == 0 { Err(io::Error::other("not now")) } else { self.0.remove(id).await }
    }
    async fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Vec<BlobId>> {
        self.0.list(after, limit).await
    }
}

/// What a key may hold: one thing, or one of two while a failed write's fate is unknown.
type Model = BTreeMap<String, Vec<Option<Vec<u8>>>>;

async fn run(seed: u64) {
    let dice = Arc::new(Dice(AtomicU64::new(seed)));
    // The first commits make the bucket; the dice of the engines start behind them.
    let quiet = Arc::new(Dice(AtomicU64::new(seed ^ 0x5555)));
    let world = loop {
        let meta = Arc::new(FaultyMeta(MemoryMeta::default(), Arc::clone(&quiet)));
        let blobs = Arc::new(FaultyBlobs(MemoryBlobs::default(), Arc::clone(&quiet)));
        if let Ok(world) = World::try_on(meta, blobs).await {
            break world;
        }
    };
    let mut model = Model::new();
    for step in 0..60_u64 {
        let name = format!("k{}/{}", dice.roll(3), dice.roll(3));
        let before = model.get(&name).cloned().unwrap_or_else(|| vec![None]);
        let body: Vec<u8> =
            (0..[10, 5_000, 40_000, 70_000][dice.roll(4) as usize]).map(|n: u64| (n * 3 + step) as u8).collect();
        let (done, after) = match dice.roll(6) {
            0 => (world.delete(&name).await.is_ok(), None),
            1 => (
                world.try_put_parts(&name, &[body.clone(), vec![7; 100]]).await.is_ok(),
                Some([&body[..], &[7; 100]].concat()),
            ),
            _ => (world.try_put(&name, &body).await.is_ok(), Some(body)),
        };
        let mut possible = if done { Vec::new() } else { before };
        possible.push(after);
        model.insert(name.clone(), possible);
        check(&world, &mut model, &name, seed).await;
    }
    let names: Vec<String> = model.keys().cloned().collect();
    for name in names {
        check(&world, &mut model, &name, seed).await;
    }
    let listed: Vec<String> = world
        .store
        .list_objects(&world.bucket, &ListingQuery { limit: 1000, ..ListingQuery::default() })
        .await
        .unwrap()
        .objects()
        .map(|object| object.key.to_owned())
        .collect();
    let expected: Vec<String> =
        model.iter().filter(|(_, held)| held[0].is_some()).map(|(name, _)| name.clone()).collect();
    assert_eq!(listed, expected, "seed {seed}");

    // Whatever failed on the way, repairing removes all of it: the bucket can be emptied and deleted, and no blob is left.
    for name in expected {
        while world.delete(&name).await.is_err() {}
    }
    while world.store.recover().await.is_err() {}
    while world.store.delete_bucket(&world.bucket).await.is_err() {
        while world.store.recover().await.is_err() {}
        if world.store.bucket(&world.bucket.name).await.unwrap().is_none() {
            break;
        }
    }
    loop {
        // Abandoned blobs are removed in the background; what that missed, the sweep finds.
        tokio::task::yield_now().await;
        if world.store.sweep_orphans().await.is_ok_and(|removed| removed == 0) {
            break;
        }
    }
    assert_eq!(world.blobs.list(None, 10).await.unwrap(), [], "seed {seed}");
}

/// A key holds what the model allows; afterwards the model knows which.
async fn check(world: &World, model: &mut Model, name: &str, seed: u64) {
    let got = world.get(name).await;
    let possible = model.get_mut(name).unwrap();
    assert!(possible.contains(&got), "seed {seed}: {name} holds {:?} bytes", got.map(|bytes| bytes.len()));
    *possible = vec![got];
}

#[tokio::test]
async fn the_store_does_what_a_map_does_over_engines_that_fail() {
    for seed in 0..120 {
        run(seed * 7_919 + 1).await;
    }
}
