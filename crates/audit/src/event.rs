//! One event in CloudTrail's record shape. Source: the CloudTrail user guide, "CloudTrail record contents", and the KMS developer
//! guide's examples (event version 1.11). Never a key, a plaintext or a ciphertext: what goes in is named, nothing is copied whole.

use crate::{text::Object, transfer::Transfer};
use serde_json::{Map, Value, json};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tresor_model::{AccountId, Caller, EventId, MAX_CHANGE_RECORD, Principal, Session, Timestamp};

/// Who and from where, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub source_ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub region: String,
    /// The connection's protection, where the server itself ended TLS.
    pub tls: Option<Tls>,
}

/// CloudTrail's `tlsDetails`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.3`
    pub version: &'static str,
    /// `TLS_AES_128_GCM_SHA256`
    pub cipher_suite: String,
    /// The `Host` header.
    pub host: String,
}

/// A known access key that a request named and did not prove to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub access_key_id: String,
    /// Whose key it is; this account is told.
    pub account: AccountId,
}

/// What is recorded. The default tells nothing: every place that records names what it knows.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// `kms.amazonaws.com`
    pub source: &'static str,
    pub name: &'static str,
    pub at: Timestamp,
    pub request_id: Arc<str>,
    pub event_id: EventId,
    pub origin: Origin,
    /// `None` for a caller that could not be told.
    pub caller: Option<Caller>,
    /// The access key that such a caller named without proof, if it is one of an account here.
    pub claimed: Option<Claimed>,
    /// The service that called on the caller's behalf: `s3.amazonaws.com`.
    pub invoked_by: Option<&'static str>,
    /// The account of an event that no caller asked for: what time brings.
    pub service_account: Option<AccountId>,
    /// `serviceEventDetails` of such an event.
    pub details: Map<String, Value>,
    pub read_only: bool,
    /// An event of data, not of management.
    pub data: bool,
    pub parameters: Map<String, Value>,
    /// `responseElements`: what the answer says that may be shown.
    pub response: Map<String, Value>,
    pub additional: Map<String, Value>,
    /// The same of an S3 request, in its own shape.
    pub transfer: Option<Box<Transfer>>,
    /// Type and ARN.
    pub resources: Vec<(&'static str, String)>,
    pub error: Option<(String, String)>,
    /// For figures, not for the record: the HTTP status, how long it took, and the encryption the answer names.
    pub status: u16,
    pub elapsed: Duration,
    pub sse: Option<&'static str>,
}

impl Event {
    /// The event's JSON text, on one line.
    pub fn to_json(&self) -> Vec<u8> {
        self.written().to_json()
    }

    /// The record that travels with a change: as CloudTrail does, what is too long is left out and said to be.
    pub fn to_record(&self) -> Vec<u8> {
        self.written().to_record()
    }

    fn written(&self) -> Written<'_> {
        Written { event: self, at: self.at, error: self.error.as_ref(), resources: &[], additional: &[] }
    }
}

/// An event as it is written, with what only a change knows.
pub(crate) struct Written<'a> {
    pub event: &'a Event,
    pub at: Timestamp,
    pub error: Option<&'a (String, String)>,
    pub resources: &'a [(&'static str, String)],
    pub additional: &'a [(&'static str, Value)],
}

impl Written<'_> {
    fn to_json(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(TYPICAL);
        self.write(&mut text);
        text
    }

    pub(crate) fn to_record(&self) -> Vec<u8> {
        let mut bytes = self.to_json();
        if bytes.len() <= MAX_CHANGE_RECORD {
            return bytes;
        }
        let mut record: Value = serde_json::from_slice(&bytes).expect("an event is always JSON");
        for part in ["requestParameters", "additionalEventData", "resources", "userAgent"] {
            if bytes.len() <= MAX_CHANGE_RECORD {
                break;
            }
            let omitted = json!({ "omitted": true, "originalSize": record[part].to_string().len() });
            record[part] = omitted;
            bytes = record.to_string().into_bytes();
        }
        bytes
    }
}

/// Bytes that most events fit.
const TYPICAL: usize = 2048;

impl Written<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let event = self.event;
        let caller = event.caller.as_ref();
        let claimed = event.claimed.as_ref().filter(|_| caller.is_none());
        let account = caller.and_then(Caller::account).or(event.service_account.as_ref());
        let account = account.or(claimed.map(|claimed| &claimed.account)).map(AccountId::as_str);
        let is_service = event.service_account.is_some();
        let mut out = Object::begin(out);
        out.text("eventVersion", "1.11");
        match &event.service_account {
            Some(account) => {
                let mut identity = out.object("userIdentity");
                identity.text("accountId", account.as_str());
                identity.text_or_null("invokedBy", event.invoked_by);
                identity.end();
            }
            None => Identity { caller, claimed, invoked_by: event.invoked_by }.write(out.object("userIdentity")),
        }
        out.text("eventTime", &self.at.iso8601());
        out.text("eventSource", event.source);
        out.text("eventName", event.name);
        out.text("awsRegion", &event.origin.region);
        match (event.invoked_by, event.origin.source_ip) {
            (Some(service), _) => out.text("sourceIPAddress", service),
            (None, Some(address)) => out.text("sourceIPAddress", &address.to_string()),
            (None, None) => out.text_or_null("sourceIPAddress", None),
        }
        out.text_or_null("userAgent", event.invoked_by.or(event.origin.user_agent.as_deref()));
        shown(&mut out, "requestParameters", &event.parameters);
        shown(&mut out, "responseElements", &event.response);
        out.text("eventID", &uuid(&event.event_id));
        out.flag("readOnly", event.read_only);
        out.text("eventType", if is_service { "AwsServiceEvent" } else { "AwsApiCall" });
        out.flag("managementEvent", !event.data);
        out.text_or_null("recipientAccountId", account);
        out.text("eventCategory", if event.data { "Data" } else { "Management" });
        if !is_service {
            out.text("requestID", &event.request_id);
        }
        if !event.details.is_empty() {
            out.map("serviceEventDetails", &event.details);
        }
        if let Some(tls) = &event.origin.tls {
            let mut details = out.object("tlsDetails");
            details.text("cipherSuite", &tls.cipher_suite);
            details.text("clientProvidedHostHeader", &tls.host);
            details.text("tlsVersion", tls.version);
            details.end();
        }
        if !event.additional.is_empty() || event.transfer.is_some() || !self.additional.is_empty() {
            self.write_additional(out.object("additionalEventData"));
        }
        if !event.resources.is_empty() || !self.resources.is_empty() {
            out.list("resources", event.resources.iter().chain(self.resources), write_resource);
        }
        if let Some((code, message)) = self.error {
            // CloudTrail has one word for what the services call by two.
            let code = if code == "AccessDeniedException" { "AccessDenied" } else { code };
            out.text("errorCode", code);
            out.text("errorMessage", message);
        }
        out.end();
    }

    /// What the change knows counts where both tell something.
    fn write_additional(&self, mut out: Object<'_>) {
        let own = self.event.additional.iter();
        for (name, value) in own.filter(|(name, _)| !self.additional.iter().any(|(other, _)| other == name)) {
            out.value(name, value);
        }
        for (name, value) in self.additional {
            out.value(name, value);
        }
        if let Some(transfer) = &self.event.transfer {
            transfer.write(&mut out);
        }
        out.end();
    }
}

/// CloudTrail writes null where there is nothing to tell.
fn shown(out: &mut Object<'_>, name: &'static str, map: &Map<String, Value>) {
    match map.is_empty() {
        true => out.text_or_null(name, None),
        false => out.map(name, map),
    }
}

fn write_resource((kind, arn): &(&'static str, String), mut out: Object<'_>) {
    out.text_or_null("accountId", arn.split(':').nth(4).filter(|id| !id.is_empty()));
    out.text("type", kind);
    out.text("ARN", arn);
    out.end();
}

/// A drawn id as CloudTrail writes it: a UUID.
pub fn uuid(id: &EventId) -> String {
    let mut id = *id;
    id[6] = 0x40 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    let text = hex::encode(id);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// CloudTrail's `userIdentity`.
struct Identity<'a> {
    caller: Option<&'a Caller>,
    claimed: Option<&'a Claimed>,
    invoked_by: Option<&'a str>,
}

impl Identity<'_> {
    fn write(&self, mut out: Object<'_>) {
        let Some(caller) = self.caller else {
            out.text("type", "Unknown");
            if let Some(claimed) = self.claimed {
                out.text("accountId", claimed.account.as_str());
                out.text("accessKeyId", &claimed.access_key_id);
            }
            return out.end();
        };
        let kind = match &caller.principal {
            Principal::Anonymous => "AWSAccount",
            Principal::Root { .. } => "Root",
            Principal::User { .. } => "IAMUser",
            Principal::AssumedRole { .. } => "AssumedRole",
            Principal::Federated { .. } => "FederatedUser",
        };
        out.text("type", kind);
        out.text("principalId", &caller.user_id);
        if let Some(arn) = caller.principal.arn() {
            out.text("arn", &arn);
        }
        if let Some(account) = caller.account() {
            out.text("accountId", account.as_str());
        }
        if let Some(key) = &caller.access_key_id {
            out.text("accessKeyId", key);
        }
        if let Principal::User { name, .. } = &caller.principal {
            out.text("userName", name);
        }
        if let Some(session) = &caller.session {
            out.value("sessionContext", &session_context(caller, session));
        }
        if let Some(service) = self.invoked_by {
            out.text("invokedBy", service);
        }
        out.end();
    }
}

/// Source: the CloudTrail user guide, "userIdentity element".
fn session_context(caller: &Caller, session: &Session) -> Value {
    let mut shown = json!({
        "attributes": { "creationDate": session.issued.iso8601(), "mfaAuthenticated": "false" },
    });
    let account = caller.account().map(ToString::to_string);
    if let Principal::AssumedRole { role, .. } = &caller.principal {
        shown["sessionIssuer"] = json!({
            "type": "Role",
            "principalId": caller.user_id.split(':').next(),
            "arn": caller.principal.role_arn(),
            "accountId": account,
            "userName": role,
        });
    }
    if let Some(identity) = &session.source_identity {
        shown["sourceIdentity"] = identity.as_str().into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn account() -> AccountId {
        "111122223333".parse().expect("twelve digits")
    }
    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }
    fn check(event: &Event, expected: &str) {
        let error = event.error.as_ref();
        let resources = [("AWS::S3::Object", "arn:aws:s3:::b/k \"q\"".to_owned())];
        let additional = [("SSEApplied", Value::from("SSE_S3")), ("bytes", 7.into())];
        let written = Written { event, at: event.at, error, resources: &resources, additional: &additional };
        assert_eq!(String::from_utf8(written.to_json()).unwrap(), expected);
    }

    #[test]
    fn an_event_has_cloudtrails_shape() {
        let tls = Tls { version: "TLSv1.3", cipher_suite: "TLS_AES_128_GCM_SHA256".into(), host: "h:1".into() };
        let origin = Origin {
            source_ip: Some(Ipv4Addr::LOCALHOST.into()),
            user_agent: Some("a\u{1}\\\"~é/b\n".into()),
            region: "us-east-1".into(),
            tls: Some(tls),
        };
        let put = Event {
            source: "s3.amazonaws.com",
            name: "PutObject",
            at: Timestamp::from_millis(1_764_000_000_123),
            request_id: "516872F70670BA38".into(),
            event_id: [0xab; 16],
            origin,
            caller: Some(Caller {
                access_key_id: Some("AKIA".into()),
                ..Caller::local(Principal::Root { account: account() })
            }),
            data: true,
            parameters: map(
                json!({ "bucketName": "b", "key": "k", "list": [1, -2.5, true, null, {"a": {}}], "none": [] }),
            ),
            additional: map(json!({ "SSEApplied": "other", "bytesTransferredIn": 4096 })),
            resources: vec![("AWS::KMS::Key", "arn:aws:kms:us-east-1:111122223333:key/1".into())],
            error: Some(("AccessDeniedException".into(), "no".into())),
            ..Event::default()
        };
        check(
            &put,
            r#"{"eventVersion":"1.11","userIdentity":{"type":"Root","principalId":"111122223333","arn":"arn:aws:iam::111122223333:root","accountId":"111122223333","accessKeyId":"AKIA"},"eventTime":"2025-11-24T16:00:00.123Z","eventSource":"s3.amazonaws.com","eventName":"PutObject","awsRegion":"us-east-1","sourceIPAddress":"127.0.0.1","userAgent":"a\u0001\\\"~é/b\n","requestParameters":{"bucketName":"b","key":"k","list":[1,-2.5,true,null,{"a":{}}],"none":[]},"responseElements":null,"eventID":"abababab-abab-4bab-abab-abababababab","readOnly":false,"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"111122223333","eventCategory":"Data","requestID":"516872F70670BA38","tlsDetails":{"cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"h:1","tlsVersion":"TLSv1.3"},"additionalEventData":{"bytesTransferredIn":4096,"SSEApplied":"SSE_S3","bytes":7},"resources":[{"accountId":"111122223333","type":"AWS::KMS::Key","ARN":"arn:aws:kms:us-east-1:111122223333:key/1"},{"accountId":null,"type":"AWS::S3::Object","ARN":"arn:aws:s3:::b/k \"q\""}],"errorCode":"AccessDenied","errorMessage":"no"}"#,
        );
        let session = Session {
            issued: Timestamp::from_millis(1_764_000_000_000),
            expires: Timestamp::from_millis(1_764_000_001_000),
            tags: Vec::new(),
            transitive_tags: Vec::new(),
            source_identity: Some("me".into()),
            policy: None,
            policy_arns: Vec::new(),
            federated: Vec::new(),
        };
        let role =
            Principal::AssumedRole { account: account(), path: "/".into(), role: "app".into(), session: "work".into() };
        let caller = Caller { user_id: "AROA:work".into(), session: Some(Arc::new(session)), ..Caller::local(role) };
        let by_role = Event {
            caller: Some(caller),
            invoked_by: Some("s3.amazonaws.com"),
            read_only: true,
            response: map(json!({ "keyId": "k" })),
            ..Event::default()
        };
        check(
            &by_role,
            r#"{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROA:work","arn":"arn:aws:sts::111122223333:assumed-role/app/work","accountId":"111122223333","sessionContext":{"attributes":{"creationDate":"2025-11-24T16:00:00.000Z","mfaAuthenticated":"false"},"sessionIssuer":{"accountId":"111122223333","arn":"arn:aws:iam::111122223333:role/app","principalId":"AROA","type":"Role","userName":"app"},"sourceIdentity":"me"},"invokedBy":"s3.amazonaws.com"},"eventTime":"1970-01-01T00:00:00.000Z","eventSource":"","eventName":"","awsRegion":"","sourceIPAddress":"s3.amazonaws.com","userAgent":"s3.amazonaws.com","requestParameters":null,"responseElements":{"keyId":"k"},"eventID":"00000000-0000-4000-8000-000000000000","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management","requestID":"","additionalEventData":{"SSEApplied":"SSE_S3","bytes":7},"resources":[{"accountId":null,"type":"AWS::S3::Object","ARN":"arn:aws:s3:::b/k \"q\""}]}"#,
        );
        let details = map(json!({ "keyId": "k" }));
        let service =
            Event { service_account: Some(account()), invoked_by: Some("AWS Internal"), details, ..Event::default() };
        check(
            &service,
            r#"{"eventVersion":"1.11","userIdentity":{"accountId":"111122223333","invokedBy":"AWS Internal"},"eventTime":"1970-01-01T00:00:00.000Z","eventSource":"","eventName":"","awsRegion":"","sourceIPAddress":"AWS Internal","userAgent":"AWS Internal","requestParameters":null,"responseElements":null,"eventID":"00000000-0000-4000-8000-000000000000","readOnly":false,"eventType":"AwsServiceEvent","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management","serviceEventDetails":{"keyId":"k"},"additionalEventData":{"SSEApplied":"SSE_S3","bytes":7},"resources":[{"accountId":null,"type":"AWS::S3::Object","ARN":"arn:aws:s3:::b/k \"q\""}]}"#,
        );
        let claimed = Claimed { access_key_id: "AKIB".into(), account: account() };
        check(
            &Event { claimed: Some(claimed), ..Event::default() },
            r#"{"eventVersion":"1.11","userIdentity":{"type":"Unknown","accountId":"111122223333","accessKeyId":"AKIB"},"eventTime":"1970-01-01T00:00:00.000Z","eventSource":"","eventName":"","awsRegion":"","sourceIPAddress":null,"userAgent":null,"requestParameters":null,"responseElements":null,"eventID":"00000000-0000-4000-8000-000000000000","readOnly":false,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management","requestID":"","additionalEventData":{"SSEApplied":"SSE_S3","bytes":7},"resources":[{"accountId":null,"type":"AWS::S3::Object","ARN":"arn:aws:s3:::b/k \"q\""}]}"#,
        );
        check(
            &Event { caller: Some(Caller::local(Principal::user(account(), "u"))), ..Event::default() },
            r#"{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","principalId":"111122223333","arn":"arn:aws:iam::111122223333:user/u","accountId":"111122223333","userName":"u"},"eventTime":"1970-01-01T00:00:00.000Z","eventSource":"","eventName":"","awsRegion":"","sourceIPAddress":null,"userAgent":null,"requestParameters":null,"responseElements":null,"eventID":"00000000-0000-4000-8000-000000000000","readOnly":false,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management","requestID":"","additionalEventData":{"SSEApplied":"SSE_S3","bytes":7},"resources":[{"accountId":null,"type":"AWS::S3::Object","ARN":"arn:aws:s3:::b/k \"q\""}]}"#,
        );
    }
}
