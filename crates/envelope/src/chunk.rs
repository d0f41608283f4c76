//! The chunk codec: one part's plaintext as a row of sealed chunks. docs/format.md section "Chunks".

use crate::{
    EnvelopeError, Header,
    key::ContentKey,
    primitive::{TAG, gcm_open, gcm_seal},
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::{fmt, ops::Range};
use tresor_model::Entropy;
use zeroize::Zeroizing;

/// What one UploadPart call (or PUT) draws afresh. Two calls share no key and no nonce, whatever their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartParams {
    /// 1 to 10,000; a single PUT is part 1.
    pub number: u16,
    pub salt: [u8; 32],
    pub stream: [u8; 16],
}

impl PartParams {
    pub fn fresh(number: u16, entropy: &dyn Entropy) -> Self {
        // Drawn together: each draw costs more than its bytes.
        let mut drawn = [0; 48];
        entropy.fill(&mut drawn);
        let (mut salt, mut stream) = ([0; 32], [0; 16]);
        salt.copy_from_slice(&drawn[..32]);
        stream.copy_from_slice(&drawn[32..]);
        Self { number, salt, stream }
    }
}

/// What must be stored to open a part again.
#[derive(Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct SealedPart {
    #[n(0)]
    pub number: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    pub stream: [u8; 16],
    /// Bytes of plaintext.
    #[n(3)]
    pub length: u64,
}

impl fmt::Debug for SealedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedPart({}, {} bytes)", self.number, self.length)
    }
}

impl SealedPart {
    /// Bytes of ciphertext.
    pub fn sealed_length(&self, header: &Header) -> u64 {
        self.length + chunks(self.length, header.chunk() as u64) * overhead(header)
    }
}

/// Zero bytes are one chunk.
pub(crate) fn chunks(length: u64, chunk: u64) -> u64 {
    length.div_ceil(chunk).max(1)
}

/// Tags of one sealed chunk, in bytes.
pub(crate) fn overhead(header: &Header) -> u64 {
    (header.layers() * TAG) as u64
}

/// The chunks of a part that a range of its plaintext touches, and where they lie in its ciphertext.
pub(crate) fn touched(part: &SealedPart, header: &Header, range: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let chunk = header.chunk() as u64;
    let first = range.start / chunk;
    let end = range.end.div_ceil(chunk).max(first + 1).min(chunks(part.length, chunk));
    let sealed = chunk + overhead(header);
    (first..end, first * sealed..(end * sealed).min(part.sealed_length(header)))
}

/// The keys of one part, ready to seal or open its chunks in any order.
pub(crate) struct PartCodec {
    inner: LessSafeKey,
    outer: Option<Zeroizing<[u8; 32]>>,
    stream: [u8; 16],
    number: u16,
}

impl PartCodec {
    pub(crate) fn new(key: &ContentKey, number: u16, salt: &[u8; 32], stream: [u8; 16]) -> Self {
        let inner = UnboundKey::new(&AES_256_GCM, &key.part_key(salt, number)[..]).expect("the key has 32 bytes");
        Self { inner: LessSafeKey::new(inner), outer: key.layer2_key(salt, number), stream, number }
    }

    fn aad(&self, index: u64, last: bool) -> [u8; 27] {
        let mut aad = [0; 27];
        aad[..16].copy_from_slice(&self.stream);
        aad[16..18].copy_from_slice(&self.number.to_be_bytes());
        aad[18..26].copy_from_slice(&index.to_be_bytes());
        aad[26] = u8::from(last);
        aad
    }

    /// Seals `plain` into `out`, which must have room for it and its tags, and no more.
    pub(crate) fn seal(&self, index: u64, last: bool, plain: &[u8], out: &mut [u8]) {
        let (nonce, aad) = (nonce(index, last), self.aad(index, last));
        let (body, tags) = out.split_at_mut(plain.len());
        let (tag, outer_tag) = tags.split_at_mut(TAG);
        self.inner
            .seal_out_of_place_scatter(Nonce::assume_unique_for_key(nonce), Aad::from(aad), plain, body, &[], tag)
            .expect("a chunk is far below GCM's 64 GiB, and the lengths agree");
        debug_assert_eq!(outer_tag.is_empty(), self.outer.is_none());
        if let Some(outer) = &self.outer {
            let inner = plain.len() + TAG;
            let tag = gcm_seal(outer, &nonce, &aad, &mut out[..inner]);
            out[inner..].copy_from_slice(&tag);
        }
    }

    /// Opens `chunk` in place; the bytes of plaintext at its start. Errors: NotAuthentic, Malformed.
    pub(crate) fn open(&self, index: u64, last: bool, mut chunk: &mut [u8]) -> Result<usize, EnvelopeError> {
        let (nonce, aad) = (nonce(index, last), self.aad(index, last));
        if let Some(outer) = &self.outer {
            let (body, tag) = chunk.split_last_chunk_mut::<TAG>().ok_or(EnvelopeError::Malformed)?;
            gcm_open(outer, &nonce, &aad, body, tag)?;
            chunk = body;
        }
        let length = chunk.len().checked_sub(TAG).ok_or(EnvelopeError::Malformed)?;
        self.inner
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), chunk)
            .map_err(|_| EnvelopeError::NotAuthentic)?;
        Ok(length)
    }
}

/// 11 bytes of big-endian chunk number, one byte that is 1 for the last chunk.
fn nonce(index: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{DataKey, Envelope, SseMode, WrappedKeys};
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Entropy that never repeats within a test: 1, 2, 3 …
    #[derive(Debug, Default)]
    pub(crate) struct Counting(AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) {
            for byte in out {
                *byte = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(167).wrapping_add(13);
            }
        }
    }

    pub(crate) fn content_key(mode: SseMode) -> ContentKey {
        let outer = (mode == SseMode::Dsse).then(|| DataKey::from_bytes([9; 32]));
        let keys = WrappedKeys { outer_wrapped: outer.is_some().then(Vec::new), ..WrappedKeys::default() };
        Envelope::assemble(Header::new(mode, ""), DataKey::from_bytes([7; 32]), outer, keys, Vec::new()).unwrap().0
    }

    proptest! {
        /// Must show 6: the same part number twice, with whatever bytes, shares no key; within a part no nonce repeats.
        #[test]
        fn a_part_uploaded_twice_shares_no_key(number in 1_u16..=10_000, seed in any::<u64>()) {
            #[derive(Debug)]
            struct Seeded(std::sync::Mutex<u64>);
            impl Entropy for Seeded {
                fn fill(&self, out: &mut [u8]) {
                    let mut state = self.0.lock().unwrap();
                    for byte in out {
                        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        *byte = (*state >> 56) as u8;
                    }
                }
            }
            let entropy = Seeded(std::sync::Mutex::new(seed));
            for mode in [SseMode::S3, SseMode::Dsse] {
                let key = content_key(mode);
                let (a, b) = (PartParams::fresh(number, &entropy), PartParams::fresh(number, &entropy));
                prop_assert_ne!(a.salt, b.salt);
                prop_assert_ne!(a.stream, b.stream);
                prop_assert_ne!(&key.part_key(&a.salt, number)[..], &key.part_key(&b.salt, number)[..]);
                if mode == SseMode::Dsse {
                    let outer = |salt| key.layer2_key(salt, number).map(|k| *k);
                    prop_assert_ne!(outer(&a.salt), outer(&b.salt));
                    prop_assert_ne!(outer(&a.salt), Some(*key.part_key(&a.salt, number)));
                }
            }
        }

        #[test]
        fn nonces_never_repeat_within_a_part(a in any::<u64>(), b in any::<u64>(), x in any::<bool>(), y in any::<bool>()) {
            prop_assert_eq!(nonce(a, x) == nonce(b, y), a == b && x == y);
        }

        #[test]
        fn any_flipped_bit_of_a_chunk_is_an_error(body in proptest::collection::vec(any::<u8>(), 0..300), at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
            for mode in [SseMode::S3, SseMode::Dsse] {
                let codec = PartCodec::new(&content_key(mode), 3, &[1; 32], [2; 16]);
                let layers = if mode == SseMode::Dsse { 2 } else { 1 };
                let mut sealed = vec![0; body.len() + layers * TAG];
                codec.seal(5, true, &body, &mut sealed);
                let mut opened = sealed.clone();
                let length = codec.open(5, true, &mut opened).unwrap();
                prop_assert_eq!(&opened[..length], &body[..]);
                for (index, last) in [(4, true), (5, false)] {
                    prop_assert!(codec.open(index, last, &mut sealed.clone()).is_err());
                }
                let n = at.index(sealed.len());
                sealed[n] ^= 1 << bit;
                prop_assert!(codec.open(5, true, &mut sealed).is_err());
            }
        }
    }
}
