//! The key ring: keys, aliases and grants of all accounts in memory, written through to the key store.

use crate::{
    access::{Call, Needs},
    backend::KeyBackend,
    bucket_keys::BucketKeys,
    domain::Domain,
    error::KmsError,
    key::{AliasRecord, GrantRecord, KeyManager, KeyRecord, KeyState, KeyUse, LastUse, Origin, Rotation},
    owned::OwnedKeys,
    spec::{KeySpec, KeyUsage},
    traits::{Change, Identities, KeyStore, ServiceEvent, Witness},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};
use tresor_memory::LockedKey;
use tresor_model::{AccountId, Caller, ChangeRecord, Clock, Entropy, KeyArn, Timestamp};
use tresor_policy::Policy;

/// Keys of one account: AWS's quota is 100,000.
const MAX_KEYS: usize = 100_000;
/// Keys whose last use is remembered.
pub(crate) const S3_ALIAS: &str = "alias/aws/s3";
const S3_DESCRIPTION: &str = "Default key that protects my S3 objects when no other key is defined";
/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Keys that AWS manages rotate yearly.
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
    pub(crate) keys: RwLock<Keys>,
    /// Changes go one after the other; reading needs no more than the lock above.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) backend: Arc<dyn KeyBackend>,
    pub(crate) identities: Arc<dyn Identities>,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) bucket_keys: BucketKeys,
    /// By key, and whether the store knows it.
    pub(crate) last_uses: Mutex<HashMap<KeyName, (LastUse, bool)>>,
    pub(crate) owned: OwnedKeys,
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

/// Whether `id` has the shape of a key id that KMS makes: a UUID, or `mrk-` and 32 hex digits.
fn is_key_id(id: &str) -> bool {
    let uuid = id.len() == 36
        && id
            .bytes()
            .enumerate()
            .all(|(n, b)| if matches!(n, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() });
    uuid || id.strip_prefix("mrk-").is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// What AWS says of a ciphertext whose key the caller cannot have, be it there or not.
pub(crate) const NO_SUCH_KEY: &str = "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.";

/// A key that was named in a call.
#[derive(Clone)]
pub struct Found {
    pub arn: KeyArn,
    pub(crate) entry: Entry,
    /// The alias it was named by.
    pub alias: Option<String>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Found({})", self.arn)
    }
}

impl Found {
    pub fn record(&self) -> &KeyRecord {
        &self.entry.record
    }
}

/// The policy of a key that was made without one. Source: the developer guide, "Default key policy"; its Id as recorded from AWS.
pub fn default_policy(account: &AccountId) -> String {
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {{
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:aws:iam::{account}:root"
    }},
    "Action" : "kms:*",
    "Resource" : "*"
  }} ]
}}"#
    )
}

/// The policy of `aws/s3`: everyone of the account through S3, and the account itself may look at it.
fn s3_policy(account: &AccountId, region: &str) -> String {
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "auto-s3-2",
  "Statement" : [ {{
    "Sid" : "Allow access through S3 for all principals in the account that are authorized to use S3",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "*"
    }},
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {{
      "StringEquals" : {{
        "kms:CallerAccount" : "{account}",
        "kms:ViaService" : "s3.{region}.amazonaws.com"
      }}
    }}
  }}, {{
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:aws:iam::{account}:root"
    }},
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*" ],
    "Resource" : "*"
  }} ]
}}"#
    )
}

/// What a new key is to be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Chosen by the configuration; drawn otherwise.
    pub id: Option<String>,
    pub description: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub policy: Option<String>,
    pub tags: Vec<(String, String)>,
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
            keys: RwLock::new(keys),
            changing: tokio::sync::Mutex::new(()),
            store: parts.store,
            backend: parts.backend,
            identities: parts.identities,
            witness: parts.witness,
            bucket_keys: BucketKeys::default(),
            last_uses: Mutex::new(last_uses),
            owned: OwnedKeys::open(domain, kept.owned)?,
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

    /// The key a client named by id, key ARN, alias or alias ARN. Who may do what with it is not judged here.
    /// Errors: NotFound, InvalidKeyId; AccessDenied for what does not exist in another account.
    pub fn locate(&self, caller: &Caller, name: &str) -> Result<Found, KmsError> {
        let denied = || KmsError::AccessDenied(NO_SUCH_KEY.into());
        let own = caller.account().ok_or_else(denied)?;
        let (account, resource) = match name.strip_prefix("arn:") {
            None => (own.clone(), name.to_owned()),
            Some(_) => self.read_arn(name)?,
        };
        let (id, alias) = if resource.starts_with("alias/") {
            match self.alias(&account, &resource) {
                Some(id) => (id, Some(resource)),
                None if account == *own => {
                    let arn = self.alias_arn(&account, &resource);
                    return Err(KmsError::NotFound(format!("Alias {arn} is not found.")));
                }
                None => return Err(denied()),
            }
        } else {
            (resource.strip_prefix("key/").unwrap_or(&resource).to_owned(), None)
        };
        match self.find(&account, &id) {
            Some(entry) => Ok(Found { arn: self.arn(&account, &id)?, entry, alias }),
            None if !is_key_id(&id) => Err(KmsError::InvalidKeyId(format!("Invalid keyId '{id}'"))),
            None if account == *own => Err(not_found(&self.arn(&account, &id)?)),
            None => Err(denied()),
        }
    }

    /// As `locate`, for a call: what is not there in another account is refused as what is there and lets nobody in.
    /// Errors: NotFound, InvalidKeyId, AccessDenied.
    pub(crate) fn locate_for(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        self.locate(call.caller, name).map_err(|error| match error {
            KmsError::AccessDenied(_) => self.refuse_missing(call, name),
            other => other,
        })
    }

    /// For S3: the ARN behind a name, or behind none (`aws/s3`, made on first use). The key's state does not matter yet.
    /// Errors: NotFound, InvalidKeyId, AccessDenied.
    pub async fn resolve(&self, caller: &Caller, name: Option<&str>) -> Result<KeyArn, KmsError> {
        let anonymous = || KmsError::AccessDenied("an anonymous caller has no keys".into());
        let own = caller.account().ok_or_else(anonymous)?;
        let name = name.unwrap_or(S3_ALIAS);
        if (name == S3_ALIAS || name == self.alias_arn(own, S3_ALIAS)) && self.alias(own, S3_ALIAS).is_none() {
            let id = self.create_s3_key(own).await?;
            return self.arn(own, &id);
        }
        Ok(self.locate(caller, name)?.arn)
    }

    fn read_arn(&self, arn: &str) -> Result<(AccountId, String), KmsError> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let invalid = || KmsError::InvalidKeyId(format!("Invalid keyId '{arn}'"));
        let ["arn", "aws", "kms", region, account, resource] = parts.as_slice() else { return Err(invalid()) };
        if *region != self.region {
            return Err(KmsError::InvalidKeyId(format!("Invalid arn {region}")));
        }
        if !resource.starts_with("key/") && !resource.starts_with("alias/") {
            return Err(invalid());
        }
        Ok((account.parse().map_err(|_| invalid())?, (*resource).to_owned()))
    }

    /// A key that the caller may do this with, in a state in which it can be done.
    /// Errors: NotFound, InvalidKeyId, AccessDenied, Disabled, InvalidState.
    pub(crate) fn admit(&self, call: &Call<'_>, name: &str, needs: Needs) -> Result<Found, KmsError> {
        let found = self.locate_for(call, name)?;
        let call = Call { alias: found.alias.clone(), ..call.clone() };
        self.permit(&call, &found.entry, &found.arn)?;
        found.entry.record.demand(needs, &found.arn, self.clock.now())?;
        Ok(found)
    }

    /// As `admit`, for operations that change a key: by id or ARN only, and never a key that AWS manages.
    pub(crate) fn admit_change(&self, call: &Call<'_>, name: &str, needs: Needs) -> Result<Found, KmsError> {
        let found = self.admit_by_id(call, name, Needs::Nothing)?;
        if found.record().manager == KeyManager::Aws {
            return Err(KmsError::AccessDenied(format!(
                "User: {} is not authorized to perform: kms:{} on resource: {}",
                call.caller.principal.arn().unwrap_or_default(),
                call.operation,
                found.arn
            )));
        }
        found.entry.record.demand(needs, &found.arn, self.clock.now())?;
        Ok(found)
    }

    /// As `admit`, for operations that take no alias.
    pub(crate) fn admit_by_id(&self, call: &Call<'_>, name: &str, needs: Needs) -> Result<Found, KmsError> {
        if name.starts_with("alias/") || (name.starts_with("arn:") && name.contains(":alias/")) {
            return Err(KmsError::InvalidKeyId(format!("Invalid keyId '{name}'")));
        }
        self.admit(call, name, needs)
    }

    /// Remembers what a key was last used for: a cryptographic operation that succeeded.
    pub(crate) fn used(&self, call: &Call<'_>, key: &KeyRecord) {
        let operation = if call.operation.starts_with("ReEncrypt") { "ReEncrypt" } else { call.operation };
        let (at, request_id) = (self.clock.now(), call.request_id.to_owned());
        let last = LastUse { operation: operation.to_owned(), at, request_id };
        self.last_uses.lock().insert((key.account.clone(), key.id.clone()), (last, false));
    }
    pub fn last_use(&self, key: &KeyRecord) -> Option<LastUse> {
        self.last_uses.lock().get(&(key.account.clone(), key.id.clone())).map(|(last, _)| last.clone())
    }

    /// Stores what keys were used for since the last time; `tend` and the end of the server call it. Errors: Unavailable.
    pub async fn remember_uses(&self) -> Result<(), KmsError> {
        let mut fresh = Vec::new();
        for (name, (last, stored)) in self.last_uses.lock().iter_mut().filter(|(_, (_, stored))| !stored) {
            *stored = true;
            fresh.push(KeyUse { account: name.0.clone(), key_id: name.1.clone(), last: last.clone() });
        }
        for some in fresh.chunks(crate::traits::MAX_CHANGES) {
            self.store.put_uses(some).await?;
        }
        Ok(())
    }

    /// For S3's use of a key on a caller's behalf. Errors: AccessDenied, NotFound, Disabled, InvalidState.
    pub(crate) fn authorize(&self, call: &Call<'_>, arn: &KeyArn) -> Result<Arc<KeyRecord>, KmsError> {
        let found = self.admit(call, arn.as_str(), Needs::Use)?;
        if !found.record().spec.is_symmetric() {
            let usage = found.record().usage.name();
            let why = format!("{arn} key usage is {usage} which is not valid for {}.", call.operation);
            return Err(KmsError::InvalidKeyUsage(why));
        }
        self.used(call, found.record());
        Ok(found.entry.record)
    }

    async fn create_s3_key(&self, account: &AccountId) -> Result<String, KmsError> {
        let _changing = self.changing.lock().await;
        if let Some(id) = self.alias(account, S3_ALIAS) {
            return Ok(id);
        }
        let new = NewKey { description: S3_DESCRIPTION.into(), ..NewKey::default() };
        let mut key = self.new_record(account, new, KeyManager::Aws).await?;
        let next = key.created.plus_millis(u64::from(YEAR_DAYS) * DAY_MS);
        key.rotation = Some(Rotation { period_days: YEAR_DAYS, next });
        let alias = AliasRecord {
            name: S3_ALIAS.into(),
            account: account.clone(),
            key_id: key.id.clone(),
            created: key.created,
            updated: key.created,
        };
        let id = key.id.clone();
        let record = self.service_record("CreateKey", account, &id)?;
        self.commit(vec![Change::PutKey(key), Change::PutAlias(alias)], record.as_ref()).await?;
        self.happened(record);
        Ok(id)
    }

    /// A record with fresh material, not stored yet. The caller holds `changing`.
    pub(crate) async fn new_record(
        &self,
        account: &AccountId,
        new: NewKey,
        manager: KeyManager,
    ) -> Result<KeyRecord, KmsError> {
        if self.keys.read().keys.keys().filter(|(owner, _)| owner == account).count() >= MAX_KEYS {
            return Err(KmsError::LimitExceeded(format!(
                "The account {account} has its limit of {MAX_KEYS} KMS keys."
            )));
        }
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        let id = new.id.unwrap_or_else(|| uuid::Builder::from_random_bytes(random).into_uuid().to_string());
        self.arn(account, &id)?;
        let now = self.clock.now();
        let materials = match new.origin {
            Origin::AwsKms => vec![self.backend.generate(&id, new.spec, now).await?],
            Origin::External => Vec::new(),
        };
        Ok(KeyRecord {
            id,
            account: account.clone(),
            description: new.description,
            manager,
            set_state: KeyState::Enabled,
            created: now,
            materials,
            spec: new.spec,
            usage: new.usage,
            origin: new.origin,
            deletion: None,
            tags: new.tags,
            policy: new.policy,
            rotation: None,
        })
    }

    /// Stores changes, then shows them. The caller holds `changing`.
    pub(crate) async fn commit(&self, changes: Vec<Change>, record: Option<&ChangeRecord>) -> Result<(), KmsError> {
        let mut entries = Vec::new();
        for change in &changes {
            if let Change::PutKey(key) = change {
                entries.push(entry(key.clone(), &self.region)?);
            }
        }
        self.store.commit(&changes, record).await?;
        let mut entries = entries.into_iter();
        let mut keys = self.keys.write();
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
                // Shown by `owned_material` and `rotate_owned`, which open it.
                Change::PutOwned(_) => {}
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

    /// Makes sure that a key of the configuration exists; its material is made once and kept.
    /// Errors: Validation for an id that another account's key has, because both would hang on one erasure secret.
    pub async fn declare(&self, account: &AccountId, id: &str, alias: Option<&str>) -> Result<(), KmsError> {
        let _changing = self.changing.lock().await;
        if self.find(account, id).is_none() {
            if let Some((owner, _)) = self.keys.read().keys.keys().find(|(_, known)| known == id) {
                return Err(KmsError::Validation(format!("the KMS key id {id} is taken by the account {owner}")));
            }
            let new = NewKey { id: Some(id.to_owned()), ..NewKey::default() };
            let key = self.new_record(account, new, KeyManager::Customer).await?;
            let record = self.service_record("CreateKey", account, id)?;
            self.put(key, record.as_ref()).await?;
            self.happened(record);
        }
        match alias {
            Some(alias) if self.alias(account, alias).as_deref() != Some(id) => {
                crate::aliases::check_name(alias)?;
                let now = self.clock.now();
                let (account, key_id) = (account.clone(), id.to_owned());
                let alias = AliasRecord { name: alias.into(), account, key_id, created: now, updated: now };
                let record = self.service_record("CreateAlias", &alias.account, id)?;
                self.commit(vec![Change::PutAlias(alias)], record.as_ref()).await?;
                self.happened(record);
                Ok(())
            }
            _ => Ok(()),
        }
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

/// The policy text in force.
pub(crate) fn policy_text(record: &KeyRecord, region: &str) -> String {
    match (&record.policy, record.manager) {
        (Some(text), _) => text.clone(),
        (None, KeyManager::Customer) => default_policy(&record.account),
        (None, KeyManager::Aws) => s3_policy(&record.account, region),
    }
}

fn entry(record: KeyRecord, region: &str) -> Result<Entry, KmsError> {
    let policy = Policy::of_resource(&policy_text(&record, region))?;
    Ok(Entry { record: Arc::new(record), policy: Arc::new(policy) })
}

pub(crate) fn not_found(arn: &KeyArn) -> KmsError {
    KmsError::NotFound(format!("Key '{arn}' does not exist"))
}
