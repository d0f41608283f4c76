//! Imported material: brought wrapped under a key that lives in a token for a day, kept under an erasure secret of its own.
//! Source: the developer guide, "Importing key material".

use crate::{
    access::{Call, Needs},
    crypto,
    error::KmsError,
    key::{KeyRecord, KeyState, Material, Origin},
    names::Found,
    ring::{DAY_MS, KeyRing},
    spec::KeySpec,
};
use std::sync::Arc;
use tresor_envelope::{unwrap, wrap};
use tresor_model::Timestamp;
use zeroize::Zeroizing;

/// What a client needs to wrap its material.
#[derive(Debug)]
pub struct ImportParameters {
    pub found: Found,
    pub token: Vec<u8>,
    pub public_key: Vec<u8>,
    pub valid_to: Timestamp,
}

/// What is brought.
#[derive(Debug, Default)]
pub struct Import<'a> {
    pub token: &'a [u8],
    pub wrapped: &'a [u8],
    /// Nothing for material that does not expire.
    pub valid_to: Option<Timestamp>,
    /// `NEW_KEY_MATERIAL`; nothing takes the default.
    pub new: Option<bool>,
    pub description: Option<String>,
    pub material_id: Option<String>,
}

/// What a token says: how material is wrapped, until when, and with which RSA key.
#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Token {
    #[n(0)]
    algorithm: String,
    #[n(1)]
    valid_to: Timestamp,
    #[n(2)]
    spec: KeySpec,
    #[cbor(n(3), with = "minicbor::bytes")]
    private_key: Vec<u8>,
}

impl Drop for Token {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.private_key);
    }
}

/// Materials of one key.
const MAX_MATERIALS: usize = 100;

impl KeyRing {
    /// Errors: Unsupported for a key that takes no imports, those of the key's door.
    fn admit_import(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        let found = self.admit_change(call, name, Needs::Nothing)?;
        if found.record().origin != Origin::External {
            let why = format!("{} origin is AWS_KMS which is not valid for this operation.", found.arn);
            return Err(KmsError::Unsupported(why));
        }
        if found.record().set_state == KeyState::PendingDeletion {
            return Err(KmsError::InvalidState(format!("{} is pending deletion.", found.arn)));
        }
        Ok(found)
    }

    /// A wrapping key that lives for a day, and only in the token.
    pub async fn import_parameters(
        &self,
        call: &Call<'_>,
        name: &str,
        algorithm: &str,
        spec: KeySpec,
    ) -> Result<ImportParameters, KmsError> {
        let mut call = call.clone();
        call.keys.set("kms:WrappingAlgorithm", algorithm).set("kms:WrappingKeySpec", spec.name());
        let found = self.admit_import(&call, name)?;
        if algorithm == "RSAES_PKCS1_V1_5" || algorithm == "SM2PKE" {
            return Err(KmsError::Unsupported(format!("The wrapping algorithm {algorithm} is not supported.")));
        }
        let entropy = Arc::clone(&self.entropy);
        let (private_key, public_key) = tokio::task::spawn_blocking(move || {
            let private = crypto::generate(spec, &*entropy)?;
            let public = crypto::public_key(spec, &private)?;
            Ok::<_, KmsError>((private, public))
        })
        .await
        .map_err(|error| KmsError::Unavailable(error.to_string()))??;
        let valid_to = self.clock.now().plus_millis(DAY_MS);
        let token = Token { algorithm: algorithm.to_owned(), valid_to, spec, private_key: private_key.to_vec() };
        let plain = Zeroizing::new(minicbor::to_vec(&token).unwrap_or_default());
        let token = wrap(self.tokens.expose(), &*self.entropy, found.arn.as_str().as_bytes(), &plain);
        Ok(ImportParameters { found, token, public_key, valid_to })
    }

    fn unwrap_import(&self, found: &Found, import: &Import<'_>) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let invalid = || KmsError::InvalidImportToken;
        let plain = unwrap(self.tokens.expose(), found.arn.as_str().as_bytes(), import.token).map_err(|_| invalid())?;
        let token: Token = minicbor::decode(&plain).map_err(|_| invalid())?;
        if token.valid_to <= self.clock.now() {
            return Err(KmsError::ExpiredImportToken);
        }
        let rsa_bytes = match token.spec {
            KeySpec::Rsa2048 => 256,
            KeySpec::Rsa3072 => 384,
            _ => 512,
        };
        if !token.algorithm.starts_with("RSA_AES_KEY_WRAP") {
            return crypto::rsa_decrypt(&token.private_key, &token.algorithm, import.wrapped);
        }
        let (kek, wrapped) = import.wrapped.split_at_checked(rsa_bytes).ok_or(KmsError::InvalidCiphertext)?;
        let kek = crypto::rsa_decrypt(&token.private_key, &token.algorithm, kek)?;
        crypto::aes_unwrap_padded(&kek, wrapped)
    }

    /// The key and the id of the material.
    /// Errors: InvalidImportToken, ExpiredImportToken, InvalidCiphertext, IncorrectKeyMaterial, InvalidState, LimitExceeded,
    /// Unsupported.
    pub async fn import(&self, call: &Call<'_>, name: &str, import: Import<'_>) -> Result<(Found, String), KmsError> {
        let _turn = self.turn().await;
        let mut call = call.clone();
        match import.valid_to {
            Some(at) => call.keys.set("kms:ExpirationModel", "KEY_MATERIAL_EXPIRES").set("kms:ValidTo", at.iso8601()),
            None => call.keys.set("kms:ExpirationModel", "KEY_MATERIAL_DOES_NOT_EXPIRE"),
        };
        let mut found = self.admit_import(&call, name)?;
        let material = self.unwrap_import(&found, &import)?;
        let spec = found.record().spec;
        let fits = if spec.is_symmetric() { material.len() == 32 } else { material.len() == spec.mac_bytes() };
        if !fits {
            return Err(KmsError::IncorrectKeyMaterial(
                "The key material in the request is invalid: its length is not that of the key's spec.".into(),
            ));
        }
        // What was deleted must not come back under the secret that it was deleted with.
        let mut key = KeyRecord::clone(&*self.destroy_forgotten(&found.entry.record).await?);
        let now = self.clock.now();
        let id = self.backend.imported_id(&key.id, &material);
        let same = |known: &Material| known.id == id;
        if import.material_id.as_ref().is_some_and(|wanted| *wanted != id) {
            return Err(incorrect(&found));
        }
        let known = key.materials.iter().position(same);
        let new = import.new.unwrap_or(key.materials.is_empty());
        match known {
            None if !new => return Err(incorrect(&found)),
            None => {
                if let Some(waiting) = key.materials.iter().find(|material| material.pending) {
                    return Err(KmsError::InvalidState(format!(
                        "New key material (id: {id}) cannot be imported into KMS key {}, because another key material (id: {}) is pending rotation.",
                        key.id, waiting.id
                    )));
                }
                if !spec.is_symmetric() && !key.materials.is_empty() {
                    return Err(incorrect(&found));
                }
                if key.materials.len() >= MAX_MATERIALS {
                    return Err(KmsError::LimitExceeded(format!("{} has its limit of key materials.", found.arn)));
                }
                let first = key.materials.is_empty();
                let fresh = self.backend.import(&key.id, &material, now).await?;
                let valid_to = import.valid_to;
                key.materials.push(Material { pending: !first, description: import.description, valid_to, ..fresh });
            }
            Some(place) => {
                let fresh = self.backend.import(&key.id, &material, now).await?;
                let known = &mut key.materials[place];
                known.wrapped = fresh.wrapped;
                known.erasure = fresh.erasure;
                known.valid_to = import.valid_to;
                known.description = import.description.or(known.description.take());
            }
        }
        if key.set_state == KeyState::PendingImport {
            key.set_state = KeyState::Enabled;
        }
        found.entry.record = self.put(key, call.record(&found.arn).as_ref()).await?;
        Ok((found, id))
    }

    /// Destroys a material beyond recovery, the current one if none is named. The key and the material's id, if there was any.
    /// Errors: Unsupported, NotFound, those of the key's door.
    pub async fn delete_imported(
        &self,
        call: &Call<'_>,
        name: &str,
        material: Option<&str>,
    ) -> Result<(Found, Option<String>), KmsError> {
        let _turn = self.turn().await;
        let mut found = self.admit_change(call, name, Needs::Nothing)?;
        if found.record().origin != Origin::External {
            let why = format!("{} origin is AWS_KMS which is not valid for this operation.", found.arn);
            return Err(KmsError::Unsupported(why));
        }
        let mut key = found.record().clone();
        let id = match material {
            Some(id) => Some(id.to_owned()),
            None => key.current().map(|material| material.id.clone()),
        };
        let Some(id) = id else { return Ok((found, None)) };
        let place = key.materials.iter().position(|material| material.id == id).ok_or_else(|| {
            KmsError::NotFound(format!("Key material (id: {id}) is not associated with {}.", found.arn))
        })?;
        let material = &mut key.materials[place];
        material.wrapped.clear();
        if material.pending {
            // Tells it from one that expired: what never became current goes as a whole.
            material.valid_to = None;
        }
        let record = self.put(key, call.record(&found.arn).as_ref()).await?;
        found.entry.record = self.destroy_forgotten(&record).await?;
        Ok((found, Some(id)))
    }

    /// Destroys the erasure secrets of materials whose deletion is stored: in this order a crash leaves nothing that says it can be
    /// used and cannot, and the next `tend` finishes. The ids stay, so that only the same bytes come back. The caller has its turn.
    pub(crate) async fn destroy_forgotten(&self, key: &Arc<KeyRecord>) -> Result<Arc<KeyRecord>, KmsError> {
        self.bucket_keys.clear();
        if !key.materials.iter().any(Material::is_forgotten) {
            return Ok(Arc::clone(key));
        }
        let mut key = KeyRecord::clone(key);
        for material in key.materials.iter().filter(|material| material.is_forgotten()) {
            if let Some(erasure) = &material.erasure {
                self.backend.destroy(&key.id, erasure).await?;
            }
        }
        let goes = |material: &Material| material.is_forgotten() && material.pending && material.valid_to.is_none();
        key.materials.retain(|material| !goes(material));
        for material in key.materials.iter_mut().filter(|material| material.is_forgotten()) {
            material.erasure = None;
        }
        self.put(key, None).await
    }
}

fn incorrect(found: &Found) -> KmsError {
    KmsError::IncorrectKeyMaterial(format!(
        "The key material in the request is not the same as the key material that was previously imported into {}.",
        found.arn
    ))
}

impl KeyRecord {
    /// When the first of its materials expires.
    pub fn valid_to(&self) -> Option<Timestamp> {
        self.current().and_then(|material| material.valid_to)
    }
}
