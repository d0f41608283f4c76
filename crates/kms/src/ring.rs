//! The key ring: keys, aliases and grants of all accounts in memory, written through to the key store.

use crate::{
    backend::KeyBackend,
    bucket_keys::BucketKeys,
    domain::Domain,
    error::KmsError,
    key::{AliasRecord, GrantRecord, KeyRecord, KeyUse, LastUse},
    names::not_found,
    new_key::policy_text,
    owned::OwnedKeys,
    traits::{Change, Identities, KeyStore, ServiceEvent, Witness},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::sync::MutexGuard;
use tresor_memory::LockedKey;
use tresor_model::{AccountId, ChangeRecord, Clock, Entropy, KeyArn, Timestamp};
use tresor_policy::Policy;

/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Keys that AWS manages and owns rotate yearly.
pub(crate) const YEAR_DAYS: u32 = 365;

/// A key with its policy, compiled.
#[derive(Clone)]
pub(crate) struct Entry {
    pub record: Arc<KeyRecord>,
    pub policy: Arc<Policy>,
}

pub(crate) type KeyName = (AccountId, String);

#[derive(Default)]
pub(crate) struct Keys {
    pub keys: BTreeMap<KeyName, Entry>,
    pub aliases: BTreeMap<KeyName, AliasRecord>,
    pub grants: BTreeMap<KeyName, BTreeMap<String, Arc<GrantRecord>>>,
}

/// KMS keys and the use of them.
pub struct KeyRing {
    pub(crate) keys: Arc<RwLock<Keys>>,
    /// Changes go one after the other; reading needs no more than the lock above. `turn` takes it.
    changing: tokio::sync::Mutex<()>,
    /// Held by a commit until memory shows it, even when its caller has left.
    committing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) backend: Arc<dyn KeyBackend>,
    pub(crate) identities: Arc<dyn Identities>,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) bucket_keys: BucketKeys,
    /// By key, and whether the store knows it.
    pub(crate) last_uses: Mutex<HashMap<KeyName, (LastUse, bool)>>,
    /// Keys at which a round of `tend` failed, added up.
    pub(crate) tend_failures: AtomicU64,
    pub(crate) owned: Arc<OwnedKeys>,
    /// Opens what was written before there were owned keys.
    pub(crate) s3_managed: LockedKey,
    pub(crate) customer_secret: LockedKey,
    /// Seals import tokens, grant tokens and markers.
    pub(crate) tokens: LockedKey,
    pub(crate) region: String,
    pub(crate) started: Timestamp,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.read().keys.len())
    }
}

/// What a key ring needs of others.
#[derive(Debug)]
pub struct KeyRingParts {
    pub store: Arc<dyn KeyStore>,
    pub backend: Arc<dyn KeyBackend>,
    pub identities: Arc<dyn Identities>,
    pub witness: Arc<dyn Witness>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl KeyRing {
    /// Loads every key. Errors: Unavailable.
    pub async fn open(domain: &Domain, region: &str, parts: KeyRingParts) -> Result<Self, KmsError> {
        let kept = parts.store.load().await?;
        let mut keys = Keys::default();
        for record in kept.keys {
            let entry = entry(record, region)?;
            keys.keys.insert((entry.record.account.clone(), entry.record.id.clone()), entry);
        }
        for alias in kept.aliases {
            keys.aliases.insert((alias.account.clone(), alias.name.clone()), alias);
        }
        for grant in kept.grants {
            let name = (grant.account.clone(), grant.key_id.clone());
            keys.grants.entry(name).or_default().insert(grant.id.clone(), Arc::new(grant));
        }
        let mut last_uses = HashMap::new();
        for KeyUse { account, key_id, last } in kept.uses {
            let name = (account, key_id);
            if keys.keys.contains_key(&name) {
                last_uses.insert(name, (last, true));
            }
        }
        let started = match kept.tracking_since {
            Some(since) => since,
            None => {
                let now = parts.clock.now();
                // A store that is open for reading only does not take it; whatever opens it next remembers another time.
                if let Err(error) = parts.store.put_tracking_since(now).await {
                    tracing::debug!(%error, "when the use of keys began to be remembered was not stored");
                }
                now
            }
        };
        Ok(Self {
            keys: Arc::new(RwLock::new(keys)),
            changing: tokio::sync::Mutex::default(),
            committing: Arc::default(),
            store: parts.store,
            backend: parts.backend,
            identities: parts.identities,
            witness: parts.witness,
            bucket_keys: BucketKeys::default(),
            last_uses: Mutex::new(last_uses),
            tend_failures: AtomicU64::new(0),
            owned: Arc::new(OwnedKeys::open(domain, kept.owned)?),
            s3_managed: domain.s3_managed(),
            customer_secret: domain.customer_secret(),
            tokens: domain.tokens(),
            region: region.to_owned(),
            started,
            clock: parts.clock,
            entropy: parts.entropy,
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// When the use of keys began to be remembered.
    pub fn tracking_since(&self) -> Timestamp {
        self.started
    }

    /// The ARN of a key of this region.
    pub fn arn(&self, account: &AccountId, id: &str) -> Result<KeyArn, KmsError> {
        KeyArn::new(&self.region, account, id).map_err(|_| KmsError::InvalidKeyId(format!("Invalid keyId '{id}'")))
    }
    pub fn alias_arn(&self, account: &AccountId, name: &str) -> String {
        format!("arn:aws:kms:{}:{account}:{name}", self.region)
    }

    pub(crate) fn find(&self, account: &AccountId, id: &str) -> Option<Entry> {
        self.keys.read().keys.get(&(account.clone(), id.to_owned())).cloned()
    }
    pub(crate) fn alias(&self, account: &AccountId, name: &str) -> Option<String> {
        self.keys.read().aliases.get(&(account.clone(), name.to_owned())).map(|alias| alias.key_id.clone())
    }
    /// The names of a key.
    pub(crate) fn aliases_of(&self, key: &KeyRecord) -> Vec<String> {
        let keys = self.keys.read();
        let own = keys.aliases.values().filter(|alias| alias.account == key.account && alias.key_id == key.id);
        own.map(|alias| alias.name.clone()).collect()
    }
    pub(crate) fn grants_of(&self, key: &KeyRecord) -> Vec<Arc<GrantRecord>> {
        let keys = self.keys.read();
        let grants = keys.grants.get(&(key.account.clone(), key.id.clone()));
        grants.map(|grants| grants.values().cloned().collect()).unwrap_or_default()
    }

    /// The turn to change something: what is read under it is what the store has, also when the one before left in the middle.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.changing.lock().await;
        drop(self.committing.lock().await);
        turn
    }

    /// Stores changes, then shows them. The caller has its turn.
    pub(crate) async fn commit(&self, changes: Vec<Change>, record: Option<&ChangeRecord>) -> Result<(), KmsError> {
        self.carry(changes, record.cloned(), None).await
    }

    /// As `commit`, for what the service does by itself while it answers somebody; then it is told that it happened.
    pub(crate) async fn commit_by_itself(
        &self,
        changes: Vec<Change>,
        record: Option<ChangeRecord>,
    ) -> Result<(), KmsError> {
        self.carry(changes, record, Some(Arc::clone(&self.witness))).await
    }

    async fn carry(
        &self,
        changes: Vec<Change>,
        record: Option<ChangeRecord>,
        witness: Option<Arc<dyn Witness>>,
    ) -> Result<(), KmsError> {
        let mut entries = Vec::new();
        for change in &changes {
            if let Change::PutKey(key) = change {
                entries.push(entry(key.clone(), &self.region)?);
            }
        }
        let committing = Arc::clone(&self.committing).lock_owned().await;
        let (store, keys, owned) = (Arc::clone(&self.store), Arc::clone(&self.keys), Arc::clone(&self.owned));
        // A caller that leaves must not stop the change between the store and the memory.
        let done = tokio::spawn(async move {
            store.commit(&changes, record.as_ref()).await?;
            let shown = show(&mut keys.write(), &owned, changes, entries);
            if let (Some(witness), Some(record)) = (witness, record) {
                witness.happened(record);
            }
            drop(committing);
            shown
        });
        done.await.map_err(|error| KmsError::Unavailable(error.to_string()))?
    }

    /// The record of what the service does to a key by itself.
    pub(crate) fn service_record(
        &self,
        name: &'static str,
        account: &AccountId,
        key_id: &str,
    ) -> Result<Option<ChangeRecord>, KmsError> {
        let key = self.arn(account, key_id)?;
        Ok(self.witness.service_event(&ServiceEvent { name, account, key: &key }))
    }
    pub(crate) fn happened(&self, record: Option<ChangeRecord>) {
        if let Some(record) = record {
            self.witness.happened(record);
        }
    }

    /// Stores a changed key and returns it.
    pub(crate) async fn put(&self, key: KeyRecord, record: Option<&ChangeRecord>) -> Result<Arc<KeyRecord>, KmsError> {
        let name = (key.account.clone(), key.id.clone());
        self.commit(vec![Change::PutKey(key)], record).await?;
        self.find(&name.0, &name.1)
            .map(|entry| entry.record)
            .ok_or_else(|| KmsError::Unavailable("the key is gone".into()))
    }

    /// Keys of an account by id, with their aliases.
    pub fn list(&self, account: &AccountId) -> Vec<(Arc<KeyRecord>, Vec<String>)> {
        let own: Vec<Arc<KeyRecord>> = {
            let keys = self.keys.read();
            let mine =
                keys.keys.range((account.clone(), String::new())..).take_while(|((owner, _), _)| owner == account);
            mine.map(|(_, entry)| Arc::clone(&entry.record)).collect()
        };
        own.into_iter().map(|key| (Arc::clone(&key), self.aliases_of(&key))).collect()
    }

    /// The record behind an ARN. Errors: NotFound.
    pub fn describe(&self, arn: &KeyArn) -> Result<Arc<KeyRecord>, KmsError> {
        let account = arn.account().parse().map_err(|_| not_found(arn))?;
        self.find(&account, arn.key_id()).map(|entry| entry.record).ok_or_else(|| not_found(arn))
    }
}

/// Lets requests see changes that are stored; `entries` are the compiled keys of `PutKey`, in order.
fn show(keys: &mut Keys, owned: &OwnedKeys, changes: Vec<Change>, entries: Vec<Entry>) -> Result<(), KmsError> {
    let mut entries = entries.into_iter();
    for change in changes {
        match change {
            Change::PutKey(key) => {
                if let Some(entry) = entries.next() {
                    keys.keys.insert((key.account, key.id), entry);
                }
            }
            Change::RemoveKey { account, id } => {
                keys.grants.remove(&(account.clone(), id.clone()));
                keys.keys.remove(&(account, id));
            }
            Change::PutOwned(record) => owned.publish(record)?,
            Change::PutAlias(alias) => {
                keys.aliases.insert((alias.account.clone(), alias.name.clone()), alias);
            }
            Change::RemoveAlias { account, name } => {
                keys.aliases.remove(&(account, name));
            }
            Change::PutGrant(grant) => {
                let name = (grant.account.clone(), grant.key_id.clone());
                keys.grants.entry(name).or_default().insert(grant.id.clone(), Arc::new(grant));
            }
            Change::RemoveGrant { account, key_id, id } => {
                if let Some(grants) = keys.grants.get_mut(&(account, key_id)) {
                    grants.remove(&id);
                }
            }
        }
    }
    Ok(())
}

fn entry(record: KeyRecord, region: &str) -> Result<Entry, KmsError> {
    let policy = Policy::of_resource(&policy_text(&record, region))?;
    Ok(Entry { record: Arc::new(record), policy: Arc::new(policy) })
}
