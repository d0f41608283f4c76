//! CloudTrail's errors on the wire: `{"__type": CODE, "message": TEXT}`. Codes are the service model's; the texts of LookupEvents'
//! own errors were never seen and are ours.

use http::StatusCode;
use serde_json::{Value, json};
use tresor_front::AuthError;

#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub code: &'static str,
    pub status: StatusCode,
    pub message: String,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status: StatusCode::BAD_REQUEST, message: message.into() }
    }
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }
    /// Logged by the caller.
    pub(crate) fn internal() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self {
            status,
            ..Self::new("InternalFailure", "The request processing has failed because of an unknown error.")
        }
    }
    pub(crate) fn body(&self) -> Value {
        json!({ "__type": self.code, "message": self.message })
    }
}

impl From<AuthError> for Fault {
    fn from(why: AuthError) -> Self {
        let (code, message) = why.json_fault("cloudtrail");
        Self::new(code, message)
    }
}
