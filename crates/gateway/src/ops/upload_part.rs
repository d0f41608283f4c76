//! UploadPart.

use super::{
    multipart::{self, Named, kept_checksum, take_part_number},
    writing::MAX_PUT_BYTES,
};
use crate::{
    authorize::{Access, Permit},
    body::{Checksums, DigestsLater, Expectations, Upload as UploadBody},
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
};
use tresor_digest::Md5Pool;
use tresor_envelope::{CustomerKey, PartParams, PlainSource, seal};
use tresor_front::{Body, Response, ResponseBody};
use tresor_model::ChecksumType;
use tresor_storage::{Bucket, ETagRule, PartRow, StoreError, Upload};

pub(crate) struct UploadPart;

pub(crate) struct Input {
    named: Named,
    number: u16,
    customer: Option<CustomerKey>,
    expected: Expectations,
    body: Body,
}

/// A stored part, as UploadPart and UploadPartCopy answer it.
pub(crate) struct Output {
    pub part: PartRow,
    pub sse: SseReply,
    pub checksums: Checksums,
}

/// Seals a part under its upload's key and stores it.
pub(crate) async fn store<S: PlainSource + 'static>(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
    upload: &Upload,
    number: u16,
    customer: Option<CustomerKey>,
    body: impl FnOnce(Option<&Md5Pool>) -> (S, DigestsLater),
) -> Result<Output, S3Error> {
    let sse = SseReply::new(&upload.envelope, customer.as_ref());
    let key = multipart::recover(cx, bucket, upload, customer).await?;
    let (plain, later) = body((upload.etag == ETagRule::Md5).then_some(&cx.gateway.md5));
    let params = PartParams::fresh(number, &*cx.gateway.entropy);
    let sealed = seal(key, &upload.envelope.header, params, Box::new(plain));
    let part = cx.store.put_part(bucket, upload, sealed, number).await.map_err(|error| match error {
        StoreError::NoSuchUpload => S3Error::no_such_upload(&upload.id.to_string()),
        other => other.into(),
    })?;
    let checksums = later.get().map(|digests| digests.checksums).unwrap_or_default();
    Ok(Output { part, sse, checksums })
}

impl Operation for UploadPart {
    const NAME: &'static str = "UploadPart";
    const BODY: BodyKind = BodyKind::Stream;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let length = fields.content_length().ok_or_else(S3Error::missing_content_length)?;
        if length > MAX_PUT_BYTES {
            return Err(S3Error::entity_too_large(length, MAX_PUT_BYTES));
        }
        Ok(Input {
            number: take_part_number(fields)?,
            customer: customer::take(fields, Triple::Object, Purpose::Write)?,
            expected: Expectations::take_from(fields)?,
            named: Named::parse(fields)?,
            body: fields.take_body().ok_or_else(S3Error::internal)?,
        })
    }

    fn access(input: &Input) -> Access {
        input.named.access_to_parts(table::action(Self::NAME))
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (Input { named, number, customer, expected, body }, bucket, _) = permit.into_parts()?;
        let upload = named.find(cx, &bucket).await?;
        let (keep, _) = kept_checksum(&upload);
        if let Some((created, sent)) = upload.checksum.zip(expected.algorithm())
            && created.0 != sent
        {
            return Err(S3Error::invalid_request(format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                created.0.name().to_ascii_lowercase(),
                sent.name().to_ascii_lowercase()
            )));
        }
        let shown = expected.algorithm();
        let mut output = store(cx, &bucket, &upload, number, customer, |md5| {
            UploadBody::new(body, expected, md5, Some(keep), MAX_PUT_BYTES)
        })
        .await?;
        // The answer shows the checksum that the client named, or the one the upload was created with.
        output.checksums.retain(|(algorithm, _)| shown.map_or(upload.checksum.is_some(), |shown| *algorithm == shown));
        Ok(output)
    }

    fn respond(output: Output) -> Response {
        let mut response = Response::new(ResponseBody::Empty);
        let to = response.headers_mut();
        headers::set(to, "etag", &headers::quoted(&output.part.etag));
        for (algorithm, value) in &output.checksums {
            headers::set(to, algorithm.header(), &headers::checksum_text(value, ChecksumType::FullObject, None));
        }
        output.sse.add_to(to);
        response
    }
}
