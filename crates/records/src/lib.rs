//! The stores that kms asks for by trait, implemented once over MetaStore: authenticated rows in a section of their own.
//! Must never hold the rules of what it keeps.

use async_trait::async_trait;
use std::sync::Arc;
use tresor_audit::Head;
use tresor_envelope::RecordKey;
use tresor_identity::Directory;
use tresor_kms::{Change, Dependents, Identities, Kept, KeyStore, KeyStoreError};
use tresor_model::{AccountId, Principal};
use tresor_policy::Policy;
use tresor_storage::{Batch, MetaStore, Partition, Scan, Store, open_record, seal_record};

/// KMS keys (`key/ACCOUNT/ID`), aliases (`alias/ACCOUNT/NAME`) and grants (`grant/ACCOUNT/KEY/ID`).
#[derive(Debug)]
pub struct KeyRecords {
    meta: Arc<dyn MetaStore>,
    records: RecordKey,
}

const KEYS: &[u8] = b"key/";
const ALIASES: &[u8] = b"alias/";
const GRANTS: &[u8] = b"grant/";
const AUDIT_HEAD: &[u8] = b"audit/head";
/// Rows read at a time.
const PAGE: usize = 500;

impl KeyRecords {
    pub fn new(meta: Arc<dyn MetaStore>, records: RecordKey) -> Self {
        Self { meta, records }
    }

    async fn all<T: for<'b> minicbor::Decode<'b, ()>>(&self, prefix: &[u8]) -> Result<Vec<T>, KeyStoreError> {
        let (mut all, mut from) = (Vec::new(), prefix.to_vec());
        loop {
            let scan = Scan { prefix: prefix.to_vec(), from, limit: PAGE };
            let page = self.meta.scan(Partition::KMS, scan).await.map_err(failed)?;
            for (row, value) in &page.entries {
                all.push(open_record(&self.records, Partition::KMS, row, value).map_err(failed)?);
            }
            match page.entries.last() {
                Some((row, _)) if page.more => from = [&row[..], &[0]].concat(),
                _ => return Ok(all),
            }
        }
    }

    fn write<T: minicbor::Encode<()>>(&self, batch: Batch, row: Vec<u8>, record: &T) -> Batch {
        let value = seal_record(&self.records, Partition::KMS, &row, record);
        batch.put(row, value)
    }
}

fn row(prefix: &[u8], account: &AccountId, rest: &[&str]) -> Vec<u8> {
    let mut row = [prefix, account.as_str().as_bytes()].concat();
    for piece in rest {
        row.push(b'/');
        row.extend_from_slice(piece.as_bytes());
    }
    row
}

fn failed(error: impl std::fmt::Display) -> KeyStoreError {
    KeyStoreError(error.to_string())
}

#[async_trait]
impl KeyStore for KeyRecords {
    async fn load(&self) -> Result<Kept, KeyStoreError> {
        Ok(Kept { keys: self.all(KEYS).await?, aliases: self.all(ALIASES).await?, grants: self.all(GRANTS).await? })
    }

    async fn commit(&self, changes: &[Change]) -> Result<(), KeyStoreError> {
        let mut batch = Batch::default();
        for change in changes {
            batch = match change {
                Change::PutKey(key) => self.write(batch, row(KEYS, &key.account, &[&key.id]), key),
                Change::RemoveKey { account, id } => batch.delete(row(KEYS, account, &[id])),
                Change::PutAlias(alias) => self.write(batch, row(ALIASES, &alias.account, &[&alias.name]), alias),
                Change::RemoveAlias { account, name } => batch.delete(row(ALIASES, account, &[name])),
                Change::PutGrant(grant) => {
                    self.write(batch, row(GRANTS, &grant.account, &[&grant.key_id, &grant.id]), grant)
                }
                Change::RemoveGrant { account, key_id, id } => batch.delete(row(GRANTS, account, &[key_id, id])),
            };
        }
        self.meta.commit(Partition::KMS, batch).await.map_err(failed)
    }
}

impl KeyRecords {
    /// The last event of the audit trail that was known to be durable. Errors: KeyStoreError.
    pub async fn audit_head(&self) -> Result<Option<Head>, KeyStoreError> {
        match self.meta.get(Partition::KMS, AUDIT_HEAD).await.map_err(failed)? {
            None => Ok(None),
            Some(value) => open_record(&self.records, Partition::KMS, AUDIT_HEAD, &value).map(Some).map_err(failed),
        }
    }
    pub async fn put_audit_head(&self, head: Head) -> Result<(), KeyStoreError> {
        let batch = self.write(Batch::default(), AUDIT_HEAD.to_vec(), &head);
        self.meta.commit(Partition::KMS, batch).await.map_err(failed)
    }
}

/// What the store's objects hang on.
#[derive(Debug)]
pub struct ObjectDependents(pub Store);

#[async_trait]
impl Dependents for ObjectDependents {
    async fn impact(&self, key_id: &str) -> Result<(u64, u64), KeyStoreError> {
        self.0.key_impact(key_id).await.map_err(failed)
    }
}

/// The identity directory, as the key ring asks it.
#[derive(Debug)]
pub struct DirectoryIdentities(pub Arc<Directory>);

impl Identities for DirectoryIdentities {
    fn policies(&self, principal: &Principal) -> Vec<Arc<Policy>> {
        self.0.policies(principal)
    }
    fn exists(&self, principal: &str) -> bool {
        self.0.names(principal)
    }
}
