//! The documents of a bucket that every request asks: read and compiled once, kept until one of them changes. One process owns a store
//! (the data directory's lock), so forgetting them here is enough for a change to count from the next request on.

use crate::{
    acl::{self, On},
    error::S3Error,
    ops::{
        bucket_policy::{self, BucketPolicy},
        ownership_controls, public_access_block,
    },
    serve::{Gateway, RequestContext},
    sse::configuration::{self, Algorithm, Encryption},
};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};
use tresor_model::{AccountId, Acl, BucketId, Permission};
use tresor_policy::{Reach, Sources};
use tresor_storage::{Bucket, Store, Version};

/// What a bucket says about who may do what in it, and how writes are encrypted.
#[derive(Debug)]
pub(crate) struct BucketRules {
    pub policy: Option<BucketPolicy>,
    pub public_access: public_access_block::Stored,
    pub ownership: ownership_controls::Stored,
    pub encryption: Encryption,
    /// The bucket's own list; without one it is private.
    pub acl: Option<Acl>,
}

impl BucketRules {
    /// RestrictPublicBuckets is on and the policy is public: other accounts and anonymous callers stay outside.
    pub(crate) fn cuts_public_access(&self) -> bool {
        self.public_access.in_force().restrict_public_buckets
            && self.policy.as_ref().is_some_and(|policy| policy.policy().is_public())
    }
}

impl BucketRules {
    /// As they are stored now.
    pub(crate) async fn read(store: &Store, bucket: &Bucket) -> Result<Self, S3Error> {
        Ok(Self {
            policy: match store.get_document(bucket, bucket_policy::DOCUMENT).await? {
                None => None,
                Some(bytes) => Some(BucketPolicy::from_bytes(bytes).map_err(|error| unreadable(bucket, &error))?),
            },
            public_access: read(store, bucket, public_access_block::DOCUMENT).await?.unwrap_or_default(),
            ownership: read(store, bucket, ownership_controls::DOCUMENT).await?.unwrap_or_default(),
            encryption: read(store, bucket, configuration::DOCUMENT)
                .await?
                .unwrap_or_else(|| Encryption::initial(false)),
            acl: read(store, bucket, acl::DOCUMENT).await?,
        })
    }

    /// Algorithm and key of writes that say nothing.
    pub(crate) fn default_encryption(&self) -> (&'static str, Option<&str>) {
        match &self.encryption.algorithm {
            Algorithm::S3 => ("AES256", None),
            Algorithm::Kms(key) => ("aws:kms", key.as_deref()),
            Algorithm::Dsse(key) => ("aws:kms:dsse", key.as_deref()),
        }
    }

    /// What speaks about a request but for lists, on top of the caller's `own`; `owner` is whose the bucket or object is. An object of
    /// another account stands under the bucket's policy only as far as that denies, and RestrictPublicBuckets keeps everybody out who is
    /// not of the bucket's account.
    pub(crate) fn sources<'a>(
        &'a self,
        bucket: &'a Bucket,
        owner: &'a AccountId,
        caller: Option<&AccountId>,
        own: Sources<'a>,
    ) -> Sources<'a> {
        let cut = self.cuts_public_access() && caller != Some(&bucket.owner);
        Sources {
            resource: self.policy.as_ref().map(BucketPolicy::policy),
            resource_account: if cut { bucket.owner.as_str() } else { owner.as_str() },
            resource_denies_only: *owner != bucket.owner,
            public_access_cut: cut,
            ..own
        }
    }

    /// What the list of the bucket or of the object grants. Of an object that is not there, the bucket's list tells who may know that.
    pub(crate) fn granted(
        &self,
        operation: &str,
        action: &str,
        caller: Option<&AccountId>,
        object: Option<&Option<Arc<Version>>>,
    ) -> Option<Reach> {
        let (on, permission) = acl::needed(operation, action)?;
        let (list, permission) = match (on, object) {
            (On::Bucket, _) => (self.acl.as_ref(), permission),
            (On::Object, Some(Some(version))) => (version.acl.as_ref(), permission),
            (On::Object, Some(None)) => (self.acl.as_ref(), Permission::Read),
            (On::Object, None) => return None,
        };
        acl::granted(list, caller, permission, self.public_access.in_force().ignore_public_acls)
    }
}

/// Buckets kept at once.
const MAX_BUCKETS: usize = 10_000;
/// Bytes of policy texts kept at once; compiled they take a few times as much.
const MAX_POLICY_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
struct Kept {
    buckets: HashMap<BucketId, Arc<BucketRules>>,
    policy_bytes: usize,
    /// Counts changes, so that what was read before one is not kept after it.
    changes: u64,
}

/// The rules of the buckets that were asked lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct RulesCache(Arc<RwLock<Kept>>);

impl RulesCache {
    fn get(&self, bucket: &BucketId) -> Option<Arc<BucketRules>> {
        self.0.read().buckets.get(bucket).map(Arc::clone)
    }
    fn changes(&self) -> u64 {
        self.0.read().changes
    }
    /// Keeps rules that were read when there had been `changes` changes.
    fn keep(&self, bucket: BucketId, rules: &Arc<BucketRules>, changes: u64) {
        let mut kept = self.0.write();
        if kept.changes != changes {
            return;
        }
        let bytes = rules.policy.as_ref().map_or(0, |policy| policy.policy().text().len());
        if kept.buckets.len() >= MAX_BUCKETS || kept.policy_bytes + bytes > MAX_POLICY_BYTES {
            kept.buckets.clear();
            kept.policy_bytes = 0;
        }
        kept.policy_bytes += bytes;
        kept.buckets.insert(bucket, Arc::clone(rules));
    }
    fn forget(&self, bucket: &BucketId) {
        let mut kept = self.0.write();
        kept.changes += 1;
        if let Some(rules) = kept.buckets.remove(bucket) {
            kept.policy_bytes -= rules.policy.as_ref().map_or(0, |policy| policy.policy().text().len());
        }
    }
}

impl Gateway {
    /// The rules of a bucket as they are now.
    pub(crate) async fn rules(&self, bucket: &Bucket) -> Result<Arc<BucketRules>, S3Error> {
        if let Some(rules) = self.rules.get(&bucket.id) {
            return Ok(rules);
        }
        let changes = self.rules.changes();
        let rules = Arc::new(BucketRules::read(&self.store, bucket).await?);
        self.rules.keep(bucket.id, &rules, changes);
        Ok(rules)
    }
}

impl RequestContext<'_> {
    /// Stores a document of a bucket; it counts from the next request on.
    pub(crate) async fn put_document(
        &self,
        bucket: &Bucket,
        kind: &'static str,
        bytes: Vec<u8>,
    ) -> Result<(), S3Error> {
        self.change(bucket, kind, Some(bytes)).await
    }

    /// Removes a document of a bucket.
    pub(crate) async fn delete_document(&self, bucket: &Bucket, kind: &'static str) -> Result<(), S3Error> {
        self.change(bucket, kind, None).await
    }

    /// In a task of its own: a client that leaves must not leave the old rules in force after the change was stored.
    async fn change(&self, bucket: &Bucket, kind: &'static str, bytes: Option<Vec<u8>>) -> Result<(), S3Error> {
        let (store, rules, bucket) = (self.store.clone(), self.gateway.rules.clone(), bucket.clone());
        let changing = tokio::spawn(async move {
            let changed = match bytes {
                Some(bytes) => store.put_document(&bucket, kind, bytes).await,
                None => store.delete_document(&bucket, kind).await,
            };
            rules.forget(&bucket.id);
            changed
        });
        match changing.await {
            Ok(changed) => Ok(changed?),
            Err(error) => {
                tracing::error!(%error, "changing a document of a bucket ended");
                Err(S3Error::internal())
            }
        }
    }
}

async fn read<T: for<'b> minicbor::Decode<'b, ()>>(
    store: &Store,
    bucket: &Bucket,
    kind: &str,
) -> Result<Option<T>, S3Error> {
    match store.get_document(bucket, kind).await? {
        None => Ok(None),
        Some(bytes) => minicbor::decode(&bytes).map(Some).map_err(|error| unreadable(bucket, &error)),
    }
}

/// A document that cannot be read refuses every request: nothing is allowed by what nobody understands.
fn unreadable(bucket: &Bucket, error: &dyn std::fmt::Display) -> S3Error {
    tracing::error!(%error, bucket = %bucket.name, "a document of a bucket cannot be read");
    S3Error::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Arc<BucketRules> {
        Arc::new(BucketRules {
            policy: None,
            public_access: public_access_block::Stored::default(),
            ownership: ownership_controls::Stored::default(),
            encryption: Encryption::initial(false),
            acl: None,
        })
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let cache = RulesCache::default();
        let bucket = BucketId::from_bytes([1; 16]);
        let before = cache.changes();
        cache.forget(&bucket);
        cache.keep(bucket, &rules(), before);
        assert!(cache.get(&bucket).is_none());
        cache.keep(bucket, &rules(), cache.changes());
        assert!(cache.get(&bucket).is_some());
        cache.forget(&bucket);
        assert!(cache.get(&bucket).is_none());
    }
}
