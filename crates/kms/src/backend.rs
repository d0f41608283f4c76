//! Using a KMS key, without assuming that its material can be read: an HSM can stand here.

use crate::{
    crypto,
    domain::Domain,
    error::KmsError,
    key::{KeyRecord, Material},
    spec::KeySpec,
    traits::ErasureSecrets,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, sync::Arc};
use tresor_envelope::{hkdf, unwrap, wrap};
use tresor_memory::{Locked, LockedKey};
use tresor_model::{Entropy, Timestamp};
use zeroize::Zeroizing;

/// What a key is asked to do with its material, besides symmetric encryption.
#[derive(Debug)]
pub enum KeyWork<'a> {
    PublicKey,
    Sign { algorithm: &'a str, message: &'a [u8], is_digest: bool },
    Verify { algorithm: &'a str, message: &'a [u8], is_digest: bool, signature: &'a [u8] },
    Mac { message: &'a [u8] },
    VerifyMac { message: &'a [u8], mac: &'a [u8] },
    RsaEncrypt { algorithm: &'a str, plaintext: &'a [u8] },
    RsaDecrypt { algorithm: &'a str, ciphertext: &'a [u8] },
    DeriveSharedSecret { peer: &'a [u8] },
    Encapsulate,
    Decapsulate { ciphertext: &'a [u8] },
}

/// What came out of it.
#[derive(Default)]
pub struct KeyOutput {
    /// Signature, MAC, ciphertext or public key; empty for a check that held.
    pub public: Vec<u8>,
    pub secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for KeyOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyOutput")
    }
}

/// Makes material and uses it. Ciphertexts are `wrap` of docs/format.md: a key derived per ciphertext.
#[async_trait]
pub trait KeyBackend: Send + Sync + fmt::Debug {
    /// Makes a generation of material for a key (that may be new).
    async fn generate(&self, key_id: &str, spec: KeySpec, now: Timestamp) -> Result<Material, KmsError>;
    /// The id that material has in a key: the same for the same bytes.
    fn imported_id(&self, key_id: &str, material: &[u8]) -> String;
    /// Wraps imported material under an erasure secret of its own.
    async fn import(&self, key_id: &str, material: &[u8], now: Timestamp) -> Result<Material, KmsError>;
    /// Destroys what a secret protects, beyond recovery.
    async fn destroy(&self, key_id: &str, erasure: &str) -> Result<(), KmsError>;
    /// Opens a material from its stored form. Errors: Unavailable.
    async fn check(&self, key: &KeyRecord, material: &str) -> Result<(), KmsError>;
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
    /// Everything that is not symmetric encryption.
    async fn work(&self, key: &KeyRecord, work: KeyWork<'_>) -> Result<KeyOutput, KmsError>;
}

type Opened = Arc<Locked>;

/// Material kept by Tresor itself: wrapped under HKDF(the domain's KMS key, an erasure secret).
pub struct SoftwareKeys {
    wrapping: LockedKey,
    erasure: Arc<dyn ErasureSecrets>,
    entropy: Arc<dyn Entropy>,
    /// By key id, then material id.
    opened: Mutex<HashMap<String, HashMap<String, Opened>>>,
}

/// Keys whose opened materials are kept in memory.
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
        hkdf(self.wrapping.expose(), secret, &[b"tresor/v1/kms-material", key_id.as_bytes()], &mut kek[..]);
        kek
    }

    /// The secret of this name, made if it is not there.
    fn secret(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, KmsError> {
        let unavailable = |error: std::io::Error| KmsError::Unavailable(format!("{name}: {error}"));
        if let Some(secret) = self.erasure.get(name).map_err(unavailable)? {
            return Ok(secret);
        }
        let mut secret = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut secret[..]);
        self.erasure.put(name, &secret).map_err(unavailable)?;
        Ok(secret)
    }

    fn material(&self, key: &KeyRecord, id: &str) -> Result<Opened, KmsError> {
        if let Some(opened) = self.opened.lock().get(&key.id).and_then(|materials| materials.get(id)) {
            return Ok(Arc::clone(opened));
        }
        let bytes = self.unwrapped(key, id)?;
        let mut opened = self.opened.lock();
        if opened.len() >= MAX_OPENED {
            opened.clear();
        }
        opened.entry(key.id.clone()).or_default().insert(id.to_owned(), Arc::clone(&bytes));
        Ok(bytes)
    }

    fn unwrapped(&self, key: &KeyRecord, id: &str) -> Result<Opened, KmsError> {
        let stored = key.materials.iter().find(|material| material.id == id).ok_or(KmsError::InvalidCiphertext)?;
        let unavailable = |why: &str| KmsError::Unavailable(format!("{}: {why}", key.id));
        let secret = self
            .erasure
            .get(stored.erasure.as_deref().unwrap_or(&key.id))
            .map_err(|error| unavailable(&error.to_string()))?
            .ok_or_else(|| unavailable("its erasure secret is gone"))?;
        let plain = unwrap(&self.kek(&key.id, &secret), id.as_bytes(), &stored.wrapped)
            .map_err(|_| unavailable("its material does not authenticate"))?;
        Ok(Arc::new(Locked::new(&plain)))
    }

    fn current(&self, key: &KeyRecord) -> Result<Opened, KmsError> {
        let current = key.current().ok_or_else(|| KmsError::Unavailable(format!("{}: it has no material", key.id)))?;
        self.material(key, &current.id)
    }
}

/// 32 bytes: what symmetric encryption needs.
fn symmetric(material: &Locked) -> Result<&[u8; 32], KmsError> {
    material.array().ok_or_else(|| KmsError::Unavailable("symmetric material is malformed".into()))
}

#[async_trait]
impl KeyBackend for SoftwareKeys {
    async fn generate(&self, key_id: &str, spec: KeySpec, now: Timestamp) -> Result<Material, KmsError> {
        let secret = self.secret(key_id)?;
        let mut id = [0; 32];
        self.entropy.fill(&mut id);
        let id = hex::encode(id);
        let entropy = Arc::clone(&self.entropy);
        // An RSA key of 4096 bits takes a second of one core.
        let bytes = tokio::task::spawn_blocking(move || crypto::generate(spec, &*entropy))
            .await
            .map_err(|error| KmsError::Unavailable(error.to_string()))??;
        let wrapped = wrap(&self.kek(key_id, &secret), &*self.entropy, id.as_bytes(), &bytes);
        Ok(Material { wrapped, ..Material::named(id, now) })
    }

    fn imported_id(&self, key_id: &str, material: &[u8]) -> String {
        let mut id = [0; 32];
        let info: [&[u8]; 3] = [b"tresor/v1/kms-imported-id", key_id.as_bytes(), material];
        hkdf(self.wrapping.expose(), &[], &info, &mut id);
        hex::encode(id)
    }

    async fn import(&self, key_id: &str, material: &[u8], now: Timestamp) -> Result<Material, KmsError> {
        let id = self.imported_id(key_id, material);
        let name = format!("{key_id}-{}", &id[..16]);
        let secret = self.secret(&name)?;
        let wrapped = wrap(&self.kek(key_id, &secret), &*self.entropy, id.as_bytes(), material);
        Ok(Material { wrapped, erasure: Some(name), ..Material::named(id, now) })
    }

    async fn destroy(&self, key_id: &str, erasure: &str) -> Result<(), KmsError> {
        self.opened.lock().remove(key_id);
        self.erasure.destroy(erasure).map_err(|error| KmsError::Unavailable(format!("{erasure}: {error}")))
    }

    async fn check(&self, key: &KeyRecord, material: &str) -> Result<(), KmsError> {
        self.unwrapped(key, material).map(drop)
    }

    async fn encrypt(&self, key: &KeyRecord, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, KmsError> {
        let material = self.current(key)?;
        Ok(wrap(symmetric(&material)?, &*self.entropy, aad, secret))
    }

    async fn decrypt(
        &self,
        key: &KeyRecord,
        material: &str,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let material = self.material(key, material)?;
        unwrap(symmetric(&material)?, aad, ciphertext).map_err(|_| KmsError::InvalidCiphertext)
    }

    async fn work(&self, key: &KeyRecord, work: KeyWork<'_>) -> Result<KeyOutput, KmsError> {
        let opened = self.current(key)?;
        let material = opened.expose();
        let public = |public| KeyOutput { public, ..KeyOutput::default() };
        let secret = |secret| KeyOutput { secret, ..KeyOutput::default() };
        Ok(match work {
            KeyWork::PublicKey => public(crypto::public_key(key.spec, material)?),
            KeyWork::Sign { algorithm, message, is_digest } => {
                public(crypto::sign(key.spec, material, algorithm, message, is_digest)?)
            }
            KeyWork::Verify { algorithm, message, is_digest, signature } => {
                crypto::verify(key.spec, material, algorithm, message, is_digest, signature)?;
                KeyOutput::default()
            }
            KeyWork::Mac { message } => public(crypto::mac(key.spec, material, message)),
            KeyWork::VerifyMac { message, mac } => {
                crypto::verify_mac(key.spec, material, message, mac)?;
                KeyOutput::default()
            }
            KeyWork::RsaEncrypt { algorithm, plaintext } => {
                public(crypto::rsa_encrypt(material, algorithm, plaintext)?)
            }
            KeyWork::RsaDecrypt { algorithm, ciphertext } => {
                secret(crypto::rsa_decrypt(material, algorithm, ciphertext)?)
            }
            KeyWork::DeriveSharedSecret { peer } => secret(crypto::derive_shared_secret(key.spec, material, peer)?),
            KeyWork::Encapsulate => {
                let (public, secret) = crypto::encapsulate(key.spec, material)?;
                KeyOutput { public, secret }
            }
            KeyWork::Decapsulate { ciphertext } => secret(crypto::decapsulate(key.spec, material, ciphertext)?),
        })
    }
}
