//! PostObject: an upload from an HTML form.

use super::{
    object_tagging,
    writing::{self, MAX_PUT_BYTES, NewWrite, Written},
};
use crate::{
    acl::RequestedAcl,
    authorize::{Access, Permit, Resource},
    body::{DEFAULT_CHECKSUM, Expectations, Upload},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    post::{Form, FormFile},
    serve::RequestContext,
    sse::intent::SseIntent,
    table,
    xml::XmlWriter,
};
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::ops::RangeInclusive;
use tresor_front::{Response, ResponseBody};
use tresor_model::{BucketName, ChecksumAlgorithm, ChecksumType, ObjectKey, VersionId};
use tresor_storage::Precondition;

pub(crate) struct PostObject;

pub(crate) struct Input {
    bucket: BucketName,
    expected_owner: Option<String>,
    tagged: bool,
    write: NewWrite,
    expected: Expectations,
    keep: ChecksumAlgorithm,
    file: FormFile,
    length: RangeInclusive<u64>,
    reply: Reply,
}

/// What a form wants for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    Ok,
    Created,
    NoContent,
    /// A page that is told what was stored.
    Redirect(String),
}

impl Reply {
    /// By `success_action_redirect`, or `redirect`, or `success_action_status`. What S3 does not know is 204.
    fn of(form: &Form) -> Self {
        let absolute = |url: &&str| {
            let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
            matches!(scheme.as_deref(), Some("http" | "https"))
        };
        let page = form.field("success_action_redirect").or_else(|| form.field("redirect")).filter(absolute);
        match (page, form.field("success_action_status")) {
            (Some(url), _) => Self::Redirect(url.to_owned()),
            (None, Some("200")) => Self::Ok,
            (None, Some("201")) => Self::Created,
            (None, _) => Self::NoContent,
        }
    }
}

pub(crate) struct Output {
    bucket: BucketName,
    location: String,
    written: Written,
    reply: Reply,
}

/// As S3 encodes keys in what it answers to forms: slashes too.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Operation for PostObject {
    const NAME: &'static str = "PostObject";
    const BODY: BodyKind = BodyKind::Form;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let form = fields.take_form().ok_or_else(S3Error::internal)?;
        let tags = form.field("tagging").map(|text| object_tagging::from_xml(text.as_bytes())).transpose()?;
        let expected = Expectations::take_from(fields)?;
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
                precondition: Precondition::default(),
                acl: RequestedAcl::take(fields)?,
            },
            reply: Reply::of(&form),
            length: *form.length.start()..=(*form.length.end()).min(MAX_PUT_BYTES),
            file: form.file,
        })
    }

    fn access(input: &Input) -> Access {
        let resource = Resource::Object(input.bucket.clone(), input.write.key.clone());
        let mut access = Access::one(table::action(Self::NAME), resource.clone(), input.expected_owner.clone());
        if input.write.acl.is_specified() {
            access = access.and("s3:PutObjectAcl", resource.clone(), None);
        }
        match input.tagged {
            true => access.and("s3:PutObjectTagging", resource, None).with_tags(&input.write.tags),
            false => access,
        }
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (Input { write, expected, keep, file, length, reply, .. }, bucket, _) = permit.into_parts()?;
        let location = location(cx, &bucket.name, &write.key);
        let written = writing::store(cx, &bucket, write, |md5| {
            let (upload, later) = Upload::new(file, expected, md5, Some(keep), *length.end());
            (upload.at_least(*length.start()), later)
        })
        .await?;
        Ok(Output { bucket: bucket.name, location, written, reply })
    }

    fn respond(Output { bucket, location, written, reply }: Output) -> Response {
        let etag = headers::quoted(&written.version.etag);
        let key = &written.version.key;
        let mut response = match &reply {
            Reply::Created => {
                let mut xml = XmlWriter::bare("PostResponse");
                xml.text("Location", &location);
                xml.text("Bucket", bucket.as_str());
                xml.text("Key", key.as_str());
                xml.text("ETag", &etag);
                xml.respond()
            }
            Reply::Ok | Reply::NoContent | Reply::Redirect(_) => Response::new(ResponseBody::Empty),
        };
        let (status, location) = match reply {
            Reply::Ok => (StatusCode::OK, location),
            Reply::Created => (StatusCode::CREATED, location),
            Reply::NoContent => (StatusCode::NO_CONTENT, location),
            Reply::Redirect(url) => (StatusCode::SEE_OTHER, redirect(&url, &bucket, key, &etag)),
        };
        *response.status_mut() = status;
        let to = response.headers_mut();
        headers::set(to, "location", &location);
        headers::set(to, "etag", &etag);
        headers::checksum_headers(to, &written.checksums, ChecksumType::FullObject, None);
        if let VersionId::Id(id) = written.version.version_id {
            headers::set(to, "x-amz-version-id", &id.to_string());
        }
        written.sse.add_to(to);
        response
    }
}

/// The address of the new object, in the style in which the bucket was addressed.
fn location(cx: &RequestContext<'_>, bucket: &BucketName, key: &ObjectKey) -> String {
    let key = utf8_percent_encode(key.as_str(), KEY);
    let host = cx.host.rsplit_once(':').map_or(cx.host, |(name, _)| name);
    let domains = &cx.gateway.settings.virtual_host_domains;
    let hosted = domains.iter().any(|domain| host.eq_ignore_ascii_case(&format!("{bucket}.{domain}")));
    match hosted {
        true => format!("{}://{}/{key}", cx.scheme, cx.host),
        false => format!("{}://{}/{bucket}/{key}", cx.scheme, cx.host),
    }
}

/// The page, told what was stored: what its query held stays in front.
fn redirect(url: &str, bucket: &BucketName, key: &ObjectKey, etag: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, KEY).to_string().replace("%20", "+");
    let join = if url.contains('?') { '&' } else { '?' };
    format!("{url}{join}bucket={bucket}&key={}&etag={}", encode(key.as_str()), encode(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_what_was_stored() {
        let (bucket, key): (BucketName, ObjectKey) = ("bucket".parse().unwrap(), "a b/ü".parse().unwrap());
        let check = |url: &str, expected: &str| assert_eq!(redirect(url, &bucket, &key, "\"e\""), expected);
        check("http://h/p", "http://h/p?bucket=bucket&key=a+b%2F%C3%BC&etag=%22e%22");
        check("http://h/p?x=1", "http://h/p?x=1&bucket=bucket&key=a+b%2F%C3%BC&etag=%22e%22");
    }
}
