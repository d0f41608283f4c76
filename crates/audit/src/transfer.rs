//! What an S3 event says about its transfer: signature, bytes, encryption. Source: the S3 user guide, "CloudTrail log file entries".

use crate::text::Object;
use std::sync::Arc;

/// Fields of `additionalEventData` that only S3 has; what is not known is left out.
#[derive(Clone, Debug, Default)]
pub struct Transfer {
    /// `SigV4`
    pub signature_version: Option<&'static str>,
    /// `AuthHeader` or `QueryString`
    pub authentication_method: Option<&'static str>,
    pub cipher_suite: Option<Arc<str>>,
    /// `x-amz-id-2`
    pub host_id: Option<Arc<str>>,
    /// Bytes of the request's content.
    pub bytes_in: Option<u64>,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes_out: Option<u64>,
    /// `SSE_S3`, or `Default_SSE_S3` where the request named none.
    pub sse_applied: Option<&'static str>,
}

impl Transfer {
    pub(crate) fn write(&self, out: &mut Object<'_>) {
        let texts = [
            ("SignatureVersion", self.signature_version),
            ("AuthenticationMethod", self.authentication_method),
            ("CipherSuite", self.cipher_suite.as_deref()),
            ("x-amz-id-2", self.host_id.as_deref()),
            ("SSEApplied", self.sse_applied),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                out.text(name, text);
            }
        }
        for (name, bytes) in [("bytesTransferredIn", self.bytes_in), ("bytesTransferredOut", self.bytes_out)] {
            if let Some(bytes) = bytes {
                out.value(name, &bytes.into());
            }
        }
    }
}
