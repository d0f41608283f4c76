//! GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl.

use super::{bucket::Named, reading};
use crate::{
    acl::{self, AclRules, Canned, DOCUMENT, Document, RequestedAcl},
    authorize::{Access, Permit, Resource},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    table,
    xml::XmlWriter,
};
use tresor_front::{Response, ResponseBody};
use tresor_model::{AccountId, Acl, BucketName, ObjectKey, VersionId};
use tresor_storage::VersionChange;

pub(crate) struct GetBucketAcl;
pub(crate) struct PutBucketAcl;
pub(crate) struct GetObjectAcl;
pub(crate) struct PutObjectAcl;

/// A hundred grants and their elements.
const DOCUMENT_LIMIT: usize = 64 * 1024;

/// The list of a Put: exactly one of a canned name, grant headers and a document.
/// Errors: InvalidRequest, UnexpectedContent, MissingSecurityHeader, MalformedACLError, InvalidArgument.
fn take_list(fields: &mut Fields) -> Result<RequestedAcl, S3Error> {
    let requested = RequestedAcl::take(fields)?;
    match (requested, fields.document().is_empty()) {
        (RequestedAcl::Unspecified, false) => Document::from_xml(fields.document()).map(RequestedAcl::Document),
        (RequestedAcl::Unspecified, true) => Err(S3Error::new(
            http::StatusCode::BAD_REQUEST,
            "MissingSecurityHeader",
            "Your request was missing a required header",
        )
        .with("MissingHeaderName", "x-amz-acl")),
        (_, false) => Err(S3Error::new(
            http::StatusCode::BAD_REQUEST,
            "UnexpectedContent",
            "This request does not support content",
        )),
        (requested, true) => Ok(requested),
    }
}

/// Where lists are disabled, only what changes nothing is taken: full control for the bucket's owner, by that name or spelled out.
/// Errors: AccessControlListNotSupported.
fn check_enabled(rules: AclRules, requested: &RequestedAcl) -> Result<(), S3Error> {
    match requested {
        RequestedAcl::Canned(name) if rules.disabled() && *name != Canned::BucketOwnerFullControl => {
            Err(acl::not_supported())
        }
        _ => Ok(()),
    }
}

impl Operation for GetBucketAcl {
    const NAME: &'static str = "GetBucketAcl";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = XmlWriter;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<XmlWriter, S3Error> {
        let (_, bucket, _) = permit.into_parts()?;
        let list = match AclRules::of(cx.gateway, &bucket).await?.disabled() {
            true => Acl::private(&bucket.owner),
            false => acl::of_bucket(cx.gateway, &bucket).await?,
        };
        Ok(acl::write(&cx.gateway.directory, &bucket.owner, &list))
    }
    fn respond(xml: XmlWriter) -> Response {
        xml.respond()
    }
}

impl Operation for PutBucketAcl {
    const NAME: &'static str = "PutBucketAcl";
    const BODY: BodyKind = BodyKind::Document { limit: DOCUMENT_LIMIT };
    type Input = (Named, RequestedAcl);
    type Output = ();

    fn parse(fields: &mut Fields) -> Result<Self::Input, S3Error> {
        let requested = take_list(fields)?;
        Ok((Named::parse(fields)?, requested))
    }
    fn access((named, _): &Self::Input) -> Access {
        named.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Self::Input>) -> Result<(), S3Error> {
        let ((_, requested), bucket, _) = permit.into_parts()?;
        let rules = AclRules::of(cx.gateway, &bucket).await?;
        check_enabled(rules, &requested)?;
        let list = requested.for_bucket(&cx.gateway.directory, &bucket.owner)?;
        match rules.admit(Some(list), &bucket.owner)? {
            None => Ok(()),
            Some(list) => cx.put_document(&bucket, DOCUMENT, acl::to_bytes(&list)).await,
        }
    }
    fn respond((): ()) -> Response {
        Response::new(ResponseBody::Empty)
    }
}

pub(crate) struct NamedObject {
    bucket: BucketName,
    expected_owner: Option<String>,
    key: ObjectKey,
    version: Option<VersionId>,
}

impl NamedObject {
    fn parse(fields: &mut Fields) -> Result<Self, S3Error> {
        Ok(Self {
            bucket: fields.bucket()?,
            expected_owner: fields.expected_owner()?,
            key: fields.key()?,
            version: fields.version_id()?,
        })
    }
    fn action(&self, plain: &'static str, versioned: &'static str) -> &'static str {
        if self.version.is_some() { versioned } else { plain }
    }
    fn access(&self, plain: &'static str, versioned: &'static str) -> Access {
        let action = self.action(plain, versioned);
        Access::one(action, Resource::Object(self.bucket.clone(), self.key.clone()), self.expected_owner.clone())
    }
}

impl Operation for GetObjectAcl {
    const NAME: &'static str = "GetObjectAcl";
    const BODY: BodyKind = BodyKind::None;
    type Input = NamedObject;
    type Output = (XmlWriter, VersionId);

    fn parse(fields: &mut Fields) -> Result<NamedObject, S3Error> {
        NamedObject::parse(fields)
    }
    fn access(input: &NamedObject) -> Access {
        input.access("s3:GetObjectAcl", "s3:GetObjectVersionAcl")
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<NamedObject>) -> Result<Self::Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let version = reading::find(cx, &bucket, &input.key, input.version.as_ref()).await?;
        let (owner, list): (&AccountId, Acl) = match AclRules::of(cx.gateway, &bucket).await?.disabled() {
            true => (&bucket.owner, Acl::private(&bucket.owner)),
            false => (&version.owner, acl::of_version(&version)),
        };
        Ok((acl::write(&cx.gateway.directory, owner, &list), version.version_id))
    }
    fn respond((xml, version): Self::Output) -> Response {
        with_version(xml.respond(), version)
    }
}

impl Operation for PutObjectAcl {
    const NAME: &'static str = "PutObjectAcl";
    const BODY: BodyKind = BodyKind::Document { limit: DOCUMENT_LIMIT };
    type Input = (NamedObject, RequestedAcl);
    type Output = VersionId;

    fn parse(fields: &mut Fields) -> Result<Self::Input, S3Error> {
        let requested = take_list(fields)?;
        Ok((NamedObject::parse(fields)?, requested))
    }
    fn access((named, _): &Self::Input) -> Access {
        named.access("s3:PutObjectAcl", "s3:PutObjectVersionAcl")
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Self::Input>) -> Result<VersionId, S3Error> {
        let ((named, requested), bucket, _) = permit.into_parts()?;
        let rules = AclRules::of(cx.gateway, &bucket).await?;
        check_enabled(rules, &requested)?;
        let place = (&bucket, &named.key, named.version.as_ref());
        let action = named.action("s3:PutObjectAcl", "s3:PutObjectVersionAcl");
        reading::change(cx, place, action, |version| {
            let owner = if rules.disabled() { &bucket.owner } else { &version.owner };
            let list = requested.for_object(&cx.gateway.directory, owner, &bucket.owner)?;
            Ok(rules.admit(Some(list), owner)?.map(VersionChange::Acl))
        })
        .await
    }
    fn respond(version: VersionId) -> Response {
        with_version(Response::new(ResponseBody::Empty), version)
    }
}

fn with_version(mut response: Response, version: VersionId) -> Response {
    if let VersionId::Id(id) = version {
        headers::set(response.headers_mut(), "x-amz-version-id", &id.to_string());
    }
    response
}
