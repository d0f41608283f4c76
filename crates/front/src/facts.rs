//! What an S3 event says about its transfer: signature, bytes, encryption. Source: the S3 user guide, "CloudTrail log file entries".
//! Must never hold a header of a customer's key.

use crate::{
    auth::{AuthInfo, SigVersion, Via},
    head::Head,
    listener::Progress,
};
use http::HeaderMap;
use rustls::{ProtocolVersion, ServerConnection};
use std::sync::atomic::Ordering;
use tresor_audit::AuditSpan;

/// How the server itself protects a connection.
pub(crate) struct Protection {
    pub version: &'static str,
    pub cipher_suite: String,
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
        Self { version, cipher_suite: suite.unwrap_or_default().replacen("TLS13_", "TLS_", 1) }
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
    host_id: String,
    cipher_suite: Option<String>,
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
            host_id: head.host_id.clone(),
            cipher_suite: tls.map(|tls| tls.cipher_suite.clone()),
            decoded: head.text("x-amz-decoded-content-length").and_then(|length| length.parse().ok()),
            names_encryption: head.text(RESPONSE[0]).is_some() || head.text(RESPONSE[3]).is_some(),
        }
    }

    /// Before the request is served, so that the record of a change has it too.
    pub(crate) fn tell_before(&self, auth: &AuthInfo, span: &mut AuditSpan) {
        match auth.version {
            SigVersion::None => {}
            SigVersion::V2 => span.additional("SignatureVersion", "SigV2"),
            SigVersion::V4 => span.additional("SignatureVersion", "SigV4"),
        }
        match auth.via {
            // A form tells its caller only after the event has begun, and how AWS names the method was not seen.
            Via::Nothing | Via::Form => {}
            Via::Header => span.additional("AuthenticationMethod", "AuthHeader"),
            Via::Query => span.additional("AuthenticationMethod", "QueryString"),
        }
        if let Some(suite) = &self.cipher_suite {
            span.additional("CipherSuite", suite.as_str());
        }
        span.additional("x-amz-id-2", self.host_id.as_str());
    }

    /// Once the answer's head stands; the bytes that go out are told when they are out.
    pub(crate) fn tell_after(&self, answer: &HeaderMap, progress: &Progress, span: &mut AuditSpan) {
        let came = progress.bytes.load(Ordering::Relaxed);
        let content = self.decoded.filter(|decoded| *decoded <= came);
        span.additional("bytesTransferredIn", content.unwrap_or(came));
        if !span.is_data() || span.is_read_only() {
            return;
        }
        for name in RESPONSE {
            if let Some(value) = answer.get(name).and_then(|value| value.to_str().ok()) {
                span.response(name, value);
            }
        }
        let mode = match answer.get(RESPONSE[0]).map(|mode| mode.as_bytes()) {
            _ if answer.contains_key(RESPONSE[3]) => "SSE_C",
            Some(b"AES256") => "SSE_S3",
            Some(b"aws:kms") => "SSE_KMS",
            Some(b"aws:kms:dsse") => "DSSE_KMS",
            _ => return,
        };
        let could_name = matches!(span.name(), "PutObject" | "CopyObject" | "CreateMultipartUpload" | "PostObject");
        match self.names_encryption || !could_name {
            true => span.additional("SSEApplied", mode),
            false => span.additional("SSEApplied", format!("Default_{mode}")),
        }
    }
}
