//! Everything a request says, taken out piece by piece while it is parsed. What nobody took and what would change the stored
//! object is refused at the end: no header is silently ignored.

use crate::{
    addressing::Target,
    error::{S3Error, SSE_HEADER},
    post::Form,
    said::Said,
};
use bytes::Bytes;
use http::HeaderValue;
use std::{borrow::Cow, str::FromStr};
use tresor_front::{AuthInfo, Body, Headers, Query, Via};
use tresor_model::{BucketName, Caller, ObjectKey, VersionId};

/// The parts of a request that an operation may take.
pub(crate) struct Fields {
    target: Target,
    headers: Headers,
    query: Query,
    presigned: bool,
    caller: Caller,
    body: Option<Body>,
    form: Option<Form>,
    document: Bytes,
    document_has_digest: bool,
    /// Query parameters of a presigned URL that were taken as headers, in lower case.
    taken: Vec<String>,
    said: Said,
}

/// Headers that change what is stored, by prefix; untaken ones are refused.
const MEANINGFUL: [&str; 10] = [
    "x-amz-acl",
    "x-amz-grant-",
    "x-amz-meta-",
    "x-amz-object-lock-",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
    "x-amz-bucket-object-lock-",
    "x-amz-copy-source",
];

/// Whether a header of that name changes what is stored; encryption is not looked at.
pub(crate) fn changes_what_is_stored(name: &str) -> bool {
    MEANINGFUL.iter().any(|prefix| name.starts_with(prefix))
}

impl Fields {
    pub(crate) fn new(
        request: (Headers, Query),
        target: Target,
        caller: Caller,
        auth: &AuthInfo,
        body: Option<Body>,
        (document, document_has_digest): (Bytes, bool),
    ) -> Self {
        let (headers, query) = request;
        let presigned = auth.via == Via::Query;
        Self {
            target,
            headers,
            query,
            presigned,
            caller,
            body,
            form: None,
            document,
            document_has_digest,
            taken: Vec::new(),
            said: Said::default(),
        }
    }
    /// The same with a form, whose fields stand among the headers already; policies are told what the fields said.
    pub(crate) fn with_form(mut self, form: Form) -> Self {
        self.said.took_form(&form.fields);
        Self { form: Some(form), ..self }
    }

    /// Takes a header out. Presigned requests may carry `x-amz-*` headers as (signed) query parameters instead.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, S3Error> {
        let text = |value: HeaderValue| {
            String::from_utf8(value.as_bytes().to_vec())
                .map_err(|_| S3Error::invalid_argument("Header value is not valid UTF-8", name, None))
        };
        match self.headers.take(name) {
            Some(value) => {
                self.said.took(name, &value);
                text(value).map(Some)
            }
            None if self.presigned && name.starts_with("x-amz-") => {
                let value = self.query.get_ignoring_case(name).map(str::to_owned);
                if value.is_some() {
                    self.taken.push(name.to_owned());
                }
                Ok(value)
            }
            None => Ok(None),
        }
    }
    /// Whether `take` would find the header.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.find(name).is_some()
            || (self.presigned && name.starts_with("x-amz-") && self.query.get_ignoring_case(name).is_some())
    }
    /// Takes a header and reads it with `FromStr`; a value that cannot be read is InvalidArgument with `message`.
    pub(crate) fn take_parsed<T: FromStr>(&mut self, name: &'static str, message: &str) -> Result<Option<T>, S3Error> {
        match self.take(name)? {
            Some(value) => value.parse().map(Some).map_err(|_| S3Error::invalid_argument(message, name, Some(&value))),
            None => Ok(None),
        }
    }
    /// Takes every header whose name starts with `prefix`, in the order of arrival, with the rest of the name.
    /// Several values of one name are joined by commas, as S3 does.
    pub(crate) fn take_prefixed(&mut self, prefix: &str) -> Result<Vec<(String, String)>, S3Error> {
        let mut names: Vec<String> = Vec::new();
        for name in self.headers.keys() {
            if let Some(rest) = name.as_str().strip_prefix(prefix) {
                names.push(rest.to_owned());
            }
        }
        let mut taken = Vec::with_capacity(names.len());
        for rest in names {
            let name = format!("{prefix}{rest}");
            let values = self.headers.get_all(&name).iter().map(|value| {
                String::from_utf8(value.as_bytes().to_vec())
                    .map_err(|_| S3Error::invalid_argument("Header value is not valid UTF-8", &name, None))
            });
            let value = values.collect::<Result<Vec<String>, S3Error>>()?.join(",");
            self.headers.take(&name);
            // Policies judge what the operation reads: all of the values.
            let said = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| S3Error::invalid_argument("Header value is not valid UTF-8", &name, None))?;
            self.said.took(&name, &said);
            taken.push((rest, value));
        }
        if self.presigned {
            for name in self.query.names() {
                let lower = name.to_ascii_lowercase();
                if let Some(rest) = lower.strip_prefix(prefix)
                    && !taken.iter().any(|(n, _)| n == rest)
                {
                    taken.push((rest.to_owned(), self.query.get(name).unwrap_or_default().to_owned()));
                    self.taken.push(lower);
                }
            }
        }
        Ok(taken)
    }
    /// A query parameter, decoded.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name)
    }
    /// A query parameter read as a number; `InvalidArgument` when it is none or outside of `range`.
    pub(crate) fn query_number(&self, name: &'static str, max: u32) -> Result<Option<u32>, S3Error> {
        match self.query(name) {
            None | Some("") => Ok(None),
            Some(text) => {
                let error = || {
                    S3Error::invalid_argument(
                        format!("Provided {name} not an integer or within integer range"),
                        name,
                        Some(text),
                    )
                };
                let number: i64 = text.parse().map_err(|_| error())?;
                if number < 0 {
                    let message = format!("Argument {name} must be an integer between 0 and 2147483647");
                    return Err(S3Error::invalid_argument(message, name, Some(text)));
                }
                if number > i64::from(i32::MAX) {
                    return Err(error());
                }
                Ok(Some(u32::try_from(number).unwrap_or(u32::MAX).min(max)))
            }
        }
    }
    pub(crate) fn version_id(&self) -> Result<Option<VersionId>, S3Error> {
        match self.query("versionId") {
            None => Ok(None),
            Some(text) => parse_version_id(text).map(Some),
        }
    }
    /// The bucket that the address names; operations of a wider scope never ask.
    pub(crate) fn bucket(&self) -> Result<BucketName, S3Error> {
        self.target.bucket.clone().ok_or_else(S3Error::internal)
    }
    pub(crate) fn key(&self) -> Result<ObjectKey, S3Error> {
        self.target.key.clone().ok_or_else(S3Error::internal)
    }
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }
    /// The body of a `Stream` operation; the second call gets nothing.
    pub(crate) fn take_body(&mut self) -> Option<Body> {
        self.body.take()
    }
    /// The form of a `Form` operation; the second call gets nothing.
    pub(crate) fn take_form(&mut self) -> Option<Form> {
        self.form.take()
    }
    /// The body of a `Document` operation, verified.
    pub(crate) fn document(&self) -> &Bytes {
        &self.document
    }
    /// Whether the client sent a digest of the document, which then has been verified.
    pub(crate) fn document_has_digest(&self) -> bool {
        self.document_has_digest
    }
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.body.as_ref().and_then(Body::declared_len)
    }
    /// The account that the client expects to own the bucket.
    pub(crate) fn expected_owner(&mut self) -> Result<Option<String>, S3Error> {
        self.take("x-amz-expected-bucket-owner")
    }

    /// What policies may ask about; nothing can be taken any more.
    pub(crate) fn into_said(self) -> Said {
        self.said.with(self.headers.into_map(), self.query)
    }

    /// Refuses what was sent, would change what is stored, and was not taken.
    pub(crate) fn finish(&mut self) -> Result<(), S3Error> {
        let from_query = self.query.names().filter(|_| self.presigned).map(|name| Cow::from(name.to_ascii_lowercase()));
        let untaken = self.headers.keys().map(|name| Cow::from(name.as_str()));
        for name in untaken.chain(from_query.filter(|name| !self.taken.iter().any(|taken| taken == name))) {
            if name.starts_with(SSE_HEADER) || name.starts_with("x-amz-copy-source-server-side-encryption") {
                let message = format!("{name} header is not supported for this operation.");
                return Err(S3Error::invalid_argument(message, name, None));
            }
            if changes_what_is_stored(&name) {
                return Err(S3Error::header_not_implemented(&name));
            }
        }
        Ok(())
    }
}

/// Errors: InvalidArgument "Invalid version id specified".
pub(crate) fn parse_version_id(text: &str) -> Result<VersionId, S3Error> {
    text.parse().map_err(|_| S3Error::invalid_argument("Invalid version id specified", "versionId", Some(text)))
}
