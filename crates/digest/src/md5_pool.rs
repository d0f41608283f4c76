//! MD5 of many bodies in flight: whoever receives a body hands its pieces over and goes on, and a thread takes up to a register full of
//! bodies forward at once. The longer queue is, the faster each byte: the lanes fill.

use crate::{
    md5_chain::Chain,
    md5_lanes::{BLOCK, Kernel, MAX_LANES},
};
use bytes::{Buf, Bytes};
use parking_lot::{Condvar, Mutex};
use std::{collections::VecDeque, fmt, sync::Arc, thread};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// Bytes of one body that may wait; who brings more waits.
const WINDOW: usize = 256 << 10;
/// Bytes of all bodies together that may wait. They are hashed whoever else is slow, so that waiting for room ends.
const ALL: usize = 16 << 20;
/// A smaller piece counts as one of so many bytes: it keeps more in memory than itself.
const LEAST: usize = 4 << 10;
/// Blocks that lanes go forward before new bodies may join: 32 KiB.
const ROUND: usize = 512;

/// Hashes bodies beside those who receive them. Cheap to clone.
#[derive(Clone)]
pub struct Md5Pool(Arc<Pool>);

impl fmt::Debug for Md5Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Md5Pool({:?})", self.0.queue.kernel)
    }
}

/// Ends the threads with the last handle.
struct Pool {
    queue: Arc<Queue>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.waiting.lock().stopped = true;
        self.queue.ready.notify_all();
    }
}

struct Queue {
    kernel: Kernel,
    waiting: Mutex<Waiting>,
    ready: Condvar,
    /// Room for pieces of all bodies, in units of `LEAST`.
    room: Arc<Semaphore>,
}

/// A piece and the room it takes.
struct Piece {
    bytes: Bytes,
    /// In bytes.
    room: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Waiting {
    bodies: VecDeque<Arc<Body>>,
    stopped: bool,
}

/// One body on its way.
struct Body {
    inner: Mutex<Inner>,
    /// Wakes who waits for room.
    room: Notify,
}

#[derive(Default)]
struct Inner {
    pieces: VecDeque<Piece>,
    /// The room of `pieces`, and of the one a thread works on.
    held: usize,
    ending: Option<oneshot::Sender<[u8; 16]>>,
    /// A thread has it, or it is in the queue.
    scheduled: bool,
    chain: Chain,
}

impl Md5Pool {
    /// With a thread for every four processors. Errors: a thread that cannot be started.
    pub fn new(kernel: Kernel) -> std::io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::with(kernel, processors.div_ceil(4))
    }

    /// With a kernel that this machine has. Errors: a thread that cannot be started.
    pub fn with(kernel: Kernel, threads: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            kernel,
            waiting: Mutex::default(),
            ready: Condvar::new(),
            room: Arc::new(Semaphore::new(ALL / LEAST)),
        });
        for _ in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("md5".into()).spawn(move || queue.work())?;
        }
        Ok(Self(Arc::new(Pool { queue })))
    }

    /// The kernel that bodies are hashed with.
    pub fn kernel(&self) -> Kernel {
        self.0.queue.kernel
    }

    /// A body of its own.
    pub fn body(&self) -> Md5Body {
        let body = Arc::new(Body { inner: Mutex::default(), room: Notify::new() });
        Md5Body { queue: Arc::clone(&self.0.queue), body, _pool: Arc::clone(&self.0) }
    }
}

/// The MD5 of one body, taken beside its receipt.
pub struct Md5Body {
    queue: Arc<Queue>,
    body: Arc<Body>,
    _pool: Arc<Pool>,
}

impl Md5Body {
    /// Adds a piece; waits while too much of this body waits.
    pub async fn update(&self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let room = piece.len().max(LEAST);
        let units = u32::try_from(room.min(ALL).div_ceil(LEAST)).unwrap_or(u32::MAX);
        // Only a pool that ends closes its room, and it outlives its bodies.
        let permit = Arc::clone(&self.queue.room).acquire_many_owned(units).await.ok();
        let mut piece = Some(Piece { bytes: piece, room, _permit: permit });
        loop {
            let freed = self.body.room.notified();
            {
                let mut inner = self.body.inner.lock();
                if inner.held < WINDOW {
                    inner.held += room;
                    inner.pieces.extend(piece.take());
                    self.schedule(&mut inner);
                    return;
                }
            }
            freed.await;
        }
    }

    /// The digest of everything; `None` only when the hashing thread is gone.
    pub async fn finish(self) -> Option<[u8; 16]> {
        let (done, digest) = oneshot::channel();
        {
            let mut inner = self.body.inner.lock();
            inner.ending = Some(done);
            self.schedule(&mut inner);
        }
        digest.await.ok()
    }

    fn schedule(&self, inner: &mut Inner) {
        if !inner.scheduled {
            inner.scheduled = true;
            self.queue.waiting.lock().bodies.push_back(Arc::clone(&self.body));
            self.queue.ready.notify_one();
        }
    }
}

/// A body in a lane.
struct Lane {
    body: Arc<Body>,
    chain: Chain,
    piece: Piece,
}

impl Lane {
    fn whole_blocks(&self) -> usize {
        self.piece.bytes.len() / BLOCK
    }

    /// A body's next piece that has a whole block; nothing when it has none now, and then the body is told so.
    /// `done` is the room of the piece before.
    fn next(body: Arc<Body>, chain: Option<Chain>, done: usize) -> Option<Self> {
        let mut inner = body.inner.lock();
        let mut chain = chain.unwrap_or_else(|| std::mem::take(&mut inner.chain));
        inner.held -= done;
        let mut told = done > 0;
        let found = loop {
            let Some(mut piece) = inner.pieces.pop_front() else { break None };
            chain.take_head(&mut piece.bytes);
            if piece.bytes.len() >= BLOCK {
                break Some(piece);
            }
            chain.tail.extend_from_slice(&piece.bytes);
            inner.held -= piece.room;
            told = true;
        };
        let lane = match found {
            Some(piece) => Some((chain, piece)),
            None => {
                inner.scheduled = false;
                match inner.ending.take() {
                    // Who asked may be gone.
                    Some(done) => drop(done.send(chain.finish())),
                    None => inner.chain = chain,
                }
                None
            }
        };
        drop(inner);
        if told {
            body.room.notify_waiters();
        }
        lane.map(|(chain, piece)| Self { body, chain, piece })
    }

    /// The piece has no whole block left.
    fn followed(mut self) -> Option<Self> {
        self.chain.tail.extend_from_slice(&self.piece.bytes);
        let done = self.piece.room;
        drop(self.piece);
        Self::next(self.body, Some(self.chain), done)
    }
}

impl Queue {
    /// Until the pool is gone.
    fn work(&self) {
        let most = self.kernel.lanes().clamp(1, MAX_LANES);
        let mut lanes: Vec<Lane> = Vec::with_capacity(most);
        loop {
            {
                let mut waiting = self.waiting.lock();
                loop {
                    let room = most - lanes.len();
                    let joining = waiting.bodies.len().min(room);
                    // The body's own lock is taken without this one: whoever schedules holds them the other way round.
                    let bodies: Vec<_> = waiting.bodies.drain(..joining).collect();
                    if !bodies.is_empty() {
                        parking_lot::MutexGuard::unlocked(&mut waiting, || {
                            lanes.extend(bodies.into_iter().filter_map(|body| Lane::next(body, None, 0)));
                        });
                        continue;
                    }
                    if !lanes.is_empty() {
                        break;
                    }
                    if waiting.stopped {
                        return;
                    }
                    self.ready.wait(&mut waiting);
                }
            }
            let blocks = lanes.iter().map(Lane::whole_blocks).min().unwrap_or_default().min(ROUND);
            let mut streams: Vec<_> =
                lanes.iter_mut().map(|lane| (&mut lane.chain.state, &lane.piece.bytes[..])).collect();
            self.kernel.advance(&mut streams, blocks);
            drop(streams);
            let mut going = Vec::with_capacity(most);
            for mut lane in lanes {
                lane.piece.bytes.advance(blocks * BLOCK);
                going.extend(if lane.whole_blocks() > 0 { Some(lane) } else { lane.followed() });
            }
            lanes = going;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hashed(pool: &Md5Pool, bodies: &[Vec<Vec<u8>>]) -> Vec<[u8; 16]> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let mut tasks = Vec::new();
            for pieces in bodies.iter().cloned() {
                let body = pool.body();
                tasks.push(tokio::spawn(async move {
                    for piece in pieces {
                        body.update(piece.into()).await;
                    }
                    body.finish().await.unwrap()
                }));
            }
            let mut digests = Vec::new();
            for task in tasks {
                digests.push(task.await.unwrap());
            }
            digests
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn bodies_in_any_pieces_hash_as_the_reference_does(
            lengths in proptest::collection::vec(proptest::collection::vec(0_usize..3000, 0..6), 1..24),
            threads in 1_usize..3,
        ) {
            let pool = Md5Pool::with(Kernel::widest(true), threads).unwrap();
            let bodies: Vec<Vec<Vec<u8>>> = lengths
                .iter()
                .enumerate()
                .map(|(body, pieces)| {
                    pieces.iter().enumerate().map(|(n, len)| (0..*len).map(|i| (i * 7 + n * 5 + body) as u8).collect()).collect()
                })
                .collect();
            let expected: Vec<_> = bodies.iter().map(|pieces| crate::md5(&pieces.concat())).collect();
            prop_assert_eq!(hashed(&pool, &bodies), expected);
        }
    }

    #[test]
    fn long_bodies_wait_for_room_and_lengths_around_the_padding_are_right() {
        let pool = Md5Pool::new(Kernel::widest(true)).unwrap();
        let long: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; 100_000]).collect();
        let mut bodies: Vec<Vec<Vec<u8>>> = (0..130).map(|len| vec![vec![0x61; len]]).collect();
        bodies.extend((0..20).map(|_| long.clone()));
        let expected: Vec<_> = bodies.iter().map(|pieces| crate::md5(&pieces.concat())).collect();
        assert!(hashed(&pool, &bodies) == expected);
    }

    #[test]
    fn a_body_that_is_given_up_leaves_the_pool_working() {
        let pool = Md5Pool::new(Kernel::widest(true)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let body = pool.body();
            body.update(Bytes::from(vec![1; 10_000])).await;
            drop(body);
        });
        assert_eq!(hashed(&pool, &[vec![b"abc".to_vec()]])[0], crate::md5(b"abc"));
    }
}
