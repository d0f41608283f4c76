//! One file of the log, and the memory it is written from. A write is of whole blocks, past the page cache, and durable when it
//! returns: one system call takes about half the processor time that a write to the page cache and a sync take.

use rustix::fs::{OFlags, fcntl_setfl};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// One segment, in bytes; written with zeros when it is made, so that a durable write changes no metadata of the file.
pub(crate) const SEGMENT: u64 = 16 << 20;
/// What a write begins at and is a multiple of: a page, and no smaller than a sector of any usual disk.
pub(crate) const BLOCK: usize = 4096;
/// Bytes of memory that are kept for the next write.
const KEPT: usize = 1 << 20;
/// Bytes written at once when a segment is made.
const ZEROS: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    /// The last sequence in it; 0 when it has none.
    pub last: u64,
}

impl Segment {
    /// Makes one that is full of zeros; its directory is not synced.
    pub(crate) fn make(path: &Path, blocks: &mut Blocks) -> io::Result<Self> {
        let made = Self { file: open(path, true)?, last: 0 };
        blocks.begin(&[], ZEROS).extend(std::iter::repeat_n(0, ZEROS));
        let zeros = blocks.whole();
        for number in 0..SEGMENT / ZEROS as u64 {
            made.write(zeros, number * ZEROS as u64)?;
        }
        made.file.sync_all()?;
        Ok(made)
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: open(path, false)?, last: 0 })
    }

    /// Writes whole blocks at a block's border; durable on return.
    pub(crate) fn write(&self, blocks: &[u8], at: u64) -> io::Result<()> {
        match self.file.write_all_at(blocks, at) {
            // A device whose blocks are larger: by the page cache then, which leaves it as durable.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                fcntl_setfl(&self.file, OFlags::empty())?;
                self.file.write_all_at(blocks, at)
            }
            written => written,
        }
    }
}

fn open(path: &Path, new: bool) -> io::Result<File> {
    let by = |flags: OFlags| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(new).mode(0o600).custom_flags(flags.bits() as i32);
        options.open(path)
    };
    match by(OFlags::DSYNC | OFlags::DIRECT) {
        // A file system that has no direct writes. It may have made the file before it said so.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            if new {
                drop(std::fs::remove_file(path));
            }
            by(OFlags::DSYNC)
        }
        opened => opened,
    }
}

/// Memory for whole blocks, at a block's border, which direct writes ask for.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
    start: usize,
}

impl Blocks {
    /// Begins again with `first`; the caller adds up to `more` bytes behind.
    pub(crate) fn begin(&mut self, first: &[u8], more: usize) -> &mut Vec<u8> {
        let room = (first.len() + more).next_multiple_of(BLOCK) + BLOCK;
        if self.bytes.capacity() < room || self.bytes.capacity() > KEPT.max(room) {
            self.bytes = Vec::with_capacity(room);
        }
        self.bytes.clear();
        // From here on nothing is moved: there is room for all of it.
        self.start = self.bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        self.bytes.resize(self.start, 0);
        self.bytes.extend_from_slice(first);
        &mut self.bytes
    }

    /// What was added, filled up with zeros.
    pub(crate) fn whole(&mut self) -> &[u8] {
        let length = (self.bytes.len() - self.start).next_multiple_of(BLOCK);
        self.bytes.resize(self.start + length, 0);
        &self.bytes[self.start..]
    }

    /// What was added, as it is.
    pub(crate) fn added(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_and_aligned_whatever_came_before() {
        let mut blocks = Blocks::default();
        for length in [1, 10, 5000, 4096, 3 << 20, 100, 0, KEPT, 7] {
            blocks.begin(b"first", length).extend(std::iter::repeat_n(1, length));
            assert_eq!(blocks.added().len(), 5 + length);
            let whole = blocks.whole();
            assert_eq!((whole.as_ptr().align_offset(BLOCK), whole.len() % BLOCK), (0, 0), "{length}");
            assert!(whole.starts_with(b"first") && whole[5 + length..].iter().all(|byte| *byte == 0));
        }
        assert!(blocks.bytes.capacity() <= KEPT + 2 * BLOCK);
    }

    #[test]
    fn what_is_written_is_there() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let mut blocks = Blocks::default();
        let segment = Segment::make(&path, &mut blocks).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), SEGMENT);
        blocks.begin(b"", 5000).extend_from_slice(&[7; 5000]);
        segment.write(blocks.whole(), 4096).unwrap();
        drop(segment);
        Segment::open(&path).unwrap().write(&blocks.whole()[..BLOCK], 0).unwrap();
        let content = std::fs::read(&path).unwrap();
        assert!(content[..4096 + 5000].iter().all(|byte| *byte == 7));
        assert!(content[4096 + 5000..].iter().all(|byte| *byte == 0));
    }
}
