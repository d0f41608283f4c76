//! POST forms: their fields are read up to the file, who signed their policy is told, the policy is held against them; then they are
//! a request like any other, whose headers are the fields and whose body is the file. Must never store anything.
//! Source: S3 API reference, "POST Object" and "Browser-Based Uploads Using POST (AWS Signature Version 4)".

mod policy;
mod scanner;

use crate::{
    addressing::Target,
    error::{S3Error, SSE_HEADER},
    fields,
    serve::{Arrived, Gateway, Payload},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use policy::PostPolicy;
use scanner::{Scanner, Step};
use std::ops::RangeInclusive;
use tresor_audit::AuditSpan;
use tresor_front::{AuthError, Body, Head, Request, SigVersion};
use zeroize::Zeroizing;

/// S3's limit on the fields in front of the file, names and values together, in bytes.
const MAX_FIELDS_BYTES: usize = 20_480;
/// The same with everything that a form puts around them, in bytes.
const MAX_BEFORE_FILE: usize = 128 * 1024;
/// What may follow the file: it is read, so that the connection can be used again, and means nothing.
const MAX_BEHIND_FILE: usize = 64 * 1024;
const FILENAME: &str = "${filename}";

/// A form whose file has not been read yet.
pub(crate) struct Form {
    /// Names in lower case, each once, and values. A customer's key is not among them: it went into the headers.
    pub fields: Vec<(String, String)>,
    pub file: FormFile,
    /// How long the policy lets the file be, in bytes.
    pub length: RangeInclusive<u64>,
}

impl Form {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Opens the form of a request. The key joins the target, the fields become headers, and the caller is who signed the policy.
/// Errors: PreconditionFailed for what is no form, MalformedPOSTRequest, MaxPostPreDataLengthExceeded, InvalidArgument,
/// those of the signature and of the policy. The span is told who calls as soon as that is known.
pub(crate) async fn open(
    gateway: &Gateway,
    request: Request,
    target: &mut Target,
    span: &mut AuditSpan,
) -> Result<Arrived, S3Error> {
    let Request { mut head, caller, auth, body } = request;
    refuse_headers(&head)?;
    if body.declared_len().is_none() {
        return Err(S3Error::missing_content_length());
    }
    let (mut fields, file) = read(&head, body).await?;
    let find = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let key = find("key").filter(|key| !key.is_empty()).ok_or_else(|| S3Error::missing_form_field("key"))?;
    target.key = Some(key.parse().map_err(|_| S3Error::key_too_long(key.len()))?);
    let (by_form, form_auth) = gateway.authenticator.form_caller(&head, &find).inspect_err(|_| {
        let credential = find("x-amz-credential").and_then(|credential| credential.split('/').next());
        let id = credential.or_else(|| find("awsaccesskeyid")).filter(|_| auth.version == SigVersion::None);
        if let Some(claimed) = id.and_then(|id| gateway.authenticator.claimed_key(id)) {
            span.claimed(claimed);
        }
    })?;
    let (caller, auth) = match (auth.version, form_auth.version) {
        (SigVersion::None, _) => (by_form, form_auth),
        (_, SigVersion::None) => (caller, auth),
        _ => return Err(AuthError::TwoMechanisms.into()),
    };
    span.caller(&caller);
    // A policy that nobody signed binds nobody.
    let length = match find("policy").filter(|_| auth.version != SigVersion::None) {
        None => 0..=u64::MAX,
        Some(policy) => {
            let bucket = target.bucket.as_ref().map(ToString::to_string).unwrap_or_default();
            let mut judged: Vec<(String, String)> =
                fields.iter().filter(|(name, _)| name != "bucket").cloned().collect();
            judged.push(("bucket".to_owned(), bucket));
            PostPolicy::read(policy)?.judge(gateway.clock.now(), &judged)?
        }
    };
    head.headers = headers(&head, &fields)?.into();
    if let Some(at) = fields.iter().position(|(name, _)| name == CUSTOMER_KEY) {
        drop(Zeroizing::new(fields.swap_remove(at).1));
    }
    Ok(Arrived { head, caller, auth, payload: Payload::Form(Form { fields, file, length }) })
}

const CUSTOMER_KEY: &str = "x-amz-server-side-encryption-customer-key";

/// Headers of the request itself that would change what is stored: a form says such things in its fields.
fn refuse_headers(head: &Head) -> Result<(), S3Error> {
    let means = |name: &str| {
        fields::changes_what_is_stored(name)
            || name.starts_with(SSE_HEADER)
            || name.starts_with("x-amz-checksum-")
            || matches!(name, "content-md5" | "if-match" | "if-none-match" | "x-amz-sdk-checksum-algorithm")
    };
    match head.headers.keys().map(HeaderName::as_str).find(|name| means(name)) {
        Some(name) => Err(S3Error::header_not_implemented(name)),
        None => Ok(()),
    }
}

/// The headers that the fields stand for.
fn headers(head: &Head, fields: &[(String, String)]) -> Result<HeaderMap, S3Error> {
    let mut headers = HeaderMap::new();
    for name in ["x-amz-expected-bucket-owner", "user-agent", "referer", "host"] {
        if let Some(value) = head.headers.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    for (name, value) in fields {
        let name = match name.as_str() {
            "acl" => "x-amz-acl",
            "x-amz-algorithm" | "x-amz-credential" | "x-amz-date" | "x-amz-signature" | "x-amz-security-token" => {
                continue;
            }
            "content-type"
            | "cache-control"
            | "content-disposition"
            | "content-encoding"
            | "content-language"
            | "expires"
            | "content-md5" => name,
            name if name.starts_with("x-amz-") => name,
            _ => continue,
        };
        let invalid = || S3Error::invalid_argument("The value of a form field cannot be kept.", name, None);
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
        // `acl` and `x-amz-acl` say the same; of two values a policy would judge one and the object get the other.
        if headers.insert(header, value).is_some() {
            return Err(field_twice(name));
        }
    }
    Ok(headers)
}

/// The fields in front of the file, names in lower case, and the file.
async fn read(head: &Head, body: Body) -> Result<(Vec<(String, String)>, FormFile), S3Error> {
    let content_type = head.text("content-type").unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return Err(S3Error::precondition_failed("Bucket POST must be of the enclosure-type multipart/form-data"));
    }
    let mut file =
        FormFile { scanner: Scanner::new(content_type).map_err(|_| S3Error::malformed_post())?, body, over: false };
    let mut fields: Vec<(String, String)> = Vec::new();
    let (mut name, mut value) = (String::new(), Vec::new());
    let (mut size, mut seen) = (0, 0);
    loop {
        match file.scanner.step().map_err(|_| S3Error::malformed_post())? {
            Step::More => {
                if seen > MAX_BEFORE_FILE {
                    return Err(too_much_before_file());
                }
                let piece = file.body.next().await?.ok_or_else(S3Error::malformed_post)?;
                seen += piece.len();
                file.scanner.push(&piece);
            }
            Step::Part(part) => {
                name = part.name.ok_or_else(S3Error::malformed_post)?.to_ascii_lowercase();
                if name == "file" {
                    // Kept as it is where the file has no name, as S3 does.
                    if let Some(filename) = part.filename {
                        put_filename(&mut fields, base_name(&filename));
                    }
                    return Ok((fields, file));
                }
                size += name.len();
            }
            Step::Data(data) => {
                size += data.len();
                if size > MAX_FIELDS_BYTES {
                    return Err(too_much_before_file());
                }
                value.extend_from_slice(&data);
            }
            Step::PartEnd => {
                let text = String::from_utf8(std::mem::take(&mut value));
                let text = text
                    .map_err(|_| S3Error::invalid_argument("A form field is not valid UTF-8", name.as_str(), None))?;
                if fields.iter().any(|(known, _)| *known == name) {
                    return Err(field_twice(&name));
                }
                fields.push((std::mem::take(&mut name), text));
            }
            Step::End => {
                return Err(S3Error::invalid_argument(
                    "POST requires exactly one file upload per request.",
                    "file",
                    Some("0"),
                ));
            }
        }
    }
}

fn field_twice(name: &str) -> S3Error {
    S3Error::invalid_argument(format!("POST must contain only one field named '{name}'."), name, None)
}

/// The text is S3's.
fn too_much_before_file() -> S3Error {
    S3Error::new(
        StatusCode::BAD_REQUEST,
        "MaxPostPreDataLengthExceeded",
        "Your POST request fields preceeding the upload file was too large.",
    )
    .with("MaxPostPreDataLengthBytes", MAX_FIELDS_BYTES.to_string())
}

/// Behind the last slash or backslash: some browsers send the whole path.
fn base_name(filename: &str) -> &str {
    filename.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// Every field may name the file, but for what is signed as it is.
fn put_filename(fields: &mut [(String, String)], filename: &str) {
    for (name, value) in fields {
        if !matches!(name.as_str(), "policy" | "signature" | "x-amz-signature") && value.contains(FILENAME) {
            *value = value.replace(FILENAME, filename);
        }
    }
}

/// The file of a form on its way in.
pub(crate) struct FormFile {
    scanner: Scanner,
    body: Body,
    over: bool,
}

impl FormFile {
    /// The next piece; `None` at the end, once the form has ended well. Errors: MalformedPOSTRequest, those of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        while !self.over {
            match self.scanner.step().map_err(|_| S3Error::malformed_post())? {
                Step::Data(data) => return Ok(Some(data)),
                Step::More => {
                    let piece = self.body.next().await?.ok_or_else(S3Error::malformed_post)?;
                    self.scanner.push(&piece);
                }
                Step::PartEnd => {
                    self.over = true;
                    self.drain().await?;
                }
                Step::Part(_) | Step::End => return Err(S3Error::malformed_post()),
            }
        }
        Ok(None)
    }

    /// Reads what stands behind the file, up to the end of the form.
    async fn drain(&mut self) -> Result<(), S3Error> {
        let (mut seen, mut ended) = (0, false);
        loop {
            match self.scanner.step().map_err(|_| S3Error::malformed_post())? {
                Step::End => ended = true,
                Step::More => {}
                Step::Part(_) | Step::Data(_) | Step::PartEnd => continue,
            }
            match self.body.next().await? {
                Some(piece) => {
                    seen += piece.len();
                    if seen > MAX_BEHIND_FILE {
                        return Err(S3Error::malformed_post());
                    }
                    self.scanner.push(&piece);
                }
                None if ended => return Ok(()),
                None => return Err(S3Error::malformed_post()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_goes_into_the_fields() {
        assert_eq!(base_name("C:\\dir\\a.txt"), "a.txt");
        assert_eq!(base_name("dir/a.txt"), "a.txt");
        assert_eq!(base_name("dir/"), "");
        let mut fields =
            vec![("key".to_owned(), "x/${filename}".to_owned()), ("policy".to_owned(), FILENAME.to_owned())];
        put_filename(&mut fields, "a.txt");
        assert_eq!((fields[0].1.as_str(), fields[1].1.as_str()), ("x/a.txt", FILENAME));
    }
}
