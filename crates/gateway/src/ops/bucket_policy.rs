//! GetBucketPolicy, PutBucketPolicy, DeleteBucketPolicy, GetBucketPolicyStatus and the policy as a bucket keeps it. Texts: the S3 API
//! reference and answers recorded from AWS.

use super::bucket::Named;
use crate::{
    authorize::{Access, Permit},
    error::S3Error,
    fields::Fields,
    operation::{BodyKind, Operation, no_content},
    serve::RequestContext,
    table,
    xml::XmlWriter,
};
use http::StatusCode;
use tresor_front::{Response, ResponseBody};
use tresor_policy::{MalformedPolicy, Policy, bucket_policy};
use tresor_storage::Bucket;

pub(crate) struct GetBucketPolicy;
pub(crate) struct PutBucketPolicy;
pub(crate) struct DeleteBucketPolicy;
pub(crate) struct GetBucketPolicyStatus;

/// The bucket document's kind in the store: the policy's text as it was sent.
pub(crate) const DOCUMENT: &str = "policy";
/// S3's limit, in bytes.
const MAX_POLICY: usize = 20 * 1024;
/// The longest body that is read, so that a policy above the limit gets its own answer.
const MAX_BODY: usize = 64 * 1024;

/// A bucket's policy, compiled.
#[derive(Debug)]
pub(crate) struct BucketPolicy(Policy);

impl BucketPolicy {
    /// As the store keeps it. Errors: MalformedPolicy, which only damage or another version of Tresor can cause.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, MalformedPolicy> {
        let text = String::from_utf8(bytes).map_err(|_| MalformedPolicy("it is not text".into()))?;
        Policy::of_resource(&text).map(Self)
    }
    pub(crate) fn policy(&self) -> &Policy {
        &self.0
    }
}

fn malformed(message: impl Into<String>) -> S3Error {
    S3Error::new(StatusCode::BAD_REQUEST, "MalformedPolicy", message)
}

/// Policies are the business of the bucket's own account, whatever the policy itself says. Errors: MethodNotAllowed for a caller of
/// another account who has the right.
fn check_own_account(cx: &RequestContext<'_>, bucket: &Bucket, method: &'static str) -> Result<(), S3Error> {
    if cx.caller.account() == Some(&bucket.owner) {
        Ok(())
    } else {
        Err(S3Error::method_not_allowed(method, "BUCKETPOLICY"))
    }
}

async fn policy_of(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
) -> Result<std::sync::Arc<crate::rules::BucketRules>, S3Error> {
    let rules = cx.gateway.rules(bucket).await?;
    match rules.policy {
        Some(_) => Ok(rules),
        None => Err(S3Error::no_such_document("NoSuchBucketPolicy", "The bucket policy does not exist")
            .with("BucketName", bucket.name.as_str())),
    }
}

impl Operation for GetBucketPolicy {
    const NAME: &'static str = "GetBucketPolicy";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = String;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<String, S3Error> {
        let (_, bucket, _) = permit.into_parts()?;
        check_own_account(cx, &bucket, "GET")?;
        let rules = policy_of(cx, &bucket).await?;
        Ok(rules.policy.as_ref().map(|policy| policy.0.text().to_owned()).unwrap_or_default())
    }
    fn respond(text: String) -> Response {
        let mut response = Response::new(ResponseBody::Full(text.into()));
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
    }
}

impl Operation for PutBucketPolicy {
    const NAME: &'static str = "PutBucketPolicy";
    const BODY: BodyKind = BodyKind::Document { limit: MAX_BODY };
    /// The policy's text is read once the bucket is known.
    type Input = (Named, String);
    type Output = ();

    fn parse(fields: &mut Fields) -> Result<Self::Input, S3Error> {
        // The account's root can always change the policy again, so nobody needs to confirm anything.
        fields.take("x-amz-confirm-remove-self-bucket-access")?;
        let named = Named::parse(fields)?;
        let document = fields.document();
        if document.len() > MAX_POLICY {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "PolicyTooLarge",
                "Policy exceeds the maximum allowed document size.",
            )
            .with("MaxSizeAllowed", MAX_POLICY.to_string()));
        }
        let text = std::str::from_utf8(document)
            .map_err(|_| malformed("Policies must be valid JSON and the first byte must be '{'"))?;
        Ok((named, text.to_owned()))
    }
    fn access((named, _): &Self::Input) -> Access {
        named.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Self::Input>) -> Result<(), S3Error> {
        let ((_, text), bucket, _) = permit.into_parts()?;
        check_own_account(cx, &bucket, "PUT")?;
        let exists = |principal: &str| cx.gateway.directory.names(principal);
        let policy = bucket_policy(&text, bucket.name.as_str(), exists).map_err(|error| malformed(error.0))?;
        let block = cx.gateway.rules(&bucket).await?.public_access.in_force();
        if block.block_public_policy && policy.is_public() {
            return Err(S3Error::access_denied());
        }
        cx.put_document(&bucket, DOCUMENT, text.into_bytes()).await
    }
    fn respond((): ()) -> Response {
        no_content()
    }
}

impl Operation for DeleteBucketPolicy {
    const NAME: &'static str = "DeleteBucketPolicy";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = ();

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<(), S3Error> {
        let (_, bucket, _) = permit.into_parts()?;
        check_own_account(cx, &bucket, "DELETE")?;
        cx.delete_document(&bucket, DOCUMENT).await
    }
    fn respond((): ()) -> Response {
        no_content()
    }
}

impl Operation for GetBucketPolicyStatus {
    const NAME: &'static str = "GetBucketPolicyStatus";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = bool;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<bool, S3Error> {
        let (_, bucket, _) = permit.into_parts()?;
        let rules = policy_of(cx, &bucket).await?;
        Ok(rules.policy.as_ref().is_some_and(|policy| policy.0.is_public()))
    }
    fn respond(is_public: bool) -> Response {
        let mut xml = XmlWriter::document("PolicyStatus");
        xml.text("IsPublic", if is_public { "true" } else { "false" });
        xml.respond()
    }
}
