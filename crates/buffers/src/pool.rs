//! The memory behind buffers: blocks of whole pages, kept for the next who asks.

use crate::Buffer;
use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// Bytes of a page, and what every block is aligned to: enough for direct I/O.
pub const PAGE: usize = 4096;
/// How long who asks waits before it goes on with less.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long nobody waits after somebody waited in vain: whoever holds the buffers stands still.
const STUCK: Duration = Duration::from_secs(1);

/// Hands out buffers, up to a limit. Cheap to clone.
#[derive(Clone)]
pub struct BufferPool(Arc<Shared>);

struct Shared {
    /// One permit for every page that may be in use.
    pages: Arc<Semaphore>,
    limit: usize,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    /// By their pages.
    idle: BTreeMap<usize, Vec<Block>>,
    /// Pages of all blocks, idle or in use: at most the limit.
    pages: usize,
    /// When somebody last waited in vain.
    stuck: Option<Instant>,
}

impl Blocks {
    /// Makes room for a block of `pages`: idle ones of other sizes go.
    fn make_room(&mut self, pages: usize, limit: usize) {
        while self.pages + pages > limit
            && let Some(mut largest) = self.idle.last_entry()
        {
            match largest.get_mut().pop() {
                Some(block) => self.pages -= block.pages,
                None => drop(largest.remove()),
            }
        }
        self.pages += pages;
    }
}

/// Memory that begins at a page's border.
struct Block {
    bytes: Vec<u8>,
    start: usize,
    pages: usize,
}

impl Block {
    fn new(pages: usize) -> Self {
        // Fresh zeros cost nothing until they are touched.
        let bytes = vec![0; (pages + 1) * PAGE];
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Self { bytes, start, pages }
    }
}

/// A block in use.
pub(crate) struct Pooled {
    /// Nothing only while it is dropped.
    block: Option<Block>,
    shared: Arc<Shared>,
    /// Given back after the block.
    _permit: OwnedSemaphorePermit,
}

impl Pooled {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| &block.bytes[block.start..][..block.pages * PAGE])
    }
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.block {
            Some(block) => &mut block.bytes[block.start..][..block.pages * PAGE],
            None => &mut [],
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.shared.blocks.lock().idle.entry(block.pages).or_default().push(block);
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferPool({} bytes)", self.0.limit * PAGE)
    }
}

impl BufferPool {
    /// `limit` is the most bytes that buffers take, in use or idle.
    pub fn new(limit: usize) -> Self {
        let limit = (limit / PAGE).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared { pages: Arc::new(Semaphore::new(limit)), limit, blocks: Mutex::default() }))
    }

    /// A buffer of at least `bytes`, if there is one now.
    pub fn try_take(&self, bytes: usize) -> Option<Buffer> {
        let permit = Arc::clone(&self.0.pages).try_acquire_many_owned(pages(bytes)?).ok()?;
        Some(self.take_with(permit))
    }

    /// A buffer of at least `bytes`: who asks first gets one first. When none comes free for a while, one of `least` bytes outside
    /// of the pool, so that clients that stand still with a buffer in their hands stop nobody.
    pub async fn take(&self, bytes: usize, least: usize) -> Buffer {
        if let Some(buffer) = self.try_take(bytes) {
            return buffer;
        }
        let Some(count) = pages(bytes) else { return Buffer::heap(least) };
        if self.0.blocks.lock().stuck.is_some_and(|since| since.elapsed() < STUCK) {
            return Buffer::heap(least);
        }
        match timeout(PATIENCE, Arc::clone(&self.0.pages).acquire_many_owned(count)).await {
            Ok(Ok(permit)) => self.take_with(permit),
            Ok(Err(_)) | Err(_) => {
                self.0.blocks.lock().stuck = Some(Instant::now());
                Buffer::heap(least)
            }
        }
    }

    fn take_with(&self, permit: OwnedSemaphorePermit) -> Buffer {
        let pages = permit.num_permits();
        let idle = {
            let mut blocks = self.0.blocks.lock();
            let idle = blocks.idle.get_mut(&pages).and_then(Vec::pop);
            if idle.is_none() {
                blocks.make_room(pages, self.0.limit);
            }
            idle
        };
        let block = idle.unwrap_or_else(|| Block::new(pages));
        Buffer::pooled(Pooled { block: Some(block), shared: Arc::clone(&self.0), _permit: permit })
    }
}

fn pages(bytes: usize) -> Option<u32> {
    u32::try_from(bytes.div_ceil(PAGE)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(pool: &BufferPool) -> usize {
        pool.0.blocks.lock().pages
    }

    #[test]
    fn a_buffer_is_aligned_and_used_again() {
        let pool = BufferPool::new(1 << 20);
        let mut first = pool.try_take(10_000).unwrap();
        assert_eq!(first.capacity(), 3 * PAGE);
        assert_eq!(first.space().as_ptr().align_offset(PAGE), 0);
        first.space()[..3].copy_from_slice(b"abc");
        first.set_filled(3);
        let at = first.filled().as_ptr();
        let frozen = first.freeze();
        let slice = frozen.slice(1..);
        drop(frozen);
        assert_ne!(pool.try_take(10_000).unwrap().space().as_ptr(), at, "it was still in use");
        assert_eq!(&slice[..], b"bc");
        drop(slice);
        let again = pool.try_take(10_000).unwrap();
        assert_eq!(again.filled(), b"", "what lay there before is not to be seen");
        assert_eq!(held(&pool), 6);
    }

    #[test]
    fn no_more_is_held_than_the_limit_whatever_sizes_are_asked_for() {
        let pool = BufferPool::new(10 * PAGE);
        let small: Vec<_> = (0..10).map_while(|_| pool.try_take(PAGE)).collect();
        assert_eq!((small.len(), held(&pool)), (10, 10));
        assert!(pool.try_take(1).is_none());
        drop(small);
        let large = pool.try_take(8 * PAGE).unwrap();
        assert!(held(&pool) <= 10);
        assert!(pool.try_take(3 * PAGE).is_none());
        drop(large);
        let most: Vec<_> = (0..6).map_while(|_| pool.try_take(3 * PAGE)).collect();
        assert_eq!(most.len(), 3);
        assert!(held(&pool) <= 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_none_waits_and_then_goes_on_with_less() {
        let pool = BufferPool::new(4 * PAGE);
        let all = pool.take(4 * PAGE, 10).await;
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.take(4 * PAGE, 10).await.capacity() }
        });
        tokio::time::sleep(PATIENCE / 2).await;
        drop(all);
        assert_eq!(waiting.await.unwrap(), 4 * PAGE, "one that came free in time");
        let _all = pool.take(4 * PAGE, 10).await;
        assert_eq!(pool.take(4 * PAGE, 10).await.capacity(), 10);
        let asked = Instant::now();
        assert_eq!(pool.take(4 * PAGE, 10).await.capacity(), 10);
        assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits again so soon");
        tokio::time::sleep(STUCK).await;
        assert_eq!(pool.take(5 * PAGE, 10).await.capacity(), 10, "more than the pool has");
        assert_eq!(asked.elapsed(), STUCK + PATIENCE);
    }
}
