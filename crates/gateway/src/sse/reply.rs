//! What an answer says about the encryption of the object it speaks of.

use super::customer::key_md5;
use http::{HeaderMap, HeaderName, HeaderValue};
use tresor_envelope::{CustomerKey, Envelope, SseMode};

const METHOD: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");

/// The SSE headers of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct SseReply {
    method: Option<&'static str>,
    key_arn: Option<String>,
    bucket_key: bool,
    /// Base64 of the customer key's MD5.
    customer: Option<String>,
    /// Base64 of the caller's encryption context; only answers to writes show it.
    context: Option<String>,
}

impl SseReply {
    /// By the envelope that was stored: what really happened, not what was asked.
    pub(crate) fn new(envelope: &Envelope, customer: Option<&CustomerKey>) -> Self {
        let key_arn = Some(envelope.header.key_arn.clone());
        match envelope.header.mode {
            SseMode::S3 => Self { method: Some("AES256"), ..Self::default() },
            SseMode::Kms => Self { method: Some("aws:kms"), key_arn, ..Self::default() },
            SseMode::KmsBucketKey => Self { method: Some("aws:kms"), key_arn, bucket_key: true, ..Self::default() },
            SseMode::Dsse => Self { method: Some("aws:kms:dsse"), key_arn, ..Self::default() },
            // An SSE-C answer never bears x-amz-server-side-encryption.
            SseMode::Customer => Self { customer: customer.map(key_md5), ..Self::default() },
        }
    }

    /// Adds the caller's own context pairs.
    pub(crate) fn with_context(mut self, envelope: &Envelope) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        if !envelope.context.is_empty() {
            let map: serde_json::Map<String, serde_json::Value> =
                envelope.context.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
            self.context = Some(STANDARD.encode(serde_json::Value::from(map).to_string()));
        }
        self
    }

    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        if let Some(method) = self.method {
            headers.insert(METHOD, HeaderValue::from_static(method));
        }
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(arn) = &self.key_arn {
            add("x-amz-server-side-encryption-aws-kms-key-id", arn);
        }
        if self.bucket_key {
            add("x-amz-server-side-encryption-bucket-key-enabled", "true");
        }
        if let Some(context) = &self.context {
            add("x-amz-server-side-encryption-context", context);
        }
        if let Some(md5) = &self.customer {
            add("x-amz-server-side-encryption-customer-algorithm", "AES256");
            add("x-amz-server-side-encryption-customer-key-md5", md5);
        }
    }
}
