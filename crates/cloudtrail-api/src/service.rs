//! CloudTrail as a service of the front.

use crate::{
    fault::Fault,
    lookup::Query,
    table::{self, LOOKUP_EVENTS},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::Value;
use std::{fmt, io, sync::Arc};
use tokio::sync::Semaphore;
use tresor_audit::{AuditSpan, Newest};
use tresor_front::{AuthError, Head, Request, Response, ResponseBody, Service};
use tresor_identity::Directory;
use tresor_model::{Caller, Clock};
use tresor_policy::{CallerNames, Context, Policy, Question, RequestFacts, decide_identity};

/// The longest request, in bytes.
const MAX_REQUEST: usize = 64 * 1024;
/// Lookups that read files at the same time; more wait.
const MAX_LOOKUPS: usize = 2;

/// Where events are read.
pub trait History: Send + Sync + fmt::Debug {
    /// Events below a number, or all of them, newest first. It blocks.
    fn newest(&self, below: Option<u64>) -> io::Result<Newest>;
}

/// The CloudTrail protocol over a trail.
#[derive(Debug)]
pub struct CloudTrailService {
    history: Arc<dyn History>,
    directory: Arc<Directory>,
    clock: Arc<dyn Clock>,
    region: String,
    lookups: Arc<Semaphore>,
}

impl CloudTrailService {
    pub fn new(history: Arc<dyn History>, directory: Arc<Directory>, clock: Arc<dyn Clock>, region: String) -> Self {
        Self { history, directory, clock, region, lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// Errors: AccessDeniedException. LookupEvents has no resource; an account's root may.
    fn permit(&self, caller: &Caller, head: &Head) -> Result<(), Fault> {
        let action = "cloudtrail:LookupEvents";
        let bindings = self.directory.bindings(caller);
        let mut context = Context::default();
        if bindings.policies().any(Policy::asks_context) {
            let facts = RequestFacts {
                now: self.clock.now(),
                region: &self.region,
                user_agent: head.text("user-agent"),
                referer: head.text("referer"),
                ..RequestFacts::default()
            };
            context.set_global(caller, &bindings, &facts);
        }
        let names = CallerNames::of(caller);
        let question = Question { who: names.requester(caller), action, resource: "*", context: &context };
        let decision = decide_identity(&question, &bindings.sources());
        if decision.allowed() {
            return Ok(());
        }
        let who = caller.principal.arn().unwrap_or_else(|| "anonymous".into());
        let why = decision.because(action);
        Err(Fault::new("AccessDeniedException", format!("User: {who} is not authorized to perform: {action} {why}")))
    }

    async fn answer(&self, request: Request, span: &mut AuditSpan) -> Result<Value, Fault> {
        let Request { head, caller, mut body, .. } = request;
        let Some(name) = head.text("x-amz-target").and_then(table::find) else {
            return Err(Fault::new("UnknownOperationException", ""));
        };
        span.operation(name, table::is_read_only(name));
        if name != LOOKUP_EVENTS {
            return Err(Fault::new("UnsupportedOperationException", format!("{name} is not supported.")));
        }
        let mut bytes = Vec::new();
        while let Some(piece) =
            body.next().await.map_err(|fault| Fault::serialization(format!("The request cannot be read: {fault}.")))?
        {
            bytes.extend_from_slice(&piece);
        }
        self.permit(&caller, &head)?;
        let account = caller.account().ok_or_else(|| Fault::from(AuthError::Anonymous))?;
        let query = Query::parse(&bytes, account, self.clock.now())?;
        query.tell(span);
        let failed = |error: String| {
            tracing::error!(error, "the audit trail could not be searched");
            Fault::internal()
        };
        let slot = Arc::clone(&self.lookups).acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        let history = Arc::clone(&self.history);
        let searched = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            query.answer(|below| history.newest(below))
        });
        searched.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

fn response(status: StatusCode, body: &Value, request_id: &str) -> Response {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let length = HeaderValue::from(bytes.len());
    let mut response = Response::new(ResponseBody::Full(bytes.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    headers.insert(CONTENT_LENGTH, length);
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

#[async_trait::async_trait]
impl Service for CloudTrailService {
    fn signing_name(&self) -> &'static str {
        "cloudtrail"
    }

    fn document_limit(&self) -> Option<usize> {
        Some(MAX_REQUEST)
    }

    fn unsigned_document_limit(&self) -> Option<usize> {
        None
    }

    async fn serve(&self, request: Request, span: &mut AuditSpan) -> Response {
        let request_id = request.head.request_id.clone();
        match self.answer(request, span).await {
            Ok(body) => response(StatusCode::OK, &body, &request_id),
            Err(fault) => {
                span.error(fault.code, &fault.message);
                response(fault.status, &fault.body(), &request_id)
            }
        }
    }

    fn refuse(&self, head: &Head, _: &[u8], why: AuthError, span: &mut AuditSpan) -> Response {
        let fault = Fault::from(why);
        if let Some(name) = head.text("x-amz-target").and_then(table::find) {
            span.operation(name, table::is_read_only(name));
        }
        span.error(fault.code, &fault.message);
        response(fault.status, &fault.body(), &head.request_id)
    }
}
