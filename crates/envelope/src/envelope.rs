//! The envelope of one object: the immutable header, the wrapped data keys, and the commitment to the keys inside.

use crate::{
    EnvelopeError, FORMAT,
    key::{ContentKey, DataKey},
    primitive::derive,
};
use std::fmt;
use subtle::ConstantTimeEq;
use tresor_model::{BucketId, ObjectKey, WriteId};

/// How an object is encrypted, as S3 knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum SseMode {
    #[n(1)]
    S3,
    #[n(2)]
    Kms,
    #[n(3)]
    KmsBucketKey,
    #[n(4)]
    Dsse,
    #[n(5)]
    Customer,
}

impl SseMode {
    const fn id(self) -> u8 {
        match self {
            Self::S3 => 1,
            Self::Kms => 2,
            Self::KmsBucketKey => 3,
            Self::Dsse => 4,
            Self::Customer => 5,
        }
    }
}

/// One layer of AES-256-GCM.
const ALGORITHM_ONE_LAYER: u8 = 1;
/// Two layers of AES-256-GCM under independent keys.
const ALGORITHM_TWO_LAYERS: u8 = 2;
/// Chunks of 64 KiB.
const CHUNK_LOG2: u8 = 16;

/// What never changes about a sealed object. Its hash is part of every derivation, so it cannot be altered unnoticed.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Header {
    #[n(0)]
    pub format: u8,
    #[n(1)]
    pub algorithm: u8,
    #[n(2)]
    pub chunk_log2: u8,
    #[n(3)]
    pub mode: SseMode,
    /// The KMS key's ARN; empty for SSE-S3 and SSE-C.
    #[n(4)]
    pub key_arn: String,
}

impl Header {
    pub fn new(mode: SseMode, key_arn: impl Into<String>) -> Self {
        let algorithm = match mode {
            SseMode::Dsse => ALGORITHM_TWO_LAYERS,
            SseMode::S3 | SseMode::Kms | SseMode::KmsBucketKey | SseMode::Customer => ALGORITHM_ONE_LAYER,
        };
        Self { format: FORMAT, algorithm, chunk_log2: CHUNK_LOG2, mode, key_arn: key_arn.into() }
    }

    /// Whether this is a header that this version can have written. Errors: Malformed.
    pub(crate) fn check(&self) -> Result<(), EnvelopeError> {
        let written = Self::new(self.mode, self.key_arn.clone());
        if *self == written { Ok(()) } else { Err(EnvelopeError::Malformed) }
    }

    /// Plaintext bytes of a chunk.
    pub fn chunk(&self) -> usize {
        1 << self.chunk_log2
    }
    pub fn layers(&self) -> usize {
        if self.algorithm == ALGORITHM_TWO_LAYERS { 2 } else { 1 }
    }

    /// SHA-256 over the fixed layout of docs/format.md.
    pub fn hash(&self) -> [u8; 32] {
        let mut bytes = b"tresor/v1/header".to_vec();
        bytes.extend_from_slice(&[self.format, self.algorithm, self.chunk_log2, self.mode.id()]);
        push_prefixed(&mut bytes, self.key_arn.as_bytes());
        tresor_digest::sha256(&bytes)
    }
}

/// Appends a 4-byte big-endian length and the bytes.
pub(crate) fn push_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The place an envelope belongs to. One that is moved elsewhere does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub bucket: BucketId,
    pub key: ObjectKey,
    pub write: WriteId,
}

impl Binding {
    /// SHA-256 over bucket id, object key, write id and the header's hash: associated data of every wrapped data key.
    pub fn digest(&self, header: &Header) -> [u8; 32] {
        let mut bytes = b"tresor/v1/binding".to_vec();
        bytes.extend_from_slice(self.bucket.as_bytes());
        push_prefixed(&mut bytes, self.key.as_str().as_bytes());
        bytes.extend_from_slice(self.write.as_bytes());
        bytes.extend_from_slice(&header.hash());
        tresor_digest::sha256(&bytes)
    }
}

/// How an SSE-C object recognises its customer's key without storing anything that tests a guess by itself.
#[derive(Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct CustomerCheck {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// HMAC under a server-held secret.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub check: [u8; 32],
}

impl fmt::Debug for CustomerCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerCheck")
    }
}

/// What is stored beside a sealed object, so that whoever may use the right key can open it.
#[derive(Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Envelope {
    #[n(0)]
    pub header: Header,
    /// The wrapped data key; for a bucket key, the wrapped bucket key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
    /// DSSE's outer key, wrapped.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub outer_wrapped: Option<Vec<u8>>,
    /// The data key is HKDF(bucket key, this salt).
    #[cbor(n(3), with = "minicbor::bytes")]
    pub bucket_key_salt: Option<[u8; 32]>,
    #[n(4)]
    pub customer: Option<CustomerCheck>,
    /// The caller's own encryption context, sorted by key.
    #[n(5)]
    pub context: Vec<(String, String)>,
    #[cbor(n(6), with = "minicbor::bytes")]
    pub commitment: [u8; 32],
    /// The material of the AWS owned key that wrapped the data key (SSE-S3) or the outer key (DSSE). Nothing stands for the key that
    /// served every account before there were owned ones: material "1".
    #[cbor(n(7), with = "minicbor::bytes")]
    pub owned_material: Option<[u8; 32]>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({:?}, {} bytes wrapped)", self.header, self.wrapped.len())
    }
}

/// The keys of a new object in their wrapped forms.
#[derive(Clone, Debug, Default)]
pub struct WrappedKeys {
    pub wrapped: Vec<u8>,
    pub outer_wrapped: Option<Vec<u8>>,
    pub bucket_key_salt: Option<[u8; 32]>,
    pub customer: Option<CustomerCheck>,
    pub owned_material: Option<[u8; 32]>,
}

/// Which key of an object a material of an owned key wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnedLayer {
    /// The data key of SSE-S3.
    Only,
    /// The outer key of DSSE.
    Outer,
}

/// Associated data of what an owned key wraps: the material, the layer and the place.
pub fn owned_aad(material: &[u8; 32], layer: OwnedLayer, binding: &[u8; 32]) -> Vec<u8> {
    let label: &[u8] = match layer {
        OwnedLayer::Only => b"tresor/v1/owned",
        OwnedLayer::Outer => b"tresor/v1/owned-outer",
    };
    [label, material, binding].concat()
}

impl Envelope {
    /// Joins new keys and their wrapped forms. `context` is the caller's own, sorted by key.
    /// Errors: Malformed when the number of keys does not fit the mode.
    pub fn assemble(
        header: Header,
        inner: DataKey,
        outer: Option<DataKey>,
        keys: WrappedKeys,
        context: Vec<(String, String)>,
    ) -> Result<(ContentKey, Self), EnvelopeError> {
        header.check()?;
        if outer.is_some() != (header.layers() == 2) || keys.outer_wrapped.is_some() != outer.is_some() {
            return Err(EnvelopeError::Malformed);
        }
        let header_hash = header.hash();
        let key = ContentKey { inner, outer, header_hash };
        let commitment = commitment(&key);
        let WrappedKeys { wrapped, outer_wrapped, bucket_key_salt, customer, owned_material } = keys;
        let envelope =
            Self { header, wrapped, outer_wrapped, bucket_key_salt, customer, context, commitment, owned_material };
        Ok((key, envelope))
    }

    /// Checks the commitment, in constant time, before any chunk is opened: one ciphertext opens under one key only.
    /// Errors: NotAuthentic, Malformed.
    pub fn unlock(&self, inner: DataKey, outer: Option<DataKey>) -> Result<ContentKey, EnvelopeError> {
        self.header.check()?;
        if outer.is_some() != (self.header.layers() == 2) {
            return Err(EnvelopeError::Malformed);
        }
        let key = ContentKey { inner, outer, header_hash: self.header.hash() };
        if bool::from(commitment(&key).ct_eq(&self.commitment)) { Ok(key) } else { Err(EnvelopeError::NotAuthentic) }
    }
}

const COMMIT_LABEL: &[u8] = b"tresor/v1/commit";

/// HKDF over the key, or over both keys one after the other.
fn commitment(key: &ContentKey) -> [u8; 32] {
    let mut ikm = zeroize::Zeroizing::new(Vec::with_capacity(64));
    ikm.extend_from_slice(key.inner.expose());
    if let Some(outer) = &key.outer {
        ikm.extend_from_slice(outer.expose());
    }
    *derive(&ikm, &[], &[COMMIT_LABEL, &key.header_hash])
}
