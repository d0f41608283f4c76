//! CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation.

use crate::{
    acl::{self, AclRules, RequestedAcl},
    authorize::{Access, Permit, Resource},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation, no_content},
    ops::{
        ownership_controls::{self, Ownership},
        public_access_block,
    },
    serve::RequestContext,
    sse::configuration::{DOCUMENT, Encryption},
    table,
    xml::{Element, XmlWriter},
};
use http::StatusCode;
use tresor_front::{Response, ResponseBody};
use tresor_model::BucketName;
use tresor_storage::{Bucket, StoreError};

pub(crate) struct CreateBucket;
pub(crate) struct HeadBucket;
pub(crate) struct DeleteBucket;
pub(crate) struct GetBucketLocation;

/// A bucket that exists, as most bucket operations name it.
pub(crate) struct Named {
    pub bucket: BucketName,
    pub expected_owner: Option<String>,
}

impl Named {
    pub(crate) fn parse(fields: &mut Fields) -> Result<Self, S3Error> {
        Ok(Self { bucket: fields.bucket()?, expected_owner: fields.expected_owner()? })
    }
    pub(crate) fn access(&self, action: &'static str) -> Access {
        Access::one(action, Resource::Bucket(self.bucket.clone()), self.expected_owner.clone())
    }
}

/// The longest `CreateBucketConfiguration`, in bytes.
const MAX_CONFIGURATION: usize = 64 * 1024;
/// The region that S3 calls by no name.
const CLASSIC: &str = "us-east-1";

pub(crate) struct Create {
    bucket: BucketName,
    location: Option<String>,
    acl: RequestedAcl,
    ownership: Option<Ownership>,
}

fn illegal_location(message: String) -> S3Error {
    S3Error::new(StatusCode::BAD_REQUEST, "IllegalLocationConstraintException", message)
}

impl Operation for CreateBucket {
    const NAME: &'static str = "CreateBucket";
    const BODY: BodyKind = BodyKind::Document { limit: MAX_CONFIGURATION };
    type Input = Create;
    type Output = BucketName;

    fn parse(fields: &mut Fields) -> Result<Create, S3Error> {
        let acl = RequestedAcl::take(fields)?;
        let ownership = match fields.take("x-amz-object-ownership")? {
            None => None,
            Some(name) => Some(Ownership::named(&name).ok_or_else(|| {
                S3Error::invalid_argument(
                    "Invalid x-amz-object-ownership header",
                    "x-amz-object-ownership",
                    Some(&name),
                )
            })?),
        };
        if fields.take("x-amz-bucket-object-lock-enabled")?.is_some_and(|value| !value.eq_ignore_ascii_case("false")) {
            return Err(S3Error::header_not_implemented("x-amz-bucket-object-lock-enabled"));
        }
        let location = match fields.document() {
            document if document.is_empty() => None,
            document => {
                let root = Element::parse(document, "CreateBucketConfiguration")?;
                root.expect_only(&["LocationConstraint"])?;
                root.optional_text_of("LocationConstraint")?.filter(|location| !location.is_empty()).map(str::to_owned)
            }
        };
        Ok(Create { bucket: fields.bucket()?, location, acl, ownership })
    }

    fn access(input: &Create) -> Access {
        let bucket = Resource::NewBucket(input.bucket.clone());
        let access = Access::one(table::action(Self::NAME), bucket.clone(), None);
        let access = match input.acl.is_specified() {
            true => access.and("s3:PutBucketAcl", bucket.clone(), None),
            false => access,
        };
        let access = match input.ownership {
            Some(_) => access.and("s3:PutBucketOwnershipControls", bucket, None),
            None => access,
        };
        access.with_location(input.location.as_deref())
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Create>) -> Result<BucketName, S3Error> {
        let Create { bucket, location, acl, ownership } = permit.into_input();
        let settings = &cx.gateway.settings;
        if let Some(location) = location {
            let named = if location == "EU" { "eu-west-1" } else { &location };
            if named != settings.region {
                return Err(illegal_location(format!(
                    "The {location} location constraint is incompatible for the region specific endpoint this request was sent to."
                )));
            }
        }
        let owner = super::writing::account(cx)?;
        let (ownership, block) = match (ownership, settings.legacy_buckets) {
            (Some(ownership), legacy) => (ownership_controls::Stored::Set(ownership), legacy),
            (None, true) => (ownership_controls::Stored::Removed, true),
            (None, false) => (ownership_controls::Stored::default(), false),
        };
        let block = if block { public_access_block::Stored::Removed } else { public_access_block::Stored::default() };
        let rules = AclRules::new(ownership.in_force(), block.in_force());
        let list = acl.for_bucket(&cx.gateway.directory, &owner)?;
        if rules.disabled() && acl.is_specified() && !list.is_private_to(&owner) {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            ));
        }
        let mut documents = Vec::new();
        if let Some(list) = rules.admit(acl.is_specified().then_some(list), &owner)? {
            documents.push((acl::DOCUMENT, acl::to_bytes(&list)));
        }
        if settings.block_sse_c {
            documents.push((DOCUMENT, Encryption::initial(true).to_bytes()));
        }
        documents.extend(ownership.document());
        documents.extend(block.document());
        // One after the other, so that the limit holds.
        let _creating = cx.gateway.creating.lock().await;
        if cx.store.bucket(&bucket).await?.is_none()
            && !cx.store.has_room_for_bucket(&owner, settings.max_buckets).await?
        {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "TooManyBuckets",
                "You have attempted to create more buckets than allowed",
            ));
        }
        match cx.store.create_bucket(&bucket, &owner, &settings.region, documents).await {
            // S3's first region answers 200 to an owner who makes a bucket again, and resets its list.
            Err(StoreError::BucketExists { owner: existing }) if existing == owner && settings.region == CLASSIC => {
                reset_list(cx, &bucket, &acl).await?;
                Ok(bucket)
            }
            Err(StoreError::BucketExists { owner: existing }) if existing == owner => Err(S3Error::new(
                StatusCode::CONFLICT,
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            )
            .with("BucketName", bucket.as_str())),
            Err(error) => Err(S3Error::from(error).with("BucketName", bucket.as_str())),
            Ok(_) => Ok(bucket),
        }
    }

    fn respond(bucket: BucketName) -> Response {
        let mut response = Response::new(ResponseBody::Empty);
        headers::set(response.headers_mut(), "location", &format!("/{bucket}"));
        headers::set(response.headers_mut(), "x-amz-bucket-arn", &bucket.arn());
        response
    }
}

/// Gives a bucket that its owner makes again the list of the new request. Errors: AccessControlListNotSupported, AccessDenied for a public
/// list that is blocked.
async fn reset_list(cx: &RequestContext<'_>, name: &BucketName, requested: &RequestedAcl) -> Result<(), S3Error> {
    let Some(bucket) = cx.gateway.store.bucket(name).await? else { return Ok(()) };
    let rules = AclRules::of(cx.gateway, &bucket).await?;
    let list = requested.for_bucket(&cx.gateway.directory, &bucket.owner)?;
    match rules.admit(Some(list), &bucket.owner)? {
        // A bucket without a list is private already.
        Some(list) if acl::of_bucket(cx.gateway, &bucket).await? != list => {
            cx.put_document(&bucket, acl::DOCUMENT, acl::to_bytes(&list)).await
        }
        Some(_) | None => Ok(()),
    }
}

impl Operation for HeadBucket {
    const NAME: &'static str = "HeadBucket";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = Bucket;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(_: &RequestContext<'_>, permit: Permit<Named>) -> Result<Bucket, S3Error> {
        permit.into_parts().map(|(_, bucket, _)| bucket)
    }
    fn respond(bucket: Bucket) -> Response {
        let mut response = Response::new(ResponseBody::Empty);
        headers::set(response.headers_mut(), "x-amz-bucket-region", &bucket.region);
        headers::set(response.headers_mut(), "x-amz-access-point-alias", "false");
        headers::set(response.headers_mut(), "x-amz-bucket-arn", &bucket.name.arn());
        response
    }
}

impl Operation for DeleteBucket {
    const NAME: &'static str = "DeleteBucket";
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
        let deleted = cx.store.delete_bucket(&bucket).await;
        deleted.map_err(|error| S3Error::from(error).with("BucketName", bucket.name.as_str()))
    }
    fn respond((): ()) -> Response {
        no_content()
    }
}

impl Operation for GetBucketLocation {
    const NAME: &'static str = "GetBucketLocation";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = String;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(_: &RequestContext<'_>, permit: Permit<Named>) -> Result<String, S3Error> {
        permit.into_parts().map(|(_, bucket, _)| bucket.region)
    }
    fn respond(region: String) -> Response {
        let mut xml = XmlWriter::document("LocationConstraint");
        if region != CLASSIC {
            xml.content(&region);
        }
        xml.respond()
    }
}
