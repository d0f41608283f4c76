//! Files of which ranges are read again and again, read through once so that the kernel has them in memory: what it fetches range by
//! range it keeps in single pages, which cost several times as much to read as the large pieces that reading in sequence leaves.
//!
//! Must never make the disk work in vain: besides what was asked for, no more bytes are ever read than were found in memory before,
//! and `ADVANCE`. A set of objects that memory cannot hold finds little there, and so is soon left alone.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    sync::{Arc, Mutex, PoisonError},
};
use tresor_buffers::{Buffer, BufferPool};

use crate::blobs::blocking;

/// Bytes that may be read before any were found in memory.
const ADVANCE: u64 = 1 << 30;
/// The most that is put by for later, in bytes: a busy day must not pay for a night of reading.
const MAX_CREDIT: u64 = 4 << 30;
/// A file is read through once this part of its bytes came from the disk: it is read in many places.
const OF_A_FILE: u64 = 32;
/// A larger part of the machine's memory than this is too much for one file.
const OF_MEMORY: u64 = 16;
/// Files whose reads from the disk are counted.
const MAX_COUNTED: usize = 4096;
/// Bytes read at once.
const STEP: usize = 1 << 20;

/// What ranges found in memory and what they did not. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warming(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    /// Bytes that came from the disk, by the file's number.
    missed: HashMap<u64, u64>,
    /// Bytes that may be read.
    credit: u64,
    /// A file is being read: one after the other.
    busy: bool,
    /// Bytes of the largest file that is read through.
    largest: u64,
}

impl Default for Counts {
    fn default() -> Self {
        let system = rustix::system::sysinfo();
        let memory = system.totalram.saturating_mul(u64::from(system.mem_unit));
        Self { missed: HashMap::new(), credit: ADVANCE, busy: false, largest: memory / OF_MEMORY }
    }
}

impl Counts {
    fn found(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes).min(MAX_CREDIT);
    }

    /// Whether a file is to be read through now that so many bytes more of it came from the disk; then it is paid for.
    fn missed(&mut self, file: u64, length: u64, bytes: u64) -> bool {
        if self.missed.len() >= MAX_COUNTED {
            self.missed.clear();
        }
        let missed = self.missed.entry(file).or_default();
        *missed += bytes;
        if self.busy || *missed < length / OF_A_FILE || length > self.largest.min(self.credit) {
            return false;
        }
        self.missed.remove(&file);
        self.credit -= length;
        self.busy = true;
        true
    }
}

impl Warming {
    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// So many bytes of a range were in memory.
    pub(crate) fn found(&self, bytes: usize) {
        self.with(|counts| counts.found(bytes as u64));
    }

    /// So many bytes of a range came from the disk. The file is read through, beside whoever goes on, if that promises to pay.
    pub(crate) fn missed(&self, file: &Arc<File>, bytes: usize, pool: &BufferPool) {
        let Ok(about) = file.metadata() else { return };
        if !self.with(|counts| counts.missed(about.ino(), about.len(), bytes as u64)) {
            return;
        }
        let (ended, file) = (Ended(self.clone()), Arc::clone(file));
        // Nobody else shall go without one: then the file waits for another time.
        let Some(buffer) = pool.try_take(STEP) else { return self.with(|counts| counts.found(about.len())) };
        // A task of steps: it ends with the runtime, within one of them.
        tokio::spawn(async move {
            let _ended = ended;
            if let Err(error) = read_through(file, buffer).await {
                tracing::debug!(%error, "a file could not be read through");
            }
        });
    }
}

/// Lets the next file be read.
struct Ended(Warming);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.with(|counts| counts.busy = false);
    }
}

/// Reads a file from its start to its end, and keeps nothing of it.
async fn read_through(file: Arc<File>, mut buffer: Buffer) -> io::Result<()> {
    let mut at = 0;
    loop {
        let file = Arc::clone(&file);
        let (read, back) = blocking(move || Ok((file.read_at(buffer.space(), at)?, buffer))).await?;
        if read == 0 {
            return Ok(());
        }
        at += read as u64;
        buffer = back;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn counts() -> Counts {
        Counts { largest: 512 * MIB, ..Counts::default() }
    }

    #[test]
    fn a_file_is_read_through_once_a_part_of_it_was_missed_and_only_one_at_a_time() {
        let mut counts = counts();
        assert!(!counts.missed(1, 64 * MIB, MIB));
        assert!(counts.missed(1, 64 * MIB, MIB));
        assert!(!counts.missed(2, 64 * MIB, 2 * MIB), "another is being read");
        counts.busy = false;
        assert!(!counts.missed(1, 64 * MIB, MIB), "counted anew");
        assert!(counts.missed(2, 64 * MIB, 1));
        counts.busy = false;
        assert!(!counts.missed(3, 513 * MIB, 512 * MIB), "too large for the machine");
    }

    /// What the module's head promises, over many files that are never found in memory and then over some that are.
    #[test]
    fn no_more_is_read_than_was_found_and_the_advance() {
        let mut counts = counts();
        let mut read = |found: u64| {
            let mut read = 0;
            counts.found(found);
            for file in 0..10_000 {
                counts.busy = false;
                read += if counts.missed(file, 100 * MIB, 50 * MIB) { 100 * MIB } else { 0 };
            }
            read
        };
        assert_eq!(read(0), ADVANCE / (100 * MIB) * 100 * MIB);
        assert_eq!(read(10 * MIB), 0);
        assert_eq!(read(80 * MIB), 100 * MIB);
        assert!(read(u64::MAX) <= MAX_CREDIT);
    }

    #[tokio::test]
    async fn reading_through_ends_and_lets_the_next_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![7; 3 * STEP + 5]).unwrap();
        let (warming, pool) = (Warming::default(), BufferPool::new(4 << 20));
        let file = Arc::new(File::open(path).unwrap());
        warming.missed(&file, STEP, &pool);
        assert!(warming.with(|counts| counts.busy));
        for _ in 0..1000 {
            if !warming.with(|counts| counts.busy) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it never ended");
    }
}
