//! The key ring: keys and aliases of all accounts in memory, written through to the key store, and the one door to their use.

use crate::{
    backend::KeyBackend,
    bucket_keys::BucketKeys,
    domain::Domain,
    error::KmsError,
    key::{AliasRecord, KeyManager, KeyRecord, KeyState},
    traits::KeyStore,
};
use parking_lot::RwLock;
use std::{collections::BTreeMap, fmt, sync::Arc};
use tresor_model::{AccountId, Caller, Clock, Entropy, KeyArn};
use zeroize::Zeroizing;

/// Keys of all accounts together.
const MAX_KEYS: usize = 10_000;
/// Aliases of all accounts together.
const MAX_ALIASES: usize = 50_000;
const S3_ALIAS: &str = "alias/aws/s3";
const S3_DESCRIPTION: &str = "Default key that protects my S3 objects when no other key is defined";

#[derive(Default)]
struct Keys {
    keys: BTreeMap<(AccountId, String), Arc<KeyRecord>>,
    aliases: BTreeMap<(AccountId, String), String>,
}

/// KMS keys and the use of them.
pub struct KeyRing {
    keys: RwLock<Keys>,
    /// Changes go one after the other; reading needs no more than the lock above.
    changing: tokio::sync::Mutex<()>,
    store: Arc<dyn KeyStore>,
    pub(crate) backend: Arc<dyn KeyBackend>,
    pub(crate) bucket_keys: BucketKeys,
    pub(crate) s3_managed: Zeroizing<[u8; 32]>,
    pub(crate) customer_secret: Zeroizing<[u8; 32]>,
    region: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.read().keys.len())
    }
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

impl KeyRing {
    /// Loads every key. Errors: Unavailable.
    pub async fn open(
        domain: &Domain,
        store: Arc<dyn KeyStore>,
        backend: Arc<dyn KeyBackend>,
        region: &str,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KmsError> {
        let (keys, aliases) = store.load().await?;
        let keys = Keys {
            keys: keys.into_iter().map(|key| ((key.account.clone(), key.id.clone()), Arc::new(key))).collect(),
            aliases: aliases.into_iter().map(|alias| ((alias.account, alias.name), alias.key_id)).collect(),
        };
        Ok(Self {
            keys: RwLock::new(keys),
            changing: tokio::sync::Mutex::new(()),
            store,
            backend,
            bucket_keys: BucketKeys::default(),
            s3_managed: domain.s3_managed(),
            customer_secret: domain.customer_secret(),
            region: region.to_owned(),
            clock,
            entropy,
        })
    }

    /// The ARN of a key of this region.
    pub fn arn(&self, account: &AccountId, id: &str) -> Result<KeyArn, KmsError> {
        KeyArn::new(&self.region, account, id).map_err(|_| KmsError::InvalidKeyId(format!("Invalid keyId '{id}'")))
    }

    fn find(&self, account: &AccountId, id: &str) -> Option<Arc<KeyRecord>> {
        self.keys.read().keys.get(&(account.clone(), id.to_owned())).cloned()
    }

    fn alias(&self, account: &AccountId, name: &str) -> Option<String> {
        self.keys.read().aliases.get(&(account.clone(), name.to_owned())).cloned()
    }

    /// From what a client wrote (key id, key ARN, alias, alias ARN, or nothing for `aws/s3`) to the key's ARN. The key's state does
    /// not matter yet. Errors: NotFound, InvalidKeyId, AccessDenied for another account's key.
    pub async fn resolve(&self, caller: &Caller, name: Option<&str>) -> Result<KeyArn, KmsError> {
        let own = caller.account().ok_or_else(|| KmsError::AccessDenied("any key".into()))?;
        let Some(name) = name else {
            let id = match self.alias(own, S3_ALIAS) {
                Some(id) => id,
                None => self.create_s3_key(own).await?,
            };
            return self.arn(own, &id);
        };
        let (account, resource) = match name.strip_prefix("arn:") {
            None => (own.clone(), name.to_owned()),
            Some(_) => self.read_arn(name)?,
        };
        if account != *own {
            return Err(KmsError::AccessDenied(name.to_owned()));
        }
        if resource.starts_with("alias/") {
            if resource == S3_ALIAS && self.alias(&account, S3_ALIAS).is_none() {
                let id = self.create_s3_key(&account).await?;
                return self.arn(&account, &id);
            }
            let region = &self.region;
            let missing =
                || KmsError::NotFound(format!("Alias arn:aws:kms:{region}:{account}:{resource} is not found."));
            return self.arn(&account, &self.alias(&account, &resource).ok_or_else(missing)?);
        }
        let id = resource.strip_prefix("key/").unwrap_or(&resource);
        match self.find(&account, id) {
            Some(key) => self.arn(&account, &key.id),
            None if is_key_id(id) => Err(not_found(&self.arn(&account, id)?)),
            None => Err(KmsError::InvalidKeyId(format!("Invalid keyId '{id}'"))),
        }
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

    /// The one door to the use of a key: who, and whether the key may be used at all.
    /// Errors: AccessDenied, NotFound, Disabled, InvalidState.
    pub(crate) fn authorize(&self, caller: &Caller, arn: &KeyArn) -> Result<Arc<KeyRecord>, KmsError> {
        let account = caller.account().filter(|account| account.as_str() == arn.account());
        let account = account.ok_or_else(|| KmsError::AccessDenied(arn.to_string()))?;
        let key = self.find(account, arn.key_id()).ok_or_else(|| not_found(arn))?;
        match key.state {
            KeyState::Enabled => Ok(key),
            KeyState::Disabled => Err(KmsError::Disabled(arn.to_string())),
        }
    }

    async fn create_s3_key(&self, account: &AccountId) -> Result<String, KmsError> {
        let _changing = self.changing.lock().await;
        if let Some(id) = self.alias(account, S3_ALIAS) {
            return Ok(id);
        }
        let key = self.create(None, account, S3_DESCRIPTION, KeyManager::Aws).await?;
        self.set_alias(AliasRecord { name: S3_ALIAS.into(), account: account.clone(), key_id: key.id.clone() }).await?;
        Ok(key.id.clone())
    }

    async fn create(
        &self,
        id: Option<&str>,
        account: &AccountId,
        description: &str,
        manager: KeyManager,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        if self.keys.read().keys.len() >= MAX_KEYS {
            return Err(KmsError::LimitExceeded("KMS keys"));
        }
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        let id = id.map_or_else(|| uuid::Builder::from_random_bytes(random).into_uuid().to_string(), str::to_owned);
        self.arn(account, &id)?;
        let now = self.clock.now();
        let material = self.backend.generate(&id, now).await?;
        let key = KeyRecord {
            id,
            account: account.clone(),
            description: description.to_owned(),
            manager,
            state: KeyState::Enabled,
            created: now,
            materials: vec![material],
        };
        self.put(key).await
    }

    async fn put(&self, key: KeyRecord) -> Result<Arc<KeyRecord>, KmsError> {
        self.store.put_key(&key).await?;
        let key = Arc::new(key);
        self.keys.write().keys.insert((key.account.clone(), key.id.clone()), Arc::clone(&key));
        Ok(key)
    }

    async fn set_alias(&self, alias: AliasRecord) -> Result<(), KmsError> {
        self.store.put_alias(&alias).await?;
        self.keys.write().aliases.insert((alias.account, alias.name), alias.key_id);
        Ok(())
    }

    /// Errors: LimitExceeded, Unavailable.
    pub async fn create_key(&self, account: &AccountId, description: &str) -> Result<Arc<KeyRecord>, KmsError> {
        let _changing = self.changing.lock().await;
        self.create(None, account, description, KeyManager::Customer).await
    }

    /// Makes sure that a key of the configuration exists; its material is made once and kept.
    pub async fn declare(&self, account: &AccountId, id: &str, alias: Option<&str>) -> Result<(), KmsError> {
        let _changing = self.changing.lock().await;
        if self.find(account, id).is_none() {
            self.create(Some(id), account, "", KeyManager::Customer).await?;
        }
        match alias {
            Some(alias) if self.alias(account, alias).as_deref() != Some(id) => {
                check_alias(alias)?;
                self.set_alias(AliasRecord { name: alias.into(), account: account.clone(), key_id: id.into() }).await
            }
            _ => Ok(()),
        }
    }

    /// Keys of an account by id, with their aliases.
    pub fn list(&self, account: &AccountId) -> Vec<(Arc<KeyRecord>, Vec<String>)> {
        let keys = self.keys.read();
        keys.keys
            .iter()
            .filter(|((owner, _), _)| owner == account)
            .map(|(_, key)| {
                let named = keys.aliases.iter().filter(|((owner, _), id)| owner == account && **id == key.id);
                (Arc::clone(key), named.map(|((_, alias), _)| alias.clone()).collect())
            })
            .collect()
    }

    /// Errors: NotFound.
    pub fn describe(&self, arn: &KeyArn) -> Result<Arc<KeyRecord>, KmsError> {
        let account = arn.account().parse().map_err(|_| not_found(arn))?;
        self.find(&account, arn.key_id()).ok_or_else(|| not_found(arn))
    }

    /// Errors: NotFound, AccessDenied for a key that AWS manages.
    pub async fn set_state(&self, arn: &KeyArn, state: KeyState) -> Result<Arc<KeyRecord>, KmsError> {
        let _changing = self.changing.lock().await;
        let key = self.describe(arn)?;
        if key.manager == KeyManager::Aws {
            return Err(KmsError::AccessDenied(format!("{arn}: AWS manages it")));
        }
        self.put(KeyRecord { state, ..(*key).clone() }).await
    }

    /// New material encrypts from now on; what older material encrypted stays readable.
    /// Errors: NotFound, Disabled, LimitExceeded.
    pub async fn rotate(&self, arn: &KeyArn) -> Result<Arc<KeyRecord>, KmsError> {
        /// Generations of one key.
        const MAX_MATERIALS: usize = 100;
        let _changing = self.changing.lock().await;
        let mut key = (*self.describe(arn)?).clone();
        if key.state != KeyState::Enabled {
            return Err(KmsError::Disabled(arn.to_string()));
        }
        if key.materials.len() >= MAX_MATERIALS {
            return Err(KmsError::LimitExceeded("materials of a key"));
        }
        key.materials.push(self.backend.generate(&key.id, self.clock.now()).await?);
        self.put(key).await
    }

    /// Errors: AlreadyExists, InvalidAliasName, NotFound, LimitExceeded.
    pub async fn create_alias(&self, arn: &KeyArn, alias: &str) -> Result<(), KmsError> {
        let _changing = self.changing.lock().await;
        check_alias(alias)?;
        let key = self.describe(arn)?;
        if self.alias(&key.account, alias).is_some() {
            return Err(KmsError::AlreadyExists(alias.to_owned()));
        }
        if self.keys.read().aliases.len() >= MAX_ALIASES {
            return Err(KmsError::LimitExceeded("aliases"));
        }
        self.set_alias(AliasRecord { name: alias.into(), account: key.account.clone(), key_id: key.id.clone() }).await
    }
}

fn not_found(arn: &KeyArn) -> KmsError {
    KmsError::NotFound(format!("Key '{arn}' does not exist"))
}

/// `alias/` and 1 to 249 of `A-Z a-z 0-9 / _ -`, not below `alias/aws/`.
fn check_alias(alias: &str) -> Result<(), KmsError> {
    let valid = alias.strip_prefix("alias/").is_some_and(|name| {
        (1..=249).contains(&name.len())
            && !name.starts_with("aws/")
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-'))
    });
    if valid {
        Ok(())
    } else {
        Err(KmsError::InvalidAliasName(format!(
            "Alias must start with the prefix \"alias/\" and must not start with \"alias/aws/\": {alias}"
        )))
    }
}
