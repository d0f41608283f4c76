//! Documents that tools ask for and that no bucket of Tresor has yet: each answers what AWS answers for a bucket or object on which
//! it was never set.

use super::{bucket::Named, reading};
use crate::{
    authorize::{Access, Permit, Resource},
    error::S3Error,
    fields::Fields,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    table,
    xml::XmlWriter,
};
use http::StatusCode;
use tresor_front::Response;
use tresor_model::{BucketName, ObjectKey, VersionId};
use tresor_storage::Bucket;

/// One read-only document of a bucket.
macro_rules! bucket_document {
    ($name:ident, |$cx:ident, $bucket:ident| $answer:expr) => {
        pub(crate) struct $name;

        impl Operation for $name {
            const NAME: &'static str = stringify!($name);
            const BODY: BodyKind = BodyKind::None;
            type Input = Named;
            type Output = XmlWriter;

            fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
                Named::parse(fields)
            }
            fn access(input: &Named) -> Access {
                input.access(table::action(Self::NAME))
            }
            async fn run($cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<XmlWriter, S3Error> {
                let (_, $bucket, _) = permit.into_parts()?;
                $answer
            }
            fn respond(xml: XmlWriter) -> Response {
                xml.respond()
            }
        }
    };
}

/// An element without content.
fn empty(root: &'static str) -> Result<XmlWriter, S3Error> {
    Ok(XmlWriter::document(root))
}

fn missing(code: &'static str, message: &'static str, bucket: &Bucket) -> Result<XmlWriter, S3Error> {
    Err(S3Error::no_such_document(code, message).with("BucketName", bucket.name.as_str()))
}

/// A list of configurations, of which there are none.
fn no_configurations(root: &'static str) -> Result<XmlWriter, S3Error> {
    let mut xml = XmlWriter::document(root);
    xml.text("IsTruncated", "false");
    Ok(xml)
}

bucket_document!(GetBucketVersioning, |_cx, _bucket| empty("VersioningConfiguration"));
bucket_document!(GetBucketTagging, |_cx, bucket| missing("NoSuchTagSet", "The TagSet does not exist", &bucket));
bucket_document!(GetBucketLifecycleConfiguration, |_cx, bucket| missing(
    "NoSuchLifecycleConfiguration",
    "The lifecycle configuration does not exist",
    &bucket
));
bucket_document!(GetBucketCors, |_cx, bucket| missing(
    "NoSuchCORSConfiguration",
    "The CORS configuration does not exist",
    &bucket
));
bucket_document!(GetBucketWebsite, |_cx, bucket| missing(
    "NoSuchWebsiteConfiguration",
    "The specified bucket does not have a website configuration",
    &bucket
));
bucket_document!(GetBucketReplication, |_cx, bucket| missing(
    "ReplicationConfigurationNotFoundError",
    "The replication configuration was not found",
    &bucket
));
bucket_document!(GetBucketLogging, |_cx, _bucket| empty("BucketLoggingStatus"));
bucket_document!(GetBucketNotificationConfiguration, |_cx, _bucket| empty("NotificationConfiguration"));
bucket_document!(GetBucketRequestPayment, |_cx, _bucket| {
    let mut xml = XmlWriter::document("RequestPaymentConfiguration");
    xml.text("Payer", "BucketOwner");
    Ok(xml)
});
bucket_document!(GetBucketAccelerateConfiguration, |_cx, _bucket| empty("AccelerateConfiguration"));
bucket_document!(GetObjectLockConfiguration, |_cx, bucket| missing(
    "ObjectLockConfigurationNotFoundError",
    "Object Lock configuration does not exist for this bucket",
    &bucket
));
bucket_document!(ListBucketAnalyticsConfigurations, |_cx, _bucket| no_configurations(
    "ListBucketAnalyticsConfigurationResult"
));
bucket_document!(ListBucketMetricsConfigurations, |_cx, _bucket| no_configurations("ListMetricsConfigurationsResult"));
bucket_document!(ListBucketInventoryConfigurations, |_cx, _bucket| no_configurations(
    "ListInventoryConfigurationsResult"
));
bucket_document!(ListBucketIntelligentTieringConfigurations, |_cx, _bucket| no_configurations(
    "ListBucketIntelligentTieringConfigurationsOutput"
));

pub(crate) struct NamedObject {
    bucket: BucketName,
    expected_owner: Option<String>,
    key: ObjectKey,
    version: Option<VersionId>,
}

/// One read-only document of an object; the object must exist.
macro_rules! object_document {
    ($name:ident, |$cx:ident, $bucket:ident| $answer:expr) => {
        pub(crate) struct $name;

        impl Operation for $name {
            const NAME: &'static str = stringify!($name);
            const BODY: BodyKind = BodyKind::None;
            type Input = NamedObject;
            type Output = XmlWriter;

            fn parse(fields: &mut Fields) -> Result<NamedObject, S3Error> {
                Ok(NamedObject {
                    bucket: fields.bucket()?,
                    expected_owner: fields.expected_owner()?,
                    key: fields.key()?,
                    version: fields.version_id()?,
                })
            }
            fn access(input: &NamedObject) -> Access {
                let resource = Resource::Object(input.bucket.clone(), input.key.clone());
                Access::one(table::action(Self::NAME), resource, input.expected_owner.clone())
            }
            async fn run($cx: &RequestContext<'_>, permit: Permit<NamedObject>) -> Result<XmlWriter, S3Error> {
                let (input, $bucket, _) = permit.into_parts()?;
                reading::find($cx, &$bucket, &input.key, input.version.as_ref()).await?;
                $answer
            }
            fn respond(xml: XmlWriter) -> Response {
                xml.respond()
            }
        }
    };
}

fn no_object_lock() -> Result<XmlWriter, S3Error> {
    Err(S3Error::new(StatusCode::BAD_REQUEST, "InvalidRequest", "Bucket is missing Object Lock Configuration"))
}

object_document!(GetObjectLegalHold, |cx, bucket| no_object_lock());
object_document!(GetObjectRetention, |cx, bucket| no_object_lock());
