//! CompleteMultipartUpload.

use super::{
    multipart::{self, MAX_PARTS, MIN_PART_BYTES, Named, kept_checksum, part_checksums},
    reading,
    writing::{self, failed},
};
use crate::{
    authorize::{Access, Permit},
    body::{self, Checksums, Expectations},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    sse::{
        customer::{self, Purpose, Triple},
        reply::SseReply,
    },
    table,
    xml::{Element, XmlWriter},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::sync::Arc;
use tresor_digest::{composite, full_object};
use tresor_envelope::{ContentKey, CustomerKey, SseMode, encode_checksums};
use tresor_front::{Body, Response};
use tresor_model::{ChecksumAlgorithm, ChecksumType, ETag, VersionId};
use tresor_storage::{Bucket, Completing, PartRow, Precondition, StoreError, StoredChecksums, Upload, Version};

pub(crate) struct CompleteMultipartUpload;

/// Ten thousand parts, each with every element.
const MAX_DOCUMENT: usize = 8 << 20;

pub(crate) struct Input {
    named: Named,
    customer: Option<CustomerKey>,
    /// The whole object's checksum as the client knows it, base64; COMPOSITE with its part count.
    promised: Option<(ChecksumAlgorithm, String)>,
    kind: Option<ChecksumType>,
    object_size: Option<u64>,
    precondition: Precondition,
    body: Body,
}

pub(crate) struct Output {
    version: Arc<Version>,
    location: String,
    bucket: String,
    sse: SseReply,
    checksums: Checksums,
    kind: ChecksumType,
}

/// One part as the client lists it.
struct Listed {
    number: u16,
    etag: ETag,
    checksums: Vec<(ChecksumAlgorithm, String)>,
}

fn read_parts(document: &[u8]) -> Result<Vec<Listed>, S3Error> {
    let root = Element::parse(document, "CompleteMultipartUpload")?;
    root.expect_only(&["Part"])?;
    let parts: Result<Vec<Listed>, S3Error> = root
        .all("Part")
        .map(|part| {
            let number = part.text_of("PartNumber")?.trim();
            let number: u16 = number.parse().ok().filter(|n| (1..=MAX_PARTS).contains(n)).ok_or_else(|| {
                S3Error::invalid_argument("PartNumber must be >= 1 and <= 10000", "partNumber", Some(number))
            })?;
            // A tag that no part can have is InvalidPart, as any tag that does not match.
            let etag =
                part.text_of("ETag")?.trim().parse().map_err(|_| S3Error::from(StoreError::InvalidPart(number)))?;
            let mut checksums = Vec::new();
            for algorithm in ChecksumAlgorithm::ALL {
                if let Some(text) = part.optional_text_of(algorithm.element())? {
                    checksums.push((algorithm, text.trim().to_owned()));
                }
            }
            Ok(Listed { number, etag, checksums })
        })
        .collect();
    let parts = parts?;
    if parts.is_empty() || parts.len() > usize::from(MAX_PARTS) { Err(S3Error::malformed_xml()) } else { Ok(parts) }
}

impl Operation for CompleteMultipartUpload {
    const NAME: &'static str = "CompleteMultipartUpload";
    // The checksum headers are the object's, not the document's, so the document is read here and not by the generic path.
    const BODY: BodyKind = BodyKind::Stream;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let mut promised = None;
        for algorithm in ChecksumAlgorithm::ALL {
            if let Some(text) = fields.take(algorithm.header())?
                && promised.replace((algorithm, text)).is_some()
            {
                return Err(S3Error::invalid_request(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
        }
        let kind = match fields.take("x-amz-checksum-type")? {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| S3Error::invalid_request("Value for x-amz-checksum-type header is invalid."))?,
            ),
        };
        Ok(Input {
            promised,
            kind,
            customer: customer::take(fields, Triple::Object, Purpose::Write)?,
            object_size: fields
                .take_parsed("x-amz-mp-object-size", "Value for x-amz-mp-object-size header is invalid.")?,
            precondition: writing::take_precondition(fields)?,
            named: Named::parse(fields)?,
            body: fields.take_body().ok_or_else(S3Error::internal)?,
        })
    }

    fn access(input: &Input) -> Access {
        input.named.access_to_parts(table::action(Self::NAME))
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (mut input, bucket, _) = permit.into_parts()?;
        let document = body::read_whole(&mut input.body, Expectations::none(), MAX_DOCUMENT).await?;
        let location = location(cx, &input.named);
        let upload = match input.named.find(cx, &bucket).await {
            Ok(upload) => upload,
            Err(error) => return repeated(cx, &bucket, input, location).await.and_then(|found| found.ok_or(error)),
        };
        let listed = read_parts(&document)?;
        let (_, kind) = kept_checksum(&upload);
        if input.kind.is_some_and(|asked| asked != kind) {
            return Err(S3Error::invalid_request(format!(
                "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
                kind.name()
            )));
        }
        let key = whole_key(cx, &bucket, &upload, input.customer.take()).await?;
        let sse = SseReply::new(&upload.envelope, None);
        let id = upload.id.to_string();
        let completing = cx.store.begin_complete(&bucket, upload).await.map_err(|error| match error {
            StoreError::NoSuchUpload => S3Error::no_such_upload(&id),
            other => other.into(),
        })?;
        let (chosen, checksums) = match check(&completing, &input, &listed, key.as_ref()) {
            Ok(checked) => checked,
            Err(error) => {
                completing.cancel().await;
                return Err(error);
            }
        };
        let stored = key.map(|key| {
            let mut salt = [0; 32];
            cx.gateway.entropy.fill(&mut salt);
            StoredChecksums { salt, sealed: key.seal_digests(&salt, &encode_checksums(&checksums)), kind }
        });
        let finished = completing.finish(&chosen, stored, &input.precondition).await;
        let version = finished.map_err(|error| failed(error, &input.precondition))?.into();
        Ok(Output { version, location, bucket: input.named.bucket.to_string(), sse, checksums, kind })
    }

    fn respond(output: Output) -> Response {
        let mut xml = XmlWriter::document("CompleteMultipartUploadResult");
        xml.text("Location", &output.location);
        xml.text("Bucket", &output.bucket);
        xml.text("Key", output.version.key.as_str());
        xml.text("ETag", &headers::quoted(&output.version.etag));
        for (algorithm, value) in &output.checksums {
            xml.text(algorithm.element(), &headers::checksum_text(value, output.kind, output.version.parts_count));
        }
        if !output.checksums.is_empty() {
            xml.text("ChecksumType", output.kind.name());
        }
        let mut response = xml.respond();
        if let VersionId::Id(id) = output.version.version_id {
            headers::set(response.headers_mut(), "x-amz-version-id", &id.to_string());
        }
        output.sse.add_to(response.headers_mut());
        response
    }
}

/// Holds the listed parts and the promises about the whole against what was uploaded: the chosen parts and the whole's checksum.
fn check(
    completing: &Completing,
    input: &Input,
    listed: &[Listed],
    key: Option<&ContentKey>,
) -> Result<(Vec<PartRow>, Checksums), S3Error> {
    let tags: Vec<(u16, ETag)> = listed.iter().map(|part| (part.number, part.etag)).collect();
    let chosen = completing.choose(&tags, MIN_PART_BYTES)?;
    let size: u64 = chosen.iter().map(|part| part.size).sum();
    if let Some(promised) = input.object_size.filter(|promised| *promised != size) {
        return Err(S3Error::invalid_request(format!(
            "The provided 'x-amz-mp-object-size' header value {promised} does not match what was computed: {size}"
        )));
    }
    let Some(key) = key else { return Ok((chosen, Vec::new())) };
    let (algorithm, kind) = kept_checksum(&completing.upload);
    let whole = whole_checksum(key, algorithm, kind, completing.upload.checksum.is_some(), listed, &chosen)?;
    if let Some((promised, text)) = &input.promised {
        let expected = headers::checksum_text(&whole, kind, Some(chosen.len() as u16));
        if *promised != algorithm || (*text != expected && *text != STANDARD.encode(&whole)) {
            let name = promised.name().to_ascii_lowercase();
            return Err(S3Error::bad_digest(format!(
                "The {name} you specified did not match the calculated checksum."
            )));
        }
    }
    Ok((chosen, vec![(algorithm, whole)]))
}

fn location(cx: &RequestContext<'_>, named: &Named) -> String {
    let key = utf8_percent_encode(named.key.as_str(), NON_ALPHANUMERIC);
    format!("{}://{}/{}/{key}", cx.scheme, cx.host, named.bucket)
}

/// The answer to a Complete that was sent again after it had succeeded.
async fn repeated(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
    input: Input,
    location: String,
) -> Result<Option<Output>, S3Error> {
    let Some(version) = cx.gateway.store.completed(bucket, &input.named.key, &input.named.id()?).await? else {
        return Ok(None);
    };
    let sse = SseReply::new(&version.envelope, None);
    let kind = version.checksums.as_ref().map_or(ChecksumType::FullObject, |stored| stored.kind);
    let is_customer = version.envelope.header.mode == SseMode::Customer;
    let checksums = if is_customer && input.customer.is_none() {
        Vec::new()
    } else {
        reading::checksums(&version, &reading::recover(cx, bucket, &version, input.customer).await?)?
    };
    Ok(Some(Output { version, location, bucket: input.named.bucket.to_string(), sse, checksums, kind }))
}

/// The key that opens the parts' checksums. An SSE-C upload may be completed without its key; only one that was created with a
/// checksum algorithm needs it.
async fn whole_key(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
    upload: &Upload,
    customer: Option<CustomerKey>,
) -> Result<Option<ContentKey>, S3Error> {
    let is_customer = upload.envelope.header.mode == SseMode::Customer;
    if is_customer && customer.is_none() && upload.checksum.is_none() {
        return Ok(None);
    }
    multipart::recover(cx, bucket, upload, customer).await.map(Some)
}

/// Opens the parts' checksums, holds them against those the client lists, and makes the whole's. Errors: InvalidRequest,
/// InvalidPart.
fn whole_checksum(
    key: &ContentKey,
    algorithm: ChecksumAlgorithm,
    kind: ChecksumType,
    named: bool,
    listed: &[Listed],
    chosen: &[PartRow],
) -> Result<Vec<u8>, S3Error> {
    let mut values = Vec::with_capacity(chosen.len());
    for (listed, part) in listed.iter().zip(chosen) {
        let stored = part_checksums(key, part)?;
        let value = stored.iter().find(|(found, _)| *found == algorithm).map(|(_, value)| value.clone());
        let value = value.ok_or_else(|| reading::damaged("a part lacks its checksum"))?;
        for (sent, text) in &listed.checksums {
            let known = stored.iter().find(|(found, _)| found == sent);
            if known.is_none_or(|(_, value)| STANDARD.encode(value) != *text) {
                return Err(StoreError::InvalidPart(listed.number).into());
            }
        }
        if named && kind == ChecksumType::Composite && listed.checksums.is_empty() {
            return Err(S3Error::invalid_request(format!(
                "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was missing for part {} in the request.",
                algorithm.name().to_ascii_lowercase(),
                listed.number
            )));
        }
        values.push((value, part.size));
    }
    match kind {
        ChecksumType::Composite => {
            Ok(composite(algorithm, &values.into_iter().map(|(value, _)| value).collect::<Vec<_>>()))
        }
        ChecksumType::FullObject => {
            full_object(algorithm, &values).ok_or_else(|| reading::damaged("a part's checksum cannot be combined"))
        }
    }
}
