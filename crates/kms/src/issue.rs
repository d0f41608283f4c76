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
const CIPHERTEXT_VERSION: u8 = 1;
/// DSSE's outer key under what served before there were owned keys.
const OUTER_LABEL: &[u8] = b"tresor/v1/outer";

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

fn current(key: &KeyRecord) -> String {
    key.current().map(|material| material.id.clone()).unwrap_or_default()
}

fn ciphertext_header(key: &KeyRecord) -> Result<Vec<u8>, KmsError> {
    let malformed = || KmsError::Unavailable(format!("{}: its id or material id has a wrong form", key.id));
    let mut out = vec![CIPHERTEXT_VERSION, u8::try_from(key.id.len()).map_err(|_| malformed())?];
    out.extend_from_slice(key.id.as_bytes());
    let material = hex::decode(current(key)).ok().filter(|id| id.len() == 32).ok_or_else(malformed)?;
    out.extend_from_slice(&material);
    Ok(out)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::SoftwareKeys,
        domain::{Domain, RootKey, tests::Counting},
        key::{KeyState, KeyUse},
        ring::{Found, KeyRingParts, NewKey},
        traits::{Change, ErasureSecrets, Identities, Kept, KeyStore, KeyStoreError},
    };
    use std::sync::atomic::{AtomicU64, Ordering};
    use tresor_model::{BucketId, Clock, Principal, Timestamp, WriteId};

    #[derive(Debug, Default)]
    struct Nowhere;
    #[async_trait::async_trait]
    impl KeyStore for Nowhere {
        async fn load(&self) -> Result<Kept, KeyStoreError> {
            Ok(Kept::default())
        }
        async fn commit(&self, _: &[Change], _: Option<&tresor_model::ChangeRecord>) -> Result<(), KeyStoreError> {
            Ok(())
        }
        async fn put_uses(&self, _: &[KeyUse]) -> Result<(), KeyStoreError> {
            Ok(())
        }
        async fn put_tracking_since(&self, _: Timestamp) -> Result<(), KeyStoreError> {
            Ok(())
        }
    }
    #[derive(Debug)]
    struct Nobody;
    impl Identities for Nobody {
        fn bindings(&self, _: &Caller) -> tresor_policy::Bindings {
            tresor_policy::Bindings::default()
        }
        fn exists(&self, _: &str) -> bool {
            true
        }
    }
    impl crate::traits::Witness for Nobody {
        fn used_by_s3(&self, _: &Call<'_>, _: &KeyArn, _: Option<&str>, _: Option<&KmsError>) {}
        fn service_event(&self, _: &crate::traits::ServiceEvent<'_>) -> Option<tresor_model::ChangeRecord> {
            None
        }
        fn happened(&self, _: tresor_model::ChangeRecord) {}
    }
    #[derive(Debug)]
    struct NoDependents;
    #[async_trait::async_trait]
    impl crate::traits::Dependents for NoDependents {
        async fn impact(&self, _: &str) -> Result<(u64, u64), KeyStoreError> {
            Ok((0, 0))
        }
    }
    #[derive(Debug)]
    struct OneSecret;
    impl ErasureSecrets for OneSecret {
        fn get(&self, _: &str) -> std::io::Result<Option<Zeroizing<[u8; 32]>>> {
            Ok(Some(Zeroizing::new([4; 32])))
        }
        fn put(&self, _: &str, _: &[u8; 32]) -> std::io::Result<()> {
            Ok(())
        }
        fn destroy(&self, _: &str) -> std::io::Result<()> {
            Ok(())
        }
    }
    #[derive(Debug, Default)]
    struct Set(AtomicU64);
    impl Clock for Set {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    async fn ring() -> (KeyRing, Arc<Set>) {
        let entropy = Arc::new(Counting::default());
        let (domain, _) = Domain::create(&RootKey::generate(&*entropy), [1; 16], &*entropy);
        let backend = Arc::new(SoftwareKeys::new(&domain, Arc::new(OneSecret), entropy.clone()));
        let clock = Arc::new(Set::default());
        let (store, identities, witness) = (Arc::new(Nowhere), Arc::new(Nobody), Arc::new(Nobody));
        let parts = KeyRingParts { store, backend, identities, witness, clock: clock.clone(), entropy };
        let ring = KeyRing::open(&domain, "us-east-1", parts).await.unwrap();
        (ring, clock)
    }
    fn caller() -> Caller {
        let account: AccountId = "111122223333".parse().unwrap();
        Caller::local(Principal::Root { account })
    }
    async fn new_key(ring: &KeyRing, caller: &Caller) -> Found {
        ring.create_key(&Call::new(caller, "CreateKey", ""), NewKey::default(), false).await.unwrap()
    }
    fn binding(key: &str) -> Binding {
        Binding {
            bucket: BucketId::from_bytes([1; 16]),
            key: key.parse().unwrap(),
            write: WriteId::from_bytes([2; 16]),
        }
    }
    fn place(account: &AccountId) -> ObjectPlace<'_> {
        ObjectPlace {
            region: "us-east-1",
            bucket_arn: "arn:aws:s3:::b".into(),
            object_arn: "arn:aws:s3:::b/k".into(),
            owner: account,
        }
    }

    #[tokio::test]
    async fn what_is_issued_is_recovered_in_its_place_and_nowhere_else() {
        let (ring, _) = ring().await;
        let caller = caller();
        let account = caller.account().unwrap();
        let found = new_key(&ring, &caller).await;
        let arn = found.arn.clone();
        let context = vec![("a".to_owned(), "b".to_owned())];
        let customer = CustomerKey::from_bytes([5; 32]);
        let sources = || {
            vec![
                KeySource::S3Managed,
                KeySource::Kms { key: arn.clone(), context: context.clone(), bucket_key: false },
                KeySource::Kms { key: arn.clone(), context: Vec::new(), bucket_key: true },
                KeySource::Dsse { key: arn.clone(), context: Vec::new() },
                KeySource::Customer(customer.clone()),
            ]
        };
        for source in sources() {
            let what = format!("{source:?}");
            let here = binding("k");
            let issued = ring.issue(&caller, source, &here, &place(account)).await.unwrap();
            let open = async |envelope: &Envelope, at: &Binding| {
                ring.recover(&caller, envelope, at, &place(account), Some(customer.clone())).await.is_ok()
            };
            assert!(open(&issued.envelope, &here).await, "{what}");
            assert!(!open(&issued.envelope, &binding("other")).await, "{what} elsewhere");
            let moved = Binding { bucket: BucketId::from_bytes([9; 16]), ..here.clone() };
            assert!(!open(&issued.envelope, &moved).await, "{what} in another bucket");
            let later = Binding { write: WriteId::from_bytes([9; 16]), ..here.clone() };
            assert!(!open(&issued.envelope, &later).await, "{what} under another write");
            for n in 0..issued.envelope.wrapped.len() {
                let mut broken = issued.envelope.clone();
                broken.wrapped[n] ^= 1;
                assert!(!open(&broken, &here).await, "{what} with byte {n} changed");
            }
            let mut foreign = issued.envelope.clone();
            foreign.context.push(("x".into(), "y".into()));
            let kms = !issued.envelope.header.key_arn.is_empty();
            assert_eq!(open(&foreign, &here).await, !kms, "{what} with another context");
        }
    }

    #[tokio::test]
    async fn an_owned_key_serves_one_account_rotates_yearly_and_cannot_be_named() {
        let (ring, clock) = ring().await;
        let caller = caller();
        let (account, other): (AccountId, AccountId) =
            (caller.account().unwrap().clone(), "444455556666".parse().unwrap());
        let issue = async |account: &AccountId| {
            ring.issue(&caller, KeySource::S3Managed, &binding("k"), &place(account)).await.unwrap()
        };
        let (first, second, foreign) = (issue(&account).await, issue(&account).await, issue(&other).await);
        assert_eq!((&first.key_id, &first.material_id), (&second.key_id, &second.material_id));
        assert_ne!(first.key_id, foreign.key_id);
        assert_eq!(first.envelope.owned_material.map(hex::encode), Some(first.material_id.clone()));
        for name in [first.key_id.clone(), format!("arn:aws:kms:us-east-1:{account}:key/{}", first.key_id)] {
            assert!(matches!(ring.locate(&caller, &name), Err(KmsError::NotFound(_))));
        }
        assert!(ring.list(&account).is_empty());
        clock.0.store(364 * 24 * 60 * 60 * 1000, Ordering::Relaxed);
        ring.tend().await.unwrap();
        assert_eq!(issue(&account).await.material_id, first.material_id);
        clock.0.store(366 * 24 * 60 * 60 * 1000, Ordering::Relaxed);
        ring.tend().await.unwrap();
        let rotated = issue(&account).await;
        assert_ne!(rotated.material_id, first.material_id);
        assert_eq!(rotated.key_id, first.key_id);
        for issued in [&first, &rotated, &foreign] {
            ring.recover(&caller, &issued.envelope, &binding("k"), &place(&account), None).await.unwrap();
        }
        let mut relabelled = first.envelope.clone();
        relabelled.owned_material = rotated.envelope.owned_material;
        assert!(ring.recover(&caller, &relabelled, &binding("k"), &place(&account), None).await.is_err());
    }

    /// Stores that were written before: the data key lies under one secret of the whole store, and no material is named.
    #[tokio::test]
    async fn envelopes_of_the_time_before_owned_keys_open() {
        let (ring, _) = ring().await;
        let caller = caller();
        let account = caller.account().unwrap();
        let arn = new_key(&ring, &caller).await.arn;
        let here = binding("k");
        for source in [KeySource::S3Managed, KeySource::Dsse { key: arn, context: Vec::new() }] {
            let Issued { mut envelope, .. } = ring.issue(&caller, source, &here, &place(account)).await.unwrap();
            let digest = here.digest(&envelope.header);
            let (layer, wrapped) = match &envelope.outer_wrapped {
                Some(outer) => (OwnedLayer::Outer, outer.clone()),
                None => (OwnedLayer::Only, envelope.wrapped.clone()),
            };
            let secret = ring.unwrap_owned(&envelope, layer, &digest, &wrapped).unwrap();
            let before = |aad: &[u8]| wrap(ring.s3_managed.expose(), &*ring.entropy, aad, &secret);
            match layer {
                OwnedLayer::Only => envelope.wrapped = before(&digest),
                OwnedLayer::Outer => envelope.outer_wrapped = Some(before(&[OUTER_LABEL, &digest].concat())),
            }
            envelope.owned_material = None;
            ring.recover(&caller, &envelope, &here, &place(account), None).await.unwrap();
        }
    }

    #[tokio::test]
    async fn bucket_keys_are_shared_for_a_while_and_states_are_judged_every_time() {
        let (ring, clock) = ring().await;
        let caller = caller();
        let account = caller.account().unwrap();
        let found = new_key(&ring, &caller).await;
        let arn = found.arn.clone();
        let issue = async || {
            let source = KeySource::Kms { key: arn.clone(), context: Vec::new(), bucket_key: true };
            ring.issue(&caller, source, &binding("k"), &place(account)).await
        };
        let (first, second) = (issue().await.unwrap(), issue().await.unwrap());
        assert_eq!(first.envelope.wrapped, second.envelope.wrapped);
        assert_ne!(first.envelope.bucket_key_salt, second.envelope.bucket_key_salt);
        ring.rotate_locally(&Call::new(&caller, "RotateKeyOnDemand", ""), &found).await.unwrap();
        assert_ne!(issue().await.unwrap().material_id, first.material_id);
        ring.set_state_locally(&Call::new(&caller, "DisableKey", ""), &found, KeyState::Disabled).await.unwrap();
        assert!(matches!(issue().await, Err(KmsError::Disabled(_))));
        let recovered = ring.recover(&caller, &first.envelope, &binding("k"), &place(account), None).await;
        assert!(matches!(recovered, Err(KmsError::Disabled(_))));
        ring.set_state_locally(&Call::new(&caller, "EnableKey", ""), &found, KeyState::Enabled).await.unwrap();
        let fresh = issue().await.unwrap().envelope.wrapped;
        clock.0.store(6 * 60 * 1000, Ordering::Relaxed);
        assert_ne!(issue().await.unwrap().envelope.wrapped, fresh);
        assert!(ring.recover(&caller, &first.envelope, &binding("k"), &place(account), None).await.is_ok());
    }

    #[tokio::test]
    async fn names_resolve_as_aws_words_them() {
        let (ring, _) = ring().await;
        let caller = caller();
        let account = caller.account().unwrap();
        ring.declare(account, "11111111-2222-3333-4444-555555555555", Some("alias/test")).await.unwrap();
        let arn = "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555";
        for name in
            ["alias/test", "11111111-2222-3333-4444-555555555555", arn, "arn:aws:kms:us-east-1:111122223333:alias/test"]
        {
            assert_eq!(ring.resolve(&caller, Some(name)).await.unwrap().as_str(), arn, "{name}");
        }
        let text = async |name: &str| ring.resolve(&caller, Some(name)).await.unwrap_err().to_string();
        assert_eq!(text("fake-key-id").await, "Invalid keyId 'fake-key-id'");
        assert_eq!(
            text("99999999-2222-3333-4444-555555555555").await,
            "Key 'arn:aws:kms:us-east-1:111122223333:key/99999999-2222-3333-4444-555555555555' does not exist"
        );
        assert_eq!(text("arn:aws:kms:eu-west-1:111122223333:key/x").await, "Invalid arn eu-west-1");
        let default = ring.resolve(&caller, None).await.unwrap();
        assert_eq!(ring.resolve(&caller, Some("alias/aws/s3")).await.unwrap(), default);
        assert_eq!(ring.describe(&default).unwrap().description, S3_DESCRIPTION_FOR_TEST);
    }
    const S3_DESCRIPTION_FOR_TEST: &str = "Default key that protects my S3 objects when no other key is defined";

    #[tokio::test]
    async fn a_deletion_that_was_cancelled_meanwhile_destroys_nothing() {
        let (ring, clock) = ring().await;
        let caller = caller();
        let found = new_key(&ring, &caller).await;
        let name = found.arn.to_string();
        let call = |operation| Call::new(&caller, operation, "");
        ring.schedule_deletion(&call("ScheduleKeyDeletion"), &name, 7, &NoDependents).await.unwrap();
        let seen = ring.describe(&found.arn).unwrap();
        clock.0.store(8 * crate::ring::DAY_MS, Ordering::Relaxed);
        ring.cancel_deletion(&call("CancelKeyDeletion"), &name).await.unwrap();
        assert!(!ring.destroy(&seen, ring.now()).await.unwrap());
        assert_eq!(ring.describe(&found.arn).unwrap().set_state, KeyState::Disabled);
        ring.schedule_deletion(&call("ScheduleKeyDeletion"), &name, 7, &NoDependents).await.unwrap();
        assert!(ring.tend().await.unwrap().is_empty());
        clock.0.store(16 * crate::ring::DAY_MS, Ordering::Relaxed);
        assert_eq!(ring.tend().await.unwrap(), [found.record().id.clone()]);
        assert!(ring.describe(&found.arn).is_err());
    }
}
