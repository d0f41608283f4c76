//! Where bodies lie, how they are sealed on the way in and read on the way out.

use super::Sink;
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Bytes that are sealed together, and what sealing adds.
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
/// Bytes that one read takes.
const READ: usize = 256 << 10;
const READ_SEALED: usize = READ + (READ / CHUNK) * TAG;
const MAX_BUFFERS: usize = 64;

fn nonce() -> Nonce {
    // Sealing is here for its cost alone.
    Nonce::assume_unique_for_key([7; 12])
}

#[derive(Clone)]
pub(super) enum Extent {
    Memory {
        bytes: Bytes,
        sealed: bool,
    },
    /// `length` is of the plaintext, everywhere.
    File {
        file: Arc<File>,
        at: u64,
        length: u64,
        sealed: bool,
    },
    /// A file of its own, opened when it is read.
    Path {
        path: Arc<Path>,
        length: u64,
        sealed: bool,
    },
    /// It was thrown away; reading gives something.
    Nothing {
        length: u64,
    },
}

impl Extent {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Memory { bytes, sealed: false } => bytes.len() as u64,
            Self::Memory { bytes, sealed: true } => (bytes.len() - bytes.len().div_ceil(CHUNK + TAG) * TAG) as u64,
            Self::File { length, .. } | Self::Path { length, .. } | Self::Nothing { length } => *length,
        }
    }
}

/// Seals what it is given chunk by chunk, or only collects it.
pub(super) struct Sealer<'k> {
    key: Option<&'k LessSafeKey>,
    buffer: Vec<u8>,
    /// Bytes at the end of `buffer` that are not sealed yet.
    open: usize,
}

impl<'k> Sealer<'k> {
    pub(super) fn new(key: Option<&'k LessSafeKey>, size: usize) -> Self {
        Self { key, buffer: Vec::with_capacity(size + (size / CHUNK + 2) * TAG + CHUNK), open: 0 }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.key.is_none() {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let (some, rest) = bytes.split_at(bytes.len().min(CHUNK - self.open));
            self.buffer.extend_from_slice(some);
            self.open += some.len();
            bytes = rest;
            if self.open == CHUNK {
                self.seal()?;
            }
        }
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        if let Some(key) = self.key.filter(|_| self.open > 0) {
            let start = self.buffer.len() - self.open;
            let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut self.buffer[start..]);
            self.buffer.extend_from_slice(tag.map_err(io::Error::other)?.as_ref());
            self.open = 0;
        }
        Ok(())
    }

    /// What can be written.
    pub(super) fn ready(&self) -> &[u8] {
        &self.buffer[..self.buffer.len() - self.open]
    }

    /// It was written.
    pub(super) fn taken(&mut self) {
        self.buffer.drain(..self.buffer.len() - self.open);
    }

    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.seal()?;
        Ok(self.buffer)
    }
}

/// Buffers of reads, used again: a fresh one for each frame would cost page faults.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

struct Lent {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut home = self.home.0.lock();
        if home.len() < MAX_BUFFERS {
            home.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Streams a range of an object.
pub(super) struct Reader {
    sink: Arc<Sink>,
    extents: Vec<Extent>,
    /// The extent that is read, and where in it.
    index: usize,
    at: u64,
    left: u64,
}

impl Reader {
    pub(super) fn new(sink: Arc<Sink>, extents: Vec<Extent>, from: u64, to: u64) -> Self {
        Self { sink, extents, index: 0, at: from, left: to.saturating_sub(from) }
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.left > 0 {
            let Some(extent) = self.extents.get(self.index) else { return Ok(None) };
            if self.at >= extent.length() {
                self.at -= extent.length();
                self.index += 1;
                continue;
            }
            let room = (extent.length() - self.at).min(self.left);
            let bytes = match extent {
                Extent::Memory { bytes, sealed: false } => bytes.slice(self.at as usize..(self.at + room) as usize),
                Extent::Memory { bytes, sealed: true } => {
                    let source = bytes.clone();
                    self.opened(room, extent.length(), |buffer, at| {
                        buffer.copy_from_slice(&source[at as usize..at as usize + buffer.len()]);
                        Ok(())
                    })?
                }
                Extent::Nothing { .. } => {
                    let pattern = crate::body::pattern();
                    Bytes::from_static(&pattern[..room.min(pattern.len() as u64) as usize])
                }
                Extent::Path { path, length, sealed } => {
                    let file = Arc::new(File::open(path)?);
                    self.extents[self.index] = Extent::File { file, at: 0, length: *length, sealed: *sealed };
                    continue;
                }
                Extent::File { file, at, length, sealed: true } => {
                    let (file, start) = (Arc::clone(file), *at);
                    self.opened(room, *length, |buffer, at| file.read_exact_at(buffer, start + at))?
                }
                Extent::File { file, at, sealed: false, .. } => {
                    let mut buffer = self.buffer();
                    let to = room.min(READ as u64) as usize;
                    file.read_exact_at(&mut buffer[..to], at + self.at)?;
                    self.lent(buffer, 0, to)
                }
            };
            self.at += bytes.len() as u64;
            self.left -= bytes.len() as u64;
            return Ok(Some(bytes));
        }
        Ok(None)
    }

    /// Reads whole sealed chunks and opens them.
    fn opened(&self, room: u64, length: u64, read: impl FnOnce(&mut [u8], u64) -> io::Result<()>) -> io::Result<Bytes> {
        let (chunk, sealed) = (CHUNK as u64, (CHUNK + TAG) as u64);
        let first = self.at / chunk;
        let last = ((self.at + room - 1) / chunk).min(first + (READ / CHUNK) as u64 - 1);
        let end = ((last + 1) * chunk).min(length) + (last + 1) * TAG as u64;
        let mut buffer = self.buffer();
        let size = (end - first * sealed) as usize;
        read(&mut buffer[..size], first * sealed)?;
        let (mut source, mut target) = (0, 0);
        while source < size {
            let to = size.min(source + CHUNK + TAG);
            let opened = self.sink.key.open_in_place(nonce(), Aad::empty(), &mut buffer[source..to]);
            let plain = opened.map_err(io::Error::other)?.len();
            if source != target {
                buffer.copy_within(source..source + plain, target);
            }
            (source, target) = (to, target + plain);
        }
        let from = (self.at - first * chunk) as usize;
        Ok(self.lent(buffer, from, target.min(from + room as usize)))
    }

    fn buffer(&self) -> Vec<u8> {
        self.sink.buffers.0.lock().pop().unwrap_or_else(|| vec![0; READ_SEALED])
    }

    fn lent(&self, buffer: Vec<u8>, from: usize, to: usize) -> Bytes {
        Bytes::from_owner(Lent { buffer, from, to, home: Arc::clone(&self.sink.buffers) })
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.next().map(|bytes| bytes.map(Frame::data)).transpose())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
