//! One event in CloudTrail's record shape. Source: the CloudTrail user guide, "CloudTrail record contents", and the KMS developer
//! guide's examples (event version 1.11). Never a key, a plaintext or a ciphertext: what goes in is named, nothing is copied whole.

use serde_json::{Map, Value, json};
use std::time::Duration;
use tresor_model::{Caller, Principal, Session, Timestamp};

/// Who and from where, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub source_ip: Option<String>,
    pub user_agent: Option<String>,
    pub region: String,
}

/// What is recorded.
#[derive(Clone, Debug)]
pub struct Event {
    /// `kms.amazonaws.com`
    pub source: &'static str,
    pub name: String,
    pub at: Timestamp,
    pub request_id: String,
    /// 32 hex digits, drawn.
    pub event_id: String,
    pub origin: Origin,
    /// `None` for a caller that could not be told.
    pub caller: Option<Caller>,
    /// The service that called on the caller's behalf: `s3.amazonaws.com`.
    pub invoked_by: Option<&'static str>,
    pub read_only: bool,
    /// An event of data, not of management.
    pub data: bool,
    pub parameters: Map<String, Value>,
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
        let account = self.caller.as_ref().and_then(|caller| caller.account().map(ToString::to_string));
        let mut record = json!({
            "eventVersion": "1.11",
            "userIdentity": identity(self.caller.as_ref(), self.invoked_by),
            "eventTime": self.at.iso8601(),
            "eventSource": self.source,
            "eventName": self.name,
            "awsRegion": self.origin.region,
            "sourceIPAddress": self.invoked_by.map(str::to_owned).or_else(|| self.origin.source_ip.clone()),
            "userAgent": self.invoked_by.map(str::to_owned).or_else(|| self.origin.user_agent.clone()),
            "requestParameters": if self.parameters.is_empty() { Value::Null } else { self.parameters.clone().into() },
            "responseElements": null,
            "requestID": self.request_id,
            "eventID": self.event_id,
            "readOnly": self.read_only,
            "eventType": if self.caller.is_none() && self.invoked_by.is_some() { "AwsServiceEvent" } else { "AwsApiCall" },
            "managementEvent": !self.data,
            "recipientAccountId": account,
            "eventCategory": if self.data { "Data" } else { "Management" },
        });
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
            record["errorCode"] = code.as_str().into();
            record["errorMessage"] = message.as_str().into();
        }
        record
    }
}

fn identity(caller: Option<&Caller>, invoked_by: Option<&str>) -> Value {
    let mut identity = Map::new();
    let Some(caller) = caller else {
        identity.insert("type".into(), "Unknown".into());
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
