//! The digests and checksums of the S3 API: streamed over a body, or combined from those of its parts.
//! Must never do I/O and must never print a value: a checksum identifies the plaintext.

mod hmac_lanes;
mod md5_chain;
mod md5_lanes;
mod md5_pool;

pub use hmac_lanes::{HmacLanes, LANES};
pub use md5_lanes::Kernel;
pub use md5_pool::{Md5Body, Md5Pool};

use aws_lc_rs::{digest as lc, hmac};
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use md5_chain::Chain;
use std::fmt;
use tresor_model::ChecksumAlgorithm;
use xxhash_rust::{xxh3::Xxh3Default, xxh64::Xxh64};

/// One checksum over a stream of bytes.
pub struct Hasher(State);

enum State {
    Crc(Box<crc_fast::Digest>, usize),
    Lc(Box<lc::Context>),
    Md5(Box<Md5>),
    XxHash64(Box<Xxh64>),
    XxHash3(Box<Xxh3Default>),
    XxHash128(Box<Xxh3Default>),
}

impl Hasher {
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        let crc = |kind| State::Crc(Box::new(crc_fast::Digest::new(kind)), algorithm.length());
        let hash = |kind| State::Lc(Box::new(lc::Context::new(kind)));
        Self(match algorithm {
            ChecksumAlgorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 => hash(&lc::SHA1_FOR_LEGACY_USE_ONLY),
            ChecksumAlgorithm::Sha256 => hash(&lc::SHA256),
            ChecksumAlgorithm::Sha512 => hash(&lc::SHA512),
            ChecksumAlgorithm::Md5 => State::Md5(Box::default()),
            ChecksumAlgorithm::XxHash64 => State::XxHash64(Box::new(Xxh64::new(0))),
            ChecksumAlgorithm::XxHash3 => State::XxHash3(Box::default()),
            ChecksumAlgorithm::XxHash128 => State::XxHash128(Box::default()),
        })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc(state, _) => state.update(bytes),
            State::Lc(state) => state.update(bytes),
            State::Md5(state) => state.update(bytes),
            State::XxHash64(state) => state.update(bytes),
            State::XxHash3(state) | State::XxHash128(state) => state.update(bytes),
        }
    }

    /// The value as S3 encodes it: big-endian bytes.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            State::Crc(state, length) => state.finalize().to_be_bytes()[8 - length..].to_vec(),
            State::Lc(state) => state.finish().as_ref().to_vec(),
            State::Md5(state) => state.finalize().to_vec(),
            State::XxHash64(state) => state.digest().to_be_bytes().to_vec(),
            State::XxHash3(state) => state.digest().to_be_bytes().to_vec(),
            State::XxHash128(state) => state.digest128().to_be_bytes().to_vec(),
        }
    }
}

pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(lc::digest(&lc::SHA256, bytes).as_ref());
    out
}

/// CRC-32C (Castagnoli) of pieces that follow each other.
pub fn crc32c(pieces: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi);
    for piece in pieces {
        digest.update(piece);
    }
    digest.finalize() as u32
}

/// HMAC-SHA1: Signature Version 2.
pub fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut out = [0; 20];
    out.copy_from_slice(hmac::sign(&key, message).as_ref());
    out
}

/// HMAC-SHA256 under one key that is used often: Signature Version 4. It does not print itself, and wipes its key.
pub struct HmacSha256(hmac::Key);

impl HmacSha256 {
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.0, message).as_ref());
        out
    }
}

/// SHA-256 over a stream: the payload hash of SigV4.
pub struct Sha256(lc::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(lc::Context::new(&lc::SHA256))
    }
}

impl Sha256 {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// Which digests of a body are needed. What is not asked for costs nothing.
#[derive(Clone, Debug, Default)]
pub struct DigestPlan {
    pub md5: bool,
    pub sha256: bool,
    pub checksums: Vec<ChecksumAlgorithm>,
}

/// All digests of one body in one pass, 64 KiB at a time so that each byte is read from cache.
pub struct Digester {
    md5: Option<Chain>,
    kernel: Kernel,
    sha256: Option<Sha256>,
    checksums: Vec<(ChecksumAlgorithm, Hasher)>,
    length: u64,
}

const PASS_BYTES: usize = 64 * 1024;

impl Digester {
    /// `kernel` is what MD5 is computed with.
    pub fn new(plan: &DigestPlan, kernel: Kernel) -> Self {
        Self {
            kernel,
            md5: plan.md5.then(Chain::default),
            sha256: plan.sha256.then(Sha256::new),
            checksums: plan.checksums.iter().map(|algorithm| (*algorithm, Hasher::new(*algorithm))).collect(),
            length: 0,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        for pass in bytes.chunks(PASS_BYTES) {
            if let Some(md5) = &mut self.md5 {
                md5.update(self.kernel, pass);
            }
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(pass);
            }
            for (_, hasher) in &mut self.checksums {
                hasher.update(pass);
            }
        }
    }

    pub fn finish(self) -> Digests {
        Digests {
            md5: self.md5.map(Chain::finish),
            sha256: self.sha256.map(Sha256::finish),
            checksums: self.checksums.into_iter().map(|(algorithm, hasher)| (algorithm, hasher.finish())).collect(),
            length: self.length,
        }
    }
}

/// The digests of one whole body. They identify the plaintext, so they do not print.
#[derive(Clone, Default)]
pub struct Digests {
    pub md5: Option<[u8; 16]>,
    pub sha256: Option<[u8; 32]>,
    pub checksums: Vec<(ChecksumAlgorithm, Vec<u8>)>,
    /// Bytes of the body.
    pub length: u64,
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digests({} bytes)", self.length)
    }
}

/// The COMPOSITE checksum of a multipart object: the checksum of its parts' raw checksums, one after the other.
pub fn composite(algorithm: ChecksumAlgorithm, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// The FULL_OBJECT checksum of a multipart object from its parts' checksums and lengths in bytes; `None` for an algorithm that
/// cannot be combined, or a checksum of the wrong length.
pub fn full_object(algorithm: ChecksumAlgorithm, parts: &[(Vec<u8>, u64)]) -> Option<Vec<u8>> {
    let kind = match algorithm {
        ChecksumAlgorithm::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
        ChecksumAlgorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
        ChecksumAlgorithm::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1
        | ChecksumAlgorithm::Sha256
        | ChecksumAlgorithm::Sha512
        | ChecksumAlgorithm::Md5
        | ChecksumAlgorithm::XxHash64
        | ChecksumAlgorithm::XxHash3
        | ChecksumAlgorithm::XxHash128 => return None,
    };
    let length = algorithm.length();
    let mut whole: Option<u64> = None;
    for (value, bytes) in parts {
        if value.len() != length {
            return None;
        }
        let value = value.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        whole = Some(match whole {
            None => value,
            Some(before) => crc_fast::checksum_combine(kind, before, value, *bytes),
        });
    }
    whole.map(|value| value.to_be_bytes()[8 - length..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Check values: "123456789" for the CRCs (the catalogue of parametrised CRC algorithms), RFC 1321, FIPS 180-4, xxHash.
    #[test]
    fn known_values() {
        let check = |algorithm, expected: &str| {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            assert_eq!(hex::encode(hasher.finish()), expected, "{algorithm:?}");
        };
        check(ChecksumAlgorithm::Crc32, "cbf43926");
        check(ChecksumAlgorithm::Crc32c, "e3069283");
        check(ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888");
        check(ChecksumAlgorithm::Md5, "25f9e794323b453885f5181f1b624d0b");
        check(ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        check(ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
        check(ChecksumAlgorithm::XxHash64, "8cb841db40e6ae83");
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(Hasher::new(algorithm).finish().len(), algorithm.length(), "{algorithm:?}");
        }
    }

    proptest! {
        #[test]
        fn combined_parts_equal_the_whole(body in proptest::collection::vec(any::<u8>(), 0..4000), cuts in proptest::collection::vec(0_usize..4000, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            for algorithm in ChecksumAlgorithm::ALL {
                let one = |bytes: &[u8]| { let mut h = Hasher::new(algorithm); h.update(bytes); h.finish() };
                let parts: Vec<_> = cuts.windows(2).map(|w| (one(&body[w[0]..w[1]]), (w[1] - w[0]) as u64)).collect();
                let expected = algorithm.combines().then(|| one(&body));
                prop_assert_eq!(full_object(algorithm, &parts), expected);
            }
        }
    }
}
