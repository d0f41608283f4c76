//! What an S3 operation is: where it lives on the wire, what it needs, what it does. Must never know a particular operation.

use crate::{
    authorize::{Access, Permit},
    error::S3Error,
    fields::Fields,
    serve::RequestContext,
};
use http::{Method, StatusCode};
use std::future::Future;
use tresor_front::{Response, ResponseBody};

/// Where an operation lives on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub method: Method,
    pub scope: Scope,
    /// Query parameters that must be present; `name=value` also fixes the value.
    pub query: &'static [&'static str],
    /// A header that must be present.
    pub header: Option<&'static str>,
}

/// What the path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Service,
    Bucket,
    Object,
}

impl Scope {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Bucket => "bucket",
            Self::Object => "object",
        }
    }
}

/// What an operation does with the request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyKind {
    /// It has none; one that comes is read to its end, verified and refused beyond a few KiB.
    None,
    /// Read whole before parsing, up to `limit` bytes, its digests checked.
    Document { limit: usize },
    /// Left in `Fields` for the operation to stream.
    Stream,
    /// A form: its fields are read and its signature is judged first, its file is left in `Fields`.
    Form,
}

impl BodyKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Document { .. } => "document",
            Self::Stream => "stream",
            Self::Form => "form",
        }
    }
}

/// One S3 operation. Its route and IAM action stand under its name in `catalogue`.
pub(crate) trait Operation: 'static {
    /// The name in the S3 API model: `PutObject`. Spans, metrics, audit and docs use it.
    const NAME: &'static str;
    const BODY: BodyKind;
    type Input: Send;
    type Output: Send;

    /// Takes everything the request says out of `fields`; what is not taken and would change what is stored is refused.
    fn parse(fields: &mut Fields) -> Result<Self::Input, S3Error>;
    /// What the caller must be allowed to do.
    fn access(input: &Self::Input) -> Access;
    fn run(
        cx: &RequestContext<'_>,
        input: Permit<Self::Input>,
    ) -> impl Future<Output = Result<Self::Output, S3Error>> + Send;
    fn respond(output: Self::Output) -> Response;
}

/// An answer that says only that it was done: 204.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
