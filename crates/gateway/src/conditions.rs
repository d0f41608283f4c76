//! Conditional requests: RFC 9110 section 13 as S3 applies it. Must never know which operation asks.

use crate::{error::S3Error, fields::Fields};
use tresor_model::{ETag, Timestamp};

/// Headers of a read, and of a copy's source.
pub(crate) const READ: [&str; 4] = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
pub(crate) const COPY_SOURCE: [&str; 4] = [
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
];

/// The conditions of a read, or of a copy's source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
    /// Whole seconds since 1970, as HTTP dates have no more.
    if_modified_since: Option<u64>,
    if_unmodified_since: Option<u64>,
}

impl Conditions {
    /// Takes the four headers of `READ` or `COPY_SOURCE`. A date that cannot be read does not count.
    pub(crate) fn take(fields: &mut Fields, names: [&str; 4]) -> Result<Self, S3Error> {
        let mut take = |name: &str| fields.take(name);
        let seconds = |text: Option<String>| {
            let at = httpdate::parse_http_date(&text?).ok()?;
            at.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
        };
        Ok(Self {
            if_match: take(names[0])?,
            if_none_match: take(names[1])?,
            if_modified_since: seconds(take(names[2])?),
            if_unmodified_since: seconds(take(names[3])?),
        })
    }

    /// For GET and HEAD. Errors: PreconditionFailed, NotModified.
    pub(crate) fn judge_read(&self, etag: &ETag, modified: Timestamp) -> Result<(), S3Error> {
        match self.first_broken(etag, modified) {
            None => Ok(()),
            Some(Broken::Match) => Err(S3Error::precondition_failed("If-Match")),
            Some(Broken::UnmodifiedSince) => Err(S3Error::precondition_failed("If-Unmodified-Since")),
            Some(Broken::NoneMatch | Broken::ModifiedSince) => Err(S3Error::not_modified()
                .header("etag", crate::headers::quoted(etag))
                .header("last-modified", crate::headers::http_date(modified))),
        }
    }

    /// For the source of a copy, where every broken condition is PreconditionFailed.
    pub(crate) fn judge_copy_source(&self, etag: &ETag, modified: Timestamp) -> Result<(), S3Error> {
        match self.first_broken(etag, modified) {
            None => Ok(()),
            Some(broken) => Err(S3Error::precondition_failed(match broken {
                Broken::Match => "x-amz-copy-source-If-Match",
                Broken::NoneMatch => "x-amz-copy-source-If-None-Match",
                Broken::ModifiedSince => "x-amz-copy-source-If-Modified-Since",
                Broken::UnmodifiedSince => "x-amz-copy-source-If-Unmodified-Since",
            })),
        }
    }

    /// If-Match outweighs If-Unmodified-Since, If-None-Match outweighs If-Modified-Since.
    fn first_broken(&self, etag: &ETag, modified: Timestamp) -> Option<Broken> {
        let modified = modified.seconds();
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !matches_any(tags, etag) => return Some(Broken::Match),
            (None, Some(since)) if modified > since => return Some(Broken::UnmodifiedSince),
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) if matches_any(tags, etag) => Some(Broken::NoneMatch),
            (None, Some(since)) if modified <= since => Some(Broken::ModifiedSince),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Broken {
    Match,
    NoneMatch,
    ModifiedSince,
    UnmodifiedSince,
}

/// A list of tags, quoted or not, weak or not, or `*`.
fn matches_any(tags: &str, etag: &ETag) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == etag.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_as_s3_applies_them() {
        let etag: ETag = "5eb63bbbe01eeed093cb22bb8f5acdc3".parse().unwrap();
        let at = Timestamp::from_millis(1_000_500);
        let check = |conditions: Conditions, expected: Option<&str>| {
            assert_eq!(conditions.judge_read(&etag, at).err().map(|e| e.code), expected, "{conditions:?}");
        };
        let tag = || Some(format!("\"{etag}\""));
        let none = Conditions::default;
        check(Conditions { if_match: tag(), ..none() }, None);
        check(Conditions { if_match: Some("*".into()), ..none() }, None);
        check(Conditions { if_match: Some("\"other\"".into()), ..none() }, Some("PreconditionFailed"));
        check(Conditions { if_match: tag(), if_unmodified_since: Some(1), ..none() }, None);
        check(Conditions { if_unmodified_since: Some(999), ..none() }, Some("PreconditionFailed"));
        check(Conditions { if_none_match: tag(), ..none() }, Some("NotModified"));
        check(Conditions { if_none_match: Some("\"other\"".into()), if_modified_since: Some(5000), ..none() }, None);
        check(Conditions { if_modified_since: Some(1000), ..none() }, Some("NotModified"));
        check(Conditions { if_modified_since: Some(999), ..none() }, None);
    }
}
