//! Who is shown as the owner of what a listing shows.

use crate::{acl::AclRules, error::S3Error, serve::RequestContext, xml::XmlWriter};
use std::collections::HashMap;
use tresor_model::AccountId;
use tresor_storage::Bucket;

/// Canonical ids and names of the accounts of one answer.
pub(crate) struct Owners {
    bucket: (String, String),
    /// Accounts besides the bucket's owner.
    others: HashMap<AccountId, (String, String)>,
}

impl Owners {
    /// Owners of objects: the bucket's owner alone, where it owns everything.
    pub(crate) async fn of<'a>(
        cx: &RequestContext<'_>,
        bucket: &Bucket,
        accounts: impl Iterator<Item = &'a AccountId>,
    ) -> Result<Self, S3Error> {
        let mut owners = Self::named(cx, bucket, accounts);
        if !owners.others.is_empty() && AclRules::of(cx.gateway, bucket).await?.disabled() {
            owners.others.clear();
        }
        Ok(owners)
    }
    /// The accounts as they are, whoever owns what.
    pub(crate) fn named<'a>(
        cx: &RequestContext<'_>,
        bucket: &Bucket,
        accounts: impl Iterator<Item = &'a AccountId>,
    ) -> Self {
        let directory = &cx.gateway.directory;
        let mut others = HashMap::new();
        for account in accounts.filter(|account| **account != bucket.owner) {
            if !others.contains_key(account) {
                others.insert(account.clone(), directory.owner(account));
            }
        }
        Self { bucket: directory.owner(&bucket.owner), others }
    }
    pub(crate) fn shown(&self, account: &AccountId) -> &(String, String) {
        self.others.get(account).unwrap_or(&self.bucket)
    }
}

pub(crate) fn write_owner(xml: &mut XmlWriter, name: &str, owner: &(String, String)) {
    xml.within(name, |xml| {
        xml.text("ID", &owner.0);
        xml.text("DisplayName", &owner.1);
    });
}
