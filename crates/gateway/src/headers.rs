//! Headers that belong to an object: metadata, tags and storage class on the way in; checksums, dates and metadata on the
//! way out.

use crate::{error::S3Error, fields::Fields};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_TYPE, IntoHeaderName},
};
use percent_encoding::percent_decode_str;
use std::time::{Duration, UNIX_EPOCH};
use tresor_model::{ChecksumAlgorithm, ChecksumType, ETag, TagSet, Timestamp};
use tresor_storage::ObjectMeta;

/// S3's limit on user metadata: names and values together, in bytes.
const MAX_USER_METADATA: usize = 2048;
/// The longest system metadata value Tresor keeps, in bytes, so that a version record stays below the store's limit.
const MAX_SYSTEM_VALUE: usize = 4096;
const META_PREFIX: &str = "x-amz-meta-";

/// Takes system and user metadata. Errors: MetadataTooLarge.
pub(crate) fn take_object_meta(fields: &mut Fields) -> Result<ObjectMeta, S3Error> {
    let user = fields.take_prefixed(META_PREFIX)?;
    let size: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_USER_METADATA {
        return Err(metadata_too_large(size));
    }
    let mut system = |name: &str| match fields.take(name)? {
        Some(value) if value.len() > MAX_SYSTEM_VALUE => Err(metadata_too_large(value.len())),
        other => Ok(other),
    };
    Ok(ObjectMeta {
        content_type: system("content-type")?,
        cache_control: system("cache-control")?,
        content_disposition: system("content-disposition")?,
        content_encoding: system("content-encoding")?.and_then(without_aws_chunked),
        content_language: system("content-language")?,
        expires: system("expires")?,
        website_redirect: system("x-amz-website-redirect-location")?,
        storage_class: take_storage_class(fields)?,
        user,
    })
}

fn metadata_too_large(size: usize) -> S3Error {
    S3Error::new(
        http::StatusCode::BAD_REQUEST,
        "MetadataTooLarge",
        "Your metadata headers exceed the maximum allowed metadata size",
    )
    .with("Size", size.to_string())
    .with("MaxSizeAllowed", MAX_USER_METADATA.to_string())
}

/// `aws-chunked` describes the transfer, not the object.
fn without_aws_chunked(value: String) -> Option<String> {
    let kept: Vec<&str> = value.split(',').map(str::trim).filter(|c| !c.eq_ignore_ascii_case("aws-chunked")).collect();
    let kept = kept.join(", ");
    (!kept.is_empty()).then_some(kept)
}

const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

/// Takes the storage class; `STANDARD` is what no header means. Tresor has one kind of storage and shows the class it was given,
/// except for the archive classes, whose objects could not be read at once: those are refused.
pub(crate) fn take_storage_class(fields: &mut Fields) -> Result<Option<String>, S3Error> {
    match fields.take("x-amz-storage-class")? {
        None => Ok(None),
        Some(class) if class == "STANDARD" => Ok(None),
        Some(class) if class == "GLACIER" || class == "DEEP_ARCHIVE" => {
            Err(S3Error::header_not_implemented("x-amz-storage-class"))
        }
        Some(class) if STORAGE_CLASSES.contains(&class.as_str()) => Ok(Some(class)),
        Some(_) => Err(S3Error::new(
            http::StatusCode::BAD_REQUEST,
            "InvalidStorageClass",
            "The storage class you specified is not valid",
        )),
    }
}

/// Takes `x-amz-tagging`: `k1=v1&k2=v2`, percent-encoded. Errors: InvalidArgument, InvalidTag, BadRequest.
pub(crate) fn take_tagging(fields: &mut Fields) -> Result<Option<TagSet>, S3Error> {
    let Some(text) = fields.take("x-amz-tagging")? else { return Ok(None) };
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned()).map_err(|_| {
            S3Error::invalid_argument("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.", "x-amz-tagging", Some(&text))
        })
    };
    let mut pairs = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.push((decode(key)?, decode(value)?));
    }
    checked_tags(pairs).map(Some)
}

/// Holds tags against S3's rules.
pub(crate) fn checked_tags(pairs: Vec<(String, String)>) -> Result<TagSet, S3Error> {
    use tresor_model::InvalidTags;
    TagSet::for_object(pairs).map_err(|error| match &error {
        InvalidTags::TooMany => S3Error::new(http::StatusCode::BAD_REQUEST, "BadRequest", error.to_string()),
        InvalidTags::DuplicateKey(key) => S3Error::invalid_tag(error.to_string()).with("TagKey", key),
        InvalidTags::InvalidKey(key) => S3Error::invalid_tag(error.to_string()).with("TagKey", key),
        InvalidTags::InvalidValue(value) => S3Error::invalid_tag(error.to_string()).with("TagValue", value),
    })
}

/// `"…"`, as every answer shows an ETag.
pub(crate) fn quoted(etag: &ETag) -> String {
    let mut text = String::with_capacity(40);
    text.push('"');
    etag.push_to(&mut text);
    text.push('"');
    text
}

/// `Mon, 23 Nov 2026 20:57:11 GMT`.
pub(crate) fn http_date(at: Timestamp) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at.seconds()))
}

/// Sets a header from text that came from a client or from us; text that no header can hold is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: impl IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// The checksum headers of an answer. `suffix` is the part count of a COMPOSITE checksum.
pub(crate) fn checksum_headers(
    headers: &mut HeaderMap,
    checksums: &[(ChecksumAlgorithm, Vec<u8>)],
    kind: ChecksumType,
    suffix: Option<u16>,
) {
    for (algorithm, value) in checksums {
        set(headers, algorithm.header(), &checksum_text(value, kind, suffix));
    }
    if !checksums.is_empty() {
        set(headers, "x-amz-checksum-type", kind.name());
    }
}

/// Base64; a COMPOSITE checksum names its part count behind a dash.
pub(crate) fn checksum_text(value: &[u8], kind: ChecksumType, parts: Option<u16>) -> String {
    match (kind, parts) {
        (ChecksumType::Composite, Some(parts)) => format!("{}-{parts}", STANDARD.encode(value)),
        _ => STANDARD.encode(value),
    }
}

/// The metadata headers of GET and HEAD.
pub(crate) fn meta_headers(headers: &mut HeaderMap, meta: &ObjectMeta) {
    set(headers, CONTENT_TYPE, meta.content_type.as_deref().unwrap_or("binary/octet-stream"));
    let optional = [
        ("cache-control", &meta.cache_control),
        ("content-disposition", &meta.content_disposition),
        ("content-encoding", &meta.content_encoding),
        ("content-language", &meta.content_language),
        ("expires", &meta.expires),
        ("x-amz-website-redirect-location", &meta.website_redirect),
        ("x-amz-storage-class", &meta.storage_class),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            set(headers, name, value);
        }
    }
    for (name, value) in &meta.user {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(format!("{META_PREFIX}{name}").as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.insert(name, value);
        }
    }
}
