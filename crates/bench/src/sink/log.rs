//! One log with group commit: whatever waits is written with one call and one fdatasync. Over blocks that were written before and with
//! O_DIRECT, so that a commit is the data and one flush, and no journal.

use rustix::fs::{Advice, OFlags};
use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, mpsc},
    thread,
};
use tokio::sync::oneshot;

/// Bytes that a commit gathers before it writes; the last entry may go over it.
const GATHER: usize = 4 << 20;
const MAX_ENTRY: usize = 2 << 20;
const BLOCK: usize = 4096;

pub(super) struct Log {
    entries: mpsc::Sender<Entry>,
    file: Arc<File>,
}

struct Entry {
    data: Vec<u8>,
    done: oneshot::Sender<u64>,
}

impl Log {
    /// Writes the whole file once; where it ends the log begins again, over what was written first: it is a limit, not a store.
    pub(super) fn create(path: &Path, size: u64, fsync: bool) -> io::Result<Self> {
        let file = File::options().create(true).truncate(true).write(true).read(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        let size = size.next_multiple_of(zeros.len() as u64).max(4 * GATHER as u64);
        for at in (0..size).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        let direct = File::options().write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path)?;
        let (entries, queue) = mpsc::channel();
        thread::Builder::new().name("committer".into()).spawn(move || commit(&direct, &queue, fsync, size))?;
        Ok(Self { entries, file: Arc::new(file) })
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Where the data lies once it is durable.
    pub(super) async fn append(&self, data: Vec<u8>) -> io::Result<u64> {
        let (done, durable) = oneshot::channel();
        self.entries.send(Entry { data, done }).map_err(io::Error::other)?;
        durable.await.map_err(io::Error::other)
    }
}

fn commit(file: &File, queue: &mpsc::Receiver<Entry>, fsync: bool, size: u64) {
    let mut buffer = vec![0; GATHER + MAX_ENTRY + BLOCK];
    // O_DIRECT asks for memory at a block's boundary.
    let start = buffer.as_ptr().align_offset(BLOCK);
    let mut at = 0;
    while let Ok(first) = queue.recv() {
        let mut length = first.data.len();
        let mut batch = vec![first];
        while length < GATHER
            && let Ok(entry) = queue.try_recv()
        {
            length += entry.data.len();
            batch.push(entry);
        }
        let mut end = start;
        for entry in &batch {
            buffer[end..end + entry.data.len()].copy_from_slice(&entry.data);
            end += entry.data.len();
        }
        let whole = length.next_multiple_of(BLOCK);
        if at + whole as u64 > size {
            at = 0;
        }
        if file.write_all_at(&buffer[start..start + whole], at).is_err() || fsync && file.sync_data().is_err() {
            // Whoever waits learns it from the channel's end.
            continue;
        }
        let mut place = at;
        for entry in batch {
            let length = entry.data.len() as u64;
            // Whoever waited may have left.
            let _ = entry.done.send(place);
            place += length;
        }
        at += whole as u64;
    }
}
