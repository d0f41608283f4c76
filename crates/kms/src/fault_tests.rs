//! Crashes, failures and callers who leave, in the middle of changes.

use crate::{
    domain::tests::Counting,
    tests::{NoDependents, Nobody, Set, caller, new_key},
    *,
};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{Notify, Semaphore};
use tresor_model::{Caller, ChangeRecord, Timestamp};
use zeroize::Zeroizing;

/// Keeps keys. A commit says that it was reached and waits to be let through; beyond a number they fail.
#[derive(Debug)]
struct Rows {
    keys: Mutex<HashMap<String, KeyRecord>>,
    reached: Notify,
    gate: Semaphore,
    commits: AtomicUsize,
}
impl Default for Rows {
    fn default() -> Self {
        let commits = AtomicUsize::new(usize::MAX);
        Self { keys: Mutex::default(), reached: Notify::new(), gate: Semaphore::new(1000), commits }
    }
}
#[async_trait::async_trait]
impl KeyStore for Rows {
    async fn load(&self) -> Result<Kept, KeyStoreError> {
        Ok(Kept { keys: self.keys.lock().values().cloned().collect(), ..Kept::default() })
    }
    async fn commit(&self, changes: &[Change], _: Option<&ChangeRecord>) -> Result<(), KeyStoreError> {
        self.reached.notify_one();
        self.gate.acquire().await.unwrap().forget();
        let left = self.commits.load(Ordering::Relaxed);
        self.commits.store(left.checked_sub(1).ok_or_else(|| KeyStoreError("broken".into()))?, Ordering::Relaxed);
        let mut keys = self.keys.lock();
        for change in changes {
            match change {
                Change::PutKey(key) => drop(keys.insert(key.id.clone(), key.clone())),
                Change::RemoveKey { id, .. } => drop(keys.remove(id)),
                _ => {}
            }
        }
        Ok(())
    }
    async fn put_uses(&self, _: &[KeyUse]) -> Result<(), KeyStoreError> {
        Ok(())
    }
    async fn put_tracking_since(&self, _: Timestamp) -> Result<(), KeyStoreError> {
        Ok(())
    }
}

/// Secrets, of which some cannot be destroyed.
#[derive(Debug, Default)]
struct Secrets {
    held: Mutex<HashMap<String, [u8; 32]>>,
    stuck: Mutex<HashSet<String>>,
}
impl ErasureSecrets for Secrets {
    fn get(&self, name: &str) -> io::Result<Option<Zeroizing<[u8; 32]>>> {
        Ok(self.held.lock().get(name).map(|secret| Zeroizing::new(*secret)))
    }
    fn put(&self, name: &str, secret: &[u8; 32]) -> io::Result<()> {
        self.held.lock().insert(name.to_owned(), *secret);
        Ok(())
    }
    fn destroy(&self, name: &str) -> io::Result<()> {
        if self.stuck.lock().contains(name) {
            return Err(io::Error::other("stuck"));
        }
        self.held.lock().remove(name);
        Ok(())
    }
}

/// What outlives a crash.
struct Machine {
    domain: Domain,
    entropy: Arc<Counting>,
    rows: Arc<Rows>,
    secrets: Arc<Secrets>,
    clock: Arc<Set>,
}
impl Machine {
    fn new() -> Self {
        let entropy = Arc::<Counting>::default();
        let (domain, _) = Domain::create(&RootKey::generate(&*entropy), [1; 16], &*entropy);
        Self { domain, entropy, rows: Arc::default(), secrets: Arc::default(), clock: Arc::default() }
    }
    /// A start on what is stored.
    async fn start(&self) -> KeyRing {
        let secrets = Arc::clone(&self.secrets) as Arc<dyn ErasureSecrets>;
        let parts = KeyRingParts {
            store: Arc::clone(&self.rows) as Arc<dyn KeyStore>,
            backend: Arc::new(SoftwareKeys::new(&self.domain, secrets, self.entropy.clone())),
            identities: Arc::new(Nobody),
            witness: Arc::new(Nobody),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        KeyRing::open(&self.domain, "us-east-1", parts).await.unwrap()
    }
}

fn call<'a>(caller: &'a Caller, operation: &'static str) -> Call<'a> {
    Call::new(caller, operation, "")
}

async fn import(ring: &KeyRing, caller: &Caller, name: &str, valid_to: Option<Timestamp>) -> Found {
    let asked = call(caller, "GetParametersForImport");
    let given = ring.import_parameters(&asked, name, "RSAES_OAEP_SHA_256", KeySpec::Rsa2048).await.unwrap();
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&given.public_key).unwrap()).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 32], &mut wrapped, None).unwrap();
    let import = Import { token: &given.token, wrapped, valid_to, ..Import::default() };
    ring.import(&call(caller, "ImportKeyMaterial"), name, import).await.unwrap().0
}

async fn external_key(ring: &KeyRing, caller: &Caller) -> String {
    let new = NewKey { origin: Origin::External, ..NewKey::default() };
    ring.create_key(&call(caller, "CreateKey"), new, false).await.unwrap().arn.to_string()
}

/// The key in every later moment: it waits for material, and no use of it is an internal failure.
async fn waits_for_import(ring: &KeyRing, caller: &Caller, name: &str) {
    let found = ring.locate(caller, name).unwrap();
    assert_eq!(found.record().state(ring.now()), KeyState::PendingImport);
    let encrypted = encrypt(ring, caller, name).await;
    assert!(matches!(encrypted, Err(KmsError::InvalidState(_))), "{encrypted:?}");
}

async fn encrypt(ring: &KeyRing, caller: &Caller, name: &str) -> Result<(), KmsError> {
    let found = ring.admit(&call(caller, "Encrypt"), name, Needs::Use)?;
    ring.encrypt(found.record(), &[], &[], b"x").await.map(drop)
}

#[tokio::test]
async fn a_deletion_of_imported_material_is_stored_before_its_secret_goes_and_finished_after_a_crash() {
    let (machine, caller) = (Machine::new(), caller());
    let ring = machine.start().await;
    let name = external_key(&ring, &caller).await;
    let imported = import(&ring, &caller, &name, None).await;
    let secret = imported.record().materials[0].erasure.clone().unwrap();
    let before = machine.secrets.held.lock()[&secret];
    encrypt(&ring, &caller, &name).await.unwrap();

    // The machine ends between the commit and the secret's end.
    machine.secrets.stuck.lock().insert(secret.clone());
    let deleted = ring.delete_imported(&call(&caller, "DeleteImportedKeyMaterial"), &name, None).await;
    assert!(matches!(deleted, Err(KmsError::Unavailable(_))));
    waits_for_import(&ring, &caller, &name).await;
    let ring = machine.start().await;
    waits_for_import(&ring, &caller, &name).await;
    assert!(machine.secrets.held.lock().contains_key(&secret));
    ring.tend().await;
    assert_eq!(ring.tend_failures(), 1);
    machine.secrets.stuck.lock().clear();
    ring.tend().await;
    assert!(!machine.secrets.held.lock().contains_key(&secret));
    assert_eq!(machine.rows.keys.lock().values().next().unwrap().materials[0].erasure, None);
    waits_for_import(&ring, &caller, &name).await;

    // It ends after the secret's end, before that is stored: the next round does it again.
    import(&ring, &caller, &name, None).await;
    encrypt(&ring, &caller, &name).await.unwrap();
    machine.rows.commits.store(1, Ordering::Relaxed);
    let deleted = ring.delete_imported(&call(&caller, "DeleteImportedKeyMaterial"), &name, None).await;
    assert!(matches!(deleted, Err(KmsError::Unavailable(_))));
    machine.rows.commits.store(usize::MAX, Ordering::Relaxed);
    let ring = machine.start().await;
    waits_for_import(&ring, &caller, &name).await;
    ring.tend().await;
    assert_eq!(ring.tend_failures(), 0);

    // The same bytes come back under another secret, also when the deletion was not finished.
    import(&ring, &caller, &name, None).await;
    machine.secrets.stuck.lock().insert(secret.clone());
    ring.delete_imported(&call(&caller, "DeleteImportedKeyMaterial"), &name, None).await.unwrap_err();
    let unfinished = machine.secrets.held.lock()[&secret];
    machine.secrets.stuck.lock().clear();
    import(&ring, &caller, &name, None).await;
    let after = machine.secrets.held.lock()[&secret];
    assert!(before != unfinished && unfinished != after);
    encrypt(&ring, &caller, &name).await.unwrap();
}

#[tokio::test]
async fn material_that_expires_is_forgotten_in_the_same_order() {
    let (machine, caller) = (Machine::new(), caller());
    let ring = machine.start().await;
    let name = external_key(&ring, &caller).await;
    let imported = import(&ring, &caller, &name, Some(Timestamp::from_millis(1000))).await;
    let secret = imported.record().materials[0].erasure.clone().unwrap();
    machine.clock.0.store(2000, Ordering::Relaxed);
    machine.secrets.stuck.lock().insert(secret.clone());
    ring.tend().await;
    assert!(machine.rows.keys.lock().values().next().unwrap().materials[0].wrapped.is_empty());
    machine.secrets.stuck.lock().clear();
    let ring = machine.start().await;
    ring.tend().await;
    assert!(machine.secrets.held.lock().is_empty());
    waits_for_import(&ring, &caller, &name).await;
}

#[tokio::test]
async fn a_change_whose_caller_leaves_is_shown_when_it_is_stored() {
    let (machine, caller) = (Machine::new(), caller());
    let ring = machine.start().await;
    let found = new_key(&ring, &caller).await;
    let name = found.arn.to_string();
    machine.rows.gate.forget_permits(usize::MAX);
    let (tag, other) = (("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned()));
    // What the change before left in it.
    machine.rows.reached.notified().await;
    {
        let asked = call(&caller, "TagResource");
        let tagging = ring.tag(&asked, &name, vec![tag.clone()]);
        tokio::select! {
            biased;
            () = machine.rows.reached.notified() => {}
            _ = tagging => unreachable!("the store lets nothing through"),
        }
    }
    assert!(ring.describe(&found.arn).unwrap().tags.is_empty());
    machine.rows.gate.add_permits(2);
    // The next change sees the one before, and does not write over it.
    let found = ring.tag(&call(&caller, "TagResource"), &name, vec![other.clone()]).await.unwrap();
    assert_eq!(found.record().tags, [tag, other]);
    let stored = machine.rows.keys.lock()[&found.record().id].clone();
    assert_eq!(stored.tags, found.record().tags);
}

#[tokio::test]
async fn a_key_that_cannot_be_tended_keeps_no_other_waiting() {
    let (machine, caller) = (Machine::new(), caller());
    let ring = machine.start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let found = new_key(&ring, &caller).await;
        let asked = call(&caller, "ScheduleKeyDeletion");
        ring.schedule_deletion(&asked, found.arn.as_str(), 7, &NoDependents).await.unwrap();
        ids.push(found.record().id.clone());
    }
    ids.sort();
    machine.secrets.stuck.lock().insert(ids[0].clone());
    machine.clock.0.store(8 * 24 * 60 * 60 * 1000, Ordering::Relaxed);
    assert_eq!(ring.tend().await, ids[1..]);
    assert_eq!(ring.tend_failures(), 1);
    machine.secrets.stuck.lock().clear();
    assert_eq!(ring.tend().await, ids[..1]);
    assert_eq!(ring.tend_failures(), 1);
    assert!(machine.secrets.held.lock().is_empty());
}
