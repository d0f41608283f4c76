//! Finds what an S3 event says about its transfer.
//! Must never hold a header of a customer's key.

use crate::{
    auth::{AuthInfo, SigVersion, Via},
    head::Head,
    listener::Progress,
};
use http::HeaderMap;
use rustls::{ProtocolVersion, ServerConnection};
use std::sync::{Arc, atomic::Ordering};
use tresor_audit::AuditSpan;

/// How the server itself protects a connection.
pub(crate) struct Protection {
    pub version: &'static str,
    pub cipher_suite: Arc<str>,
}

impl Protection {
    pub(crate) fn of(connection: &ServerConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        // The library writes TLS 1.3's suites with their version.
        Self { version, cipher_suite: suite.unwrap_or_default().replacen("TLS13_", "TLS_", 1).into() }
    }
}

impl Protection {
    /// As `s3:TlsVersion` counts.
    pub(crate) fn version_number(&self) -> &'static str {
        match self.version {
            "TLSv1.3" => "1.3",
            // rustls speaks no older version than this.
            _ => "1.2",
        }
    }
}

/// What the request's head tells, kept while the request is served.
pub(crate) struct DataFacts {
    host_id: Arc<str>,
    cipher_suite: Option<Arc<str>>,
    /// Bytes of the content itself, where the body is framed in signed chunks.
    decoded: Option<u64>,
    /// The request names its encryption, so it is no default.
    names_encryption: bool,
}

/// Headers of an answer that say how an object is encrypted. None of them is secret: a customer's key shows as its MD5, which is left
/// out all the same.
const RESPONSE: [&str; 4] = [
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-customer-algorithm",
];

impl DataFacts {
    pub(crate) fn of(head: &Head, tls: Option<&Protection>) -> Self {
        Self {
            host_id: Arc::clone(&head.host_id),
            cipher_suite: tls.map(|tls| Arc::clone(&tls.cipher_suite)),
            decoded: head.text("x-amz-decoded-content-length").and_then(|length| length.parse().ok()),
            names_encryption: head.text(RESPONSE[0]).is_some() || head.text(RESPONSE[3]).is_some(),
        }
    }

    /// Before the request is served, so that the record of a change has it too.
    pub(crate) fn tell_before(&self, auth: &AuthInfo, span: &mut AuditSpan) {
        let transfer = span.transfer();
        transfer.signature_version = match auth.version {
            SigVersion::None => None,
            SigVersion::V2 => Some("SigV2"),
            SigVersion::V4 => Some("SigV4"),
        };
        transfer.authentication_method = match auth.via {
            // A form tells its caller only after the event has begun, and how AWS names the method was not seen.
            Via::Nothing | Via::Form => None,
            Via::Header => Some("AuthHeader"),
            Via::Query => Some("QueryString"),
        };
        transfer.cipher_suite.clone_from(&self.cipher_suite);
        transfer.host_id = Some(Arc::clone(&self.host_id));
    }

    /// Once the answer's head stands; the bytes that go out are told when they are out.
    pub(crate) fn tell_after(&self, answer: &HeaderMap, progress: &Progress, span: &mut AuditSpan) {
        let came = progress.bytes.load(Ordering::Relaxed);
        let content = self.decoded.filter(|decoded| *decoded <= came);
        span.transfer().bytes_in = Some(content.unwrap_or(came));
        if !span.is_data() || span.is_read_only() {
            return;
        }
        for name in RESPONSE {
            if let Some(value) = answer.get(name).and_then(|value| value.to_str().ok()) {
                span.response(name, value);
            }
        }
        let (mode, by_default) = match answer.get(RESPONSE[0]).map(|mode| mode.as_bytes()) {
            _ if answer.contains_key(RESPONSE[3]) => ("SSE_C", "Default_SSE_C"),
            Some(b"AES256") => ("SSE_S3", "Default_SSE_S3"),
            Some(b"aws:kms") => ("SSE_KMS", "Default_SSE_KMS"),
            Some(b"aws:kms:dsse") => ("DSSE_KMS", "Default_DSSE_KMS"),
            _ => return,
        };
        let could_name = matches!(span.name(), "PutObject" | "CopyObject" | "CreateMultipartUpload" | "PostObject");
        span.transfer().sse_applied = Some(if self.names_encryption || !could_name { mode } else { by_default });
    }
}
