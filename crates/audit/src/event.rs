//! One event in CloudTrail's record shape. Source: the CloudTrail user guide, "CloudTrail record contents", and the KMS developer
//! guide's examples (event version 1.11). Never a key, a plaintext or a ciphertext: what goes in is named, nothing is copied whole.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tresor_model::{AccountId, Caller, EventId, MAX_CHANGE_RECORD, Principal, Session, Timestamp};

/// Who and from where, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub source_ip: Option<String>,
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
    pub name: String,
    pub at: Timestamp,
    pub request_id: String,
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
        // Texts, numbers and maps with text keys are all that an event holds, so writing it into memory cannot fail.
        serde_json::to_writer(&mut text, self).expect("an event is always JSON");
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

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let event = self.event;
        let caller = event.caller.as_ref();
        let claimed = event.claimed.as_ref().filter(|_| caller.is_none());
        let account = caller.and_then(Caller::account).or(event.service_account.as_ref());
        let account = account.or(claimed.map(|claimed| &claimed.account)).map(AccountId::as_str);
        let is_service = event.service_account.is_some();
        let mut out = to.serialize_map(None)?;
        out.serialize_entry("eventVersion", "1.11")?;
        match &event.service_account {
            Some(account) => out.serialize_entry(
                "userIdentity",
                &json!({ "accountId": account.as_str(), "invokedBy": event.invoked_by }),
            )?,
            None => out.serialize_entry("userIdentity", &Identity { caller, claimed, invoked_by: event.invoked_by })?,
        }
        out.serialize_entry("eventTime", &self.at.iso8601())?;
        out.serialize_entry("eventSource", event.source)?;
        out.serialize_entry("eventName", &event.name)?;
        out.serialize_entry("awsRegion", &event.origin.region)?;
        out.serialize_entry("sourceIPAddress", &event.invoked_by.or(event.origin.source_ip.as_deref()))?;
        out.serialize_entry("userAgent", &event.invoked_by.or(event.origin.user_agent.as_deref()))?;
        out.serialize_entry("requestParameters", &shown(&event.parameters))?;
        out.serialize_entry("responseElements", &shown(&event.response))?;
        out.serialize_entry("eventID", &uuid(&event.event_id))?;
        out.serialize_entry("readOnly", &event.read_only)?;
        out.serialize_entry("eventType", if is_service { "AwsServiceEvent" } else { "AwsApiCall" })?;
        out.serialize_entry("managementEvent", &!event.data)?;
        out.serialize_entry("recipientAccountId", &account)?;
        out.serialize_entry("eventCategory", if event.data { "Data" } else { "Management" })?;
        if !is_service {
            out.serialize_entry("requestID", &event.request_id)?;
        }
        if !event.details.is_empty() {
            out.serialize_entry("serviceEventDetails", &event.details)?;
        }
        if let Some(tls) = &event.origin.tls {
            out.serialize_entry(
                "tlsDetails",
                &json!({
                    "tlsVersion": tls.version,
                    "cipherSuite": tls.cipher_suite,
                    "clientProvidedHostHeader": tls.host,
                }),
            )?;
        }
        if !event.additional.is_empty() || !self.additional.is_empty() {
            out.serialize_entry("additionalEventData", &Additional(self))?;
        }
        if !event.resources.is_empty() || !self.resources.is_empty() {
            out.serialize_entry("resources", &Resources(self))?;
        }
        if let Some((code, message)) = self.error {
            // CloudTrail has one word for what the services call by two.
            let code = if code == "AccessDeniedException" { "AccessDenied" } else { code };
            out.serialize_entry("errorCode", code)?;
            out.serialize_entry("errorMessage", message)?;
        }
        out.end()
    }
}

/// CloudTrail writes null where there is nothing to tell.
fn shown(map: &Map<String, Value>) -> Option<&Map<String, Value>> {
    (!map.is_empty()).then_some(map)
}

struct Additional<'a, 'b>(&'a Written<'b>);

impl Serialize for Additional<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_map(None)?;
        // What the change knows counts where both tell something.
        let own = self.0.event.additional.iter();
        for (name, value) in own.filter(|(name, _)| !self.0.additional.iter().any(|(other, _)| other == name)) {
            out.serialize_entry(name, value)?;
        }
        for (name, value) in self.0.additional {
            out.serialize_entry(name, value)?;
        }
        out.end()
    }
}

struct Resources<'a, 'b>(&'a Written<'b>);

impl Serialize for Resources<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let resources = self.0.event.resources.iter().chain(self.0.resources);
        to.collect_seq(resources.map(|(kind, arn)| Resource { kind, arn }))
    }
}

struct Resource<'a> {
    kind: &'static str,
    arn: &'a str,
}

impl Serialize for Resource<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_map(None)?;
        out.serialize_entry("accountId", &self.arn.split(':').nth(4).filter(|id| !id.is_empty()))?;
        out.serialize_entry("type", self.kind)?;
        out.serialize_entry("ARN", self.arn)?;
        out.end()
    }
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

impl Serialize for Identity<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_map(None)?;
        let Some(caller) = self.caller else {
            out.serialize_entry("type", "Unknown")?;
            if let Some(claimed) = self.claimed {
                out.serialize_entry("accountId", claimed.account.as_str())?;
                out.serialize_entry("accessKeyId", &claimed.access_key_id)?;
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
        out.serialize_entry("type", kind)?;
        out.serialize_entry("principalId", &caller.user_id)?;
        if let Some(arn) = caller.principal.arn() {
            out.serialize_entry("arn", &arn)?;
        }
        if let Some(account) = caller.account() {
            out.serialize_entry("accountId", account.as_str())?;
        }
        if let Some(key) = &caller.access_key_id {
            out.serialize_entry("accessKeyId", key)?;
        }
        if let Principal::User { name, .. } = &caller.principal {
            out.serialize_entry("userName", name)?;
        }
        if let Some(session) = &caller.session {
            out.serialize_entry("sessionContext", &session_context(caller, session))?;
        }
        if let Some(service) = self.invoked_by {
            out.serialize_entry("invokedBy", service)?;
        }
        out.end()
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
