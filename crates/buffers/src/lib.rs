//! Buffers for bodies on their way: page-aligned, used again, and never more bytes of them than an operator allows.
//! Must do no I/O and know nothing of what it holds; for secrets that live long there is `memory`.

mod pool;

pub use pool::{BufferPool, PAGE};

use bytes::Bytes;
use pool::Pooled;
use std::fmt;

/// Bytes that one owner fills, changes in place, and hands on without a copy.
pub struct Buffer {
    memory: Memory,
    filled: usize,
}

enum Memory {
    Pooled(Pooled),
    Heap(Vec<u8>),
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.filled, self.capacity())
    }
}

impl Buffer {
    fn pooled(pooled: Pooled) -> Self {
        Self { memory: Memory::Pooled(pooled), filled: 0 }
    }

    /// An empty one outside of any pool.
    fn heap(capacity: usize) -> Self {
        Self { memory: Memory::Heap(vec![0; capacity]), filled: 0 }
    }

    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Pooled(pooled) => pooled.bytes().len(),
            Memory::Heap(bytes) => bytes.len(),
        }
    }

    /// All of it, with whatever lies there; what was put in counts once `set_filled` says so.
    pub fn space(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Pooled(pooled) => pooled.bytes_mut(),
            Memory::Heap(bytes) => bytes,
        }
    }

    /// Declares how many bytes, from the first on, are to be seen: no more than there is room for.
    pub fn set_filled(&mut self, filled: usize) {
        self.filled = filled.min(self.capacity());
    }

    pub fn filled(&self) -> &[u8] {
        match &self.memory {
            Memory::Pooled(pooled) => &pooled.bytes()[..self.filled],
            Memory::Heap(bytes) => &bytes[..self.filled],
        }
    }

    pub fn filled_mut(&mut self) -> &mut [u8] {
        let filled = self.filled;
        &mut self.space()[..filled]
    }

    /// What is filled, without a copy; the memory goes back to its pool with the last slice of it.
    pub fn freeze(self) -> Bytes {
        match self.memory {
            Memory::Heap(mut bytes) => {
                bytes.truncate(self.filled);
                bytes.into()
            }
            Memory::Pooled(_) => Bytes::from_owner(self),
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.filled()
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { filled: bytes.len(), memory: Memory::Heap(bytes) }
    }
}

impl From<Bytes> for Buffer {
    /// Copies only what others hold too.
    fn from(bytes: Bytes) -> Self {
        Vec::from(bytes).into()
    }
}
