//! One body on its way to the disk: received, hashed and sealed into one buffer while the one before is written.

use crate::{
    blobs::{Place, blocking},
    sync_directory,
};
use rustix::fs::{OFlags, fcntl_setfl};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::task::{JoinHandle, spawn_blocking};
use tresor_buffers::{Buffer, BufferPool, PAGE};
use tresor_envelope::SealedBody;
use tresor_storage::BlobError;

/// Bytes handed to the disk at once: one MiB and its tags, so that an object of one MiB is one write, and what the write before left.
const WRITE_BYTES: usize = (1 << 20) + 2 * PAGE;
/// Bodies from this length on, in bytes, go past the kernel's cache: docs/decisions/0008.
const DIRECT_FROM: usize = 64 << 10;

/// Drains `body` into a file of its own. Durable on return. A body of one buffer costs one hop to a thread that may block.
pub(crate) async fn write(place: Place, pool: &BufferPool, body: &mut SealedBody) -> Result<u64, BlobError> {
    let place = Arc::new(place);
    let mut abandoned = Abandoned(Arc::default());
    let mut writing: Option<JoinHandle<io::Result<Target>>> = None;
    let mut length = 0;
    // Every write but the last is of whole pages: what is over goes with the next.
    let (mut over, mut left) = ([0; PAGE], 0);
    loop {
        let mut buffer = pool.take(WRITE_BYTES, body.unit() + PAGE).await;
        buffer.space()[..left].copy_from_slice(&over[..left]);
        let filled = left + body.fill(&mut buffer.space()[left..]).await?;
        left = if body.is_whole() { 0 } else { filled % PAGE };
        over[..left].copy_from_slice(&buffer.space()[filled - left..filled]);
        buffer.set_filled(filled - left);
        length += (filled - left) as u64;
        let target = match writing.take() {
            None => None,
            Some(before) => Some(before.await.map_err(io::Error::other)??),
        };
        let (place, gone) = (Arc::clone(&place), Arc::clone(&abandoned.0));
        if body.is_whole() {
            blocking(move || finish(&place, step(&place, target, buffer, &gone)?)).await?;
            // Nobody is told any more.
            abandoned.0 = Arc::default();
            return Ok(length);
        }
        writing = Some(spawn_blocking(move || step(&place, target, buffer, &gone)));
    }
}

/// Tells the step under way that nobody waits for its file any more.
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A file that is written from its start to its end.
struct Target {
    file: File,
    /// Bytes written.
    length: u64,
    /// Past the kernel's cache: from aligned memory, whole pages, at a page's border.
    direct: bool,
}

impl Target {
    fn turn_direct(&mut self, on: bool) {
        if self.direct != on {
            let flags = if on { OFlags::DIRECT } else { OFlags::empty() };
            // A file system that has no direct writes says so here.
            self.direct = fcntl_setfl(&self.file, flags).is_ok() && on;
        }
    }

    fn write(&mut self, mut buffer: Buffer) -> io::Result<()> {
        let filled = buffer.filled().len();
        let padded = filled.next_multiple_of(PAGE);
        if padded > buffer.capacity() || buffer.space().as_ptr().align_offset(PAGE) != 0 {
            self.turn_direct(false);
        }
        if self.direct {
            // What lay in the buffer before must not reach the disk.
            buffer.space()[filled..padded].fill(0);
            buffer.set_filled(padded);
            match self.file.write_all_at(buffer.filled(), self.length) {
                // A device whose blocks are larger.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.turn_direct(false);
                    buffer.set_filled(filled);
                }
                written => written?,
            }
        }
        if !self.direct {
            self.file.write_all_at(buffer.filled(), self.length)?;
        }
        self.length += filled as u64;
        // Only the last write of a body has something over.
        if padded > filled && self.direct { self.file.set_len(self.length) } else { Ok(()) }
    }
}

/// Writes what is in a buffer, into a new file if there is none yet.
fn step(place: &Place, target: Option<Target>, buffer: Buffer, gone: &AtomicBool) -> io::Result<Target> {
    let made = target.is_none();
    let mut target = match target {
        Some(target) => target,
        None => Target { file: place.create()?, length: 0, direct: false },
    };
    if made && buffer.filled().len() >= DIRECT_FROM {
        target.turn_direct(true);
    }
    let written = target.write(buffer);
    // Who gave the body up removes its file, perhaps before it was made: then it goes here.
    if made && gone.load(Ordering::Acquire) {
        drop(place.remove());
    }
    written.map(|()| target)
}

/// Makes a file and its name durable.
fn finish(place: &Place, target: Target) -> io::Result<()> {
    target.file.sync_data()?;
    sync_directory(&place.directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::OpenOptionsExt};

    /// Lengths around the page's border, in one write and in more, directly where the file system can and not.
    #[test]
    fn a_file_has_what_was_written_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let pool = BufferPool::new(1 << 20);
        for direct in [true, false] {
            for (n, pieces) in
                [[0, 1], [0, PAGE], [2 * PAGE, 0], [PAGE, 65_537], [3 * PAGE, PAGE - 1]].iter().enumerate()
            {
                let path = directory.path().join(format!("{direct}-{n}"));
                let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
                let mut target = Target { file, length: 0, direct: false };
                target.turn_direct(direct);
                let mut expected = Vec::new();
                for (value, length) in (1..).zip(pieces) {
                    let mut buffer = pool.try_take(70_000).unwrap();
                    buffer.space().fill(0xee);
                    buffer.space()[..*length].fill(value);
                    buffer.set_filled(*length);
                    target.write(buffer).unwrap();
                    expected.extend(vec![value; *length]);
                }
                assert!(fs::read(&path).unwrap() == expected, "direct {direct}, {pieces:?}");
            }
        }
    }
}
