//! Ciphertexts of symmetric KMS keys. docs/format.md.

use crate::{context::canonical, error::KmsError, issue::current, key::KeyRecord, ring::KeyRing};
use zeroize::Zeroizing;

const CIPHERTEXT_VERSION: u8 = 1;

impl KeyRing {
    /// A KMS ciphertext: `version (1) || length of key id (1) || key id || material id (32) || wrap`. Everything before the wrap
    /// is associated data too, with the context and the place.
    pub(crate) async fn encrypt(
        &self,
        key: &KeyRecord,
        context: &[(&str, &str)],
        place: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        let mut out = ciphertext_header(key)?;
        let aad = [&out[..], &canonical(context), place].concat();
        out.extend_from_slice(&self.backend.encrypt(key, &aad, secret).await?);
        Ok(out)
    }

    pub(crate) async fn decrypt(
        &self,
        key: &KeyRecord,
        context: &[(&str, &str)],
        place: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let header = 2 + key.id.len() + 32;
        let (clear, wrapped) = ciphertext.split_at_checked(header).ok_or(KmsError::InvalidCiphertext)?;
        if clear[0] != CIPHERTEXT_VERSION
            || usize::from(clear[1]) != key.id.len()
            || clear[2..2 + key.id.len()] != *key.id.as_bytes()
        {
            return Err(KmsError::InvalidCiphertext);
        }
        let material = hex::encode(&clear[2 + key.id.len()..]);
        let aad = [clear, &canonical(context), place].concat();
        self.backend.decrypt(key, &material, &aad, wrapped).await
    }
}

fn ciphertext_header(key: &KeyRecord) -> Result<Vec<u8>, KmsError> {
    let malformed = || KmsError::Unavailable(format!("{}: its id or material id has a wrong form", key.id));
    let mut out = vec![CIPHERTEXT_VERSION, u8::try_from(key.id.len()).map_err(|_| malformed())?];
    out.extend_from_slice(key.id.as_bytes());
    let material = hex::decode(current(key)).ok().filter(|id| id.len() == 32).ok_or_else(malformed)?;
    out.extend_from_slice(&material);
    Ok(out)
}
