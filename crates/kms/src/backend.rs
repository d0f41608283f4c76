//! Using a KMS key, without assuming that its material can be read: an HSM can stand here.

use crate::{
    domain::Domain,
    error::KmsError,
    key::{KeyRecord, Material},
    traits::ErasureSecrets,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, sync::Arc};
use tresor_envelope::{hkdf, unwrap, wrap};
use tresor_model::{Entropy, Timestamp};
use zeroize::Zeroizing;

/// Makes material and uses it. Ciphertexts are `wrap` of docs/format.md: a key derived per ciphertext.
#[async_trait]
pub trait KeyBackend: Send + Sync + fmt::Debug {
    /// Makes a generation of material for a key (that may be new).
    async fn generate(&self, key_id: &str, now: Timestamp) -> Result<Material, KmsError>;
    /// Encrypts a short secret under the key's current material.
    async fn encrypt(&self, key: &KeyRecord, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, KmsError>;
    /// Errors: InvalidCiphertext, Unavailable.
    async fn decrypt(
        &self,
        key: &KeyRecord,
        material: &str,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError>;
}

/// Material kept by Tresor itself: wrapped under HKDF(the domain's KMS key, the key's erasure secret).
pub struct SoftwareKeys {
    wrapping: Zeroizing<[u8; 32]>,
    erasure: Arc<dyn ErasureSecrets>,
    entropy: Arc<dyn Entropy>,
    opened: Mutex<HashMap<String, Arc<Zeroizing<[u8; 32]>>>>,
}

/// Opened materials kept in memory.
const MAX_OPENED: usize = 10_000;

impl fmt::Debug for SoftwareKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoftwareKeys")
    }
}

impl SoftwareKeys {
    pub fn new(domain: &Domain, erasure: Arc<dyn ErasureSecrets>, entropy: Arc<dyn Entropy>) -> Self {
        Self { wrapping: domain.kms(), erasure, entropy, opened: Mutex::default() }
    }

    fn kek(&self, key_id: &str, secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut kek = Zeroizing::new([0; 32]);
        hkdf(&self.wrapping[..], secret, &[b"tresor/v1/kms-material", key_id.as_bytes()], &mut kek[..]);
        kek
    }

    fn material(&self, key: &KeyRecord, id: &str) -> Result<Arc<Zeroizing<[u8; 32]>>, KmsError> {
        let slot = format!("{}/{id}", key.id);
        if let Some(opened) = self.opened.lock().get(&slot) {
            return Ok(Arc::clone(opened));
        }
        let stored = key.materials.iter().find(|material| material.id == id).ok_or(KmsError::InvalidCiphertext)?;
        let unavailable = |why: &str| KmsError::Unavailable(format!("{}: {why}", key.id));
        let secret = self
            .erasure
            .get(&key.id)
            .map_err(|error| unavailable(&error.to_string()))?
            .ok_or_else(|| unavailable("its erasure secret is gone"))?;
        let plain = unwrap(&self.kek(&key.id, &secret), id.as_bytes(), &stored.wrapped)
            .map_err(|_| unavailable("its material does not authenticate"))?;
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(plain.get(..32).ok_or_else(|| unavailable("its material is malformed"))?);
        let bytes = Arc::new(bytes);
        let mut opened = self.opened.lock();
        if opened.len() >= MAX_OPENED {
            opened.clear();
        }
        opened.insert(slot, Arc::clone(&bytes));
        Ok(bytes)
    }
}

#[async_trait]
impl KeyBackend for SoftwareKeys {
    async fn generate(&self, key_id: &str, now: Timestamp) -> Result<Material, KmsError> {
        let unavailable = |error: std::io::Error| KmsError::Unavailable(format!("{key_id}: {error}"));
        let secret = match self.erasure.get(key_id).map_err(unavailable)? {
            Some(secret) => secret,
            None => {
                let mut secret = Zeroizing::new([0; 32]);
                self.entropy.fill(&mut secret[..]);
                self.erasure.put(key_id, &secret).map_err(unavailable)?;
                secret
            }
        };
        let mut id = [0; 32];
        self.entropy.fill(&mut id);
        let id = hex::encode(id);
        let mut bytes = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut bytes[..]);
        let wrapped = wrap(&self.kek(key_id, &secret), &*self.entropy, id.as_bytes(), &bytes[..]);
        Ok(Material { id, created: now, wrapped })
    }

    async fn encrypt(&self, key: &KeyRecord, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, KmsError> {
        let current = key.current().ok_or_else(|| KmsError::Unavailable(format!("{}: it has no material", key.id)))?;
        let material = self.material(key, &current.id)?;
        Ok(wrap(&material, &*self.entropy, aad, secret))
    }

    async fn decrypt(
        &self,
        key: &KeyRecord,
        material: &str,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let material = self.material(key, material)?;
        unwrap(&material, aad, ciphertext).map_err(|_| KmsError::InvalidCiphertext)
    }
}
