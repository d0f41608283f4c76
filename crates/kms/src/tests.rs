//! The ring as a whole, over a store that keeps nothing.

use crate::{domain::tests::Counting, issue::OUTER_LABEL, *};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tresor_envelope::{Binding, CustomerKey, Envelope, OwnedLayer, wrap};
use tresor_model::{AccountId, BucketId, Caller, Clock, KeyArn, Principal, Timestamp, WriteId};
use zeroize::Zeroizing;

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
pub(crate) struct Nobody;
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
pub(crate) struct NoDependents;
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
pub(crate) struct Set(pub AtomicU64);
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
pub(crate) fn caller() -> Caller {
    let account: AccountId = "111122223333".parse().unwrap();
    Caller::local(Principal::Root { account })
}
pub(crate) async fn new_key(ring: &KeyRing, caller: &Caller) -> Found {
    ring.create_key(&Call::new(caller, "CreateKey", ""), NewKey::default(), false).await.unwrap()
}
fn binding(key: &str) -> Binding {
    Binding { bucket: BucketId::from_bytes([1; 16]), key: key.parse().unwrap(), write: WriteId::from_bytes([2; 16]) }
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
    let (account, other): (AccountId, AccountId) = (caller.account().unwrap().clone(), "444455556666".parse().unwrap());
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
    ring.tend().await;
    assert_eq!(issue(&account).await.material_id, first.material_id);
    clock.0.store(366 * 24 * 60 * 60 * 1000, Ordering::Relaxed);
    ring.tend().await;
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
    assert!(ring.tend().await.is_empty());
    clock.0.store(16 * crate::ring::DAY_MS, Ordering::Relaxed);
    assert_eq!(ring.tend().await, [found.record().id.clone()]);
    assert!(ring.describe(&found.arn).is_err());
}
