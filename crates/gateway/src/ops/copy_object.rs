//! CopyObject: a copy is always sealed anew, under a key of its own.

use super::{
    reading,
    writing::{self, MAX_PUT_BYTES, NewWrite, Written},
};
use crate::{
    acl::RequestedAcl,
    addressing::copy_source,
    authorize::{Access, Permit, Resource},
    body::{DEFAULT_CHECKSUM, Relay},
    conditions::{self, Conditions},
    error::S3Error,
    fields::{Fields, parse_version_id},
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    sse::{
        configuration::DOCUMENT,
        customer::{self, Purpose, Triple},
        intent::SseIntent,
    },
    xml::XmlWriter,
};
use tresor_envelope::{CustomerKey, SseMode};
use tresor_front::Response;
use tresor_model::{BucketName, ChecksumAlgorithm, ChecksumType, ObjectKey, VersionId};
use tresor_storage::{ObjectMeta, Version};

pub(crate) struct CopyObject;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Copy,
    Replace,
}

pub(crate) struct Input {
    bucket: BucketName,
    expected_owner: Option<String>,
    source: Source,
    metadata: Directive,
    tagging: Directive,
    tagged: bool,
    write: NewWrite,
    checksum: Option<ChecksumAlgorithm>,
}

/// The object that is copied from; UploadPartCopy takes it the same way.
pub(crate) struct Source {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub version: Option<VersionId>,
    pub conditions: Conditions,
    pub customer: Option<CustomerKey>,
    pub expected_owner: Option<String>,
}

impl Source {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, S3Error> {
        let header = fields.take("x-amz-copy-source")?.unwrap_or_default();
        let (bucket, key, version) = copy_source(&header)?;
        Ok(Self {
            bucket,
            key,
            version: version.as_deref().map(parse_version_id).transpose()?,
            conditions: Conditions::take(fields, conditions::COPY_SOURCE)?,
            customer: customer::take(fields, Triple::CopySource, Purpose::Read)?,
            expected_owner: fields.take("x-amz-source-expected-bucket-owner")?,
        })
    }
    pub(crate) fn action(&self) -> &'static str {
        if self.version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" }
    }
    pub(crate) fn resource(&self) -> Resource {
        Resource::Object(self.bucket.clone(), self.key.clone())
    }
}

pub(crate) struct Output {
    written: Written,
    source_version: VersionId,
}

fn directive(fields: &mut Fields, name: &'static str, message: &str) -> Result<Directive, S3Error> {
    match fields.take(name)?.as_deref() {
        None | Some("COPY") => Ok(Directive::Copy),
        Some("REPLACE") => Ok(Directive::Replace),
        Some(other) => Err(S3Error::invalid_argument(message, name, Some(other))),
    }
}

impl Operation for CopyObject {
    const NAME: &'static str = "CopyObject";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let metadata = directive(fields, "x-amz-metadata-directive", "Unknown metadata directive.")?;
        let tagging = directive(fields, "x-amz-tagging-directive", "Unknown tagging directive.")?;
        let tags = headers::take_tagging(fields)?;
        Ok(Input {
            bucket: fields.bucket()?,
            expected_owner: fields.expected_owner()?,
            source: Source::take(fields)?,
            metadata,
            tagging,
            // Tags that come with a copy of the source's mean nothing, as on AWS.
            tagged: tags.is_some() && tagging == Directive::Replace,
            checksum: fields.take_parsed(
                "x-amz-checksum-algorithm",
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
            )?,
            write: NewWrite {
                key: fields.key()?,
                sse: SseIntent::take(fields)?,
                meta: headers::take_object_meta(fields)?,
                tags: tags.unwrap_or_default(),
                precondition: writing::take_precondition(fields)?,
                acl: RequestedAcl::take(fields)?,
            },
        })
    }

    fn access(input: &Input) -> Access {
        let target = Resource::Object(input.bucket.clone(), input.write.key.clone());
        let access = Access::one("s3:PutObject", target.clone(), input.expected_owner.clone()).and(
            input.source.action(),
            input.source.resource(),
            input.source.expected_owner.clone(),
        );
        let access = match input.tagged {
            true => access.and("s3:PutObjectTagging", target.clone(), None),
            false => access,
        };
        if input.write.acl.is_specified() { access.and("s3:PutObjectAcl", target, None) } else { access }
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (input, bucket, source_bucket) = permit.into_parts()?;
        let source_bucket = source_bucket.ok_or_else(S3Error::internal)?;
        let Input { source, metadata, tagging, mut write, checksum, .. } = input;
        let version = reading::find(cx, &source_bucket, &source.key, source.version.as_ref()).await?;
        reading::check_customer(&version, source.customer.as_ref())?;
        if version.size > MAX_PUT_BYTES {
            return Err(S3Error::invalid_request(format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_PUT_BYTES}"
            )));
        }
        let key = reading::recover(cx, &source_bucket, &version, source.customer.clone()).await?;
        source.conditions.judge_copy_source(&version.etag, version.modified)?;
        let in_place = bucket.id == source_bucket.id && write.key == version.key && source.version.is_none();
        if in_place && metadata == Directive::Copy && !changes(cx, &bucket, &write, &version).await? {
            return Err(S3Error::invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's \
                 metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        if metadata == Directive::Copy {
            // The storage class and the redirect location are the request's own, never the source's.
            let ObjectMeta { storage_class, website_redirect, .. } = write.meta;
            write.meta = ObjectMeta { storage_class, website_redirect, ..version.meta.clone() };
        }
        if tagging == Directive::Copy && !version.tags.is_empty() {
            let action = match source.version {
                Some(_) => "s3:GetObjectVersionTagging",
                None => "s3:GetObjectTagging",
            };
            let named = source.version.map(|version| version.to_string());
            cx.permit("GetObjectTagging", action, &source_bucket, Some(&source.key), named.as_deref()).await?;
            cx.permit_tags(&bucket, &write.key, &version.tags).await?;
        }
        if tagging == Directive::Copy {
            write.tags = version.tags.clone();
        }
        let inherited = reading::checksums(&version, &key)?.first().map(|(algorithm, _)| *algorithm);
        let keep = checksum.or(inherited).unwrap_or(DEFAULT_CHECKSUM);
        let plain = cx.gateway.store.open(&source_bucket, &version, key, 0..version.size).await?;
        let written = writing::store(cx, &bucket, write, |md5| Relay::new(plain, md5, Some(keep))).await?;
        Ok(Output { written, source_version: version.version_id })
    }

    fn respond(Output { written, source_version }: Output) -> Response {
        let mut xml = XmlWriter::document("CopyObjectResult");
        xml.text("LastModified", &written.version.modified.iso8601());
        xml.text("ETag", &headers::quoted(&written.version.etag));
        for (algorithm, value) in &written.checksums {
            xml.text(algorithm.element(), &headers::checksum_text(value, ChecksumType::FullObject, None));
        }
        if !written.checksums.is_empty() {
            xml.text("ChecksumType", ChecksumType::FullObject.name());
        }
        let mut response = xml.respond();
        let to = response.headers_mut();
        if let VersionId::Id(id) = source_version {
            headers::set(to, "x-amz-copy-source-version-id", &id.to_string());
        }
        if let VersionId::Id(id) = written.version.version_id {
            headers::set(to, "x-amz-version-id", &id.to_string());
        }
        written.sse.add_to(to);
        response
    }
}

/// Whether a copy onto itself changes something that S3 accepts as a reason.
async fn changes(
    cx: &RequestContext<'_>,
    bucket: &tresor_storage::Bucket,
    write: &NewWrite,
    version: &Version,
) -> Result<bool, S3Error> {
    // An explicit encryption, or any explicit bucket configuration, counts as a change: recorded from AWS.
    let configured = cx.gateway.store.get_document(bucket, DOCUMENT).await?.is_some();
    Ok(write.sse.is_explicit()
        || configured
        || version.envelope.header.mode != SseMode::S3
        || write.meta.storage_class != version.meta.storage_class
        || write.meta.website_redirect.is_some())
}
