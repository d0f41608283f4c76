//! The one table of operations: the router, the names, the docs and the coverage tests all read it.

use crate::{
    catalogue::{CATALOGUE, Named},
    derive::On,
    operation::{BodyKind, Operation, Scope},
    ops,
    serve::{Handler, handler},
};
use http::Method;
use tresor_front::{Head, Query};

/// One row of the operation table, for people and for tests.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OperationRow {
    pub service: &'static str,
    pub name: &'static str,
    pub implemented: bool,
    pub method: String,
    pub scope: &'static str,
    /// Query parameters that select the operation.
    pub query: Vec<&'static str>,
    /// A header that selects the operation.
    pub header: Option<&'static str>,
    /// The IAM action a policy names.
    pub action: &'static str,
    /// What a request's body is: `none`, `document`, `stream` or `form`; nothing for an operation that does not answer.
    pub body: Option<&'static str>,
}

/// All operations of the S3 API model, those that answer and those that say NotImplemented.
pub fn operations() -> Vec<OperationRow> {
    CATALOGUE
        .iter()
        .map(|entry| OperationRow {
            service: "s3",
            name: entry.name,
            implemented: implementation(entry.name).is_some(),
            method: entry.route.method.to_string(),
            scope: entry.route.scope.name(),
            query: entry.route.query.to_vec(),
            header: entry.route.header,
            action: entry.action,
            body: body(entry.name).map(BodyKind::name),
        })
        .collect()
}

/// The IAM action of an operation.
pub(crate) fn action(name: &'static str) -> &'static str {
    CATALOGUE.iter().find(|entry| entry.name == name).map_or("s3:*", |entry| entry.action)
}

/// The permission of an operation that needs one and the same whatever a request says. A name that is no operation's needs what
/// nobody is given.
pub(crate) fn plain_need(name: &str) -> (&'static str, On) {
    match CATALOGUE.iter().find(|entry| entry.name == name) {
        None => ("s3:*", On::Bucket),
        Some(entry) => match entry.route.scope {
            Scope::Service => (entry.action, On::Account),
            Scope::Bucket => (entry.action, On::Bucket),
            Scope::Object => (entry.action, On::Object),
        },
    }
}

/// An operation that a request was routed to.
pub(crate) struct Matched {
    pub name: &'static str,
    /// `None`: the operation is not implemented.
    pub handler: Option<Handler>,
    /// Its body is a form, which says who calls and which object is meant.
    pub is_form: bool,
}

macro_rules! implemented {
    ($($op:ty),* $(,)?) => {
        fn implementation(name: &str) -> Option<Handler> {
            $(if name == <$op as Operation>::NAME { return Some(handler::<$op>()); })*
            None
        }
        fn body(name: &str) -> Option<BodyKind> {
            $(if name == <$op as Operation>::NAME { return Some(<$op as Operation>::BODY); })*
            None
        }
        #[cfg(test)]
        const IMPLEMENTED: &[&str] = &[$(<$op as Operation>::NAME),*];
    };
}

implemented![
    ops::put_object::PutObject,
    ops::post_object::PostObject,
    ops::get_object::GetObject,
    ops::get_object::HeadObject,
    ops::copy_object::CopyObject,
    ops::delete_object::DeleteObject,
    ops::object_attributes::GetObjectAttributes,
    ops::object_tagging::GetObjectTagging,
    ops::object_tagging::PutObjectTagging,
    ops::object_tagging::DeleteObjectTagging,
    ops::list_buckets::ListBuckets,
    ops::bucket::CreateBucket,
    ops::bucket::HeadBucket,
    ops::bucket::DeleteBucket,
    ops::bucket::GetBucketLocation,
    ops::bucket_encryption::GetBucketEncryption,
    ops::bucket_encryption::PutBucketEncryption,
    ops::bucket_encryption::DeleteBucketEncryption,
    ops::bucket_policy::GetBucketPolicy,
    ops::bucket_policy::PutBucketPolicy,
    ops::bucket_policy::DeleteBucketPolicy,
    ops::bucket_policy::GetBucketPolicyStatus,
    ops::public_access_block::GetPublicAccessBlock,
    ops::public_access_block::PutPublicAccessBlock,
    ops::public_access_block::DeletePublicAccessBlock,
    ops::ownership_controls::GetBucketOwnershipControls,
    ops::ownership_controls::PutBucketOwnershipControls,
    ops::ownership_controls::DeleteBucketOwnershipControls,
    ops::acl::GetBucketAcl,
    ops::acl::PutBucketAcl,
    ops::acl::GetObjectAcl,
    ops::acl::PutObjectAcl,
    ops::bucket_documents::GetBucketVersioning,
    ops::bucket_documents::GetBucketTagging,
    ops::bucket_documents::GetBucketLifecycleConfiguration,
    ops::bucket_documents::GetBucketCors,
    ops::bucket_documents::GetBucketWebsite,
    ops::bucket_documents::GetBucketReplication,
    ops::bucket_documents::GetBucketLogging,
    ops::bucket_documents::GetBucketNotificationConfiguration,
    ops::bucket_documents::GetBucketRequestPayment,
    ops::bucket_documents::GetBucketAccelerateConfiguration,
    ops::bucket_documents::GetObjectLockConfiguration,
    ops::bucket_documents::ListBucketAnalyticsConfigurations,
    ops::bucket_documents::ListBucketMetricsConfigurations,
    ops::bucket_documents::ListBucketInventoryConfigurations,
    ops::bucket_documents::ListBucketIntelligentTieringConfigurations,
    ops::bucket_documents::GetObjectLegalHold,
    ops::bucket_documents::GetObjectRetention,
    ops::delete_objects::DeleteObjects,
    ops::list_objects::ListObjects,
    ops::list_objects::ListObjectsV2,
    ops::list_objects::ListObjectVersions,
    ops::create_multipart_upload::CreateMultipartUpload,
    ops::upload_part::UploadPart,
    ops::upload_part_copy::UploadPartCopy,
    ops::complete_multipart_upload::CompleteMultipartUpload,
    ops::multipart::AbortMultipartUpload,
    ops::list_parts::ListParts,
    ops::list_multipart_uploads::ListMultipartUploads,
];

/// Query parameters that never select an operation: they refine one, sign it, or name it redundantly (`x-id`).
fn is_sub_resource(query: &Query, name: &str) -> bool {
    CATALOGUE.iter().any(|entry| entry.route.query.iter().any(|q| *q == name && !REFINING.contains(q)))
        || (query.is_bare(name) && !name.is_empty())
}
const REFINING: [&str; 4] = ["id", "partNumber", "select-type=2", "list-type=2"];

/// Finds the operation: of all whose conditions hold, the one with the most. A request that names a sub-resource which the
/// chosen route does not (an unknown one, say) matches nothing.
pub(crate) fn route(method: &Method, scope: Scope, head: &Head) -> Option<Matched> {
    let holds = |entry: &Named| {
        entry.route.method == *method
            && entry.route.scope == scope
            && entry.route.header.is_none_or(|name| head.headers.contains_key(name))
            && entry.route.query.iter().all(|condition| match condition.split_once('=') {
                Some((name, value)) => head.query.get(name) == Some(value),
                None => head.query.get(condition).is_some(),
            })
    };
    let weight = |entry: &Named| {
        let implemented = usize::from(implementation(entry.name).is_some());
        // A name that AWS deprecated shares the route of its successor, whose name is longer.
        (entry.route.query.len() + usize::from(entry.route.header.is_some()), implemented, entry.name.len())
    };
    let chosen = CATALOGUE.iter().filter(|entry| holds(entry)).max_by_key(|entry| weight(entry))?;
    let stray = head.query.names().find(|name| {
        is_sub_resource(&head.query, name)
            && !chosen.route.query.iter().any(|q| q.split('=').next() == Some(name))
            && !REFINES.contains(name)
    });
    match stray {
        Some(_) => None,
        None => Some(Matched {
            name: chosen.name,
            handler: implementation(chosen.name),
            is_form: matches!(body(chosen.name), Some(BodyKind::Form)),
        }),
    }
}

/// Parameters that may come with an empty value without meaning a sub-resource.
const REFINES: [&str; 14] = [
    "prefix",
    "delimiter",
    "marker",
    "key-marker",
    "version-id-marker",
    "upload-id-marker",
    "start-after",
    "continuation-token",
    "encoding-type",
    "fetch-owner",
    "max-keys",
    "list-type",
    "part-number-marker",
    "X-Amz-Security-Token",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_implementation_stands_in_the_catalogue_and_the_model_is_whole() {
        // 111 operations of the model, and PostObject.
        assert_eq!(CATALOGUE.len(), 112);
        for name in IMPLEMENTED {
            assert!(CATALOGUE.iter().any(|entry| entry.name == *name), "{name}");
        }
    }
}
