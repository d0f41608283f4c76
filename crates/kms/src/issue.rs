//! Issuing a data key with its envelope, and recovering it. docs/format.md section "Wrapped data keys".

use crate::{access::Call, bucket_keys::BucketKey, context::canonical, error::KmsError, key::KeyRecord, ring::KeyRing};
use std::{fmt, sync::Arc};
use subtle::ConstantTimeEq;
use tresor_envelope::{
    Binding, ContentKey, CustomerCheck, CustomerKey, DataKey, Envelope, EnvelopeError, Header, OwnedLayer, SseMode,
    WrappedKeys, hkdf, unwrap, wrap,
};
use tresor_memory::LockedKey;
use tresor_model::{AccountId, Caller, KeyArn};
use zeroize::Zeroizing;

/// How a new object will be encrypted; bucket defaults are applied already.
pub enum KeySource {
    S3Managed,
    /// `context` is the caller's own, sorted by key.
    Kms {
        key: KeyArn,
        context: Vec<(String, String)>,
        bucket_key: bool,
    },
    Dsse {
        key: KeyArn,
        context: Vec<(String, String)>,
    },
    Customer(CustomerKey),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S3Managed => "S3Managed",
            Self::Kms { .. } => "Kms",
            Self::Dsse { .. } => "Dsse",
            Self::Customer(_) => "Customer",
        })
    }
}

/// The names that go into the KMS encryption context.
#[derive(Clone, Debug)]
pub struct ObjectPlace<'a> {
    pub region: &'a str,
    pub bucket_arn: String,
    pub object_arn: String,
    pub owner: &'a AccountId,
}

/// A new data key and what must be stored to recover it.
#[derive(Debug)]
pub struct Issued {
    pub key: ContentKey,
    pub envelope: Envelope,
    /// What the object hangs on; both empty for SSE-C.
    pub key_id: String,
    pub material_id: String,
}

/// S3's own pair of the encryption context.
const ARN_CONTEXT: &str = "aws:s3:arn";
/// DSSE's outer key under what served before there were owned keys.
pub(crate) const OUTER_LABEL: &[u8] = b"tresor/v1/outer";

impl From<EnvelopeError> for KmsError {
    fn from(_: EnvelopeError) -> Self {
        Self::InvalidCiphertext
    }
}

impl KeyRing {
    /// Makes a data key for one write. Errors: those of the key's door, Unavailable.
    pub async fn issue(
        &self,
        caller: &Caller,
        source: KeySource,
        binding: &Binding,
        place: &ObjectPlace<'_>,
    ) -> Result<Issued, KmsError> {
        let entropy = &*self.entropy;
        match source {
            KeySource::S3Managed => {
                let header = Header::new(SseMode::S3, "");
                let inner = DataKey::generate(entropy);
                let owned = self.owned_material(place.owner).await?;
                let wrapped = owned.wrap(entropy, OwnedLayer::Only, &binding.digest(&header), inner.expose());
                let keys = WrappedKeys { wrapped, owned_material: Some(owned.id), ..WrappedKeys::default() };
                let envelope = Envelope::assemble(header, inner, None, keys, Vec::new())?;
                issued(envelope, &owned.key_id, &hex::encode(owned.id))
            }
            KeySource::Customer(customer) => {
                let header = Header::new(SseMode::Customer, "");
                let inner = DataKey::generate(entropy);
                let mut salt = [0; 32];
                entropy.fill(&mut salt);
                let wrapped =
                    wrap(&self.customer_kek(&customer, &salt), entropy, &binding.digest(&header), inner.expose());
                let check = CustomerCheck { salt, check: self.customer_check(&customer, &salt) };
                let keys = WrappedKeys { wrapped, customer: Some(check), ..WrappedKeys::default() };
                issued(Envelope::assemble(header, inner, None, keys, Vec::new())?, "", "")
            }
            KeySource::Kms { key: arn, context, bucket_key: false } => {
                let key = self.door(caller, "GenerateDataKey", &arn, &context, &place.object_arn, true)?;
                let header = Header::new(SseMode::Kms, arn.as_str());
                let inner = DataKey::generate(entropy);
                let full = with_arn(&context, &place.object_arn);
                let wrapped = self.encrypt(&key, &full, &binding.digest(&header), inner.expose()).await?;
                let keys = WrappedKeys { wrapped, ..WrappedKeys::default() };
                let material = current(&key);
                issued(Envelope::assemble(header, inner, None, keys, context)?, &key.id, &material)
            }
            KeySource::Kms { key: arn, context, bucket_key: true } => {
                let key = self.door(caller, "GenerateDataKey", &arn, &context, &place.bucket_arn, false)?;
                let header = Header::new(SseMode::KmsBucketKey, arn.as_str());
                let bucket_key = self.bucket_key(caller, &key, &arn, &context, binding, place).await?;
                let mut salt = [0; 32];
                entropy.fill(&mut salt);
                let inner = object_key(bucket_key.bytes.expose(), &salt, &binding.digest(&header));
                let keys = WrappedKeys {
                    wrapped: bucket_key.wrapped.clone(),
                    bucket_key_salt: Some(salt),
                    ..WrappedKeys::default()
                };
                let material = current(&key);
                issued(Envelope::assemble(header, inner, None, keys, context)?, &key.id, &material)
            }
            KeySource::Dsse { key: arn, context } => {
                let key = self.door(caller, "GenerateDataKey", &arn, &context, &place.object_arn, true)?;
                let header = Header::new(SseMode::Dsse, arn.as_str());
                let (inner, outer) = (DataKey::generate(entropy), DataKey::generate(entropy));
                let full = with_arn(&context, &place.object_arn);
                let digest = binding.digest(&header);
                let wrapped = self.encrypt(&key, &full, &digest, inner.expose()).await?;
                let owned = self.owned_material(place.owner).await?;
                let outer_wrapped = Some(owned.wrap(entropy, OwnedLayer::Outer, &digest, outer.expose()));
                let owned_material = Some(owned.id);
                let keys = WrappedKeys { wrapped, outer_wrapped, owned_material, ..WrappedKeys::default() };
                let material = current(&key);
                issued(Envelope::assemble(header, inner, Some(outer), keys, context)?, &key.id, &material)
            }
        }
    }

    /// Opens an envelope for its place. `customer` counts for SSE-C only.
    /// Errors: WrongCustomerKey, InvalidCiphertext, those of the key's door.
    pub async fn recover(
        &self,
        caller: &Caller,
        envelope: &Envelope,
        binding: &Binding,
        place: &ObjectPlace<'_>,
        customer: Option<CustomerKey>,
    ) -> Result<ContentKey, KmsError> {
        let digest = binding.digest(&envelope.header);
        match envelope.header.mode {
            SseMode::S3 => {
                let inner = data_key(&self.unwrap_owned(envelope, OwnedLayer::Only, &digest, &envelope.wrapped)?)?;
                Ok(envelope.unlock(inner, None)?)
            }
            SseMode::Customer => {
                let (customer, stored) = customer.zip(envelope.customer.as_ref()).ok_or(KmsError::WrongCustomerKey)?;
                if !bool::from(self.customer_check(&customer, &stored.salt).ct_eq(&stored.check)) {
                    return Err(KmsError::WrongCustomerKey);
                }
                let kek = self.customer_kek(&customer, &stored.salt);
                Ok(envelope.unlock(data_key(&unwrap(&kek, &digest, &envelope.wrapped)?)?, None)?)
            }
            SseMode::Kms => {
                let key =
                    self.door(caller, "Decrypt", &arn_of(envelope)?, &envelope.context, &place.object_arn, true)?;
                let full = with_arn(&envelope.context, &place.object_arn);
                let inner = data_key(&self.decrypt(&key, &full, &digest, &envelope.wrapped).await?)?;
                Ok(envelope.unlock(inner, None)?)
            }
            SseMode::KmsBucketKey => {
                let arn = arn_of(envelope)?;
                let key = self.door(caller, "Decrypt", &arn, &envelope.context, &place.bucket_arn, false)?;
                let salt = envelope.bucket_key_salt.ok_or(KmsError::InvalidCiphertext)?;
                let full = with_arn(&envelope.context, &place.bucket_arn);
                let now = self.clock.now();
                let slot = slot(&[
                    b"open",
                    &requester(caller),
                    &canonical(&full),
                    binding.bucket.as_bytes(),
                    &envelope.wrapped,
                ]);
                let bucket_key = match self.bucket_keys.get(&slot, now) {
                    Some(cached) => cached,
                    None => {
                        let plain = self.decrypt(&key, &full, binding.bucket.as_bytes(), &envelope.wrapped).await?;
                        let at = 2 + key.id.len();
                        let material = envelope.wrapped.get(at..at + 32).map(hex::encode).unwrap_or_default();
                        self.witness_bucket_key(
                            caller,
                            "Decrypt",
                            &arn,
                            &envelope.context,
                            &place.bucket_arn,
                            &material,
                        );
                        let bytes = plain.as_slice().try_into().map_err(|_| KmsError::InvalidCiphertext)?;
                        let bytes = LockedKey::new(bytes);
                        self.bucket_keys.put(slot, BucketKey::new(bytes, envelope.wrapped.clone(), now), now)
                    }
                };
                Ok(envelope.unlock(object_key(bucket_key.bytes.expose(), &salt, &digest), None)?)
            }
            SseMode::Dsse => {
                let key =
                    self.door(caller, "Decrypt", &arn_of(envelope)?, &envelope.context, &place.object_arn, true)?;
                let full = with_arn(&envelope.context, &place.object_arn);
                let inner = data_key(&self.decrypt(&key, &full, &digest, &envelope.wrapped).await?)?;
                let outer = envelope.outer_wrapped.as_ref().ok_or(KmsError::InvalidCiphertext)?;
                let outer = data_key(&self.unwrap_owned(envelope, OwnedLayer::Outer, &digest, outer)?)?;
                Ok(envelope.unlock(inner, Some(outer))?)
            }
        }
    }

    /// Opens what an owned key wrapped, or what was wrapped before there were owned keys. Errors: InvalidCiphertext.
    pub(crate) fn unwrap_owned(
        &self,
        envelope: &Envelope,
        layer: OwnedLayer,
        binding: &[u8; 32],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        match (&envelope.owned_material, layer) {
            (Some(id), _) => self.owned.material(id)?.unwrap(layer, binding, wrapped),
            (None, OwnedLayer::Only) => Ok(unwrap(self.s3_managed.expose(), binding, wrapped)?),
            (None, OwnedLayer::Outer) => {
                Ok(unwrap(self.s3_managed.expose(), &[OUTER_LABEL, binding].concat(), wrapped)?)
            }
        }
    }

    /// The key's door, for S3 on the caller's behalf, with S3's own pair in the context. A refusal is always witnessed; a use is
    /// when it is `fresh`, not served by a bucket key that is at hand.
    fn door(
        &self,
        caller: &Caller,
        operation: &'static str,
        arn: &KeyArn,
        context: &[(String, String)],
        resource: &str,
        fresh: bool,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let mut full = context.to_vec();
        full.push((ARN_CONTEXT.to_owned(), resource.to_owned()));
        let mut call = Call::of_s3(caller, operation, &full);
        call.keys.set("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
        let judged = self.authorize(&call, arn);
        match &judged {
            Ok(_) if !fresh => {}
            Ok(key) => self.witness.used_by_s3(&call, arn, key.current().map(|material| material.id.as_str()), None),
            Err(error) => self.witness.used_by_s3(&call, arn, None, Some(error)),
        }
        judged
    }

    /// A bucket key was made or opened: one use of the KMS key a requester and period.
    fn witness_bucket_key(
        &self,
        caller: &Caller,
        operation: &'static str,
        arn: &KeyArn,
        context: &[(String, String)],
        bucket_arn: &str,
        material: &str,
    ) {
        let mut full = context.to_vec();
        full.push((ARN_CONTEXT.to_owned(), bucket_arn.to_owned()));
        self.witness.used_by_s3(&Call::of_s3(caller, operation, &full), arn, Some(material), None);
    }

    /// The bucket key in force for this bucket, KMS key, material, requester and context.
    async fn bucket_key(
        &self,
        caller: &Caller,
        key: &KeyRecord,
        arn: &KeyArn,
        context: &[(String, String)],
        binding: &Binding,
        place: &ObjectPlace<'_>,
    ) -> Result<Arc<BucketKey>, KmsError> {
        let full = with_arn(context, &place.bucket_arn);
        let now = self.clock.now();
        let (material, bucket) = (current(key), binding.bucket.as_bytes());
        let slot = slot(&[
            b"issue",
            arn.as_str().as_bytes(),
            material.as_bytes(),
            &requester(caller),
            &canonical(&full),
            bucket,
        ]);
        if let Some(cached) = self.bucket_keys.get(&slot, now) {
            return Ok(cached);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut bytes[..]);
        let wrapped = self.encrypt(key, &full, bucket, &bytes[..]).await?;
        self.witness_bucket_key(caller, "GenerateDataKey", arn, context, &place.bucket_arn, &material);
        Ok(self.bucket_keys.put(slot, BucketKey::new(LockedKey::new(&bytes), wrapped, now), now))
    }

    fn customer_kek(&self, customer: &CustomerKey, salt: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut ikm = Zeroizing::new([0; 64]);
        ikm[..32].copy_from_slice(customer.expose());
        ikm[32..].copy_from_slice(self.customer_secret.expose());
        let mut kek = Zeroizing::new([0; 32]);
        hkdf(&ikm[..], salt, &[b"tresor/v1/sse-c-kek"], &mut kek[..]);
        kek
    }

    /// Keyed by a server-held secret: a stolen disk does not test guessed keys.
    fn customer_check(&self, customer: &CustomerKey, salt: &[u8; 32]) -> [u8; 32] {
        let mut check = [0; 32];
        hkdf(self.customer_secret.expose(), salt, &[b"tresor/v1/sse-c-check", customer.expose()], &mut check);
        check
    }
}

fn issued((key, envelope): (ContentKey, Envelope), key_id: &str, material_id: &str) -> Result<Issued, KmsError> {
    Ok(Issued { key, envelope, key_id: key_id.to_owned(), material_id: material_id.to_owned() })
}

pub(crate) fn current(key: &KeyRecord) -> String {
    key.current().map(|material| material.id.clone()).unwrap_or_default()
}

pub(crate) fn arn_of(envelope: &Envelope) -> Result<KeyArn, KmsError> {
    envelope.header.key_arn.parse().map_err(|_| KmsError::InvalidCiphertext)
}

pub(crate) fn with_arn<'a>(context: &'a [(String, String)], arn: &'a str) -> Vec<(&'a str, &'a str)> {
    context.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain([(ARN_CONTEXT, arn)]).collect()
}

pub(crate) fn data_key(bytes: &[u8]) -> Result<DataKey, KmsError> {
    Ok(DataKey::from_bytes(bytes.try_into().map_err(|_| KmsError::InvalidCiphertext)?))
}

pub(crate) fn object_key(bucket_key: &[u8; 32], salt: &[u8; 32], binding: &[u8; 32]) -> DataKey {
    let mut key = [0; 32];
    hkdf(bucket_key, salt, &[b"tresor/v1/bucket-key", binding], &mut key);
    DataKey::from_bytes(key)
}

fn requester(caller: &Caller) -> Vec<u8> {
    caller.principal.arn().unwrap_or_default().into_bytes()
}

fn slot(pieces: &[&[u8]]) -> [u8; 32] {
    let mut all = Vec::new();
    for piece in pieces {
        all.extend_from_slice(&(piece.len() as u32).to_be_bytes());
        all.extend_from_slice(piece);
    }
    tresor_digest::sha256(&all)
}
