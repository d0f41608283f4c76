//! From an authenticated request to an answer: the generic path that every operation takes, and the gateway as a service of the
//! front. Must never know a particular operation.

use crate::{
    addressing::{self, Target},
    authorize::authorize,
    body::{self, Expectations},
    error::S3Error,
    fields::Fields,
    judged::Judged,
    operation::{BodyKind, Operation},
    post::{self, Form},
    rules::RulesCache,
    said::Said,
    table,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use std::{ops::Deref, sync::Arc};
use tresor_audit::AuditSpan;
use tresor_digest::Md5Pool;
use tresor_front::{AuthError, AuthInfo, Authenticator, Body, Head, Request, Response, ResponseBody, Service};
use tresor_identity::Directory;
use tresor_kms::KeyRing;
use tresor_model::{BucketName, Caller, ChangeRecord, Clock, Entropy};
use tresor_policy::{Bindings, CallerNames};
use tresor_storage::Store;

/// What an operator chooses about the S3 protocol.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// The region this server answers for: `us-east-1`.
    pub region: String,
    /// Names below which a label is a bucket: `s3.localhost` makes `BUCKET.s3.localhost` an address.
    pub virtual_host_domains: Vec<String>,
    /// New buckets block SSE-C, as AWS's do since April 2026.
    pub block_sse_c: bool,
    /// New buckets have no public access block and objects belong to their writers, as on AWS before April 2023.
    pub legacy_buckets: bool,
    /// Buckets of one account.
    pub max_buckets: usize,
    /// Multipart uploads in progress in one bucket.
    pub max_uploads: usize,
}

/// What the S3 service works with.
pub struct GatewayParts {
    pub store: Arc<Store>,
    pub keys: Arc<KeyRing>,
    pub directory: Arc<Directory>,
    /// For signatures that lie in a body.
    pub authenticator: Arc<Authenticator>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub md5: Md5Pool,
}

/// The S3 service.
pub struct Gateway {
    pub(crate) settings: GatewaySettings,
    parts: GatewayParts,
    pub(crate) rules: RulesCache,
    /// Held while a bucket is made.
    pub(crate) creating: tokio::sync::Mutex<()>,
}

/// A gateway is its parts with settings and what it remembers.
impl Deref for Gateway {
    type Target = GatewayParts;

    fn deref(&self) -> &GatewayParts {
        &self.parts
    }
}

impl Gateway {
    pub fn new(settings: GatewaySettings, parts: GatewayParts) -> Self {
        Self { settings, parts, rules: RulesCache::default(), creating: tokio::sync::Mutex::default() }
    }
}

/// What an operation may use besides its input.
pub(crate) struct RequestContext<'a> {
    pub gateway: &'a Gateway,
    /// For changes: carries the record of the request into their commits.
    pub store: Store,
    pub caller: &'a Caller,
    pub auth: &'a AuthInfo,
    /// The operation's name.
    pub operation: &'static str,
    /// What policies may ask about.
    pub said: Said,
    /// The policies that bind the caller.
    pub bindings: Bindings,
    pub names: CallerNames,
    /// The object that the permission was decided by.
    pub judged: Judged,
    pub tls_version: Option<&'static str>,
    /// The `Host` header, with its port.
    pub host: &'a str,
    /// `https` or `http`, for the Location of a completed upload.
    pub scheme: &'static str,
}

/// A request whose caller is known, also where a form had to tell him.
pub(crate) struct Arrived {
    pub head: Head,
    pub caller: Caller,
    pub auth: AuthInfo,
    pub payload: Payload,
}

pub(crate) enum Payload {
    Body(Body),
    Form(Form),
}

/// Marks an answer that is a success by its status and a refusal by all that it says: its event is a refused one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WhollyRefused;

/// One operation behind a plain function, so that the table can hold it.
pub(crate) type Handler =
    for<'a> fn(&'a Gateway, Arrived, Target, Option<ChangeRecord>) -> BoxFuture<'a, Result<Response, S3Error>>;

pub(crate) fn handler<O: Operation>() -> Handler {
    |gateway, request, target, record| Box::pin(serve::<O>(gateway, request, target, record))
}

/// A body that comes with an operation which has none.
const STRAY_BODY_LIMIT: usize = 16 * 1024;

/// The path of every operation: read, parse, permit, run, respond. The only caller of `authorize`.
async fn serve<O: Operation>(
    gateway: &Gateway,
    request: Arrived,
    target: Target,
    record: Option<ChangeRecord>,
) -> Result<Response, S3Error> {
    let Arrived { head, caller, auth, payload } = request;
    let host = head.text("host").unwrap_or(&head.host).to_owned();
    let scheme = if head.secure { "https" } else { "http" };
    let tls_version = head.tls_version;
    let mut headers = head.headers;
    let (mut form, none) = (None, (Bytes::new(), false));
    let (stream, document) = match (O::BODY, payload) {
        (BodyKind::Stream, Payload::Body(body)) => (Some(body), none),
        (BodyKind::None, Payload::Body(mut body)) => {
            body::read_whole(&mut body, Expectations::none(), STRAY_BODY_LIMIT).await?;
            (None, none)
        }
        (BodyKind::Document { limit }, Payload::Body(mut body)) => {
            let expected = Expectations::take(&mut headers)?;
            let has_digest = expected.has_digest();
            (None, (body::read_whole(&mut body, expected, limit).await?, has_digest))
        }
        (BodyKind::Form, Payload::Form(arrived)) => {
            form = Some(arrived);
            (None, none)
        }
        // The table tells which operations are forms, by this same constant.
        (BodyKind::Form, Payload::Body(_)) | (_, Payload::Form(_)) => return Err(S3Error::internal()),
    };
    let mut fields = Fields::new((headers, head.query), target, caller.clone(), &auth, stream, document);
    if let Some(form) = form {
        fields = fields.with_form(form);
    }
    let input = O::parse(&mut fields)?;
    fields.finish()?;
    let cx = RequestContext {
        gateway,
        store: gateway.store.recording(record),
        caller: &caller,
        auth: &auth,
        operation: O::NAME,
        said: fields.into_said(),
        bindings: gateway.directory.bindings(&caller),
        names: CallerNames::of(&caller),
        judged: Judged::default(),
        tls_version,
        host: &host,
        scheme,
    };
    let permit = authorize(&cx, O::access(&input), input).await?;
    O::run(&cx, permit).await.map(O::respond)
}

#[async_trait::async_trait]
impl Service for Gateway {
    fn signing_name(&self) -> &'static str {
        "s3"
    }

    fn document_limit(&self) -> Option<usize> {
        None
    }
    fn unsigned_document_limit(&self) -> Option<usize> {
        None
    }

    async fn serve(&self, request: Request, span: &mut AuditSpan) -> Response {
        let place = Place::of(&request.head);
        match self.dispatch(request, span).await {
            Ok(response) => {
                if response.extensions().get::<WhollyRefused>().is_some() {
                    let error = S3Error::access_denied();
                    span.error(error.code, &error.message);
                }
                response
            }
            Err(error) => {
                span.error(error.code, &error.message);
                place.answer(error)
            }
        }
    }

    fn refuse(&self, head: &Head, _: &[u8], why: AuthError, span: &mut AuditSpan) -> Response {
        let error = S3Error::from(why);
        // The signature is judged first: an address that names nothing leaves the event without a name.
        if let Ok((target, _)) = self.find(head, span)
            && let Some((bucket, Some(key))) = target.names()
        {
            span.parameter("key", key.as_str());
            span.resource("AWS::S3::Object", bucket.object_arn(key));
        }
        span.error(error.code, &error.message);
        Place::of(head).answer(error)
    }
}

impl Gateway {
    /// What a request addresses, told to its event. Errors: those of the address, MethodNotAllowed, NotImplemented.
    fn find(&self, head: &Head, span: &mut AuditSpan) -> Result<(Target, table::Matched), S3Error> {
        let target = addressing::target(head, &self.settings.virtual_host_domains)?;
        let scope = target.scope();
        let Some(matched) = table::route(&head.method, scope, head) else {
            return Err(unrouted(head, scope.name()));
        };
        span.operation(matched.name, head.method == Method::GET || head.method == Method::HEAD);
        let is_data = target.key.is_some() || matched.is_form;
        if is_data || matched.name.starts_with("ListObject") || matched.name == "DeleteObjects" {
            span.data(target.bucket.as_ref().map(BucketName::as_str));
        }
        if let Some(bucket) = target.bucket.as_ref().filter(|_| span.is_told()) {
            span.parameter("bucketName", bucket.as_str());
            span.resource("AWS::S3::Bucket", bucket.arn());
        }
        Ok((target, matched))
    }

    async fn dispatch(&self, request: Request, span: &mut AuditSpan) -> Result<Response, S3Error> {
        if request.head.method == Method::OPTIONS {
            if !request.head.headers.contains_key("origin") {
                let message = "Insufficient information. Origin request header needed.";
                return Err(S3Error::new(http::StatusCode::BAD_REQUEST, "BadRequest", message));
            }
            // A CORS preflight; no bucket has a CORS configuration yet.
            return Err(S3Error::forbidden("CORSResponse: CORS is not enabled for this bucket."));
        }
        let (mut target, matched) = self.find(&request.head, span)?;
        let is_read_only = span.is_read_only();
        let Some(handler) = matched.handler else {
            return Err(match request.caller.account() {
                None => S3Error::access_denied(),
                Some(_) => S3Error::operation_not_implemented(matched.name),
            });
        };
        let arrived = if matched.is_form {
            Box::pin(post::open(self, request, &mut target, span)).await
        } else {
            let Request { head, caller, auth, body } = request;
            Ok(Arrived { head, caller, auth, payload: Payload::Body(body) })
        };
        if let Some((bucket, Some(key))) = target.names().filter(|_| span.is_told()) {
            span.parameter("key", key.as_str());
            span.resource("AWS::S3::Object", bucket.object_arn(key));
        }
        let arrived = arrived?;
        // Made when everything is told that the request says; a form tells it late.
        let record = if is_read_only { None } else { span.change(&[], &[]) };
        handler(self, arrived, target, record).await
    }
}

/// A request that no operation of the model matches: an unknown sub-resource, or a method that the resource does not have.
fn unrouted(head: &Head, resource: &'static str) -> S3Error {
    match head.query.names().find(|name| head.query.is_bare(name)) {
        Some(name) => S3Error::operation_not_implemented(&format!("{} ?{name}", head.method)),
        None => {
            let resource = match resource {
                "service" => "SERVICE",
                "bucket" => "BUCKET",
                _ => "OBJECT",
            };
            S3Error::method_not_allowed(head.method.as_str(), resource)
        }
    }
}

/// What an error answer says about the request it answers.
struct Place {
    resource: String,
    request_id: Arc<str>,
    host_id: Arc<str>,
    has_body: bool,
}

impl Place {
    fn of(head: &Head) -> Self {
        Self {
            resource: head.path.clone(),
            request_id: Arc::clone(&head.request_id),
            host_id: Arc::clone(&head.host_id),
            has_body: head.method != Method::HEAD,
        }
    }

    fn answer(&self, error: S3Error) -> Response {
        let bodyless = !self.has_body || error.status == http::StatusCode::NOT_MODIFIED;
        let body = if bodyless {
            ResponseBody::Empty
        } else {
            ResponseBody::Full(error.to_xml(&self.resource, &self.request_id, &self.host_id).into())
        };
        let mut response = Response::new(body);
        *response.status_mut() = error.status;
        if !bodyless {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        for (name, value) in error.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}
