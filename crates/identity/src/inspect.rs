//! Whether everything that is kept can be used: for `tresor verify`. Nothing that answers a client may call it.

use crate::{
    aws_policies,
    directory::{Directory, DirectoryParts, open_secret},
    error::IdentityError,
    records::{IdentityRecord, KeptRow, Kind},
    world::{Managed, Member},
};
use std::collections::{BTreeMap, BTreeSet};

/// A row that cannot be used, by its name, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unusable {
    pub row: String,
    pub what: String,
}

impl Directory {
    /// A directory that has read nothing and knows nobody: what is damaged can be inspected, not used.
    pub fn unread(parts: DirectoryParts) -> Self {
        let mut unread = Self::default();
        unread.parts = Some(parts);
        unread
    }

    /// Opens every row, every secret and every policy; the number of rows. Whoever changes something meanwhile raises no alarm: only
    /// what is wrong at two looks is wrong. Errors: Unavailable when the rows cannot be listed.
    pub async fn inspect(&self) -> Result<(usize, Vec<Unusable>), IdentityError> {
        let (rows, mut wrong) = self.look().await?;
        if !wrong.is_empty() {
            let (_, still) = self.look().await?;
            wrong.retain(|one| still.contains(one));
        }
        Ok((rows, wrong.into_iter().collect()))
    }

    async fn look(&self) -> Result<(usize, BTreeSet<Unusable>), IdentityError> {
        let parts = self.parts()?;
        let rows = parts.store.rows().await?;
        let count = rows.len();
        let mut wrong = BTreeSet::new();
        let mut kept = BTreeMap::new();
        for (row, found) in rows {
            match found {
                Ok(found) => drop(kept.insert(row, found)),
                Err(error) => drop(wrong.insert(Unusable { row, what: error.to_string() })),
            }
        }
        for (row, found) in &kept {
            let whats = match found {
                KeptRow::Identity(record) => self.wrong_with(record, &kept)?,
                KeptRow::Policy(record) => {
                    let versions = record.versions.iter().map(|version| version.number);
                    let each =
                        versions.map(|number| Managed::new(crate::PolicyRecord { default: number, ..record.clone() }));
                    let default =
                        record.version(record.default).is_none().then(|| "its default version is gone".to_owned());
                    each.filter_map(Result::err).map(|error| error.to_string()).chain(default).collect()
                }
                KeptRow::Provider(_) => Vec::new(),
            };
            wrong.extend(whats.into_iter().map(|what| Unusable { row: row.clone(), what }));
        }
        Ok((count, wrong))
    }

    fn wrong_with(
        &self,
        record: &IdentityRecord,
        kept: &BTreeMap<String, KeptRow>,
    ) -> Result<Vec<String>, IdentityError> {
        let secrets = &self.parts()?.secrets;
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(Member::new(record.clone(), false).err().map(|error| error.to_string()));
        wrong.extend(
            record.keys.iter().filter_map(|key| open_secret(secrets, key).err()).map(|error| error.to_string()),
        );
        let has_policy = |arn: &str| {
            let own = |row: &KeptRow| matches!(row, KeptRow::Policy(policy) if policy.arn() == arn);
            aws_policies::find(arn).is_some() || kept.values().any(own)
        };
        for arn in record.attached.iter().chain(&record.boundary).filter(|arn| !has_policy(arn)) {
            wrong.push(format!("its policy {arn} is gone"));
        }
        let has_group = |name: &str| {
            let own = |row: &KeptRow| matches!(row, KeptRow::Identity(group) if group.kind == Kind::Group && group.account == record.account && group.name == name);
            kept.values().any(own)
        };
        wrong.extend(
            record.groups.iter().filter(|name| !has_group(name)).map(|name| format!("its group {name} is gone")),
        );
        Ok(wrong)
    }
}
