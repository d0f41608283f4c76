//! KMS as a service of the front: told apart by `X-Amz-Target`, one JSON document each way.

use crate::{
    fault::Fault,
    fields::Fields,
    recording::SpanRecording,
    table::{self, Input, Row, TARGET},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::Value;
use std::{fmt, sync::Arc};
use tresor_audit::AuditSpan;
use tresor_front::{AuthError, Head, Request, Response, ResponseBody, Service};
use tresor_kms::{Dependents, KeyRing};
use zeroize::Zeroizing;

/// The longest request, in bytes: a key policy and the rest of CreateKey fit.
const MAX_REQUEST: usize = 256 * 1024;

/// Members of answers that name the material that worked, and where CloudTrail shows them.
const MATERIALS: [(&str, &str); 3] = [
    ("KeyMaterialId", "keyMaterialId"),
    ("SourceKeyMaterialId", "sourceKeyMaterialId"),
    ("DestinationKeyMaterialId", "destinationKeyMaterialId"),
];

/// The operation that a request names.
fn named(head: &Head) -> Option<&'static Row> {
    head.text("x-amz-target")?.strip_prefix(TARGET).and_then(table::find)
}

/// Names a key in the event, once.
fn touch(span: &mut AuditSpan, touched: &mut Vec<String>, arn: &str) {
    if !touched.iter().any(|known| known == arn) {
        touched.push(arn.to_owned());
        span.resource("AWS::KMS::Key", arn.to_owned());
    }
}

/// The KMS protocol over a key ring.
pub struct KmsService {
    ring: Arc<KeyRing>,
    dependents: Arc<dyn Dependents>,
}

impl fmt::Debug for KmsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KmsService")
    }
}

impl KmsService {
    pub fn new(ring: Arc<KeyRing>, dependents: Arc<dyn Dependents>) -> Self {
        Self { ring, dependents }
    }

    async fn answer(&self, request: Request, span: &mut AuditSpan) -> Result<Option<Value>, Fault> {
        let Request { head, caller, mut body, .. } = request;
        let Some(row) = named(&head) else {
            return Err(Fault::new("UnknownOperationException", ""));
        };
        span.operation(row.name, row.is_read_only());
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(piece) =
            body.next().await.map_err(|fault| Fault::serialization(format!("The request cannot be read: {fault}.")))?
        {
            bytes.extend_from_slice(&piece);
        }
        let fields = Fields::parse(&bytes)?;
        for (name, value) in fields.shown() {
            span.parameter(&name, value);
        }
        let Some(handler) = row.handler else {
            return Err(Fault::unsupported(format!("{} is not supported.", row.name)));
        };
        let mut touched = Vec::new();
        for found in fields.keys_shown().iter().filter_map(|name| self.ring.locate(&caller, name).ok()) {
            touch(span, &mut touched, found.arn.as_str());
        }
        let recording = SpanRecording::new(span);
        let input = Input {
            ring: &self.ring,
            caller: &caller,
            request_id: &head.request_id,
            name: row.name,
            dependents: &*self.dependents,
            recording: &recording,
        };
        let answered = handler(input, fields).await;
        recording.into_learnt().tell(span);
        let answer = answered?;
        // The record of a change was made with the change; a ciphertext names its key itself.
        if row.is_read_only() {
            for member in ["SourceKeyId", "KeyId"] {
                if let Some(arn) = answer[member].as_str().filter(|id| id.starts_with("arn:")) {
                    touch(span, &mut touched, arn);
                }
            }
            for (member, shown) in MATERIALS {
                if let Some(id) = answer[member].as_str() {
                    span.additional(shown, id);
                }
            }
        }
        Ok((!answer.is_null()).then_some(answer))
    }
}

fn response(status: StatusCode, body: Option<&Value>) -> Response {
    let bytes = body.map(|body| serde_json::to_vec(body).unwrap_or_default()).unwrap_or_default();
    let length = HeaderValue::from(bytes.len());
    let mut response =
        Response::new(if bytes.is_empty() { ResponseBody::Empty } else { ResponseBody::Full(bytes.into()) });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

fn response_of(fault: &Fault) -> Response {
    response(fault.status, Some(&fault.body()))
}

fn identified(mut response: Response, request_id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

#[async_trait::async_trait]
impl Service for KmsService {
    fn signing_name(&self) -> &'static str {
        "kms"
    }

    fn document_limit(&self) -> Option<usize> {
        Some(MAX_REQUEST)
    }

    fn unsigned_document_limit(&self) -> Option<usize> {
        None
    }

    async fn serve(&self, request: Request, span: &mut AuditSpan) -> Response {
        let request_id = request.head.request_id.clone();
        let response = match self.answer(request, span).await {
            Ok(body) => response(StatusCode::OK, body.as_ref()),
            Err(fault) => {
                span.error(fault.code, fault.message.as_deref().unwrap_or_default());
                response_of(&fault)
            }
        };
        identified(response, &request_id)
    }

    fn refuse(&self, head: &Head, _: &[u8], why: AuthError, span: &mut AuditSpan) -> Response {
        let fault = Fault::from(why);
        if let Some(row) = named(head) {
            span.operation(row.name, row.is_read_only());
        }
        span.error(fault.code, fault.message.as_deref().unwrap_or_default());
        identified(response_of(&fault), &head.request_id)
    }
}
