//! Keys as types: none prints, copies or compares by accident, and each kind can do one thing.

use crate::{
    EnvelopeError,
    primitive::{TAG, derive, gcm_open, gcm_seal},
};
use std::fmt;
use tresor_model::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The random key of one object: 32 bytes, only ever input of HKDF.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        Self(bytes)
    }
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// For wrapping it, and for nothing else.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(32 bytes)")
    }
}

/// The key a client sent for SSE-C: 32 bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CustomerKey([u8; 32]);

impl CustomerKey {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey(32 bytes)")
    }
}

/// The key, or both keys, that open an object: made only by `Envelope::assemble` and `Envelope::unlock`, after the commitment
/// was computed or checked.
pub struct ContentKey {
    pub(crate) inner: DataKey,
    /// DSSE's second, independent key.
    pub(crate) outer: Option<DataKey>,
    pub(crate) header_hash: [u8; 32],
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.outer.is_some() { "ContentKey(two layers)" } else { "ContentKey(one layer)" })
    }
}

const PART_LABEL: &[u8] = b"tresor/v1/part";
const LAYER2_LABEL: &[u8] = b"tresor/v1/layer2";
const CHECKSUM_LABEL: &[u8] = b"tresor/v1/checksum";

impl ContentKey {
    /// The key of one part's inner (or only) layer.
    pub(crate) fn part_key(&self, salt: &[u8; 32], number: u16) -> Zeroizing<[u8; 32]> {
        derive(self.inner.expose(), salt, &[PART_LABEL, &self.header_hash, &number.to_be_bytes()])
    }
    /// The key of one part's outer layer.
    pub(crate) fn layer2_key(&self, salt: &[u8; 32], number: u16) -> Option<Zeroizing<[u8; 32]>> {
        let outer = self.outer.as_ref()?;
        Some(derive(outer.expose(), salt, &[LAYER2_LABEL, &self.header_hash, &number.to_be_bytes()]))
    }

    /// Seals what identifies the plaintext. `salt` must be fresh: one salt seals one text.
    pub fn seal_digests(&self, salt: &[u8; 32], plain: &[u8]) -> Vec<u8> {
        let key = derive(self.inner.expose(), salt, &[CHECKSUM_LABEL, &self.header_hash]);
        let mut out = plain.to_vec();
        let tag = gcm_seal(&key, &[0; 12], CHECKSUM_LABEL, &mut out);
        out.extend_from_slice(&tag);
        out
    }
    /// Opens what `seal_digests` made. Errors: NotAuthentic, Malformed.
    pub fn open_digests(&self, salt: &[u8; 32], sealed: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG>().ok_or(EnvelopeError::Malformed)?;
        let key = derive(self.inner.expose(), salt, &[CHECKSUM_LABEL, &self.header_hash]);
        let mut plain = ciphertext.to_vec();
        gcm_open(&key, &[0; 12], CHECKSUM_LABEL, &mut plain, tag)?;
        Ok(plain)
    }
}
