//! The directory: who signs, what binds him, and the one way in which anything changes.

use crate::{
    account::Account,
    draft::Draft,
    error::{DirectoryError, IdentityError},
    limits,
    records::{AccessKeyRecord, IdentityChange, IdentityRecord, IdentityStore, KeptRow, Kind},
    secret::SecretAccessKey,
    session::OpenSession,
    world::{AccountState, Credential, KeyEntry, Managed, Member, World},
};
use parking_lot::{Mutex, RwLock};
use std::{collections::HashMap, fmt, sync::Arc};
use tresor_envelope::{unwrap, wrap};
use tresor_model::{AccountId, Caller, ChangeRecord, Clock, Entropy, Principal, Timestamp};
use tresor_policy::{Bindings, Policy};
use zeroize::Zeroizing;

/// What a directory that can change needs of others.
pub struct DirectoryParts {
    pub store: Arc<dyn IdentityStore>,
    /// Seals the secrets of access keys.
    pub secrets: Zeroizing<[u8; 32]>,
    /// Seals session tokens.
    pub sessions: Zeroizing<[u8; 32]>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// Everyone who may sign.
#[derive(Default)]
pub struct Directory {
    accounts: HashMap<AccountId, Account>,
    world: RwLock<Arc<World>>,
    /// Changes go one after the other; reading needs no more than the lock above.
    changing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) parts: Option<DirectoryParts>,
    pub(crate) sessions: Mutex<HashMap<String, Arc<OpenSession>>>,
    /// Session policies by their text.
    compiled: Mutex<HashMap<String, Arc<Policy>>>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({} accounts)", self.accounts.len())
    }
}

/// Whose identities are to change, and the record of the event that changes them.
#[derive(Clone, Debug)]
pub struct Writing {
    pub account: AccountId,
    /// Committed with the change.
    pub record: Option<ChangeRecord>,
}

impl Writing {
    /// A change that leaves no record.
    pub fn of(account: &AccountId) -> Self {
        Self { account: account.clone(), record: None }
    }
}

/// Why a signature's key cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSigner {
    /// No such key, or a disabled one.
    Unknown,
    /// A session token that is none of ours, of another key, of somebody who is gone, or where none belongs.
    InvalidToken,
    ExpiredToken,
}

const SECRET_LABEL: &[u8] = b"tresor/v1/access-key";

/// What the configuration declares.
impl Directory {
    /// Errors: TwoAccounts.
    pub fn add_account(&mut self, account: Account) -> Result<(), DirectoryError> {
        let id = account.id.clone();
        match self.accounts.insert(id.clone(), account) {
            None => {
                Arc::make_mut(self.world.get_mut()).accounts.insert(id, Arc::default());
                Ok(())
            }
            Some(_) => Err(DirectoryError::TwoAccounts(id)),
        }
    }

    /// The same key twice is fine if it is the same secret of the same principal. A user comes to be by its first key.
    /// Errors: TwoSecrets, NoAccount.
    pub fn add_credential(&mut self, access_key_id: &str, credential: Credential) -> Result<(), DirectoryError> {
        if let Some(account) = credential.principal.account()
            && !self.accounts.contains_key(account)
        {
            return Err(DirectoryError::NoAccount(account.clone()));
        }
        let world = Arc::make_mut(self.world.get_mut());
        if let Some(KeyEntry { credential: known, .. }) = world.keys.get(access_key_id) {
            let same = known.secret.equals(&credential.secret) && known.principal == credential.principal;
            return if same { Ok(()) } else { Err(DirectoryError::TwoSecrets(access_key_id.to_owned())) };
        }
        if let Principal::User { account, .. } = &credential.principal {
            let state = Arc::make_mut(world.accounts.entry(account.clone()).or_default());
            let mut record = declared_user(state, &credential.principal)?;
            let created = Timestamp::default();
            let key = AccessKeyRecord { id: access_key_id.to_owned(), sealed: Vec::new(), active: true, created };
            record.keys.push(key);
            state.members.insert((Kind::User, record.name.clone()), Arc::new(Member::new(record, true)?));
            state.bind();
        }
        let entry = KeyEntry { credential: Arc::new(credential), active: true, created: Timestamp::default() };
        world.keys.insert(access_key_id.to_owned(), entry);
        Ok(())
    }

    /// Binds an identity policy to a declared user. Errors: NoAccount.
    pub fn add_policy(&mut self, principal: &Principal, name: &str, policy: &Policy) -> Result<(), DirectoryError> {
        let Principal::User { account, .. } = principal else { return Ok(()) };
        let world = Arc::make_mut(self.world.get_mut());
        let state = world.accounts.get_mut(account).ok_or_else(|| DirectoryError::NoAccount(account.clone()))?;
        let state = Arc::make_mut(state);
        let mut record = declared_user(state, principal)?;
        record.inline.push((name.to_owned(), policy.text().to_owned()));
        state.members.insert((Kind::User, record.name.clone()), Arc::new(Member::new(record, true)?));
        state.bind();
        Ok(())
    }

    /// Adds what is kept to what is declared; from now on the directory can change. Errors: TwoUsers, Kept.
    pub async fn open(mut self, parts: DirectoryParts) -> Result<Self, DirectoryError> {
        let (mut identities, mut policies, mut providers) = (Vec::new(), Vec::new(), Vec::new());
        for (_, row) in parts.store.rows().await? {
            match row? {
                KeptRow::Identity(record) => identities.push(record),
                KeptRow::Policy(record) => policies.push(record),
                KeptRow::Provider(record) => providers.push(record),
            }
        }
        let world = Arc::make_mut(self.world.get_mut());
        for record in identities {
            // Of an account that is no longer declared: kept, and nobody.
            let Some(state) = world.accounts.get_mut(&record.account) else { continue };
            let place = (record.kind, record.name.clone());
            if state.members.contains_key(&place) {
                return Err(DirectoryError::TwoUsers(record.name));
            }
            for key in &record.keys {
                let secret = open_secret(&parts.secrets, key)?;
                if world.keys.insert(key.id.clone(), entry(&record, key, secret)).is_some() {
                    return Err(DirectoryError::TwoSecrets(key.id.clone()));
                }
            }
            Arc::make_mut(state).members.insert(place, Arc::new(Member::new(record, false)?));
        }
        for record in policies {
            let Some(state) = world.accounts.get_mut(&record.account) else { continue };
            Arc::make_mut(state).policies.insert(record.arn(), Arc::new(Managed::new(record)?));
        }
        for record in providers {
            let Some(state) = world.accounts.get_mut(&record.account) else { continue };
            Arc::make_mut(state).providers.insert(record.arn(), Arc::new(record));
        }
        for state in world.accounts.values_mut() {
            Arc::make_mut(state).bind();
        }
        self.parts = Some(parts);
        Ok(self)
    }
}

/// The record of a declared user, as far as it is known.
fn declared_user(state: &AccountState, principal: &Principal) -> Result<IdentityRecord, IdentityError> {
    let Principal::User { account, path, name } = principal else {
        return Err(IdentityError::InvalidInput("only users are declared".into()));
    };
    let known = state.member(Kind::User, name).map(|member| member.record.clone());
    Ok(known.unwrap_or_else(|| IdentityRecord {
        kind: Kind::User,
        account: account.clone(),
        name: name.clone(),
        path: path.clone(),
        id: crate::world::declared_id("AIDA", &principal.arn().unwrap_or_default()),
        created: Timestamp::default(),
        tags: Vec::new(),
        inline: Vec::new(),
        attached: Vec::new(),
        boundary: None,
        groups: Vec::new(),
        keys: Vec::new(),
        role: None,
    }))
}

fn entry(record: &IdentityRecord, key: &AccessKeyRecord, secret: SecretAccessKey) -> KeyEntry {
    let (account, path, name) = (record.account.clone(), record.path.clone(), record.name.clone());
    let principal = Principal::User { account, path, name };
    let credential = Credential { principal, user_id: record.id.clone(), secret, session: None };
    KeyEntry { credential: Arc::new(credential), active: key.active, created: key.created }
}

fn secret_place(id: &str) -> Vec<u8> {
    [SECRET_LABEL, b"/", id.as_bytes()].concat()
}

pub(crate) fn seal_secret(key: &[u8; 32], entropy: &dyn Entropy, id: &str, secret: &SecretAccessKey) -> Vec<u8> {
    wrap(key, entropy, &secret_place(id), secret.expose().as_bytes())
}

pub(crate) fn open_secret(key: &[u8; 32], record: &AccessKeyRecord) -> Result<SecretAccessKey, IdentityError> {
    let broken = || IdentityError::Unavailable(format!("the secret of the access key {} cannot be opened", record.id));
    let secret = unwrap(key, &secret_place(&record.id), &record.sealed).map_err(|_| broken())?;
    Ok(SecretAccessKey::new(std::str::from_utf8(&secret).map_err(|_| broken())?))
}

/// What requests ask.
impl Directory {
    /// Everybody, as it is now.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read())
    }
    /// One account, as it is now; an empty one if it is not declared.
    pub fn state(&self, account: &AccountId) -> Arc<AccountState> {
        self.world.read().account(account).cloned().unwrap_or_default()
    }

    /// The key that a request names, with its session token if it brings one. Errors: why it signs nothing.
    pub fn signer(
        &self,
        access_key_id: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<Credential>, NoSigner> {
        match token {
            None => {
                let world = self.world.read();
                let entry = world.keys.get(access_key_id).filter(|entry| entry.active);
                entry.map(|entry| Arc::clone(&entry.credential)).ok_or(NoSigner::Unknown)
            }
            Some(token) => self.session_signer(access_key_id, token, now),
        }
    }

    /// Whose a key is, whether it is active, and when it was made; nothing is proved by it.
    pub fn owner_of_key(&self, access_key_id: &str) -> Option<(Principal, bool, Timestamp)> {
        let world = self.world.read();
        let entry = world.keys.get(access_key_id)?;
        Some((entry.credential.principal.clone(), entry.active, entry.created))
    }
    /// The declared keys of an account's root.
    pub fn root_keys(&self, account: &AccountId) -> Vec<String> {
        let root = Principal::Root { account: account.clone() };
        let world = self.world.read();
        let keys = world.keys.iter().filter(|(_, entry)| entry.credential.principal == root);
        let mut ids: Vec<String> = keys.map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids
    }

    /// The policies and tags that bind a caller now; an account's root has none and needs none.
    pub fn bindings(&self, caller: &Caller) -> Bindings {
        let (account, kind, name) = match &caller.principal {
            Principal::Anonymous => return Bindings::default(),
            Principal::Root { .. } => return self.capped(caller, Bindings::default()),
            Principal::User { account, name, .. } => (account, Kind::User, name),
            Principal::AssumedRole { account, role, .. } => (account, Kind::Role, role),
            Principal::Federated { account, user, .. } => (account, Kind::User, user),
        };
        let found = self.world.read().member(account, kind, name).cloned();
        self.capped(caller, found.map(|member| member.bindings.clone()).unwrap_or_default())
    }

    /// With the policies that the session was made with.
    fn capped(&self, caller: &Caller, bindings: Bindings) -> Bindings {
        let federated = matches!(caller.principal, Principal::Federated { .. });
        let Some(session) = &caller.session else { return bindings };
        if session.policy.is_none() && session.policy_arns.is_empty() && !federated {
            return bindings;
        }
        let mut policies: Vec<Arc<Policy>> = session.policy.iter().filter_map(|text| self.compiled(text)).collect();
        if let Some(account) = caller.account() {
            let state = self.state(account);
            let managed = session.policy_arns.iter().filter_map(|arn| state.policy(arn));
            policies.extend(managed.map(|managed| Arc::clone(&managed.policy)));
        }
        // None of them could be read or found: nothing is left that allows.
        let tags = if federated { Arc::from([]) } else { bindings.principal_tags };
        Bindings { session: Some(policies.into()), principal_tags: tags, ..bindings }
    }

    fn compiled(&self, text: &str) -> Option<Arc<Policy>> {
        if let Some(known) = self.compiled.lock().get(text) {
            return Some(Arc::clone(known));
        }
        let policy = Arc::new(Policy::of_identity(text).ok()?);
        let mut compiled = self.compiled.lock();
        if compiled.len() >= limits::CACHED_SESSIONS {
            compiled.clear();
        }
        compiled.insert(text.to_owned(), Arc::clone(&policy));
        Some(policy)
    }

    /// Whether an ARN, an account id, a canonical id or a unique id, as policies write principals, names someone.
    pub fn names(&self, principal: &str) -> bool {
        let known = |account: &str| account.parse().is_ok_and(|id: AccountId| self.accounts.contains_key(&id));
        if known(principal) || self.accounts.values().any(|account| account.canonical_id == principal) {
            return true;
        }
        let world = self.world.read();
        if principal.starts_with("AIDA") || principal.starts_with("AROA") {
            let members = world.accounts.values().flat_map(|state| state.members.values());
            return members.into_iter().any(|member| member.record.id == principal);
        }
        let parts: Vec<&str> = principal.splitn(6, ':').collect();
        let ["arn", "aws", service, "", account, resource] = parts.as_slice() else { return false };
        let Ok(id) = account.parse::<AccountId>() else { return false };
        let Some(state) = world.account(&id) else { return false };
        let named = |kind: Kind, name: &str| state.member(kind, name);
        match (*service, resource.split_once('/')) {
            ("iam", None) => *resource == "root",
            ("iam", Some(("user", place))) => {
                let name = place.rsplit('/').next().unwrap_or_default();
                named(Kind::User, name).is_some_and(|user| user.record.arn() == principal)
            }
            ("iam", Some(("role", place))) => {
                let name = place.rsplit('/').next().unwrap_or_default();
                named(Kind::Role, name).is_some_and(|role| role.record.arn() == principal)
            }
            // Sessions come and go; AWS does not look for them.
            ("sts", Some(("assumed-role", place))) => {
                place.split_once('/').is_some_and(|(role, _)| named(Kind::Role, role).is_some())
            }
            ("sts", Some(("federated-user", _))) => true,
            _ => false,
        }
    }

    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }
    /// The canonical id and display name of an owner, for XML. An account that is no longer declared keeps its derived id.
    pub fn owner(&self, id: &AccountId) -> (String, String) {
        match self.accounts.get(id) {
            Some(account) => (account.canonical_id.clone(), account.name.clone()),
            None => (Account::derived_canonical_id(id), id.to_string()),
        }
    }
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }
}

/// The one way in which anything changes.
impl Directory {
    /// Errors: Unavailable for a directory that keeps nothing.
    pub(crate) fn parts(&self) -> Result<&DirectoryParts, IdentityError> {
        self.parts.as_ref().ok_or_else(|| IdentityError::Unavailable("this directory keeps nothing".into()))
    }

    /// Makes one change of an account: drafted on a copy, kept durably, then seen by the next request.
    /// Errors: those of the draft, NoSuchEntity for an account that is not declared, Unavailable.
    pub(crate) async fn change<T>(
        self: &Arc<Self>,
        writing: &Writing,
        draft: impl FnOnce(&mut Draft<'_>) -> Result<T, IdentityError>,
    ) -> Result<T, IdentityError> {
        let parts = self.parts()?;
        let account = &writing.account;
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let known = self.world();
        let state = known.account(account).ok_or_else(|| {
            IdentityError::NoSuchEntity(format!("The account {account} is not declared in the configuration."))
        })?;
        let mut drafted = Draft {
            account,
            now: parts.clock.now(),
            entropy: &*parts.entropy,
            state: AccountState::clone(state),
            changes: Vec::new(),
            secrets: Vec::new(),
        };
        let answer = draft(&mut drafted)?;
        if drafted.changes.is_empty() {
            return Ok(answer);
        }
        let Draft { state, changes, secrets, .. } = drafted;
        let (this, Writing { account, record }) = (Arc::clone(self), writing.clone());
        // A client that leaves must not stop the change between the disk and the memory.
        let done = tokio::spawn(async move {
            this.parts()?.store.commit(&changes, record.as_ref()).await?;
            this.apply(&account, &known, state, &changes, secrets);
            drop(changing);
            Ok::<_, IdentityError>(())
        });
        done.await.map_err(|error| IdentityError::Unavailable(error.to_string()))??;
        Ok(answer)
    }

    /// Lets requests see a change that is kept.
    fn apply(
        &self,
        account: &AccountId,
        known: &World,
        mut state: AccountState,
        changes: &[IdentityChange],
        secrets: Vec<(String, SecretAccessKey)>,
    ) {
        let mut world = World::clone(known);
        let mut secrets: HashMap<String, SecretAccessKey> = secrets.into_iter().collect();
        // First what goes, so that a renamed user keeps its keys.
        for change in changes {
            let (IdentityChange::Put(IdentityRecord { kind, name, .. }) | IdentityChange::Remove { kind, name, .. }) =
                change
            else {
                continue;
            };
            for key in known.member(account, *kind, name).iter().flat_map(|member| &member.record.keys) {
                if let Some(entry) = world.keys.remove(&key.id) {
                    secrets.insert(key.id.clone(), entry.credential.secret.clone());
                }
            }
        }
        for change in changes {
            let IdentityChange::Put(record) = change else { continue };
            for key in &record.keys {
                if let Some(secret) = secrets.get(&key.id) {
                    world.keys.insert(key.id.clone(), entry(record, key, secret.clone()));
                }
            }
        }
        state.bind();
        world.accounts.insert(account.clone(), Arc::new(state));
        *self.world.write() = Arc::new(world);
    }
}
