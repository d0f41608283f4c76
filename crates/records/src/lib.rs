//! The stores that kms and identity ask for by trait, implemented once over MetaStore: authenticated rows in a section of their own.
//! Must never hold the rules of what it keeps.

mod identities;
mod mirror;

pub use identities::IdentityRecords;
pub use mirror::Mirror;

use async_trait::async_trait;
use std::{collections::HashSet, sync::Arc};
use tresor_audit::Head;
use tresor_envelope::RecordKey;
use tresor_identity::Directory;
use tresor_kms::{Change, Dependents, Identities, Kept, KeyRecord, KeyStore, KeyStoreError, KeyUse, OwnedKeyRecord};
use tresor_model::{AccountId, Caller, ChangeRecord, Timestamp};
use tresor_policy::Bindings;
use tresor_storage::{Batch, MetaStore, Partition, Scan, Store, open_record, outbox_row, seal_record, verify_record};

/// KMS keys (`key/ACCOUNT/ID`), aliases (`alias/ACCOUNT/NAME`) and grants (`grant/ACCOUNT/KEY/ID`).
#[derive(Debug)]
pub struct KeyRecords {
    meta: Arc<dyn MetaStore>,
    records: RecordKey,
    mirror: Option<mirror::Mirrored>,
}

const KEYS: &[u8] = b"key/";
const ALIASES: &[u8] = b"alias/";
const GRANTS: &[u8] = b"grant/";
/// AWS owned keys: `owned/ACCOUNT`.
const OWNED: &[u8] = b"owned/";
const TOMBSTONES: &[u8] = b"tombstone/";
const USES: &[u8] = b"use/";
const TRACKING_SINCE: &[u8] = b"tracking-since";
const AUDIT_HEAD: &[u8] = b"audit/head";
/// What a backup holds, tombstones first.
const MIRRORED: [&[u8]; 5] = [TOMBSTONES, KEYS, ALIASES, GRANTS, OWNED];
/// Rows read at a time.
const PAGE: usize = 500;

impl KeyRecords {
    pub fn new(meta: Arc<dyn MetaStore>, records: RecordKey) -> Self {
        Self { meta, records, mirror: None }
    }

    async fn all<T: for<'b> minicbor::Decode<'b, ()>>(&self, prefix: &[u8]) -> Result<Vec<T>, KeyStoreError> {
        let (mut all, mut from) = (Vec::new(), prefix.to_vec());
        loop {
            let scan = Scan { prefix: prefix.to_vec(), from, limit: PAGE };
            let page = self.meta.scan(Partition::KMS, scan).await.map_err(failed)?;
            for (row, value) in &page.entries {
                let opened = open_record(&self.records, Partition::KMS, row, value);
                all.push(opened.map_err(|error| failed(format!("row {}: {error}", String::from_utf8_lossy(row))))?);
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
        let tracking_since = match self.meta.get(Partition::KMS, TRACKING_SINCE).await.map_err(failed)? {
            Some(value) => Some(open_record(&self.records, Partition::KMS, TRACKING_SINCE, &value).map_err(failed)?),
            None => None,
        };
        Ok(Kept {
            keys: self.all(KEYS).await?,
            aliases: self.all(ALIASES).await?,
            grants: self.all(GRANTS).await?,
            owned: self.all(OWNED).await?,
            uses: self.all(USES).await?,
            tracking_since,
        })
    }

    async fn put_uses(&self, uses: &[KeyUse]) -> Result<(), KeyStoreError> {
        let rows = uses.iter().map(|used| (row(USES, &used.account, &[&used.key_id]), used));
        let batch = rows.fold(Batch::default(), |batch, (row, used)| self.write(batch, row, used));
        self.meta.commit(Partition::KMS, batch).await.map_err(failed)
    }

    async fn put_tracking_since(&self, since: Timestamp) -> Result<(), KeyStoreError> {
        let batch = self.write(Batch::default(), TRACKING_SINCE.to_vec(), &since);
        self.meta.commit(Partition::KMS, batch).await.map_err(failed)
    }

    async fn commit(&self, changes: &[Change], record: Option<&ChangeRecord>) -> Result<(), KeyStoreError> {
        let mut batch = Batch::default();
        if let Some(record) = record {
            record.sent_to(Partition::KMS.0);
            let (row, value) = outbox_row(&self.records, Partition::KMS, record);
            batch = batch.put(row, value);
        }
        for change in changes {
            batch = match change {
                Change::PutKey(key) => self.write(batch, row(KEYS, &key.account, &[&key.id]), key),
                Change::RemoveKey { account, id } => {
                    let batch = batch.delete(row(KEYS, account, &[id])).delete(row(USES, account, &[id]));
                    self.write(batch, tombstone(id), id)
                }
                Change::PutAlias(alias) => self.write(batch, row(ALIASES, &alias.account, &[&alias.name]), alias),
                Change::RemoveAlias { account, name } => batch.delete(row(ALIASES, account, &[name])),
                Change::PutGrant(grant) => {
                    self.write(batch, row(GRANTS, &grant.account, &[&grant.key_id, &grant.id]), grant)
                }
                Change::RemoveGrant { account, key_id, id } => batch.delete(row(GRANTS, account, &[key_id, id])),
                Change::PutOwned(key) => self.write(batch, row(OWNED, &key.account, &[]), key),
            };
        }
        self.commit_mirrored(batch).await
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

/// A row as it lies in the store, with its MAC.
#[derive(Clone, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct RawRow {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

fn tombstone(key_id: &str) -> Vec<u8> {
    [TOMBSTONES, key_id.as_bytes()].concat()
}

impl KeyRecords {
    /// Whether a key was destroyed: it never comes back, whatever a backup holds.
    pub async fn is_destroyed(&self, key_id: &str) -> Result<bool, KeyStoreError> {
        Ok(self.meta.get(Partition::KMS, &tombstone(key_id)).await.map_err(failed)?.is_some())
    }

    /// Keys, aliases, grants and tombstones as they lie in the store.
    pub async fn export(&self) -> Result<Vec<RawRow>, KeyStoreError> {
        let mut rows = Vec::new();
        for prefix in MIRRORED {
            let mut from = prefix.to_vec();
            loop {
                let scan = Scan { prefix: prefix.to_vec(), from, limit: PAGE };
                let page = self.meta.scan(Partition::KMS, scan).await.map_err(failed)?;
                from = page.entries.last().map(|(key, _)| [&key[..], &[0]].concat()).unwrap_or_default();
                rows.extend(page.entries.into_iter().map(|(key, value)| RawRow { key, value: value.to_vec() }));
                if !page.more {
                    break;
                }
            }
        }
        Ok(rows)
    }

    /// Adds the rows that are missing here, except those of destroyed keys; the number that was added. Tombstones of the backup
    /// count too. A key that is here keeps its own grants and aliases: what was revoked since does not come back.
    /// Errors: KeyStoreError, also for a row of another store.
    pub async fn import(&self, rows: &[RawRow]) -> Result<usize, KeyStoreError> {
        let mut here = HashSet::new();
        for key in self.all::<KeyRecord>(KEYS).await? {
            here.insert(key.id);
        }
        let mut added = 0;
        // Tombstones stand first in a backup, so that they count for the keys that follow. Keys go last: what hangs on one that is
        // missing is there before it, and a restore that broke off can be run again.
        let (keys, others): (Vec<_>, Vec<_>) = rows.iter().partition(|raw| raw.key.starts_with(KEYS));
        for raw in others.into_iter().chain(keys) {
            self.check(raw)?;
            if let Some(id) = self.key_of(&raw.key, &raw.value)?
                && (here.contains(&id) || self.is_destroyed(&id).await?)
            {
                continue;
            }
            let stored = self.meta.get(Partition::KMS, &raw.key).await.map_err(failed)?;
            if let Some(stored) = &stored
                && raw.key.starts_with(OWNED)
            {
                added += usize::from(self.merge_owned(raw, stored).await?);
            }
            if stored.is_none() {
                let batch = Batch::default().put(raw.key.clone(), raw.value.clone());
                self.meta.commit(Partition::KMS, batch).await.map_err(failed)?;
                added += 1;
            }
        }
        Ok(added)
    }

    /// An owned key that was made anew while the backup's was lost keeps its own material and gets back the older ones: what they
    /// wrapped opens again. True when there were any.
    async fn merge_owned(&self, raw: &RawRow, stored: &[u8]) -> Result<bool, KeyStoreError> {
        let open = |value: &[u8]| -> Result<OwnedKeyRecord, KeyStoreError> {
            open_record(&self.records, Partition::KMS, &raw.key, value).map_err(failed)
        };
        let (mut here, mut materials) = (open(stored)?, open(&raw.value)?.materials);
        materials.retain(|material| here.materials.iter().all(|known| known.id != material.id));
        if materials.is_empty() {
            return Ok(false);
        }
        materials.append(&mut here.materials);
        here.materials = materials;
        let batch = self.write(Batch::default(), raw.key.clone(), &here);
        self.meta.commit(Partition::KMS, batch).await.map_err(failed)?;
        Ok(true)
    }

    fn check(&self, raw: &RawRow) -> Result<(), KeyStoreError> {
        let known = MIRRORED.iter().any(|prefix| raw.key.starts_with(prefix));
        if !known {
            return Err(KeyStoreError("the backup holds a row that is none of a key".into()));
        }
        verify_record(&self.records, Partition::KMS, &raw.key, &raw.value).map_err(failed)
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
    fn bindings(&self, caller: &Caller) -> Bindings {
        self.0.bindings(caller)
    }
    fn exists(&self, principal: &str) -> bool {
        self.0.names(principal)
    }
}
