//! How far one text was hashed: the state after its whole blocks, and what is left of the next.

use crate::md5_lanes::{BLOCK, Kernel, START, digest_of, padded};
use bytes::{Buf, Bytes};
use md5::block_api::compress;

pub(crate) struct Chain {
    pub state: [u32; 4],
    /// Less than a block.
    pub tail: Vec<u8>,
    length: u64,
}

impl Default for Chain {
    fn default() -> Self {
        Self { state: START, tail: Vec::with_capacity(BLOCK), length: 0 }
    }
}

impl Chain {
    /// Fills up a block that was begun; what is left of the piece starts a block.
    pub(crate) fn take_head(&mut self, piece: &mut Bytes) {
        let head = self.head(piece);
        piece.advance(head);
    }

    /// Adds a piece.
    pub(crate) fn update(&mut self, kernel: Kernel, piece: &[u8]) {
        let piece = &piece[self.head(piece)..];
        let whole = piece.len() / BLOCK;
        if whole > 0 {
            kernel.advance(&mut [(&mut self.state, piece)], whole);
        }
        self.tail.extend_from_slice(&piece[whole * BLOCK..]);
    }

    /// Counts a piece, and says how many of its bytes went into a block that was begun.
    fn head(&mut self, piece: &[u8]) -> usize {
        self.length += piece.len() as u64;
        if self.tail.is_empty() {
            return 0;
        }
        let missing = (BLOCK - self.tail.len()).min(piece.len());
        self.tail.extend_from_slice(&piece[..missing]);
        if self.tail.len() == BLOCK {
            compress(&mut self.state, self.tail.as_chunks().0);
            self.tail.clear();
        }
        missing
    }

    pub(crate) fn finish(mut self) -> [u8; 16] {
        compress(&mut self.state, padded(&self.tail, self.length).as_chunks().0);
        digest_of(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_in_any_pieces_hashes_as_the_reference_does(pieces in proptest::collection::vec(0_usize..300, 0..8)) {
            for kernel in Kernel::of_this_machine() {
                let (mut chain, mut text) = (Chain::default(), Vec::new());
                for (n, length) in pieces.iter().enumerate() {
                    let piece: Vec<u8> = (0..*length).map(|i| (i * 7 + n) as u8).collect();
                    chain.update(kernel, &piece);
                    text.extend(piece);
                }
                prop_assert_eq!(chain.finish(), crate::md5(&text));
            }
        }
    }
}
