//! Identities in their own section: `user/`, `group/`, `role/`, `policy/` and `provider/`, then `ACCOUNT/NAME`.

use async_trait::async_trait;
use std::sync::Arc;
use tresor_envelope::RecordKey;
use tresor_identity::{IdentityChange, IdentityError, IdentityStore, KeptIdentities, Kind};
use tresor_model::{AccountId, ChangeRecord};
use tresor_storage::{Batch, MetaStore, Partition, Scan, open_record, outbox_row, seal_record};

/// Authenticated rows; the secrets of access keys are sealed before they come here.
#[derive(Debug)]
pub struct IdentityRecords {
    meta: Arc<dyn MetaStore>,
    records: RecordKey,
}

const POLICIES: &str = "policy";
const PROVIDERS: &str = "provider";
/// Rows read at a time.
const PAGE: usize = 500;

fn failed(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Unavailable(error.to_string())
}

/// Names hold no slash, and what does (a policy's path, a provider's URL) stands last.
fn row(section: &str, account: &AccountId, name: &str) -> Vec<u8> {
    format!("{section}/{account}/{name}").into_bytes()
}

impl IdentityRecords {
    pub fn new(meta: Arc<dyn MetaStore>, records: RecordKey) -> Self {
        Self { meta, records }
    }

    async fn all<T: for<'b> minicbor::Decode<'b, ()>>(&self, section: &str) -> Result<Vec<T>, IdentityError> {
        let prefix = format!("{section}/").into_bytes();
        let (mut all, mut from) = (Vec::new(), prefix.clone());
        loop {
            let scan = Scan { prefix: prefix.clone(), from, limit: PAGE };
            let page = self.meta.scan(Partition::IAM, scan).await.map_err(failed)?;
            for (row, value) in &page.entries {
                all.push(open_record(&self.records, Partition::IAM, row, value).map_err(failed)?);
            }
            match page.entries.last() {
                Some((row, _)) if page.more => from = [&row[..], &[0]].concat(),
                _ => return Ok(all),
            }
        }
    }

    fn put<T: minicbor::Encode<()>>(&self, batch: Batch, row: Vec<u8>, record: &T) -> Batch {
        let value = seal_record(&self.records, Partition::IAM, &row, record);
        batch.put(row, value)
    }
}

#[async_trait]
impl IdentityStore for IdentityRecords {
    async fn load(&self) -> Result<KeptIdentities, IdentityError> {
        let mut kept = KeptIdentities::default();
        for kind in [Kind::User, Kind::Group, Kind::Role] {
            kept.identities.extend(self.all(kind.name()).await?);
        }
        kept.policies = self.all(POLICIES).await?;
        kept.providers = self.all(PROVIDERS).await?;
        Ok(kept)
    }

    async fn commit(&self, changes: &[IdentityChange], record: Option<&ChangeRecord>) -> Result<(), IdentityError> {
        let mut batch = Batch::default();
        if let Some(record) = record {
            record.sent_to(Partition::IAM.0);
            let (row, value) = outbox_row(&self.records, Partition::IAM, record);
            batch = batch.put(row, value);
        }
        for change in changes {
            batch = match change {
                IdentityChange::Put(record) => {
                    self.put(batch, row(record.kind.name(), &record.account, &record.name), record)
                }
                IdentityChange::Remove { kind, account, name } => batch.delete(row(kind.name(), account, name)),
                IdentityChange::PutPolicy(record) => {
                    let place = format!("{}{}", record.path, record.name);
                    self.put(batch, row(POLICIES, &record.account, &place), record)
                }
                IdentityChange::RemovePolicy { account, place } => batch.delete(row(POLICIES, account, place)),
                IdentityChange::PutProvider(record) => {
                    self.put(batch, row(PROVIDERS, &record.account, &record.url), record)
                }
                IdentityChange::RemoveProvider { account, url } => batch.delete(row(PROVIDERS, account, url)),
            };
        }
        self.meta.commit(Partition::IAM, batch).await.map_err(failed)?;
        if let Some(record) = record {
            record.kept_in(Partition::IAM.0);
        }
        Ok(())
    }
}
