//! One event in CloudTrail's record shape. Source: the CloudTrail user guide, "CloudTrail record contents", and the KMS developer
//! guide's examples (event version 1.11). Never a key, a plaintext or a ciphertext: what goes in is named, nothing is copied whole.

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

/// A known access key that a request named and did not prove to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub access_key_id: String,
    /// Whose key it is; this account is told.
    pub account: AccountId,
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

/// What is recorded.
#[derive(Clone, Debug)]
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
    pub fn to_json(&self) -> Value {
        let caller = self.caller.as_ref();
        let claimed = self.claimed.as_ref().filter(|_| caller.is_none());
        let account = caller.and_then(Caller::account).or(self.service_account.as_ref());
        let account = account.or(claimed.map(|claimed| &claimed.account)).map(AccountId::as_str);
        let service = self.service_account.is_some();
        let shown = |map: &Map<String, Value>| if map.is_empty() { Value::Null } else { map.clone().into() };
        let mut record = json!({
            "eventVersion": "1.11",
            "userIdentity": match &self.service_account {
                Some(account) => json!({ "accountId": account.as_str(), "invokedBy": self.invoked_by }),
                None => identity(caller, claimed, self.invoked_by),
            },
            "eventTime": self.at.iso8601(),
            "eventSource": self.source,
            "eventName": self.name,
            "awsRegion": self.origin.region,
            "sourceIPAddress": self.invoked_by.map(str::to_owned).or_else(|| self.origin.source_ip.clone()),
            "userAgent": self.invoked_by.map(str::to_owned).or_else(|| self.origin.user_agent.clone()),
            "requestParameters": shown(&self.parameters),
            "responseElements": shown(&self.response),
            "eventID": uuid(&self.event_id),
            "readOnly": self.read_only,
            "eventType": if service { "AwsServiceEvent" } else { "AwsApiCall" },
            "managementEvent": !self.data,
            "recipientAccountId": account,
            "eventCategory": if self.data { "Data" } else { "Management" },
        });
        if !service {
            record["requestID"] = self.request_id.as_str().into();
        }
        if !self.details.is_empty() {
            record["serviceEventDetails"] = self.details.clone().into();
        }
        if let Some(tls) = &self.origin.tls {
            record["tlsDetails"] = json!({
                "tlsVersion": tls.version,
                "cipherSuite": tls.cipher_suite,
                "clientProvidedHostHeader": tls.host,
            });
        }
        if !self.additional.is_empty() {
            record["additionalEventData"] = self.additional.clone().into();
        }
        if !self.resources.is_empty() {
            record["resources"] = self
                .resources
                .iter()
                .map(|(kind, arn)| json!({ "accountId": arn.split(':').nth(4).filter(|id| !id.is_empty()), "type": kind, "ARN": arn }))
                .collect();
        }
        if let Some((code, message)) = &self.error {
            // CloudTrail has one word for what the services call by two.
            let code = if code == "AccessDeniedException" { "AccessDenied" } else { code };
            record["errorCode"] = code.into();
            record["errorMessage"] = message.as_str().into();
        }
        record
    }

    /// The record that travels with a change: as CloudTrail does, what is too long is left out and said to be.
    pub fn to_record(&self) -> Vec<u8> {
        let mut record = self.to_json();
        let mut bytes = record.to_string().into_bytes();
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

/// A drawn id as CloudTrail writes it: a UUID.
pub fn uuid(id: &EventId) -> String {
    let mut id = *id;
    id[6] = 0x40 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    let text = hex::encode(id);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

fn identity(caller: Option<&Caller>, claimed: Option<&Claimed>, invoked_by: Option<&str>) -> Value {
    let mut identity = Map::new();
    let Some(caller) = caller else {
        identity.insert("type".into(), "Unknown".into());
        if let Some(claimed) = claimed {
            identity.insert("accountId".into(), claimed.account.as_str().into());
            identity.insert("accessKeyId".into(), claimed.access_key_id.as_str().into());
        }
        return identity.into();
    };
    let kind = match &caller.principal {
        Principal::Anonymous => "AWSAccount",
        Principal::Root { .. } => "Root",
        Principal::User { .. } => "IAMUser",
        Principal::AssumedRole { .. } => "AssumedRole",
        Principal::Federated { .. } => "FederatedUser",
    };
    identity.insert("type".into(), kind.into());
    identity.insert("principalId".into(), caller.user_id.as_str().into());
    if let Some(arn) = caller.principal.arn() {
        identity.insert("arn".into(), arn.into());
    }
    if let Some(account) = caller.account() {
        identity.insert("accountId".into(), account.as_str().into());
    }
    if let Some(key) = &caller.access_key_id {
        identity.insert("accessKeyId".into(), key.as_str().into());
    }
    if let Principal::User { name, .. } = &caller.principal {
        identity.insert("userName".into(), name.as_str().into());
    }
    if let Some(session) = &caller.session {
        identity.insert("sessionContext".into(), session_context(caller, session));
    }
    if let Some(service) = invoked_by {
        identity.insert("invokedBy".into(), service.into());
    }
    identity.into()
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
