//! Identities in their own section: `user/`, `group/`, `role/`, `policy/` and `provider/`, then `ACCOUNT/NAME`.

use async_trait::async_trait;
use std::sync::Arc;
use tresor_envelope::RecordKey;
use tresor_identity::{IdentityChange, IdentityError, IdentityStore, KeptRow, Kind};
use tresor_model::{AccountId, ChangeRecord};
use tresor_storage::{Batch, MetaStore, Partition, Scan, open_record, outbox_row, seal_record};

/// Authenticated rows; the secrets of access keys are sealed before they come here.
#[derive(Debug)]
pub struct IdentityRecords {
    meta: Arc<dyn MetaStore>,
    records: RecordKey,
}

/// Rows by their names, each with what it holds or why it does not open.
type Rows = Vec<(String, Result<KeptRow, IdentityError>)>;

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

    /// Adds the rows of a section, as `kept` calls them.
    async fn section<T: for<'b> minicbor::Decode<'b, ()>>(
        &self,
        section: &str,
        kept: fn(T) -> KeptRow,
        rows: &mut Rows,
    ) -> Result<(), IdentityError> {
        let prefix = format!("{section}/").into_bytes();
        let mut from = prefix.clone();
        loop {
            let scan = Scan { prefix: prefix.clone(), from, limit: PAGE };
            let page = self.meta.scan(Partition::IAM, scan).await.map_err(failed)?;
            for (row, value) in &page.entries {
                let name = String::from_utf8_lossy(row).into_owned();
                let record = open_record(&self.records, Partition::IAM, row, value);
                let record = record.map_err(|error| failed(format!("row {name}: {error}")));
                rows.push((name, record.map(kept)));
            }
            match page.entries.last() {
                Some((row, _)) if page.more => from = [&row[..], &[0]].concat(),
                _ => return Ok(()),
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
    async fn rows(&self) -> Result<Rows, IdentityError> {
        let mut rows = Rows::new();
        for kind in [Kind::User, Kind::Group, Kind::Role] {
            self.section(kind.name(), KeptRow::Identity, &mut rows).await?;
        }
        self.section(POLICIES, KeptRow::Policy, &mut rows).await?;
        self.section(PROVIDERS, KeptRow::Provider, &mut rows).await?;
        Ok(rows)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tresor_identity::{Account, Directory, DirectoryParts, NewMember, NewPolicy, Writing};
    use tresor_model::{Clock, Entropy, Timestamp};
    use tresor_storage::MemoryMeta;
    use zeroize::Zeroizing;

    #[derive(Debug, Default)]
    struct Machine(std::sync::atomic::AtomicU8);
    impl Clock for Machine {
        fn now(&self) -> Timestamp {
            Timestamp::default()
        }
    }
    impl Entropy for Machine {
        fn fill(&self, out: &mut [u8]) {
            out.fill_with(|| self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    fn parts(meta: &Arc<MemoryMeta>, secrets: u8) -> DirectoryParts {
        DirectoryParts {
            store: Arc::new(IdentityRecords::new(Arc::clone(meta) as Arc<dyn MetaStore>, RecordKey::derive(&[1; 32]))),
            secrets: Zeroizing::new([secrets; 32]),
            sessions: Zeroizing::new([3; 32]),
            clock: Arc::<Machine>::default(),
            entropy: Arc::<Machine>::default(),
        }
    }

    /// The rows that an inspection finds wrong, and why.
    async fn wrong(meta: &Arc<MemoryMeta>, secrets: u8) -> Vec<(String, String)> {
        let (_, wrong) = Directory::unread(parts(meta, secrets)).inspect().await.unwrap();
        wrong.into_iter().map(|one| (one.row, one.what)).collect()
    }

    const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;

    #[tokio::test]
    async fn an_inspection_names_every_row_that_cannot_be_used() {
        let meta = Arc::<MemoryMeta>::default();
        let mut declared = Directory::default();
        let account: AccountId = "111122223333".parse().unwrap();
        let canonical_id = Account::derived_canonical_id(&account);
        declared.add_account(Account { id: account.clone(), name: "a".into(), canonical_id, email: None }).unwrap();
        let directory = Arc::new(declared.open(parts(&meta, 2)).await.unwrap());
        let (by, tags) = (Writing::of(&account), Vec::new);
        let (path, boundary, role) = ("/".to_owned(), None, None);
        let user = NewMember { kind: Kind::User, name: "u".into(), path, tags: tags(), boundary, role };
        directory.create(&by, user.clone()).await.unwrap();
        directory.create(&by, NewMember { kind: Kind::Group, name: "g".into(), ..user }).await.unwrap();
        directory.set_group(&by, "u", "g", true).await.unwrap();
        directory.put_inline(&by, (Kind::User, "u"), "p", ALLOW).await.unwrap();
        let (key, secret) = directory.create_key(&by, "u").await.unwrap();
        let policy =
            NewPolicy { name: "m".into(), path: "/".into(), text: ALLOW.into(), description: None, tags: tags() };
        let arn = directory.create_policy(&by, policy).await.unwrap().arn();
        directory.attach(&by, (Kind::Group, "g"), &arn).await.unwrap();
        assert_eq!(Directory::unread(parts(&meta, 2)).inspect().await.unwrap(), (3, Vec::new()));

        // Another key than the one that sealed the secrets.
        let said =
            format!("identities cannot be stored or loaded: the secret of the access key {} cannot be opened", key.id);
        assert_eq!(wrong(&meta, 9).await, [("user/111122223333/u".to_owned(), said.clone())]);
        assert!(!said.contains(secret.expose()));

        // Each row: one of its bytes is another, or it is not there.
        let rows = ["user/111122223333/u", "group/111122223333/g", "policy/111122223333/m"];
        let of = |name: &str| name.replace("policy/111122223333/m", "policy/111122223333//m").into_bytes();
        for (row, hangs) in rows.iter().zip([
            vec![],
            vec![("user/111122223333/u", "its group g is gone")],
            vec![("group/111122223333/g", "its policy arn:aws:iam::111122223333:policy/m is gone")],
        ]) {
            let kept = meta.get(Partition::IAM, &of(row)).await.unwrap().unwrap();
            let mut broken = kept.to_vec();
            broken[kept.len() / 2] ^= 1;
            meta.commit(Partition::IAM, Batch::default().put(of(row), broken)).await.unwrap();
            let found = wrong(&meta, 2).await;
            assert!(found.iter().any(|(name, _)| name.as_bytes() == of(row)), "{row}: {found:?}");
            assert_eq!(found.len(), 1 + hangs.len(), "{found:?}");
            meta.commit(Partition::IAM, Batch::default().delete(of(row))).await.unwrap();
            let expected: Vec<_> = hangs.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned())).collect();
            assert_eq!(wrong(&meta, 2).await, expected);
            meta.commit(Partition::IAM, Batch::default().put(of(row), kept)).await.unwrap();
        }
        assert!(wrong(&meta, 2).await.is_empty());

        // A policy that is none, under a MAC that is right.
        let row = of("user/111122223333/u");
        let records = RecordKey::derive(&[1; 32]);
        let value = meta.get(Partition::IAM, &row).await.unwrap().unwrap();
        let mut record: tresor_identity::IdentityRecord = open_record(&records, Partition::IAM, &row, &value).unwrap();
        "{}".clone_into(&mut record.inline[0].1);
        let value = seal_record(&records, Partition::IAM, &row, &record);
        meta.commit(Partition::IAM, Batch::default().put(row, value)).await.unwrap();
        assert_eq!(wrong(&meta, 2).await, [(rows[0].to_owned(), "Syntax errors in policy.".to_owned())]);
    }
}
