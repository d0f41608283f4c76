//! The stores that kms asks for by trait, implemented once over MetaStore: authenticated rows in a section of their own.
//! Must never hold the rules of what it keeps.

use async_trait::async_trait;
use std::sync::Arc;
use tresor_envelope::RecordKey;
use tresor_kms::{AliasRecord, KeyRecord, KeyStore, KeyStoreError};
use tresor_storage::{Batch, MetaStore, Partition, Scan, open_record, seal_record};

/// KMS keys (`key/ACCOUNT/ID`) and aliases (`alias/ACCOUNT/NAME`).
#[derive(Debug)]
pub struct KeyRecords {
    meta: Arc<dyn MetaStore>,
    records: RecordKey,
}

const KEYS: &[u8] = b"key/";
const ALIASES: &[u8] = b"alias/";
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

    async fn put<T: minicbor::Encode<()>>(&self, row: Vec<u8>, record: &T) -> Result<(), KeyStoreError> {
        let value = seal_record(&self.records, Partition::KMS, &row, record);
        self.meta.commit(Partition::KMS, Batch::default().put(row, value)).await.map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> KeyStoreError {
    KeyStoreError(error.to_string())
}

#[async_trait]
impl KeyStore for KeyRecords {
    async fn load(&self) -> Result<(Vec<KeyRecord>, Vec<AliasRecord>), KeyStoreError> {
        Ok((self.all(KEYS).await?, self.all(ALIASES).await?))
    }
    async fn put_key(&self, key: &KeyRecord) -> Result<(), KeyStoreError> {
        self.put([KEYS, key.account.as_str().as_bytes(), b"/", key.id.as_bytes()].concat(), key).await
    }
    async fn put_alias(&self, alias: &AliasRecord) -> Result<(), KeyStoreError> {
        self.put([ALIASES, alias.account.as_str().as_bytes(), b"/", alias.name.as_bytes()].concat(), alias).await
    }
}
