//! The version of an object that a request was judged by, where the decision looked at one. The operation works on that version and not
//! on one that replaced it in between: who was let in by one object's owner, list or tags must not be shown another one.

use parking_lot::Mutex;
use std::sync::Arc;
use tresor_model::{BucketId, ObjectKey, VersionId};
use tresor_storage::{Bucket, Version};

#[derive(Debug)]
struct Entry {
    bucket: BucketId,
    key: ObjectKey,
    /// As it was asked for; `None` is the current one.
    version: Option<VersionId>,
    /// `None`: there was nothing.
    found: Option<Arc<Version>>,
}

impl Entry {
    fn is(&self, bucket: &Bucket, key: &ObjectKey, version: Option<&VersionId>) -> bool {
        self.bucket == bucket.id && self.key == *key && self.version.as_ref() == version
    }
}

/// The last version that was looked at, of one request.
#[derive(Debug, Default)]
pub(crate) struct Judged(Mutex<Option<Entry>>);

impl Judged {
    pub(crate) fn keep(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<&VersionId>,
        found: Option<Arc<Version>>,
    ) {
        *self.0.lock() = Some(Entry { bucket: bucket.id, key: key.clone(), version: version.copied(), found });
    }
    /// What was found there, for the next question about it; the outer `None` is that nobody looked.
    pub(crate) fn get(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<&VersionId>,
    ) -> Option<Option<Arc<Version>>> {
        let kept = self.0.lock();
        kept.as_ref().filter(|entry| entry.is(bucket, key, version)).map(|entry| entry.found.clone())
    }
    /// The same for the operation itself. Whoever looks a second time must be judged again.
    pub(crate) fn take(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<&VersionId>,
    ) -> Option<Option<Arc<Version>>> {
        let mut kept = self.0.lock();
        if !kept.as_ref()?.is(bucket, key, version) {
            return None;
        }
        kept.take().map(|entry| entry.found)
    }
}
