//! IAM and STS as services of the front: a form (or, for STS, a query) in, XML out.

use crate::{
    fault::Fault,
    fields::Fields,
    table::{self, Input, Row},
    telling::Telling,
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
use tresor_model::{Caller, Clock, Principal};
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
}
const IAM: Protocol = Protocol { service: "iam" };
const STS: Protocol = Protocol { service: "sts" };

/// The parameters of a request: its form, and of a GET its query. Errors: MalformedInput.
fn parameters(head: &Head, form: &[u8]) -> Result<Fields, Fault> {
    let mut fields = Fields::parse(form)?;
    if head.method == Method::GET {
        for name in head.query.names() {
            fields.add(name.to_owned(), head.query.get(name).unwrap_or_default().to_owned())?;
        }
    }
    Ok(fields)
}

impl Protocol {
    fn namespace(&self) -> String {
        format!("https://{}.amazonaws.com/doc/{}/", self.service, table::version(self.service))
    }

    /// The protocol that a request means whose signature does not tell it.
    fn meant(&self, fields: &Fields) -> &Self {
        let (_, version) = fields.asked();
        [&IAM, &STS].into_iter().find(|known| table::version(known.service) == version).unwrap_or(self)
    }

    /// The operation that a request names, told to its event. Errors: InvalidAction.
    fn find(&self, fields: &Fields, span: &mut AuditSpan) -> Result<&'static Row, Fault> {
        let (name, version) = fields.asked();
        let row = table::find(self.service, name).filter(|_| version == table::version(self.service));
        let row = row.ok_or_else(|| {
            let short = |text: &str| text.chars().take(128).collect::<String>();
            Fault::new(
                "InvalidAction",
                format!("Could not find operation {} for version {}", short(name), short(version)),
            )
        })?;
        span.operation(row.name, row.is_read_only());
        Ok(row)
    }

    /// The answer to a caller who could not be told; the event is told the operation all the same.
    fn refuse(&self, head: &Head, document: &[u8], why: AuthError, span: &mut AuditSpan) -> Response {
        let fault = Fault::unauthenticated(why, self.service);
        if let Ok(fields) = parameters(head, document) {
            drop(self.find(&fields, span));
        }
        span.error(fault.code, &fault.message);
        self.failed(&fault, &head.request_id)
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
        let mut protocol = self;
        let answered = async {
            let Request { head, caller, mut body, .. } = request;
            let mut bytes = Zeroizing::new(Vec::new());
            while let Some(piece) = body
                .next()
                .await
                .map_err(|fault| Fault::new("MalformedInput", format!("The request cannot be read: {fault}.")))?
            {
                bytes.extend_from_slice(&piece);
            }
            let fields = parameters(&head, &bytes)?;
            if caller.account().is_none() {
                protocol = self.meant(&fields);
                span.service(protocol.service);
            }
            protocol.answer(api, (&head, &caller), fields, span).await
        };
        match answered.await {
            Ok((name, xml)) => protocol.answered(name, &xml, &request_id),
            Err(fault) => {
                span.error(fault.code, &fault.message);
                protocol.failed(&fault, &request_id)
            }
        }
    }

    async fn answer(
        &self,
        api: &Api,
        (head, caller): (&Head, &Caller),
        fields: Fields,
        span: &mut AuditSpan,
    ) -> Result<(&'static str, Xml), Fault> {
        if !matches!(head.method, Method::GET | Method::POST) {
            return Err(Fault::new("InvalidAction", "Requests are sent by POST, or by GET."));
        }
        let found = self.find(&fields, span);
        // Who is nobody is not told which operations there are.
        if caller.account().is_none() && !found.as_ref().is_ok_and(|row| row.is_unsigned()) {
            return Err(Fault::unauthenticated(AuthError::Anonymous, self.service));
        }
        let row = found?;
        for (name, value) in fields.shown() {
            span.parameter(&name, value);
        }
        // Sessions of GetSessionToken and GetFederationToken reach no call of IAM without MFA. Source: the IAM user guide,
        // "Compare AWS STS credentials".
        let plain_session = caller.session.is_some() && !matches!(caller.principal, Principal::AssumedRole { .. });
        if plain_session && self.service == IAM.service {
            return Err(Fault::invalid_client_token());
        }
        // And those of a federated user no call of STS but one, those of a user's session besides it AssumeRole. Source: the same.
        let asks_who = row.name == "GetCallerIdentity";
        let federated = matches!(caller.principal, Principal::Federated { .. });
        if plain_session && !asks_who && (federated || row.name != "AssumeRole") {
            return Err(Fault::denied(format!("Cannot call {} with session credentials", row.name)));
        }
        let Some(handler) = row.handler else {
            return Err(Fault::new("InvalidAction", format!("{} is not supported.", row.name)));
        };
        let telling = Telling::new(span);
        let input = Input {
            api,
            telling: &telling,
            caller,
            action: row.action,
            user_agent: head.text("user-agent"),
            referer: head.text("referer"),
        };
        let answered = handler(input, fields).await;
        telling.into_told().tell(span);
        Ok((row.name, answered?))
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
    ($name:ident, $protocol:ident) => {
        #[async_trait::async_trait]
        impl Service for $name {
            fn signing_name(&self) -> &'static str {
                $protocol.service
            }
            fn document_limit(&self) -> Option<usize> {
                Some(MAX_REQUEST)
            }
            fn unsigned_document_limit(&self) -> Option<usize> {
                Some(MAX_UNSIGNED_REQUEST)
            }
            async fn serve(&self, request: Request, span: &mut AuditSpan) -> Response {
                $protocol.serve(&self.0, request, span).await
            }
            fn refuse(&self, head: &Head, document: &[u8], why: AuthError, span: &mut AuditSpan) -> Response {
                $protocol.refuse(head, document, why, span)
            }
        }
    };
}
service!(IamService, IAM);
service!(StsService, STS);

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service)
    }
}
