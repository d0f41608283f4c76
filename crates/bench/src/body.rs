//! What the load generator writes, and how it knows what it reads. All bodies are cut from one random pattern, which stays in the
//! cache, with a stamp of the object at every 256 KiB, so that no two objects and no two stretches of one are equal: a server that
//! deduplicates or compresses gains nothing, and a server that answers with another object is found out.

use std::sync::OnceLock;

/// Bytes from stamp to stamp.
const STRETCH: u64 = 256 << 10;
const PATTERN: u64 = 4 << 20;
const STAMP: u64 = 16;

/// One object's content.
#[derive(Debug)]
pub(crate) struct Body {
    size: u64,
    stamps: Vec<[u8; STAMP as usize]>,
}

impl Body {
    /// The content of object `number` under a key prefix: the same whenever it is asked for.
    pub(crate) fn of(prefix: &str, number: u64, size: u64) -> Self {
        // FNV-1a of the prefix.
        let hash = prefix
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut state = hash ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut stamp = || {
            let mut stamp = [0; STAMP as usize];
            stamp[..8].copy_from_slice(&next_random(&mut state).to_le_bytes());
            stamp[8..].copy_from_slice(&next_random(&mut state).to_le_bytes());
            stamp
        };
        Self { size, stamps: (0..size.div_ceil(STRETCH)).map(|_| stamp()).collect() }
    }

    /// Hands the bytes `from..to` out as slices, in order.
    pub(crate) fn slices<'a>(&'a self, from: u64, to: u64, mut take: impl FnMut(&'a [u8])) {
        let mut at = from;
        while at < to {
            let (stretch, within) = (at / STRETCH, at % STRETCH);
            let slice = if within < STAMP {
                let end = STAMP.min(within + (to - at));
                &self.stamps[stretch as usize][within as usize..end as usize]
            } else {
                let start = (at % PATTERN) as usize;
                &pattern()[start..start + (STRETCH - within).min(to - at) as usize]
            };
            take(slice);
            at += slice.len() as u64;
        }
    }

    /// Whether `got` is what lies at `offset`.
    pub(crate) fn matches(&self, offset: u64, got: &[u8]) -> bool {
        let end = offset + got.len() as u64;
        if end > self.size {
            return false;
        }
        let (mut equal, mut at) = (true, 0);
        self.slices(offset, end, |slice| {
            equal &= got[at..at + slice.len()] == *slice;
            at += slice.len();
        });
        equal
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): load needs no better randomness.
pub(crate) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

pub(crate) fn pattern() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut state = 1;
        (0..PATTERN / 8).flat_map(|_| next_random(&mut state).to_le_bytes()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &Body) -> Vec<u8> {
        let mut bytes = Vec::new();
        body.slices(0, body.size, |slice| bytes.extend_from_slice(slice));
        bytes
    }

    #[test]
    fn any_range_is_a_piece_of_the_whole() {
        let body = Body::of("k/", 7, 9 << 20);
        let whole = all(&body);
        assert_eq!(whole.len(), 9 << 20);
        for (from, to) in [(0, 1), (3, 20), (262_140, 262_170), (4_194_300, 4_194_320), (0, 9 << 20)] {
            let mut piece = Vec::new();
            body.slices(from, to, |slice| piece.extend_from_slice(slice));
            assert_eq!(piece, whole[from as usize..to as usize], "{from}..{to}");
            assert!(body.matches(from, &piece));
            let last = piece.len() - 1;
            piece[last] ^= 1;
            assert!(!body.matches(from, &piece));
        }
    }

    #[test]
    fn no_two_objects_are_equal_and_a_longer_body_does_not_match() {
        let (one, other) = (all(&Body::of("k/", 1, 4096)), all(&Body::of("k/", 2, 4096)));
        assert_ne!(one, other);
        assert_ne!(one, all(&Body::of("l/", 1, 4096)));
        assert!(!Body::of("k/", 1, 4096).matches(1, &one));
    }
}
