//! What the client asked for, read from the request and from nothing else.

use super::customer::{self, Purpose, Triple};
use crate::{
    error::{S3Error, SSE_HEADER},
    fields::Fields,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::BTreeMap;
use tresor_envelope::CustomerKey;

/// The encryption a write asks for. Bucket defaults are not in it: policy looks at this, `resolve` adds the rest.
pub(crate) enum SseIntent {
    Unspecified {
        /// `x-amz-server-side-encryption-bucket-key-enabled` may come alone and then refines the bucket's default.
        bucket_key: Option<bool>,
    },
    S3,
    Kms {
        key: Option<String>,
        context: Vec<(String, String)>,
        bucket_key: Option<bool>,
    },
    Dsse {
        key: Option<String>,
        context: Vec<(String, String)>,
    },
    Customer(CustomerKey),
}

/// The longest encryption context, in bytes of its JSON (KMS's limit of 8 KiB).
const MAX_CONTEXT_BYTES: usize = 8192;

impl SseIntent {
    /// Takes every SSE header of a write. Errors: `sse.md` sections 2.3 and 2.4.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, S3Error> {
        let method = fields.take(SSE_HEADER)?;
        let key_id = fields.take("x-amz-server-side-encryption-aws-kms-key-id")?;
        let context = fields.take("x-amz-server-side-encryption-context")?;
        let bucket_key = match fields.take("x-amz-server-side-encryption-bucket-key-enabled")?.as_deref() {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Some(text) => {
                return Err(S3Error::invalid_argument(
                    "The value of x-amz-server-side-encryption-bucket-key-enabled must be true or false",
                    "x-amz-server-side-encryption-bucket-key-enabled",
                    Some(text),
                ));
            }
        };
        if let (Some(method), true) = (&method, has_customer_headers(fields)) {
            customer::take(fields, Triple::Object, Purpose::Write).ok();
            return Err(S3Error::invalid_argument(
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
                SSE_HEADER,
                Some(method),
            ));
        }
        if let Some(key) = customer::take(fields, Triple::Object, Purpose::Write)? {
            return if key_id.is_some() || context.is_some() { Err(requires_kms()) } else { Ok(Self::Customer(key)) };
        }
        let kms = matches!(method.as_deref(), Some("aws:kms" | "aws:kms:dsse"));
        if !kms && key_id.is_some() {
            return Err(requires_kms());
        }
        if !kms && context.is_some() {
            return Err(S3Error::invalid_argument(
                "x-amz-server-side-encryption-context is only valid with the aws:kms encryption method",
                "x-amz-server-side-encryption-context",
                None,
            ));
        }
        if kms && !fields.caller().secure_transport {
            return Err(S3Error::invalid_request(
                "Requests specifying Server Side Encryption with AWS KMS managed keys must be made over a secure connection.",
            ));
        }
        let context = || context.as_deref().map_or(Ok(Vec::new()), read_context);
        match method.as_deref() {
            None => Ok(Self::Unspecified { bucket_key }),
            Some("AES256") => Ok(Self::S3),
            Some("aws:kms") => {
                Ok(Self::Kms { key: key_id.filter(|id| !id.is_empty()), context: context()?, bucket_key })
            }
            // S3 takes the bucket key header with DSSE and does not apply it.
            Some("aws:kms:dsse") => Ok(Self::Dsse { key: key_id.filter(|id| !id.is_empty()), context: context()? }),
            Some(other) => Err(S3Error::invalid_argument(
                "The encryption method specified is not supported",
                SSE_HEADER,
                Some(other),
            )),
        }
    }

    /// Whether the client named an encryption itself.
    pub(crate) fn is_explicit(&self) -> bool {
        !matches!(self, Self::Unspecified { bucket_key: None })
    }
}

fn has_customer_headers(fields: &mut Fields) -> bool {
    fields.has("x-amz-server-side-encryption-customer-algorithm")
        || fields.has("x-amz-server-side-encryption-customer-key")
}

fn requires_kms() -> S3Error {
    S3Error::invalid_argument(
        "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
        SSE_HEADER,
        None,
    )
}

/// base64 of a UTF-8 JSON object of strings. `aws:s3:arn` is S3's own to add.
fn read_context(header: &str) -> Result<Vec<(String, String)>, S3Error> {
    let name = "x-amz-server-side-encryption-context";
    let invalid = |why: &str| S3Error::invalid_argument(why, name, None);
    let json = STANDARD
        .decode(header.trim())
        .map_err(|_| invalid("The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map"))?;
    if json.len() > MAX_CONTEXT_BYTES {
        return Err(invalid("The encryption context is too long"));
    }
    let pairs: BTreeMap<String, String> = serde_json::from_slice(&json)
        .map_err(|_| invalid("The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map"))?;
    if pairs.keys().any(|key| key.starts_with("aws:")) {
        return Err(invalid("The encryption context may not hold keys that begin with aws:"));
    }
    Ok(pairs.into_iter().collect())
}
