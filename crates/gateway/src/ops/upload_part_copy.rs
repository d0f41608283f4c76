//! UploadPartCopy.

use super::{
    copy_object::Source,
    multipart::{Named, kept_checksum, take_part_number},
    reading,
    upload_part::{self, Output as Stored},
    writing::MAX_PUT_BYTES,
};
use crate::{
    authorize::{Access, Permit},
    body::Relay,
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    sse::customer::{self, Purpose, Triple},
    table,
    xml::XmlWriter,
};
use std::ops::Range;
use tresor_envelope::CustomerKey;
use tresor_front::Response;
use tresor_model::{ByteRange, ChecksumType, VersionId};

pub(crate) struct UploadPartCopy;

pub(crate) struct Input {
    named: Named,
    number: u16,
    customer: Option<CustomerKey>,
    source: Source,
    range: Option<String>,
}

pub(crate) struct Output {
    stored: Stored,
    source_version: VersionId,
}

/// Both ends must be given and lie within the source.
fn source_range(text: &str, size: u64) -> Result<Range<u64>, S3Error> {
    let name = "x-amz-copy-source-range";
    let Some(ByteRange::FromTo(first, last)) = ByteRange::parse(text) else {
        let message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy";
        return Err(S3Error::invalid_argument(message, name, Some(text)));
    };
    if last >= size {
        let message = format!("Range specified is not valid for source object of size: {size}");
        return Err(S3Error::invalid_argument(message, name, Some(text)));
    }
    Ok(first..last + 1)
}

impl Operation for UploadPartCopy {
    const NAME: &'static str = "UploadPartCopy";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        Ok(Input {
            number: take_part_number(fields)?,
            customer: customer::take(fields, Triple::Object, Purpose::Write)?,
            range: fields.take("x-amz-copy-source-range")?,
            source: Source::take(fields)?,
            named: Named::parse(fields)?,
        })
    }

    fn access(input: &Input) -> Access {
        let source = &input.source;
        input.named.access_to_parts(table::action(Self::NAME)).and(
            source.action(),
            source.resource(),
            source.expected_owner.clone(),
        )
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (Input { named, number, customer, source, range }, bucket, source_bucket) = permit.into_parts()?;
        let source_bucket = source_bucket.ok_or_else(S3Error::internal)?;
        let upload = named.find(cx, &bucket).await?;
        let version = reading::find(cx, &source_bucket, &source.key, source.version.as_ref()).await?;
        reading::check_customer(&version, source.customer.as_ref())?;
        let key = reading::recover(cx, &source_bucket, &version, source.customer.clone()).await?;
        source.conditions.judge_copy_source(&version.etag, version.modified)?;
        let range = match &range {
            Some(text) => source_range(text, version.size)?,
            None => 0..version.size,
        };
        if range.end - range.start > MAX_PUT_BYTES {
            return Err(S3Error::invalid_request(format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_PUT_BYTES}"
            )));
        }
        let plain = cx.gateway.store.open(&source_bucket, &version, key, range).await?;
        let (keep, _) = kept_checksum(&upload);
        let mut stored =
            upload_part::store(cx, &bucket, &upload, number, customer, |md5| Relay::new(plain, md5, Some(keep)))
                .await?;
        if upload.checksum.is_none() {
            stored.checksums.clear();
        }
        Ok(Output { stored, source_version: version.version_id })
    }

    fn respond(Output { stored, source_version }: Output) -> Response {
        let mut xml = XmlWriter::document("CopyPartResult");
        xml.text("LastModified", &stored.part.modified.iso8601());
        xml.text("ETag", &headers::quoted(&stored.part.etag));
        for (algorithm, value) in &stored.checksums {
            xml.text(algorithm.element(), &headers::checksum_text(value, ChecksumType::FullObject, None));
        }
        let mut response = xml.respond();
        if let VersionId::Id(id) = source_version {
            headers::set(response.headers_mut(), "x-amz-copy-source-version-id", &id.to_string());
        }
        stored.sse.add_to(response.headers_mut());
        response
    }
}
