//! Errors of the Query protocol: code, status and text. Source: the service models' error shapes and "Common errors" of the API
//! references; texts as AWS answers them where they are known.

use http::StatusCode;
use tresor_front::AuthError;
use tresor_identity::IdentityError;

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
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::new(code, message) }
    }
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::forbidden("AccessDenied", message)
    }
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }
    /// Whose fault: the protocol says so.
    pub(crate) fn kind(&self) -> &'static str {
        if self.status.is_server_error() { "Receiver" } else { "Sender" }
    }

    /// A caller who could not be told; `service` is the signing name that was asked for.
    pub(crate) fn unauthenticated(why: AuthError, service: &str) -> Self {
        match why {
            AuthError::UnknownAccessKey(_) | AuthError::InvalidToken => Self::invalid_client_token(),
            AuthError::ExpiredToken => {
                Self::forbidden("ExpiredToken", "The security token included in the request is expired")
            }
            AuthError::SignatureDoesNotMatch { .. } => Self::forbidden(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            ),
            AuthError::Skewed { request, now } => {
                Self::forbidden("SignatureDoesNotMatch", AuthError::skew_text(&request, now))
            }
            AuthError::Expired { expires, now } => Self::forbidden(
                "SignatureDoesNotMatch",
                format!("Signature expired: {} is now earlier than {}", expires.basic(), now.basic()),
            ),
            AuthError::WrongService => Self::forbidden(
                "SignatureDoesNotMatch",
                format!("Credential should be scoped to correct service: '{service}'. "),
            ),
            AuthError::Anonymous => {
                Self::forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
            }
            AuthError::BodyTooLarge => Self {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                ..Self::new("RequestEntityTooLarge", "The request is too large.")
            },
            AuthError::BodyBroken => Self::new("MalformedInput", "The request could not be read to its end."),
            _ => Self::new(
                "IncompleteSignature",
                "Authorization header requires 'Credential', 'Signature', 'SignedHeaders' and 'X-Amz-Date' parameters.",
            ),
        }
    }
    pub(crate) fn invalid_client_token() -> Self {
        Self::forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
    }
}

impl From<IdentityError> for Fault {
    fn from(error: IdentityError) -> Self {
        let text = error.to_string();
        let with = |code, status| Self { status, ..Self::new(code, text.clone()) };
        match error {
            IdentityError::NoSuchEntity(_) => with("NoSuchEntity", StatusCode::NOT_FOUND),
            IdentityError::EntityAlreadyExists(_) => with("EntityAlreadyExists", StatusCode::CONFLICT),
            IdentityError::DeleteConflict(_) => with("DeleteConflict", StatusCode::CONFLICT),
            IdentityError::LimitExceeded(_) => with("LimitExceeded", StatusCode::CONFLICT),
            IdentityError::MalformedPolicy(_) => with("MalformedPolicyDocument", StatusCode::BAD_REQUEST),
            IdentityError::InvalidInput(_) => with("InvalidInput", StatusCode::BAD_REQUEST),
            IdentityError::Validation(_) => with("ValidationError", StatusCode::BAD_REQUEST),
            IdentityError::Unmodifiable(_) => with("UnmodifiableEntity", StatusCode::BAD_REQUEST),
            IdentityError::PackedPolicyTooLarge(_) => with("PackedPolicyTooLarge", StatusCode::BAD_REQUEST),
            IdentityError::InvalidIdentityToken(_) => with("InvalidIdentityToken", StatusCode::BAD_REQUEST),
            IdentityError::ExpiredIdentityToken(_) => with("ExpiredTokenException", StatusCode::BAD_REQUEST),
            IdentityError::Unavailable(_) => {
                tracing::error!(error = text, "an identity could not be read or changed");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self {
                    status,
                    ..Self::new("ServiceFailure", "The request processing has failed because of an internal failure.")
                }
            }
        }
    }
}
