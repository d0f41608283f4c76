//! DeleteObject.

use crate::{
    authorize::{Access, Permit, Resource},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation, no_content},
    serve::RequestContext,
};
use tresor_front::Response;
use tresor_model::{BucketName, ObjectKey, VersionId};
use tresor_storage::{Deleted, EtagMatch, StoreError};

pub(crate) struct DeleteObject;

pub(crate) struct Input {
    bucket: BucketName,
    expected_owner: Option<String>,
    key: ObjectKey,
    version: Option<VersionId>,
    if_match: Option<EtagMatch>,
}

impl Operation for DeleteObject {
    const NAME: &'static str = "DeleteObject";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Deleted;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        for conditional in ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"] {
            if fields.take(conditional)?.is_some() {
                // AWS has these for directory buckets only.
                return Err(S3Error::header_not_implemented(conditional));
            }
        }
        Ok(Input {
            bucket: fields.bucket()?,
            expected_owner: fields.expected_owner()?,
            key: fields.key()?,
            version: fields.version_id()?,
            if_match: fields.take("if-match")?.map(|tag| match tag.trim() {
                "*" => EtagMatch::Any,
                tag => tag.parse().map_or(EtagMatch::Never, EtagMatch::Tag),
            }),
        })
    }

    fn access(input: &Input) -> Access {
        let (delete, read) = match input.version {
            Some(_) => ("s3:DeleteObjectVersion", "s3:GetObjectVersion"),
            None => ("s3:DeleteObject", "s3:GetObject"),
        };
        let resource = Resource::Object(input.bucket.clone(), input.key.clone());
        let access = Access::one(delete, resource.clone(), input.expected_owner.clone());
        match input.if_match {
            Some(EtagMatch::Tag(_) | EtagMatch::Never) => access.and(read, resource, None),
            Some(EtagMatch::Any) | None => access,
        }
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Deleted, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let deleted = cx.store.delete_object(&bucket, &input.key, input.version.as_ref(), input.if_match).await;
        deleted.map_err(|error| match error {
            StoreError::PreconditionFailed => S3Error::precondition_failed("If-Match"),
            other => other.into(),
        })
    }

    fn respond(deleted: Deleted) -> Response {
        let mut response = no_content();
        if deleted.delete_marker {
            headers::set(response.headers_mut(), "x-amz-delete-marker", "true");
        }
        if let Some(VersionId::Id(id)) = deleted.version_id {
            headers::set(response.headers_mut(), "x-amz-version-id", &id.to_string());
        }
        response
    }
}
