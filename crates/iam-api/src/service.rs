//! IAM and STS as services of the front: a form (or, for STS, a query) in, XML out.

use crate::{
    fault::Fault,
    fields::Fields,
    table::{self, Input},
    xml::Xml,
};
use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use std::{fmt, sync::Arc};
use tresor_audit::AuditSpan;
use tresor_front::{AuthError, Head, Request, Response, ResponseBody, Service};
use tresor_identity::{Directory, Issuers};
use tresor_model::{Clock, Principal};
use zeroize::Zeroizing;

/// The longest request, in bytes: a managed policy, percent-encoded, fits several times.
const MAX_REQUEST: usize = 256 * 1024;
/// The longest request of a stranger: a web identity token and a session policy fit.
const MAX_UNSIGNED_REQUEST: usize = 32 * 1024;

/// What both services work on.
#[derive(Debug)]
pub struct Api {
    pub directory: Arc<Directory>,
    /// Keys of identity providers.
    pub issuers: Issuers,
    pub clock: Arc<dyn Clock>,
    pub region: String,
}

/// `iam`, version 2010-05-08.
#[derive(Debug)]
pub struct IamService(pub Arc<Api>);

/// `sts`, version 2011-06-15.
#[derive(Debug)]
pub struct StsService(pub Arc<Api>);

/// The one operation that answers with a result that holds nothing; clients look for it.
const EMPTY_RESULT: &str = "UpdateRole";

struct Protocol {
    service: &'static str,
    version: &'static str,
}
const IAM: Protocol = Protocol { service: "iam", version: "2010-05-08" };
const STS: Protocol = Protocol { service: "sts", version: "2011-06-15" };

impl Protocol {
    fn namespace(&self) -> String {
        format!("https://{}.amazonaws.com/doc/{}/", self.service, self.version)
    }

    fn failed(&self, fault: &Fault, request_id: &str) -> Response {
        let mut xml = Xml::default();
        xml.element("Error", |xml| {
            xml.text("Type", fault.kind()).text("Code", fault.code).text("Message", &fault.message);
        });
        xml.text("RequestId", request_id);
        let body = format!("<ErrorResponse xmlns=\"{}\">{}</ErrorResponse>\n", self.namespace(), xml.as_str());
        response(fault.status, body, request_id)
    }

    fn answered(&self, name: &str, result: &Xml, request_id: &str) -> Response {
        let inner = if result.is_empty() && name != EMPTY_RESULT {
            String::new()
        } else {
            format!("<{name}Result>{}</{name}Result>", result.as_str())
        };
        let body = format!(
            "<{name}Response xmlns=\"{}\">{inner}<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>\n",
            self.namespace()
        );
        response(StatusCode::OK, body, request_id)
    }

    async fn serve(&self, api: &Api, request: Request, span: &mut AuditSpan) -> Response {
        let request_id = request.head.request_id.clone();
        match self.answer(api, request, span).await {
            Ok((name, xml)) => self.answered(name, &xml, &request_id),
            Err(fault) => {
                span.error(fault.code, &fault.message);
                self.failed(&fault, &request_id)
            }
        }
    }

    async fn answer(&self, api: &Api, request: Request, span: &mut AuditSpan) -> Result<(&'static str, Xml), Fault> {
        let Request { head, caller, mut body, .. } = request;
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(piece) = body
            .next()
            .await
            .map_err(|fault| Fault::new("MalformedInput", format!("The request cannot be read: {fault}.")))?
        {
            bytes.extend_from_slice(&piece);
        }
        let mut fields = Fields::parse(&bytes)?;
        if head.method == Method::GET {
            for name in head.query.names() {
                fields.add(name.to_owned(), head.query.get(name).unwrap_or_default().to_owned())?;
            }
        } else if head.method != Method::POST {
            return Err(Fault::new("InvalidAction", "Requests are sent by POST, or by GET."));
        }
        let name = fields.text("Action", 0..=128)?.unwrap_or_default();
        let version = fields.text("Version", 0..=32)?.unwrap_or_default();
        let unknown = || Fault::new("InvalidAction", format!("Could not find operation {name} for version {version}"));
        let row = table::find(self.service, &name).filter(|_| version == self.version).ok_or_else(unknown)?;
        span.operation(row.name, row.is_read_only());
        for (name, value) in fields.shown() {
            span.parameter(&name, value);
        }
        if caller.account().is_none() && !row.is_unsigned() {
            return Err(Fault::unauthenticated(AuthError::Anonymous, self.service));
        }
        // Sessions of GetSessionToken and GetFederationToken reach no call of IAM without MFA. Source: the IAM user guide,
        // "Compare AWS STS credentials".
        let plain_session = caller.session.is_some() && !matches!(caller.principal, Principal::AssumedRole { .. });
        if plain_session && self.service == IAM.service {
            return Err(Fault::invalid_client_token());
        }
        let Some(handler) = row.handler else {
            return Err(Fault::new("InvalidAction", format!("{} is not supported.", row.name)));
        };
        let record = if row.is_read_only() { None } else { span.change(&[], &[]) };
        let input = Input {
            api,
            record: record.as_ref(),
            caller: &caller,
            action: row.action,
            user_agent: head.text("user-agent"),
            referer: head.text("referer"),
        };
        Ok((row.name, handler(input, fields).await?))
    }
}

fn response(status: StatusCode, body: String, request_id: &str) -> Response {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(ResponseBody::Full(body.into_bytes().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

macro_rules! service {
    ($name:ident, $protocol:ident, $unsigned:expr) => {
        #[async_trait::async_trait]
        impl Service for $name {
            fn signing_name(&self) -> &'static str {
                $protocol.service
            }
            fn document_limit(&self) -> Option<usize> {
                Some(MAX_REQUEST)
            }
            fn unsigned_document_limit(&self) -> Option<usize> {
                $unsigned
            }
            async fn serve(&self, request: Request, span: &mut AuditSpan) -> Response {
                $protocol.serve(&self.0, request, span).await
            }
            fn refuse(&self, head: &Head, why: AuthError) -> Response {
                $protocol.failed(&Fault::unauthenticated(why, $protocol.service), &head.request_id)
            }
        }
    };
}
service!(IamService, IAM, None);
service!(StsService, STS, Some(MAX_UNSIGNED_REQUEST));

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service)
    }
}
