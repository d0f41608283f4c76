//! A range of one blob on its way out: what the kernel has in memory is taken at once, what it must fetch is fetched by a thread that
//! may block, one piece ahead.

use crate::{blobs::blocking, warming::Warming};
use futures_util::stream;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::{Errno, ReadWriteFlags, preadv2},
};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::task::JoinHandle;
use tresor_buffers::{Buffer, BufferPool};
use tresor_envelope::CipherStream;

/// Bytes read at once, and at least one unit.
const READ_BYTES: usize = 260 << 10;

/// Opens a file and streams `range` of it. Errors: NotFound, UnexpectedEof for a range beyond its end.
pub(crate) async fn read(
    path: PathBuf,
    (pool, warming): (&BufferPool, &Warming),
    range: Range<u64>,
    unit: usize,
) -> io::Result<CipherStream> {
    let file = match open_at_once(&path) {
        Some(file) => file,
        None => blocking(move || File::open(path)).await?,
    };
    let length = file.metadata()?.len();
    if range.start > range.end || length < range.end {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let pieces = Pieces {
        file: Arc::new(file),
        pool: pool.clone(),
        // A file that is read whole is read in sequence anyway.
        warming: (range != (0..length)).then(|| warming.clone()),
        at: range.start,
        end: range.end,
        unit,
        ahead: None,
    };
    Ok(CipherStream::new(stream::unfold(Some(pieces), Pieces::step)))
}

/// Nothing where the kernel would have to look at the disk, or cannot tell.
fn open_at_once(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from)
}

struct Pieces {
    file: Arc<File>,
    pool: BufferPool,
    /// Of a range, whoever reads its file through if it comes from the disk too often.
    warming: Option<Warming>,
    at: u64,
    end: u64,
    unit: usize,
    /// The next piece on its way from the disk.
    ahead: Option<JoinHandle<io::Result<Buffer>>>,
}

impl Pieces {
    async fn step(this: Option<Self>) -> Option<(io::Result<Buffer>, Option<Self>)> {
        let mut this = this?;
        match this.next().await.transpose()? {
            Ok(buffer) => Some((Ok(buffer), Some(this))),
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn next(&mut self) -> io::Result<Option<Buffer>> {
        let buffer = match self.ahead.take() {
            Some(ahead) => ahead.await.map_err(io::Error::other)??,
            None if self.at == self.end => return Ok(None),
            None => {
                let want = self.want();
                let mut buffer = self.pool.take(want, self.unit).await;
                let want = self.fitting(want, &buffer);
                let at = self.at;
                self.at += want as u64;
                let found = read_at_once(&self.file, &mut buffer.space()[..want], at)?;
                self.tell(found, want - found);
                if found == want {
                    buffer.set_filled(want);
                    return Ok(Some(buffer));
                }
                let file = Arc::clone(&self.file);
                blocking(move || complete(&file, buffer, found, want, at)).await?
            }
        };
        self.read_ahead();
        Ok(Some(buffer))
    }

    /// So many bytes were in memory, and so many are fetched from the disk.
    fn tell(&self, found: usize, missed: usize) {
        let Some(warming) = &self.warming else { return };
        warming.found(found);
        if missed > 0 {
            warming.missed(&self.file, missed, &self.pool);
        }
    }

    /// Bytes of the next piece: whole units, or what is left.
    fn want(&self) -> usize {
        let most = (READ_BYTES / self.unit).max(1) * self.unit;
        usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(most)
    }

    /// As much of it as a buffer holds.
    fn fitting(&self, want: usize, buffer: &Buffer) -> usize {
        if want <= buffer.capacity() { want } else { buffer.capacity() / self.unit * self.unit }
    }

    /// The disk was slower than the kernel's memory: it fetches the next piece while this one is sent, if there is a buffer to spare.
    fn read_ahead(&mut self) {
        if self.at == self.end {
            return;
        }
        let want = self.want();
        if let Some(buffer) = self.pool.try_take(want) {
            self.tell(0, want);
            let (file, at) = (Arc::clone(&self.file), self.at);
            self.at += want as u64;
            self.ahead = Some(tokio::task::spawn_blocking(move || complete(&file, buffer, 0, want, at)));
        }
    }
}

/// As many bytes as the kernel has in memory from `at` on.
fn read_at_once(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    match preadv2(file, &mut [IoSliceMut::new(into)], at, ReadWriteFlags::NOWAIT) {
        Ok(found) => Ok(found),
        // Nothing in memory, or a file system that cannot tell.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Reads the bytes from `found` to `want` of a piece that begins at `at` of the file.
fn complete(file: &File, mut buffer: Buffer, found: usize, want: usize, at: u64) -> io::Result<Buffer> {
    file.read_exact_at(&mut buffer.space()[found..want], at + found as u64)?;
    buffer.set_filled(want);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges of a file that is not in memory, before it is read through, while it is, and after.
    #[tokio::test]
    async fn ranges_are_right_wherever_they_come_from() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let bytes: Vec<u8> = (0..6_000_001_u32).map(|n| (n / 7 * 31) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let (pool, warming) = (BufferPool::new(4 << 20), Warming::default());
        for n in 0..200_u64 {
            let start = n * 997_331 % 5_000_000;
            let range = start..start + 1 + n * 7919 % 1_000_000;
            let stream = read(path.clone(), (&pool, &warming), range.clone(), 65_552).await.unwrap();
            let expected = &bytes[range.start as usize..range.end as usize];
            assert!(stream.collect().await.unwrap() == expected, "{range:?}");
        }
        let beyond = read(path, (&pool, &warming), 6_000_000..6_000_002, 65_552).await;
        assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
