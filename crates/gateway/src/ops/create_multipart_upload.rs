//! CreateMultipartUpload: the key of the object is issued here, once.

use super::writing::{account, place};
use crate::{
    acl::{AclRules, RequestedAcl},
    authorize::{self, Access, Permit, Resource},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    sse::{intent::SseIntent, reply::SseReply, resolve},
    table,
    xml::XmlWriter,
};
use tresor_envelope::Binding;
use tresor_front::Response;
use tresor_kms::KeySource;
use tresor_model::{BucketName, ChecksumAlgorithm, ChecksumType, ObjectKey, TagSet, UploadId, WriteId};
use tresor_storage::{NewUpload, ObjectMeta};

pub(crate) struct CreateMultipartUpload;

pub(crate) struct Input {
    bucket: BucketName,
    expected_owner: Option<String>,
    key: ObjectKey,
    tags: Option<TagSet>,
    meta: ObjectMeta,
    sse: SseIntent,
    checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    acl: RequestedAcl,
}

pub(crate) struct Output {
    bucket: BucketName,
    key: ObjectKey,
    upload: UploadId,
    sse: SseReply,
    checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// Takes the algorithm and how parts make the whole. Errors: InvalidRequest.
fn take_checksum(fields: &mut Fields) -> Result<Option<(ChecksumAlgorithm, ChecksumType)>, S3Error> {
    let algorithm: Option<ChecksumAlgorithm> = match fields.take("x-amz-checksum-algorithm")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            S3Error::invalid_request("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
        })?),
    };
    let kind: Option<ChecksumType> = match fields.take("x-amz-checksum-type")? {
        None => None,
        Some(text) => Some(
            text.parse().map_err(|_| S3Error::invalid_request("Value for x-amz-checksum-type header is invalid."))?,
        ),
    };
    let (algorithm, kind) = match (algorithm, kind) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            return Err(S3Error::invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            ));
        }
        // CRC-64/NVME has no composite form.
        (Some(ChecksumAlgorithm::Crc64Nvme), None) => (ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject),
        (Some(algorithm), kind) => (algorithm, kind.unwrap_or(ChecksumType::Composite)),
    };
    let possible = match kind {
        ChecksumType::FullObject => algorithm.combines(),
        ChecksumType::Composite => algorithm != ChecksumAlgorithm::Crc64Nvme,
    };
    if possible {
        return Ok(Some((algorithm, kind)));
    }
    let name = algorithm.name().to_ascii_lowercase();
    Err(S3Error::invalid_request(format!(
        "The {} checksum type cannot be used with the {name} checksum algorithm.",
        kind.name()
    )))
}

impl Operation for CreateMultipartUpload {
    const NAME: &'static str = "CreateMultipartUpload";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        Ok(Input {
            bucket: fields.bucket()?,
            expected_owner: fields.expected_owner()?,
            key: fields.key()?,
            tags: headers::take_tagging(fields)?,
            sse: SseIntent::take(fields)?,
            checksum: take_checksum(fields)?,
            meta: headers::take_object_meta(fields)?,
            acl: RequestedAcl::take(fields)?,
        })
    }

    fn access(input: &Input) -> Access {
        let resource = Resource::Object(input.bucket.clone(), input.key.clone());
        let access = Access::one(table::action(Self::NAME), resource.clone(), input.expected_owner.clone());
        let access = match input.acl.is_specified() {
            true => access.and("s3:PutObjectAcl", resource.clone(), None),
            false => access,
        };
        if input.tags.is_some() { access.and("s3:PutObjectTagging", resource, None) } else { access }
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let gateway = cx.gateway;
        // An upload needs somebody who began it: S3 refuses anonymous ones whatever a policy allows.
        let initiator = account(cx)?;
        let most = gateway.settings.max_uploads;
        if !cx.store.has_room_for_upload(&bucket, most).await? {
            return Err(S3Error::invalid_request(format!(
                "The bucket has its limit of {most} multipart uploads in progress. Complete or abort some of them first."
            )));
        }
        let (object_owner, acl) = AclRules::of(gateway, &bucket).await?.of_new_object(cx, &bucket, &input.acl)?;
        let source = resolve::resolve(cx, &bucket, input.sse).await?;
        let etag = resolve::etag_rule(&source);
        let customer = match &source {
            KeySource::Customer(key) => Some(key.clone()),
            KeySource::S3Managed | KeySource::Kms { .. } | KeySource::Dsse { .. } => None,
        };
        let (now, entropy) = (gateway.clock.now(), &*gateway.entropy);
        let (id, write) = (UploadId::fresh(now, entropy), WriteId::fresh(now, entropy));
        let binding = Binding { bucket: bucket.id, key: input.key.clone(), write };
        let issued = gateway.keys.issue(cx.caller, source, &binding, &place(cx, &bucket, &input.key)).await?;
        let sse = SseReply::new(&issued.envelope, customer.as_ref()).with_context(&issued.envelope);
        let upload = NewUpload {
            key: input.key.clone(),
            id,
            write,
            owner: initiator,
            meta: input.meta,
            tags: input.tags.unwrap_or_default(),
            envelope: issued.envelope,
            key_id: issued.key_id,
            material_id: issued.material_id,
            etag,
            checksum: input.checksum,
            acl,
            object_owner: Some(object_owner),
            said: authorize::said_of_upload(cx),
        };
        cx.store.create_upload(&bucket, upload).await?;
        Ok(Output { bucket: input.bucket, key: input.key, upload: id, sse, checksum: input.checksum })
    }

    fn respond(output: Output) -> Response {
        let mut xml = XmlWriter::document("InitiateMultipartUploadResult");
        xml.text("Bucket", output.bucket.as_str());
        xml.text("Key", output.key.as_str());
        xml.text("UploadId", &output.upload.to_string());
        let mut response = xml.respond();
        let to = response.headers_mut();
        if let Some((algorithm, kind)) = output.checksum {
            headers::set(to, "x-amz-checksum-algorithm", algorithm.name());
            headers::set(to, "x-amz-checksum-type", kind.name());
        }
        output.sse.add_to(to);
        response
    }
}
