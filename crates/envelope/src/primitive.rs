//! HKDF, and the wrapping of short secrets. docs/format.md sections "Derivation" and "Wrapped secrets".

use crate::EnvelopeError;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag, aead::AeadInOut};
use aws_lc_rs::hkdf;
use tresor_model::Entropy;
use zeroize::Zeroizing;

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA256 (RFC 5869): extract with `salt`, expand with the concatenation of `info`. Fills `out`, at most 8,160 bytes.
pub fn hkdf(ikm: &[u8], salt: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    let expanded = key.expand(info, Length(out.len())).expect("every caller asks for less than 8,160 bytes");
    expanded.fill(out).expect("the length asked for is the length of `out`");
}

/// Derives one 32-byte key.
pub(crate) fn derive(ikm: &[u8], salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    hkdf(ikm, salt, info, &mut out[..]);
    out
}

const WRAP_LABEL: &[u8] = b"tresor/v1/wrap";
const SALT: usize = 32;
pub(crate) const TAG: usize = 16;
/// The key is used for one ciphertext only, so its nonce is zero.
const ONLY_NONCE: [u8; 12] = [0; 12];

/// Wraps a short secret: `salt (32) || ciphertext || tag (16)`, AES-256-GCM under HKDF(kek, salt), a key per ciphertext.
pub fn wrap(kek: &[u8; 32], entropy: &dyn Entropy, aad: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut salt = [0; SALT];
    entropy.fill(&mut salt);
    let key = derive(kek, &salt, &[WRAP_LABEL]);
    let mut out = Vec::with_capacity(SALT + secret.len() + TAG);
    out.extend_from_slice(&salt);
    out.extend_from_slice(secret);
    let tag = gcm_seal(&key, &ONLY_NONCE, aad, &mut out[SALT..]);
    out.extend_from_slice(&tag);
    out
}

/// Opens what `wrap` made. Errors: NotAuthentic, Malformed.
pub fn unwrap(kek: &[u8; 32], aad: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let (salt, rest) = wrapped.split_at_checked(SALT).ok_or(EnvelopeError::Malformed)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(EnvelopeError::Malformed)?;
    let key = derive(kek, salt, &[WRAP_LABEL]);
    let mut secret = Zeroizing::new(ciphertext.to_vec());
    gcm_open(&key, &ONLY_NONCE, aad, &mut secret, tag)?;
    Ok(secret)
}

/// AES-256-GCM by the RustCrypto implementation.
pub(crate) fn gcm_seal(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG] {
    Aes256Gcm::new(key.into())
        .encrypt_inout_detached(&Nonce::from(*nonce), aad, in_out.into())
        .expect("chunks and secrets are far below GCM's 64 GiB")
        .into()
}

pub(crate) fn gcm_open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    in_out: &mut [u8],
    tag: &[u8; TAG],
) -> Result<(), EnvelopeError> {
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(&Nonce::from(*nonce), aad, in_out.into(), &Tag::from(*tag))
        .map_err(|_| EnvelopeError::NotAuthentic)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, test case 1.
    #[test]
    fn hkdf_of_the_rfc() {
        let mut out = [0; 42];
        let salt = hex::decode("000102030405060708090a0b0c").unwrap();
        hkdf(&[0x0b; 22], &salt, &[&hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap()], &mut out);
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(hex::encode(out), expected);
    }

    #[test]
    fn a_wrapped_secret_opens_under_its_key_and_data_only() {
        let entropy = crate::chunk::tests::Counting::default();
        let wrapped = wrap(&[7; 32], &entropy, b"here", b"secret");
        assert_eq!(unwrap(&[7; 32], b"here", &wrapped).unwrap().as_slice(), b"secret");
        assert!(unwrap(&[8; 32], b"here", &wrapped).is_err());
        assert!(unwrap(&[7; 32], b"there", &wrapped).is_err());
        for n in 0..wrapped.len() {
            let mut broken = wrapped.clone();
            broken[n] ^= 1;
            assert!(unwrap(&[7; 32], b"here", &broken).is_err(), "byte {n}");
            assert!(unwrap(&[7; 32], b"here", &wrapped[..n]).is_err(), "cut at {n}");
        }
    }
}
