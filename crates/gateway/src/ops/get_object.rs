//! GetObject and HeadObject: one input, one answer, with and without the bytes.

use super::reading::{self, Selected, Selection};
use crate::{
    authorize::{Access, Permit, Resource},
    body::Checksums,
    conditions::{self, Conditions},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    sse::{
        customer::{self, Purpose, Triple},
        reply::SseReply,
    },
};
use futures_util::stream;
use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_LENGTH, ETAG, LAST_MODIFIED},
};
use std::sync::Arc;
use tresor_envelope::{CustomerKey, OpenError, PlainBody};
use tresor_front::{Response, ResponseBody};
use tresor_model::{BucketName, ByteRange, ChecksumType, ObjectKey, VersionId};
use tresor_storage::{Bucket, StoreError, Version};

pub(crate) struct GetObject;
pub(crate) struct HeadObject;

pub(crate) struct Input {
    bucket: BucketName,
    expected_owner: Option<String>,
    key: ObjectKey,
    version: Option<VersionId>,
    selection: Selection,
    conditions: Conditions,
    customer: Option<CustomerKey>,
    checksum_mode: bool,
    overrides: Vec<(&'static str, String)>,
}

pub(crate) struct Output {
    version: Arc<Version>,
    selected: Selected,
    sse: SseReply,
    checksums: Checksums,
    overrides: Vec<(&'static str, String)>,
    body: Option<PlainBody>,
}

/// How often a read that was overtaken by writes begins again.
const OVERTAKEN: usize = 4;

/// Headers of the answer that a signed request may choose.
const OVERRIDES: [(&str, &str); 6] = [
    ("response-content-type", "content-type"),
    ("response-content-language", "content-language"),
    ("response-expires", "expires"),
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
];

fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
    let range = fields.take("range")?;
    let part = match fields.query("partNumber") {
        None => None,
        Some(text) => Some(text.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(|| {
            S3Error::invalid_argument(
                "Part number must be an integer between 1 and 10000, inclusive",
                "partNumber",
                Some(text),
            )
        })?),
    };
    let selection = match (range, part) {
        (Some(_), Some(_)) => {
            return Err(S3Error::invalid_request("Cannot specify both Range header and partNumber query parameter"));
        }
        (None, Some(number)) => Selection::Part(number),
        // A range that is not exactly one well-formed byte range does not count.
        (Some(text), None) => ByteRange::parse(&text).map_or(Selection::Whole, |range| Selection::Range(range, text)),
        (None, None) => Selection::Whole,
    };
    let overrides: Vec<_> = OVERRIDES
        .into_iter()
        .filter_map(|(parameter, header)| fields.query(parameter).map(|value| (header, value.to_owned())))
        .collect();
    if !overrides.is_empty() && fields.caller().account().is_none() {
        return Err(S3Error::invalid_request(
            "Request specific response headers cannot be used for anonymous GET requests.",
        ));
    }
    Ok(Input {
        bucket: fields.bucket()?,
        expected_owner: fields.expected_owner()?,
        key: fields.key()?,
        version: fields.version_id()?,
        selection,
        conditions: Conditions::take(fields, conditions::READ)?,
        customer: customer::take(fields, Triple::Object, Purpose::Read)?,
        checksum_mode: fields.take("x-amz-checksum-mode")?.is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED")),
        overrides,
    })
}

fn action(input: &Input) -> &'static str {
    if input.version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" }
}

fn access(input: &Input) -> Access {
    Access::one(action(input), Resource::Object(input.bucket.clone(), input.key.clone()), input.expected_owner.clone())
}

/// `with_body` is the difference between GET and HEAD. HEAD needs the object's key for SSE-C, to judge the customer's key, and
/// for a checksum, which is stored sealed.
/// Nothing when the version was replaced before it was opened.
async fn run(
    cx: &RequestContext<'_>,
    input: &Input,
    bucket: &Bucket,
    with_body: bool,
) -> Result<Option<Output>, S3Error> {
    let version = reading::find(cx, bucket, &input.key, input.version.as_ref()).await?;
    reading::check_customer(&version, input.customer.as_ref())?;
    let sse = SseReply::new(&version.envelope, input.customer.as_ref());
    // Whoever lacks the customer's key learns nothing, not even whether a condition holds.
    let is_customer = input.customer.is_some();
    let early =
        if is_customer { Some(reading::recover(cx, bucket, &version, input.customer.clone()).await?) } else { None };
    input.conditions.judge_read(&version.etag, version.modified)?;
    let selected = reading::select(cx, bucket, &version, &input.selection).await?;
    let wants_checksum = input.checksum_mode && version.checksums.is_some();
    let key = match early {
        Some(key) => Some(key),
        None if with_body || wants_checksum => Some(reading::recover(cx, bucket, &version, None).await?),
        None => None,
    };
    let checksums = match &key {
        Some(key) if wants_checksum && matches!(input.selection, Selection::Whole) => {
            reading::checksums(&version, key)?
        }
        Some(key) if input.checksum_mode => {
            match selected.part.as_ref().and_then(|p| Some((p, p.sealed_checksums.as_ref()?))) {
                Some((part, sealed)) => reading::open_checksums(key, &part.sealed.salt, sealed)?,
                None => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    let body = match key {
        Some(key) if with_body => match cx.gateway.store.open(bucket, &version, key, selected.range.clone()).await {
            Err(StoreError::Overtaken) => return Ok(None),
            opened => Some(opened?),
        },
        _ => None,
    };
    Ok(Some(Output { version, selected, sse, checksums, overrides: input.overrides.clone(), body }))
}

fn respond(output: Output) -> Response {
    let Output { version, selected, sse, checksums, overrides, body } = output;
    let length = selected.range.end - selected.range.start;
    let mut response = Response::new(match body {
        Some(body) if length > 0 => ResponseBody::Stream(Box::pin(stream::unfold(Some(body), next_piece))),
        _ => ResponseBody::Empty,
    });
    if selected.partial {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let to = response.headers_mut();
    headers::meta_headers(to, &version.meta);
    to.insert(CONTENT_LENGTH, length.into());
    to.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers::set(to, ETAG, &headers::quoted(&version.etag));
    headers::set(to, LAST_MODIFIED, &headers::http_date(version.modified));
    if selected.partial && length > 0 {
        let range = format!("bytes {}-{}/{}", selected.range.start, selected.range.end - 1, version.size);
        headers::set(to, "content-range", &range);
    }
    if let Some(parts) = selected.parts {
        headers::set(to, "x-amz-mp-parts-count", &parts.to_string());
    }
    if !version.tags.is_empty() {
        headers::set(to, "x-amz-tagging-count", &version.tags.len().to_string());
    }
    if let VersionId::Id(id) = version.version_id {
        headers::set(to, "x-amz-version-id", &id.to_string());
    }
    let kind = version.checksums.as_ref().map_or(ChecksumType::FullObject, |stored| stored.kind);
    let suffix = if selected.part.is_some() { None } else { version.parts_count };
    headers::checksum_headers(to, &checksums, kind, suffix);
    sse.add_to(to);
    for (name, value) in overrides {
        headers::set(to, name, &value);
    }
    response
}

type Piece = Result<bytes::Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Pulls authenticated plaintext; an error ends the stream and resets the connection.
async fn next_piece(body: Option<PlainBody>) -> Option<(Piece, Option<PlainBody>)> {
    let mut body = body?;
    match body.next().await {
        Ok(Some(piece)) => Some((Ok(piece), Some(body))),
        Ok(None) => None,
        Err(error) => {
            tracing::error!(%error, "an object failed to open while it was read");
            Some((Err(Box::new(error)), None))
        }
    }
}

impl Operation for GetObject {
    const NAME: &'static str = "GetObject";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        parse(fields)
    }
    fn access(input: &Input) -> Access {
        access(input)
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        for attempt in 0..OVERTAKEN {
            if attempt > 0 {
                // Another object, with another owner, list and tags.
                let named = input.version.as_ref().map(ToString::to_string);
                cx.permit(Self::NAME, action(&input), &bucket, Some(&input.key), named.as_deref()).await?;
            }
            let Some(mut output) = run(cx, &input, &bucket, true).await? else { continue };
            let Some(body) = output.body.take() else { return Ok(output) };
            // The first chunk is opened before any header is sent: what fails there is a 500, not a broken 200.
            match body.primed().await {
                Ok(body) => return Ok(Output { body: Some(body), ..output }),
                // Between finding the version and opening it, it was replaced and removed: there is another one now.
                Err(OpenError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(reading::damaged(error)),
            }
        }
        Err(reading::damaged("the object's bytes are not there"))
    }
    fn respond(output: Output) -> Response {
        respond(output)
    }
}

impl Operation for HeadObject {
    const NAME: &'static str = "HeadObject";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        parse(fields)
    }
    fn access(input: &Input) -> Access {
        access(input)
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        run(cx, &input, &bucket, false).await?.ok_or_else(S3Error::slow_down)
    }
    fn respond(output: Output) -> Response {
        respond(output)
    }
}
