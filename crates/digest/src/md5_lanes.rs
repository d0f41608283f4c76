//! MD5's compression over many streams at once: one stream a lane of a vector register. A single stream depends on itself from step to
//! step, so vectors help only where several are in flight. Source of the steps: RFC 1321. The scalar path, and the reference the
//! tests compare with, is the md-5 crate.

use md5::block_api::compress;

/// What a stream starts from: RFC 1321, section 3.3.
pub(crate) const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// Bytes of a block.
pub(crate) const BLOCK: usize = 64;
/// The most lanes of any kernel.
pub(crate) const MAX_LANES: usize = 16;

/// The kernels a machine can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    Scalar,
    /// 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 16 lanes; 8 of half the width, which go forward faster, where there are no more.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// Those of this machine, the widest last.
    pub fn of_this_machine() -> Vec<Self> {
        let mut kernels = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(is_x86_feature_detected!("avx2").then_some(Self::Avx2));
            let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            kernels.extend(avx512.then_some(Self::Avx512));
        }
        kernels
    }

    /// The widest of this machine, of those that an operator wants.
    pub fn widest(avx512: bool) -> Self {
        let mut kernels = Self::of_this_machine();
        #[cfg(target_arch = "x86_64")]
        kernels.retain(|kernel| avx512 || *kernel != Self::Avx512);
        kernels.pop().unwrap_or(Self::Scalar)
    }

    pub fn lanes(self) -> usize {
        match self {
            Self::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
        }
    }

    /// The MD5 of texts of one length, as many as there are lanes at most: the pool's work without its threads, for who counts it.
    pub fn digests(self, texts: &[&[u8]]) -> Vec<[u8; 16]> {
        let length = texts.first().map_or(0, |text| text.len());
        assert!(texts.len() <= self.lanes().max(1) && texts.iter().all(|text| text.len() == length));
        let mut states = vec![START; texts.len()];
        let whole = length / BLOCK;
        let tails: Vec<Vec<u8>> = texts.iter().map(|text| padded(&text[whole * BLOCK..], length as u64)).collect();
        if let Some(tail) = tails.first() {
            let mut streams: Vec<_> = states.iter_mut().zip(texts.iter().copied()).collect();
            self.advance(&mut streams, whole);
            let mut streams: Vec<_> = states.iter_mut().zip(tails.iter().map(Vec::as_slice)).collect();
            self.advance(&mut streams, tail.len() / BLOCK);
        }
        states.iter().map(digest_of).collect()
    }

    /// Takes every stream forward by the same number of blocks; at most `lanes` streams, each input at least that long.
    pub(crate) fn advance(self, streams: &mut [(&mut [u32; 4], &[u8])], blocks: usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the value says that `of_this_machine` found the feature; it is the only maker of it.
            #[allow(unsafe_code)]
            // A lone stream gains nothing.
            Self::Avx2 if streams.len() > 1 => wide::<8>(streams, blocks, |states, inputs, blocks| unsafe {
                x86::avx2(states, inputs, blocks);
            }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            #[allow(unsafe_code)]
            // A lone stream too: each of the four functions is one instruction, and so is a rotation.
            Self::Avx512 if (1..=8).contains(&streams.len()) => {
                wide::<8>(streams, blocks, |states, inputs, blocks| unsafe {
                    x86::avx512_half(states, inputs, blocks);
                })
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            #[allow(unsafe_code)]
            Self::Avx512 if !streams.is_empty() => wide::<16>(streams, blocks, |states, inputs, blocks| unsafe {
                x86::avx512(states, inputs, blocks);
            }),
            _ => {
                for (state, input) in streams {
                    compress(state, input[..blocks * BLOCK].as_chunks().0);
                }
            }
        }
    }
}

/// The last blocks of a text: RFC 1321, sections 3.1 and 3.2.
pub(crate) fn padded(tail: &[u8], length: u64) -> Vec<u8> {
    let mut blocks = tail.to_vec();
    blocks.push(0x80);
    blocks.resize((blocks.len() + 8).next_multiple_of(BLOCK) - 8, 0);
    blocks.extend_from_slice(&length.wrapping_mul(8).to_le_bytes());
    blocks
}

/// A state after the last block, as bytes.
pub(crate) fn digest_of(state: &[u32; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *out = word.to_le_bytes();
    }
    out
}

/// Spreads streams over lanes; a lane without a stream repeats the first one into a state that nobody reads.
#[cfg(target_arch = "x86_64")]
fn wide<const N: usize>(
    streams: &mut [(&mut [u32; 4], &[u8])],
    blocks: usize,
    kernel: impl Fn(&mut [[u32; N]; 4], &[&[u8]; N], usize),
) {
    let first = streams[0].1;
    let mut inputs = [&first[..blocks * BLOCK]; N];
    let mut states = [[0; N]; 4];
    for (lane, (state, input)) in streams.iter().enumerate() {
        inputs[lane] = &input[..blocks * BLOCK];
        for word in 0..4 {
            states[word][lane] = state[word];
        }
    }
    kernel(&mut states, &inputs, blocks);
    for (lane, (state, _)) in streams.iter_mut().enumerate() {
        for word in 0..4 {
            state[word] = states[word][lane];
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::BLOCK;
    use std::{arch::x86_64::*, hint::black_box};

    /// The constants of the steps: RFC 1321, section 3.4. Known while compiling they would be added last, where each step waits for the one
    /// before; as numbers that lie somewhere they are added to the words, which wait for nothing.
    #[rustfmt::skip]
    static STEPS: [u32; 64] = [
        0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee,
        0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
        0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be,
        0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
        0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa,
        0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
        0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed,
        0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
        0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c,
        0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
        0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05,
        0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
        0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039,
        0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
        0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1,
        0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
    ];

    /// The four rounds over words `$m`, with the operations of one width, and `$t` for `STEPS`.
    macro_rules! rounds {
        ($add:ident, $set:ident, $rotate:ident, $f:ident, $g:ident, $h:ident, $i:ident, $m:ident, $t:ident, $a:ident, $b:ident, $c:ident, $d:ident) => {
            macro_rules! step {
                ($mix:ident, $w:ident, $x:ident, $y:ident, $z:ident, $word:expr, $shift:expr, $step:expr) => {
                    let sum = $add($w, $add($m[$word], $set($t[$step].cast_signed())));
                    let sum = $add(sum, $mix($x, $y, $z));
                    $w = $add($rotate::<{ $shift }, { 32 - $shift }>(sum), $x);
                };
            }
            macro_rules! four {
                ($mix:ident, $s:expr, $k:expr, $n:expr) => {
                    step!($mix, $a, $b, $c, $d, $k[0], $s[0], $n[0]);
                    step!($mix, $d, $a, $b, $c, $k[1], $s[1], $n[1]);
                    step!($mix, $c, $d, $a, $b, $k[2], $s[2], $n[2]);
                    step!($mix, $b, $c, $d, $a, $k[3], $s[3], $n[3]);
                };
            }
            const S1: [i32; 4] = [7, 12, 17, 22];
            const S2: [i32; 4] = [5, 9, 14, 20];
            const S3: [i32; 4] = [4, 11, 16, 23];
            const S4: [i32; 4] = [6, 10, 15, 21];
            four!($f, S1, [0, 1, 2, 3], [0, 1, 2, 3]);
            four!($f, S1, [4, 5, 6, 7], [4, 5, 6, 7]);
            four!($f, S1, [8, 9, 10, 11], [8, 9, 10, 11]);
            four!($f, S1, [12, 13, 14, 15], [12, 13, 14, 15]);
            four!($g, S2, [1, 6, 11, 0], [16, 17, 18, 19]);
            four!($g, S2, [5, 10, 15, 4], [20, 21, 22, 23]);
            four!($g, S2, [9, 14, 3, 8], [24, 25, 26, 27]);
            four!($g, S2, [13, 2, 7, 12], [28, 29, 30, 31]);
            four!($h, S3, [5, 8, 11, 14], [32, 33, 34, 35]);
            four!($h, S3, [1, 4, 7, 10], [36, 37, 38, 39]);
            four!($h, S3, [13, 0, 3, 6], [40, 41, 42, 43]);
            four!($h, S3, [9, 12, 15, 2], [44, 45, 46, 47]);
            four!($i, S4, [0, 7, 14, 5], [48, 49, 50, 51]);
            four!($i, S4, [12, 3, 10, 1], [52, 53, 54, 55]);
            four!($i, S4, [8, 15, 6, 13], [56, 57, 58, 59]);
            four!($i, S4, [4, 11, 2, 9], [60, 61, 62, 63]);
        };
    }

    /// AVX-512's instructions for the rotation and, by a table over (x, y, z), for each of the four functions; over registers of one width.
    macro_rules! ternary {
        ($features:literal, $register:ty, $roll:ident, $logic:ident, $rotate:ident $(, $function:ident = $table:literal)*) => {
            #[inline]
            #[target_feature(enable = $features)]
            fn $rotate<const LEFT: i32, const RIGHT: i32>(x: $register) -> $register {
                $roll::<LEFT>(x)
            }
            $(
                #[inline]
                #[target_feature(enable = $features)]
                fn $function(x: $register, y: $register, z: $register) -> $register {
                    $logic::<$table>(x, y, z)
                }
            )*
        };
    }
    #[rustfmt::skip]
    ternary!("avx512f", __m512i, _mm512_rol_epi32, _mm512_ternarylogic_epi32,
        rotate512, f512 = 0xca, g512 = 0xe4, h512 = 0x96, i512 = 0x39);
    #[rustfmt::skip]
    ternary!("avx512f,avx512vl", __m256i, _mm256_rol_epi32, _mm256_ternarylogic_epi32,
        rotate512_half, f512_half = 0xca, g512_half = 0xe4, h512_half = 0x96, i512_half = 0x39);

    /// Rows to columns: word `n` of every lane in one register.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transposed512(rows: &[__m512i; 16]) -> [__m512i; 16] {
        let mut groups = [[_mm512_setzero_si512(); 4]; 4];
        for (n, group) in groups.iter_mut().enumerate() {
            let rows = [rows[4 * n], rows[4 * n + 1], rows[4 * n + 2], rows[4 * n + 3]];
            let (low01, high01) = (_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[0], rows[1]));
            let (low23, high23) = (_mm512_unpacklo_epi32(rows[2], rows[3]), _mm512_unpackhi_epi32(rows[2], rows[3]));
            *group = [
                _mm512_unpacklo_epi64(low01, low23),
                _mm512_unpackhi_epi64(low01, low23),
                _mm512_unpacklo_epi64(high01, high23),
                _mm512_unpackhi_epi64(high01, high23),
            ];
        }
        let mut columns = [_mm512_setzero_si512(); 16];
        for n in 0..4 {
            let (low01, high01) = (
                _mm512_shuffle_i32x4::<0x44>(groups[0][n], groups[1][n]),
                _mm512_shuffle_i32x4::<0xee>(groups[0][n], groups[1][n]),
            );
            let (low23, high23) = (
                _mm512_shuffle_i32x4::<0x44>(groups[2][n], groups[3][n]),
                _mm512_shuffle_i32x4::<0xee>(groups[2][n], groups[3][n]),
            );
            columns[n] = _mm512_shuffle_i32x4::<0x88>(low01, low23);
            columns[4 + n] = _mm512_shuffle_i32x4::<0xdd>(low01, low23);
            columns[8 + n] = _mm512_shuffle_i32x4::<0x88>(high01, high23);
            columns[12 + n] = _mm512_shuffle_i32x4::<0xdd>(high01, high23);
        }
        columns
    }

    /// Needs AVX-512F. Every input has `blocks` blocks at least.
    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(states: &mut [[u32; 16]; 4], inputs: &[&[u8]; 16], blocks: usize) {
        assert!(inputs.iter().all(|input| input.len() >= blocks * BLOCK));
        // SAFETY: a row of 16 words is 64 readable and writable bytes; unaligned loads and stores need no more.
        let load = |row: &[u32; 16]| unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
        let (mut a, mut b, mut c, mut d) = (load(&states[0]), load(&states[1]), load(&states[2]), load(&states[3]));
        let steps: &[u32; 64] = black_box(&STEPS);
        for block in 0..blocks {
            let mut rows = [_mm512_setzero_si512(); 16];
            for (lane, row) in rows.iter_mut().enumerate() {
                // SAFETY: the assertion above: 64 bytes lie behind this place.
                *row = unsafe { _mm512_loadu_si512(inputs[lane].as_ptr().add(block * BLOCK).cast()) };
            }
            let m = transposed512(&rows);
            let before = [a, b, c, d];
            rounds!(_mm512_add_epi32, _mm512_set1_epi32, rotate512, f512, g512, h512, i512, m, steps, a, b, c, d);
            a = _mm512_add_epi32(a, before[0]);
            b = _mm512_add_epi32(b, before[1]);
            c = _mm512_add_epi32(c, before[2]);
            d = _mm512_add_epi32(d, before[3]);
        }
        for (row, value) in states.iter_mut().zip([a, b, c, d]) {
            // SAFETY: as for loading.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), value) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate256<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    fn f256(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    fn g256(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        f256(z, x, y)
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    fn h256(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        _mm256_xor_si256(x, _mm256_xor_si256(y, z))
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    fn i256(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        let not_z = _mm256_xor_si256(z, _mm256_set1_epi32(-1));
        _mm256_xor_si256(y, _mm256_or_si256(x, not_z))
    }

    /// Rows to columns, eight words of eight lanes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn transposed256(rows: &[__m256i; 8]) -> [__m256i; 8] {
        let mut groups = [[_mm256_setzero_si256(); 4]; 2];
        for (n, group) in groups.iter_mut().enumerate() {
            let rows = [rows[4 * n], rows[4 * n + 1], rows[4 * n + 2], rows[4 * n + 3]];
            let (low01, high01) = (_mm256_unpacklo_epi32(rows[0], rows[1]), _mm256_unpackhi_epi32(rows[0], rows[1]));
            let (low23, high23) = (_mm256_unpacklo_epi32(rows[2], rows[3]), _mm256_unpackhi_epi32(rows[2], rows[3]));
            *group = [
                _mm256_unpacklo_epi64(low01, low23),
                _mm256_unpackhi_epi64(low01, low23),
                _mm256_unpacklo_epi64(high01, high23),
                _mm256_unpackhi_epi64(high01, high23),
            ];
        }
        let mut columns = [_mm256_setzero_si256(); 8];
        for n in 0..4 {
            columns[n] = _mm256_permute2x128_si256::<0x20>(groups[0][n], groups[1][n]);
            columns[4 + n] = _mm256_permute2x128_si256::<0x31>(groups[0][n], groups[1][n]);
        }
        columns
    }

    /// Eight lanes over the operations of one instruction set.
    macro_rules! eight_lanes {
        ($name:ident, $features:literal, $rotate:ident, $f:ident, $g:ident, $h:ident, $i:ident) => {
            /// Needs the instruction set. Every input has `blocks` blocks at least.
            #[target_feature(enable = $features)]
            pub(super) fn $name(states: &mut [[u32; 8]; 4], inputs: &[&[u8]; 8], blocks: usize) {
                assert!(inputs.iter().all(|input| input.len() >= blocks * BLOCK));
                // SAFETY: a row of 8 words is 32 readable and writable bytes; unaligned loads and stores need no more.
                let load = |row: &[u32; 8]| unsafe { _mm256_loadu_si256(row.as_ptr().cast()) };
                let (mut a, mut b, mut c, mut d) = (load(&states[0]), load(&states[1]), load(&states[2]), load(&states[3]));
                let steps: &[u32; 64] = black_box(&STEPS);
                for block in 0..blocks {
                    let mut halves = [[_mm256_setzero_si256(); 8]; 2];
                    for (lane, input) in inputs.iter().enumerate() {
                        for (half, rows) in halves.iter_mut().enumerate() {
                            let at = block * BLOCK + half * 32;
                            // SAFETY: the assertion above: 64 bytes lie behind the block's place, 32 behind each half's.
                            rows[lane] = unsafe { _mm256_loadu_si256(input.as_ptr().add(at).cast()) };
                        }
                    }
                    let (low, high) = (transposed256(&halves[0]), transposed256(&halves[1]));
                    let m = [
                        low[0], low[1], low[2], low[3], low[4], low[5], low[6], low[7], high[0], high[1], high[2],
                        high[3], high[4], high[5], high[6], high[7],
                    ];
                    let before = [a, b, c, d];
                    rounds!(_mm256_add_epi32, _mm256_set1_epi32, $rotate, $f, $g, $h, $i, m, steps, a, b, c, d);
                    a = _mm256_add_epi32(a, before[0]);
                    b = _mm256_add_epi32(b, before[1]);
                    c = _mm256_add_epi32(c, before[2]);
                    d = _mm256_add_epi32(d, before[3]);
                }
                for (row, value) in states.iter_mut().zip([a, b, c, d]) {
                    // SAFETY: as for loading.
                    unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), value) };
                }
            }
        };
    }

    eight_lanes!(avx2, "avx2", rotate256, f256, g256, h256, i256);
    eight_lanes!(avx512_half, "avx512f,avx512vl,avx2", rotate512_half, f512_half, g512_half, h512_half, i512_half);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_agrees_with_the_reference_in_every_lane() {
        for kernel in Kernel::of_this_machine() {
            for streams in 1..=kernel.lanes() {
                for blocks in [0, 1, 2, 7] {
                    let inputs: Vec<Vec<u8>> = (0..streams)
                        .map(|lane| (0..blocks * BLOCK).map(|n| (n * 31 + lane * 97 + n / 64) as u8).collect())
                        .collect();
                    let start = |lane: usize| START.map(|word| word.wrapping_add(lane as u32));
                    let mut states: Vec<[u32; 4]> = (0..streams).map(start).collect();
                    let mut work: Vec<_> =
                        states.iter_mut().zip(&inputs).map(|(state, input)| (state, &input[..])).collect();
                    kernel.advance(&mut work, blocks);
                    for (lane, input) in inputs.iter().enumerate() {
                        let mut expected = start(lane);
                        compress(&mut expected, input.as_chunks().0);
                        assert_eq!(states[lane], expected, "{kernel:?}, lane {lane} of {streams}, {blocks} blocks");
                    }
                }
            }
        }
    }
    #[test]
    fn whole_texts_agree_with_the_reference() {
        for kernel in Kernel::of_this_machine() {
            for length in [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000] {
                let texts: Vec<Vec<u8>> = (0..kernel.lanes()).map(|lane| vec![lane as u8; length]).collect();
                let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
                let expected: Vec<[u8; 16]> = texts.iter().map(|text| crate::md5(text)).collect();
                assert_eq!(kernel.digests(&texts), expected, "{kernel:?}, {length} bytes");
            }
        }
    }
}
