//! HMAC-SHA256 of four messages side by side, on processors with SHA instructions. The steps of one message wait for each other; those
//! of four fill the time, and each tag costs less than half (`cargo bench -p tresor-benches records`). Sources: FIPS 180-4, RFC 2104. What
//! makes single tags, and what the tests compare with, is aws-lc.

use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Messages of one call.
pub const LANES: usize = 4;
/// Bytes of a block.
const BLOCK: usize = 64;
/// FIPS 180-4, section 5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

type Block = [u8; BLOCK];

/// A key, as the two states that its blocks lead to.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct HmacLanes {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl fmt::Debug for HmacLanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacLanes")
    }
}

impl HmacLanes {
    /// `None` on a machine without SHA instructions.
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        if !is_supported() {
            return None;
        }
        let mut padded = zeroize::Zeroizing::new([0; BLOCK]);
        padded[..32].copy_from_slice(key);
        let state = |pad: u8| {
            let block = zeroize::Zeroizing::new(padded.map(|byte| byte ^ pad));
            let mut states = [START; LANES];
            advance(&mut states, [std::array::from_ref(&*block), &[], &[], &[]]);
            states[0]
        };
        Some(Self { inner: state(0x36), outer: state(0x5c) })
    }

    /// The messages' tags in their order. Messages of about one length are the fastest.
    pub fn tags(&self, messages: [&[u8]; LANES]) -> [[u8; 32]; LANES] {
        let mut states = [self.inner; LANES];
        let mut whole: [&[Block]; LANES] = [&[]; LANES];
        let mut tails = [Tail::EMPTY; LANES];
        for lane in 0..LANES {
            let (blocks, rest) = messages[lane].as_chunks();
            whole[lane] = blocks;
            tails[lane].fill(rest, messages[lane].len());
        }
        advance(&mut states, whole);
        advance(&mut states, blocks_of(&tails));
        let mut tails = [Tail::EMPTY; LANES];
        for lane in 0..LANES {
            tails[lane].fill(&bytes(&states[lane]), 32);
        }
        let mut states = [self.outer; LANES];
        advance(&mut states, blocks_of(&tails));
        let mut tags = [[0; 32]; LANES];
        for lane in 0..LANES {
            tags[lane] = bytes(&states[lane]);
        }
        tags
    }
}

/// The last blocks of what a state goes over: FIPS 180-4, section 5.1.1.
struct Tail {
    blocks: [Block; 2],
    count: usize,
}

impl Tail {
    const EMPTY: Self = Self { blocks: [[0; BLOCK]; 2], count: 0 };

    /// `length` bytes of a message come behind the block of the key; `rest` is what fills no block.
    fn fill(&mut self, rest: &[u8], length: usize) {
        self.count = if rest.len() < BLOCK - 8 { 1 } else { 2 };
        self.blocks[0][..rest.len()].copy_from_slice(rest);
        self.blocks[0][rest.len()] = 0x80;
        self.blocks[self.count - 1][BLOCK - 8..].copy_from_slice(&(8 * (BLOCK + length) as u64).to_be_bytes());
    }
}

fn blocks_of(tails: &[Tail; LANES]) -> [&[Block]; LANES] {
    let mut blocks: [&[Block]; LANES] = [&[]; LANES];
    for lane in 0..LANES {
        blocks[lane] = &tails[lane].blocks[..tails[lane].count];
    }
    blocks
}

#[inline]
fn bytes(state: &[u32; 8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *out = word.to_be_bytes();
    }
    out
}

/// Takes every state over its blocks: together as far as the shortest goes, then each by itself.
fn advance(states: &mut [[u32; 8]; LANES], inputs: [&[Block]; LANES]) {
    let together = inputs.iter().map(|input| input.len()).min().unwrap_or(0);
    let mut common = inputs;
    for input in &mut common {
        *input = &input[..together];
    }
    compress(states, common);
    for (state, input) in states.iter_mut().zip(inputs) {
        if input.len() > together {
            let mut alone = [*state];
            compress(&mut alone, [&input[together..]]);
            [*state] = alone;
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn is_supported() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

/// Every input has as many blocks as the first.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn compress<const N: usize>(states: &mut [[u32; 8]; N], inputs: [&[Block]; N]) {
    assert!(is_supported());
    // SAFETY: the assertion above.
    unsafe { x86::compress(states, inputs) }
}

#[cfg(not(target_arch = "x86_64"))]
fn is_supported() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn compress<const N: usize>(_: &mut [[u32; 8]; N], _: [&[Block]; N]) {
    unreachable!("there is no key on this machine");
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::Block;
    use std::arch::x86_64::*;

    /// FIPS 180-4, section 4.2.2.
    const ROUND: [u32; 64] = [
        0x428a_2f98,
        0x7137_4491,
        0xb5c0_fbcf,
        0xe9b5_dba5,
        0x3956_c25b,
        0x59f1_11f1,
        0x923f_82a4,
        0xab1c_5ed5,
        0xd807_aa98,
        0x1283_5b01,
        0x2431_85be,
        0x550c_7dc3,
        0x72be_5d74,
        0x80de_b1fe,
        0x9bdc_06a7,
        0xc19b_f174,
        0xe49b_69c1,
        0xefbe_4786,
        0x0fc1_9dc6,
        0x240c_a1cc,
        0x2de9_2c6f,
        0x4a74_84aa,
        0x5cb0_a9dc,
        0x76f9_88da,
        0x983e_5152,
        0xa831_c66d,
        0xb003_27c8,
        0xbf59_7fc7,
        0xc6e0_0bf3,
        0xd5a7_9147,
        0x06ca_6351,
        0x1429_2967,
        0x27b7_0a85,
        0x2e1b_2138,
        0x4d2c_6dfc,
        0x5338_0d13,
        0x650a_7354,
        0x766a_0abb,
        0x81c2_c92e,
        0x9272_2c85,
        0xa2bf_e8a1,
        0xa81a_664b,
        0xc24b_8b70,
        0xc76c_51a3,
        0xd192_e819,
        0xd699_0624,
        0xf40e_3585,
        0x106a_a070,
        0x19a4_c116,
        0x1e37_6c08,
        0x2748_774c,
        0x34b0_bcb5,
        0x391c_0cb3,
        0x4ed8_aa4a,
        0x5b9c_ca4f,
        0x682e_6ff3,
        0x748f_82ee,
        0x78a5_636f,
        0x84c8_7814,
        0x8cc7_0208,
        0x90be_fffa,
        0xa450_6ceb,
        0xbef9_a3f7,
        0xc671_78f2,
    ];

    // Below, arrays are filled by loops and never by `map`, whose closure would be a call: it has not the features of what it is in.

    /// Four words of the round constants.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn constants(four: usize) -> __m128i {
        let [first, second, third, fourth] =
            [ROUND[4 * four], ROUND[4 * four + 1], ROUND[4 * four + 2], ROUND[4 * four + 3]];
        _mm_set_epi32(fourth as i32, third as i32, second as i32, first as i32)
    }

    /// The instructions want a state as (a, b, e, f) and (c, d, g, h), the first word highest. Four rounds of each lane stand side by
    /// side, so that the processor runs them together.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) fn compress<const N: usize>(states: &mut [[u32; 8]; N], inputs: [&[Block]; N]) {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let (mut abef, mut cdgh) = ([_mm_setzero_si128(); N], [_mm_setzero_si128(); N]);
        for lane in 0..N {
            let [a, b, c, d, e, f, g, h] = states[lane];
            abef[lane] = _mm_set_epi32(a as i32, b as i32, e as i32, f as i32);
            cdgh[lane] = _mm_set_epi32(c as i32, d as i32, g as i32, h as i32);
        }
        for n in 0..inputs.first().map_or(0, |input| input.len()) {
            let before = (abef, cdgh);
            let mut words = [[_mm_setzero_si128(); 4]; N];
            for (words, input) in words.iter_mut().zip(inputs) {
                for (word, four) in words.iter_mut().zip(input[n].as_chunks::<16>().0) {
                    // SAFETY: 16 readable bytes; an unaligned load needs no more.
                    *word = _mm_shuffle_epi8(unsafe { _mm_loadu_si128(four.as_ptr().cast()) }, swap);
                }
            }
            for four in 0..16 {
                let (now, next, last, beside) = (four % 4, (four + 1) % 4, (four + 3) % 4, (four + 2) % 4);
                for lane in 0..N {
                    let w = &mut words[lane];
                    if four >= 4 {
                        let sum = _mm_add_epi32(
                            _mm_sha256msg1_epu32(w[now], w[next]),
                            _mm_alignr_epi8::<4>(w[last], w[beside]),
                        );
                        w[now] = _mm_sha256msg2_epu32(sum, w[last]);
                    }
                    let sum = _mm_add_epi32(w[now], constants(four));
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], sum);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32::<0x0e>(sum));
                }
            }
            for lane in 0..N {
                abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
                cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
            }
        }
        for lane in 0..N {
            let (abef, cdgh) = (abef[lane], cdgh[lane]);
            let (ab, ef) = (_mm_extract_epi64::<1>(abef) as u64, _mm_extract_epi64::<0>(abef) as u64);
            let (cd, gh) = (_mm_extract_epi64::<1>(cdgh) as u64, _mm_extract_epi64::<0>(cdgh) as u64);
            for (two, words) in [ab, cd, ef, gh].iter().zip(states[lane].as_chunks_mut::<2>().0) {
                *words = [(*two >> 32) as u32, *two as u32];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::hmac;

    fn text(length: usize, seed: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 31 + seed * 7 + n / 251) as u8).collect()
    }

    #[test]
    fn tags_are_those_of_one_message_at_a_time() {
        let key: [u8; 32] = text(32, 5).try_into().unwrap();
        let Some(lanes) = HmacLanes::new(&key) else { return };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let expect = |messages: [&[u8]; LANES]| {
            for (tag, message) in lanes.tags(messages).iter().zip(messages) {
                assert_eq!(tag[..], *hmac::sign(&key, message).as_ref(), "{} bytes", message.len());
            }
        };
        for length in 0..400 {
            let messages: Vec<_> = (0..LANES).map(|lane| text(length, lane)).collect();
            expect(std::array::from_fn(|lane| &messages[lane][..]));
            let messages: Vec<_> = (0..LANES).map(|lane| text((length * (lane + 1)) % 397, lane)).collect();
            expect(std::array::from_fn(|lane| &messages[lane][..]));
            expect([&messages[3], &[], &messages[1], &[]]);
        }
    }
}
