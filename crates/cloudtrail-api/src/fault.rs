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

/// The codes that every JSON service of AWS answers with when a caller cannot be told. Source: "Common errors" of the API reference.
impl From<AuthError> for Fault {
    fn from(why: AuthError) -> Self {
        match why {
            AuthError::UnknownAccessKey(_) | AuthError::InvalidToken => {
                Self::new("UnrecognizedClientException", "The security token included in the request is invalid.")
            }
            AuthError::ExpiredToken => {
                Self::new("ExpiredTokenException", "The security token included in the request is expired")
            }
            AuthError::SignatureDoesNotMatch { .. } => Self::new(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            ),
            AuthError::Skewed { request, now } => {
                Self::new("InvalidSignatureException", AuthError::skew_text(&request, now))
            }
            AuthError::Expired { expires, now } => Self::new(
                "InvalidSignatureException",
                format!("Signature expired: {} is now earlier than {}", expires.basic(), now.basic()),
            ),
            AuthError::WrongService => {
                Self::new("InvalidSignatureException", "Credential should be scoped to correct service: 'cloudtrail'.")
            }
            AuthError::Anonymous => Self::new("MissingAuthenticationTokenException", "Missing Authentication Token"),
            AuthError::BodyTooLarge => Self::serialization("The request is too large."),
            AuthError::BodyBroken => Self::serialization("The request could not be read to its end."),
            _ => Self::new(
                "IncompleteSignatureException",
                "Authorization header requires 'Credential', 'Signature', 'SignedHeaders' and 'X-Amz-Date' parameters.",
            ),
        }
    }
}
