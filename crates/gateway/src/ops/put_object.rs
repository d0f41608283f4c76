//! PutObject.

use super::writing::{self, MAX_PUT_BYTES, NewWrite, Written};
use crate::{
    acl::RequestedAcl,
    authorize::{Access, Permit, Resource},
    body::{DEFAULT_CHECKSUM, Expectations, Upload},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    sse::intent::SseIntent,
    table,
};
use tresor_front::{Body, Response, ResponseBody};
use tresor_model::{BucketName, ChecksumAlgorithm, ChecksumType};

pub(crate) struct PutObject;

pub(crate) struct Input {
    bucket: BucketName,
    expected_owner: Option<String>,
    tagged: bool,
    write: NewWrite,
    expected: Expectations,
    keep: ChecksumAlgorithm,
    body: Body,
}

impl Operation for PutObject {
    const NAME: &'static str = "PutObject";
    const BODY: BodyKind = BodyKind::Stream;
    type Input = Input;
    type Output = Written;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let length = fields.content_length().ok_or_else(S3Error::missing_content_length)?;
        if length > MAX_PUT_BYTES {
            return Err(S3Error::entity_too_large(length, MAX_PUT_BYTES));
        }
        let acl = RequestedAcl::take(fields)?;
        let expected = Expectations::take_from(fields)?;
        let tags = headers::take_tagging(fields)?;
        Ok(Input {
            bucket: fields.bucket()?,
            expected_owner: fields.expected_owner()?,
            tagged: tags.is_some(),
            keep: expected.algorithm().unwrap_or(DEFAULT_CHECKSUM),
            expected,
            write: NewWrite {
                key: fields.key()?,
                sse: SseIntent::take(fields)?,
                meta: headers::take_object_meta(fields)?,
                tags: tags.unwrap_or_default(),
                precondition: writing::take_precondition(fields)?,
                acl,
            },
            body: fields.take_body().ok_or_else(S3Error::internal)?,
        })
    }

    fn access(input: &Input) -> Access {
        let resource = Resource::Object(input.bucket.clone(), input.write.key.clone());
        let access = Access::one(table::action(Self::NAME), resource.clone(), input.expected_owner.clone());
        let access = match input.write.acl.is_specified() {
            true => access.and("s3:PutObjectAcl", resource.clone(), None),
            false => access,
        };
        if input.tagged { access.and("s3:PutObjectTagging", resource, None) } else { access }
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Written, S3Error> {
        let (Input { write, expected, keep, body, .. }, bucket, _) = permit.into_parts()?;
        writing::store(cx, &bucket, write, |md5| Upload::new(body, expected, md5, Some(keep), MAX_PUT_BYTES)).await
    }

    fn respond(written: Written) -> Response {
        let mut response = Response::new(ResponseBody::Empty);
        let to = response.headers_mut();
        headers::set(to, "etag", &headers::quoted(&written.version.etag));
        headers::checksum_headers(to, &written.checksums, ChecksumType::FullObject, None);
        if let tresor_model::VersionId::Id(id) = written.version.version_id {
            headers::set(to, "x-amz-version-id", &id.to_string());
        }
        written.sse.add_to(to);
        response
    }
}
