//! From host and path to bucket and key: path-style and virtual-hosted-style. Must never look anything up.

use crate::{error::S3Error, operation::Scope};
use percent_encoding::percent_decode_str;
use tresor_front::Head;
use tresor_model::{BucketName, ObjectKey};

/// What the address names, both checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub bucket: Option<BucketName>,
    pub key: Option<ObjectKey>,
}

impl Target {
    /// The bucket, and the object in it.
    pub(crate) fn names(&self) -> Option<(&BucketName, Option<&ObjectKey>)> {
        self.bucket.as_ref().map(|bucket| (bucket, self.key.as_ref()))
    }
    pub(crate) fn scope(&self) -> Scope {
        match (&self.bucket, &self.key) {
            (None, _) => Scope::Service,
            (Some(_), None) => Scope::Bucket,
            (Some(_), Some(_)) => Scope::Object,
        }
    }
}

/// Splits the address. `domains` are the names below which a label is a bucket (`BUCKET.s3.localhost`).
/// Errors: InvalidBucketName, KeyTooLongError, InvalidURI.
pub(crate) fn target(head: &Head, domains: &[String]) -> Result<Target, S3Error> {
    let path = head.path.strip_prefix('/').unwrap_or(&head.path);
    match hosted_bucket(&head.host, domains) {
        Some(bucket) => named(bucket, path),
        None => match path.split_once('/') {
            Some((bucket, key)) => named(&decode(bucket)?, key),
            None if path.is_empty() => Ok(Target { bucket: None, key: None }),
            None => named(&decode(path)?, ""),
        },
    }
}

/// The label in front of one of our domains, if the host has that form.
fn hosted_bucket<'a>(host: &'a str, domains: &[String]) -> Option<&'a str> {
    domains.iter().find_map(|domain| {
        let at = host.len().checked_sub(domain.len() + 1)?;
        let (bucket, rest) = host.split_at_checked(at)?;
        (rest.starts_with('.') && rest[1..].eq_ignore_ascii_case(domain) && !bucket.is_empty()).then_some(bucket)
    })
}

fn named(bucket: &str, raw_key: &str) -> Result<Target, S3Error> {
    let bucket_name: BucketName = bucket.parse().map_err(|_| S3Error::invalid_bucket_name(bucket))?;
    let key = decode(raw_key)?;
    let key = match key.as_str() {
        "" => None,
        key => Some(key.parse().map_err(|_| S3Error::key_too_long(key.len()))?),
    };
    Ok(Target { bucket: Some(bucket_name), key })
}

fn decode(text: &str) -> Result<String, S3Error> {
    percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| {
        S3Error::new(http::StatusCode::BAD_REQUEST, "InvalidURI", "Couldn't parse the specified URI.").with("URI", text)
    })
}

/// Reads `x-amz-copy-source`: `BUCKET/KEY` or `/BUCKET/KEY`, percent-encoded, perhaps with `?versionId=`.
pub(crate) fn copy_source(header: &str) -> Result<(BucketName, ObjectKey, Option<String>), S3Error> {
    let (path, version) = match header.split_once("?versionId=") {
        Some((path, version)) => (path, Some(version.to_owned())),
        None => (header, None),
    };
    let wrong = || {
        S3Error::invalid_argument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            "x-amz-copy-source",
            Some(header),
        )
    };
    let path = decode(path)?;
    let (bucket, key) = path.strip_prefix('/').unwrap_or(&path).split_once('/').ok_or_else(wrong)?;
    if key.is_empty() {
        return Err(wrong());
    }
    let bucket = bucket.parse().map_err(|_| S3Error::invalid_bucket_name(bucket))?;
    let key = key.parse().map_err(|_| S3Error::key_too_long(key.len()))?;
    Ok((bucket, key, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_below_our_domains_name_a_bucket() {
        let domains = vec!["s3.localhost".to_owned(), "localhost".to_owned()];
        let check = |host: &str, expected: Option<&str>| assert_eq!(hosted_bucket(host, &domains), expected, "{host}");
        check("my.bucket.s3.localhost", Some("my.bucket"));
        check("bucket.localhost", Some("bucket"));
        check("localhost", None);
        check("127.0.0.1", None);
        check("evillocalhost", None);
    }

    #[test]
    fn copy_sources() {
        let (bucket, key, version) = copy_source("/abc/a%20b/c?versionId=null").unwrap();
        assert_eq!((bucket.as_str(), key.as_str(), version.as_deref()), ("abc", "a b/c", Some("null")));
        assert!(copy_source("abc").is_err());
        assert!(copy_source("abc/").is_err());
    }
}
