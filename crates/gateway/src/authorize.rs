//! The one place where an S3 request is permitted. Until policies come, a caller may do everything in its own account, nothing in
//! another's, and an anonymous caller nothing. A `Permit` is made here and nowhere else.

use crate::{error::S3Error, serve::RequestContext};
use tresor_model::{BucketName, ObjectKey};
use tresor_storage::Bucket;

/// One thing that the caller must be allowed to do.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    /// The IAM action: `s3:PutObject`.
    pub action: &'static str,
    pub resource: Resource,
    /// `x-amz-expected-bucket-owner`: the request fails unless this account owns the bucket.
    pub expected_owner: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Resource {
    /// The caller's own account: ListBuckets.
    Account,
    /// A bucket that does not exist yet.
    NewBucket(BucketName),
    Bucket(BucketName),
    Object(BucketName, ObjectKey),
}

impl Resource {
    /// As a policy names it.
    fn arn(&self) -> String {
        match self {
            Self::Account => "*".to_owned(),
            Self::NewBucket(bucket) | Self::Bucket(bucket) => bucket.arn(),
            Self::Object(bucket, key) => bucket.object_arn(key),
        }
    }
}

/// All of these must be permitted. The first names the bucket the request addresses, the second a copy's source.
#[derive(Clone, Debug)]
pub(crate) struct Access(pub Vec<Requirement>);

impl Access {
    pub(crate) fn one(action: &'static str, resource: Resource, expected_owner: Option<String>) -> Self {
        Self(vec![Requirement { action, resource, expected_owner }])
    }
    pub(crate) fn and(mut self, action: &'static str, resource: Resource, expected_owner: Option<String>) -> Self {
        self.0.push(Requirement { action, resource, expected_owner });
        self
    }
}

/// An input that its caller may run, with the buckets it names.
pub(crate) struct Permit<T> {
    input: T,
    buckets: Vec<Option<Bucket>>,
}

impl<T> Permit<T> {
    /// The input, the addressed bucket, and the bucket of the second requirement if it named another resource.
    pub(crate) fn into_parts(self) -> Result<(T, Bucket, Option<Bucket>), S3Error> {
        let mut buckets = self.buckets.into_iter();
        let first = buckets.next().flatten().ok_or_else(S3Error::internal)?;
        Ok((self.input, first, buckets.next().flatten()))
    }
    /// The input of an operation that addresses no existing bucket.
    pub(crate) fn into_input(self) -> T {
        self.input
    }
}

/// Judges every requirement. Errors: AccessDenied; NoSuchBucket for a signed caller.
pub(crate) async fn authorize<T>(cx: &RequestContext<'_>, access: Access, input: T) -> Result<Permit<T>, S3Error> {
    let account = cx.caller.account().ok_or_else(S3Error::access_denied)?;
    let mut buckets = Vec::with_capacity(access.0.len());
    for requirement in &access.0 {
        tracing::debug!(action = requirement.action, resource = %requirement.resource.arn(), "authorize");
        let name = match &requirement.resource {
            Resource::Account | Resource::NewBucket(_) => {
                buckets.push(None);
                continue;
            }
            Resource::Bucket(name) | Resource::Object(name, _) => name,
        };
        let bucket = cx.gateway.store.bucket(name).await?.ok_or_else(|| S3Error::no_such_bucket(name))?;
        if bucket.owner != *account
            || requirement.expected_owner.as_ref().is_some_and(|expected| *expected != bucket.owner.as_str())
        {
            return Err(S3Error::access_denied());
        }
        buckets.push(Some(bucket));
    }
    Ok(Permit { input, buckets })
}
