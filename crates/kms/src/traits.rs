//! What the key ring asks of others: where keys are kept, where their erasure secrets are, and which policies bind a principal.

use crate::{
    access::Call,
    error::KmsError,
    key::{AliasRecord, GrantRecord, KeyRecord, KeyUse},
    owned::OwnedKeyRecord,
};
use async_trait::async_trait;
use std::{fmt, io};
use tresor_model::{AccountId, Caller, ChangeRecord, KeyArn, Timestamp};
use tresor_policy::Bindings;
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
#[error("keys cannot be stored or loaded: {0}")]
pub struct KeyStoreError(pub String);

/// Everything that is kept.
#[derive(Debug, Default)]
pub struct Kept {
    pub keys: Vec<KeyRecord>,
    pub aliases: Vec<AliasRecord>,
    pub grants: Vec<GrantRecord>,
    pub owned: Vec<OwnedKeyRecord>,
    pub uses: Vec<KeyUse>,
    /// When the use of keys began to be remembered; nothing for a new store.
    pub tracking_since: Option<Timestamp>,
}

/// One change of one row.
#[derive(Clone, Debug)]
pub enum Change {
    PutKey(KeyRecord),
    RemoveKey { account: AccountId, id: String },
    PutAlias(AliasRecord),
    RemoveAlias { account: AccountId, name: String },
    PutGrant(GrantRecord),
    RemoveGrant { account: AccountId, key_id: String, id: String },
    PutOwned(OwnedKeyRecord),
}

/// Durable on return.
#[async_trait]
pub trait KeyStore: Send + Sync + fmt::Debug {
    async fn load(&self) -> Result<Kept, KeyStoreError>;
    /// All or nothing for up to `MAX_CHANGES` changes and the record of what they are about.
    async fn commit(&self, changes: &[Change], record: Option<&ChangeRecord>) -> Result<(), KeyStoreError>;
    /// What up to `MAX_CHANGES` keys were last used for. A loss of the newest is no harm.
    async fn put_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError>;
    async fn put_tracking_since(&self, since: Timestamp) -> Result<(), KeyStoreError>;
}

/// The most changes of one commit.
pub const MAX_CHANGES: usize = 50;

/// Small secrets kept outside of the database, so that destroying one destroys what hangs on it in every old copy of the database.
pub trait ErasureSecrets: Send + Sync + fmt::Debug {
    fn get(&self, name: &str) -> io::Result<Option<Zeroizing<[u8; 32]>>>;
    /// Durable on return. Errors: AlreadyExists.
    fn put(&self, name: &str, secret: &[u8; 32]) -> io::Result<()>;
    /// Overwrites and removes; durable on return. Destroying what is not there succeeds.
    fn destroy(&self, name: &str) -> io::Result<()>;
}

/// Sees the use of keys that S3 makes on a caller's behalf; calls of KMS's own protocol are seen by the request that brings them.
pub trait Witness: Send + Sync + fmt::Debug {
    fn used_by_s3(&self, call: &Call<'_>, key: &KeyArn, material_id: Option<&str>, error: Option<&KmsError>);
    /// The record of a change that nobody's call asks for; it is committed with the change, and then `happened`.
    fn service_event(&self, event: &ServiceEvent<'_>) -> Option<ChangeRecord>;
    fn happened(&self, record: ChangeRecord);
}

/// What the service does to a key by itself.
#[derive(Clone, Copy, Debug)]
pub struct ServiceEvent<'a> {
    /// CloudTrail's: `RotateKey`, `DeleteKey`, `DeleteExpiredKeyMaterial`, `CreateKey`.
    pub name: &'static str,
    pub account: &'a AccountId,
    pub key: &'a KeyArn,
}

/// Makes the record of a call's change, as far as the change is known.
pub trait Recording: Send + Sync + fmt::Debug {
    /// Something to know besides the call's parameters; before `record`. `None` is what could not be told.
    fn note(&self, name: &'static str, count: Option<u64>);
    /// Nothing when such calls are not recorded. The same record for every call.
    fn record(&self, key: &KeyArn) -> Option<ChangeRecord>;
}

/// Knows what hangs on a key.
#[async_trait]
pub trait Dependents: Send + Sync + fmt::Debug {
    /// Objects and bytes that become unreadable without it.
    async fn impact(&self, key_id: &str) -> Result<(u64, u64), KeyStoreError>;
}

/// Who is who.
pub trait Identities: Send + Sync + fmt::Debug {
    /// The policies and tags that bind a caller now; an account's root needs no policy.
    fn bindings(&self, caller: &Caller) -> Bindings;
    /// Whether an ARN or an account id of a policy's principal element names someone.
    fn exists(&self, principal: &str) -> bool;
}
