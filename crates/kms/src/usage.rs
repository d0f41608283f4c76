//! Using keys for a caller: encryption, data keys, signatures, MACs, shared secrets.

use crate::{
    access::{Call, Needs},
    backend::{KeyOutput, KeyWork},
    crypto,
    error::KmsError,
    names::{Found, NO_SUCH_KEY},
    ring::KeyRing,
    spec::{KeySpec, KeyUsage},
};
use zeroize::Zeroizing;

pub const SYMMETRIC: &str = "SYMMETRIC_DEFAULT";

/// What was decrypted, with the key and the material that did it.
pub struct Decrypted {
    pub found: Found,
    pub plaintext: Zeroizing<Vec<u8>>,
    pub material_id: Option<String>,
}

/// What a ReEncrypt names.
#[derive(Debug)]
pub struct ReEncrypt<'a> {
    /// The ciphertext names it where the request does not.
    pub source: Option<&'a str>,
    pub destination: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub ciphertext: &'a [u8],
    /// A dry run that judges both permissions and looks at no ciphertext; `source` is then needed.
    pub permissions_alone: bool,
}

impl std::fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decrypted({:?})", self.found)
    }
}

fn pairs<'a>(call: &'a Call<'_>) -> Vec<(&'a str, &'a str)> {
    call.context.unwrap_or_default().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl KeyRing {
    /// A key that may be used so, whose usage fits. `operation` as AWS's text names it.
    /// Errors: InvalidKeyUsage, those of the key's door.
    pub fn admit_use(&self, call: &Call<'_>, name: &str, usage: KeyUsage) -> Result<Found, KmsError> {
        let found = self.locate_for(call, name)?;
        let call = Call { alias: found.alias.clone(), ..call.clone() };
        self.permit(&call, &found.entry, &found.arn)?;
        if found.record().usage != usage {
            let operation = match call.operation {
                "ReEncryptFrom" | "ReEncryptTo" => "ReEncrypt",
                other => other,
            };
            let why = format!(
                "{} key usage is {} which is not valid for {operation}.",
                found.arn,
                found.record().usage.name()
            );
            return Err(KmsError::InvalidKeyUsage(why));
        }
        found.record().demand(Needs::Use, &found.arn, self.clock.now())?;
        Ok(found)
    }

    fn fits(algorithm: &str, allowed: &[&str], spec: KeySpec) -> Result<(), KmsError> {
        if allowed.contains(&algorithm) {
            return Ok(());
        }
        Err(KmsError::InvalidKeyUsage(format!("Algorithm {algorithm} is incompatible with key spec {}.", spec.name())))
    }

    /// Errors: InvalidKeyUsage, Validation for a plaintext that is too long, those of the key's door.
    pub async fn encrypt_for(
        &self,
        call: &Call<'_>,
        name: &str,
        algorithm: &str,
        plaintext: &[u8],
        dry: bool,
    ) -> Result<(Found, Vec<u8>), KmsError> {
        let mut call = call.clone();
        call.keys.set("kms:EncryptionAlgorithm", algorithm);
        let found = self.admit_use(&call, name, KeyUsage::EncryptDecrypt)?;
        let key = found.record();
        Self::fits(algorithm, key.spec.encryption_algorithms(), key.spec)?;
        if key.spec.is_rsa() {
            if call.context.is_some_and(|pairs| !pairs.is_empty()) {
                return Err(KmsError::Validation("EncryptionContext is not supported for asymmetric KMS keys.".into()));
            }
            let limit = key.spec.oaep_limit(algorithm.ends_with("SHA_1"));
            if plaintext.len() > limit {
                return Err(KmsError::Validation(format!(
                    "Algorithm {algorithm} and key spec {} cannot encrypt data larger than {limit} bytes.",
                    key.spec.name()
                )));
            }
        }
        if dry {
            return Err(KmsError::DryRun);
        }
        let ciphertext = if key.spec.is_rsa() {
            self.backend.work(key, KeyWork::RsaEncrypt { algorithm, plaintext }).await?.public
        } else {
            self.encrypt(key, &pairs(&call), CALLERS, plaintext).await?
        };
        self.used(&call, key);
        Ok((found, ciphertext))
    }

    /// The key a symmetric ciphertext names: by its id alone, so the caller's account is asked first, then every other one.
    /// Errors: InvalidCiphertext; AccessDenied for a key that is not there.
    fn key_of(&self, call: &Call<'_>, ciphertext: &[u8]) -> Result<String, KmsError> {
        let id = key_id_of(ciphertext).ok_or(KmsError::InvalidCiphertext)?;
        let own = call.caller.account().filter(|account| self.find(account, id).is_some()).cloned();
        let account = own.or_else(|| {
            let keys = self.keys.read();
            keys.keys.keys().find(|(_, known)| known == id).map(|(account, _)| account.clone())
        });
        match account {
            Some(account) => Ok(self.arn(&account, id)?.to_string()),
            None => Err(KmsError::AccessDenied(NO_SUCH_KEY.into())),
        }
    }

    /// Whether the caller could decrypt with a key, whatever the ciphertext. Errors: InvalidKeyUsage, those of the key's door.
    pub fn may_decrypt(&self, call: &Call<'_>, name: &str, algorithm: &str) -> Result<(), KmsError> {
        let mut call = call.clone();
        call.keys.set("kms:EncryptionAlgorithm", algorithm);
        let found = self.admit_use(&call, name, KeyUsage::EncryptDecrypt)?;
        Self::fits(algorithm, found.record().spec.encryption_algorithms(), found.record().spec)
    }

    /// `name` may be left out for a symmetric ciphertext, which names its key.
    /// Errors: IncorrectKey, InvalidCiphertext, InvalidKeyUsage, Validation, those of the key's door.
    pub async fn decrypt_for(
        &self,
        call: &Call<'_>,
        name: Option<&str>,
        algorithm: &str,
        ciphertext: &[u8],
        dry: bool,
    ) -> Result<Decrypted, KmsError> {
        let done = self.open_for(call, name, algorithm, ciphertext, dry).await?;
        self.used(call, done.found.record());
        Ok(done)
    }

    /// Decrypts under one key and encrypts under another, or the same: both calls must be allowed. The source, and the destination with
    /// its ciphertext. Errors: those of both steps, DryRun.
    pub async fn re_encrypt_for(
        &self,
        opening: &mut Call<'_>,
        sealing: &mut Call<'_>,
        asked: &ReEncrypt<'_>,
        dry: bool,
    ) -> Result<(Decrypted, Found, Vec<u8>), KmsError> {
        let source = match asked.source {
            Some(name) => self.locate(opening.caller, name).map(|found| found.arn.to_string()),
            None => self.key_of(opening, asked.ciphertext),
        };
        let destination = self.locate(sealing.caller, asked.destination).map(|found| found.arn.to_string());
        // A policy can forbid another destination, so the source is known even where the request does not name it.
        let same = matches!((source, destination), (Ok(source), Ok(destination)) if source == destination);
        opening.keys.set("kms:ReEncryptOnSameKey", same.to_string());
        sealing.keys.set("kms:ReEncryptOnSameKey", same.to_string());
        if asked.permissions_alone {
            let source = asked.source.unwrap_or_default();
            self.may_decrypt(opening, source, asked.from)?;
            self.encrypt_for(sealing, asked.destination, asked.to, &[0], true).await?;
            return Err(KmsError::DryRun);
        }
        // A dry run of the first step would end the second.
        let done = self.open_for(opening, asked.source, asked.from, asked.ciphertext, false).await?;
        let (found, sealed) = self.encrypt_for(sealing, asked.destination, asked.to, &done.plaintext, dry).await?;
        self.used(opening, done.found.record());
        Ok((done, found, sealed))
    }

    async fn open_for(
        &self,
        call: &Call<'_>,
        name: Option<&str>,
        algorithm: &str,
        ciphertext: &[u8],
        dry: bool,
    ) -> Result<Decrypted, KmsError> {
        let mut call = call.clone();
        call.keys.set("kms:EncryptionAlgorithm", algorithm);
        let named = match name {
            Some(name) => name.to_owned(),
            None if algorithm == SYMMETRIC => self.key_of(&call, ciphertext)?,
            None => return Err(KmsError::Validation("KeyId is required for asymmetric encryption algorithms.".into())),
        };
        let found = self.admit_use(&call, &named, KeyUsage::EncryptDecrypt).map_err(|error| {
            let own =
                call.caller.account().is_some_and(|own| self.find(own, key_id_of(ciphertext).unwrap_or("")).is_some());
            match error {
                // The ciphertext named the key: whose it is, and whether it is there, is not told.
                KmsError::AccessDenied(_) if name.is_none() && !own => KmsError::AccessDenied(NO_SUCH_KEY.into()),
                other => other,
            }
        })?;
        let key = found.record();
        Self::fits(algorithm, key.spec.encryption_algorithms(), key.spec)?;
        if key.spec.is_rsa() {
            if dry {
                return Err(KmsError::DryRun);
            }
            let plaintext = self.backend.work(key, KeyWork::RsaDecrypt { algorithm, ciphertext }).await?.secret;
            return Ok(Decrypted { found, plaintext, material_id: None });
        }
        if key_id_of(ciphertext).is_some_and(|id| id != key.id) {
            return Err(KmsError::IncorrectKey);
        }
        let plaintext = self.decrypt(key, &pairs(&call), CALLERS, ciphertext).await?;
        if dry {
            return Err(KmsError::DryRun);
        }
        let at = 2 + key.id.len();
        let material_id = ciphertext.get(at..at + 32).map(hex::encode);
        Ok(Decrypted { found, plaintext, material_id })
    }

    /// Random bytes, encrypted under a symmetric key. The key, the plaintext, the ciphertext.
    pub async fn data_key_for(
        &self,
        call: &Call<'_>,
        name: &str,
        length: usize,
        dry: bool,
    ) -> Result<(Found, Zeroizing<Vec<u8>>, Vec<u8>), KmsError> {
        let mut plaintext = Zeroizing::new(vec![0; length]);
        self.entropy.fill(&mut plaintext);
        let (found, ciphertext) = self.wrap_for(call, name, &plaintext, dry).await?;
        Ok((found, plaintext, ciphertext))
    }

    async fn wrap_for(
        &self,
        call: &Call<'_>,
        name: &str,
        secret: &[u8],
        dry: bool,
    ) -> Result<(Found, Vec<u8>), KmsError> {
        let mut call = call.clone();
        call.keys.set("kms:EncryptionAlgorithm", SYMMETRIC);
        let found = self.admit_use(&call, name, KeyUsage::EncryptDecrypt)?;
        if !found.record().spec.is_symmetric() {
            let spec = found.record().spec.name();
            return Err(KmsError::InvalidKeyUsage(format!(
                "{} key spec is {spec} which is not valid for {}.",
                found.arn, call.operation
            )));
        }
        if dry {
            return Err(KmsError::DryRun);
        }
        let ciphertext = self.encrypt(found.record(), &pairs(&call), CALLERS, secret).await?;
        self.used(&call, found.record());
        Ok((found, ciphertext))
    }

    /// A key pair whose private half is encrypted. The key, the private key (PKCS#8), its ciphertext, the public key.
    /// Errors: Unsupported, those of the key's door.
    pub async fn data_key_pair_for(
        &self,
        call: &Call<'_>,
        name: &str,
        spec: KeySpec,
        dry: bool,
    ) -> Result<(Found, Zeroizing<Vec<u8>>, Vec<u8>, Vec<u8>), KmsError> {
        let mut call = call.clone();
        call.keys.set("kms:DataKeyPairSpec", spec.name());
        let found = self.admit_use(&call, name, KeyUsage::EncryptDecrypt)?;
        if dry && spec != KeySpec::Sm2 {
            return Err(KmsError::DryRun);
        }
        let entropy = std::sync::Arc::clone(&self.entropy);
        let (private, public) = tokio::task::spawn_blocking(move || {
            let private = crypto::generate(spec, &*entropy)?;
            let public = crypto::public_key(spec, &private)?;
            Ok::<_, KmsError>((private, public))
        })
        .await
        .map_err(|error| KmsError::Unavailable(error.to_string()))??;
        let (_, ciphertext) = self.wrap_for(&call, found.arn.as_str(), &private, false).await?;
        Ok((found, private, ciphertext, public))
    }

    pub async fn public_key_of(&self, call: &Call<'_>, name: &str) -> Result<(Found, Vec<u8>), KmsError> {
        let found = self.admit(call, name, Needs::Use)?;
        if !found.record().spec.is_asymmetric() {
            let spec = found.record().spec.name();
            return Err(KmsError::Unsupported(format!(
                "{} key spec is {spec} which is not valid for GetPublicKey.",
                found.arn
            )));
        }
        let public = self.backend.work(found.record(), KeyWork::PublicKey).await?.public;
        Ok((found, public))
    }

    /// Work on a key whose usage fits, under one of its algorithms. Errors: InvalidKeyUsage, DryRun, those of work and door.
    pub async fn work_for(
        &self,
        call: &Call<'_>,
        name: &str,
        usage: KeyUsage,
        algorithm: &str,
        work: KeyWork<'_>,
        dry: bool,
    ) -> Result<(Found, KeyOutput), KmsError> {
        let mut call = call.clone();
        let key = match usage {
            KeyUsage::SignVerify => "kms:SigningAlgorithm",
            KeyUsage::Mac => "kms:MacAlgorithm",
            KeyUsage::KeyAgreement => "kms:KeyAgreementAlgorithm",
            _ => "kms:EncapsulationAlgorithm",
        };
        call.keys.set(key, algorithm);
        let found = self.admit_use(&call, name, usage)?;
        let spec = found.record().spec;
        match usage {
            KeyUsage::SignVerify => Self::fits(algorithm, spec.signing_algorithms(), spec)?,
            KeyUsage::Mac => Self::fits(algorithm, spec.mac_algorithms(), spec)?,
            _ => {}
        }
        if dry {
            return Err(KmsError::DryRun);
        }
        let output = self.backend.work(found.record(), work).await?;
        self.used(&call, found.record());
        Ok((found, output))
    }

    /// Random bytes for anyone whose policies allow. Errors: AccessDenied.
    pub fn random(&self, call: &Call<'_>, length: usize) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.permit_account(call, "*")?;
        let mut bytes = Zeroizing::new(vec![0; length]);
        self.entropy.fill(&mut bytes);
        Ok(bytes)
    }
}

/// The key id in a symmetric ciphertext's header: nothing for bytes that cannot be one.
fn key_id_of(ciphertext: &[u8]) -> Option<&str> {
    let (clear, rest) = ciphertext.split_at_checked(2 + usize::from(*ciphertext.get(1)?))?;
    let id = std::str::from_utf8(&clear[2..]).ok()?;
    (clear[0] == 1 && rest.len() > 32 && !id.is_empty()).then_some(id)
}

/// The place of ciphertexts that callers hold themselves. S3's have the object's binding here.
const CALLERS: &[u8] = b"";
