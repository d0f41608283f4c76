//! What answers requests.

use crate::{
    auth::{AuthError, AuthInfo},
    body::Body,
    head::Head,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use std::pin::Pin;
use tresor_audit::AuditSpan;
use tresor_model::Caller;

/// A request whose caller is known.
pub struct Request {
    pub head: Head,
    pub caller: Caller,
    pub auth: AuthInfo,
    pub body: Body,
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Response = http::Response<ResponseBody>;

/// The bytes of an answer. A stream that fails resets the connection.
pub enum ResponseBody {
    Empty,
    Full(Bytes),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>),
}

/// One AWS service.
#[async_trait]
pub trait Service: Send + Sync {
    /// The service of a credential scope: `s3`.
    fn signing_name(&self) -> &'static str;
    /// The longest request of a service whose signatures cover the body itself; nothing for one that streams.
    fn document_limit(&self) -> Option<usize>;
    /// The longest request that may come without a signature; nothing where none may.
    fn unsigned_document_limit(&self) -> Option<usize>;
    async fn serve(&self, request: Request, span: &mut AuditSpan) -> Response;
    /// The answer to a request whose caller could not be told; `document` is as much as was read of its body. The span is told the
    /// operation, as far as the request names one, and the error.
    fn refuse(&self, head: &Head, document: &[u8], why: AuthError, span: &mut AuditSpan) -> Response;
}
