//! KMS's errors on the wire: `{"__type": CODE, "message": TEXT}`. Source of codes and texts: the service model and answers recorded
//! from AWS; what was never seen is listed in docs/compatibility.md.

use http::StatusCode;
use serde_json::{Value, json};
use tresor_front::AuthError;
use tresor_kms::KmsError;

#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub code: &'static str,
    pub status: StatusCode,
    /// AWS says nothing with some codes.
    pub message: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status: StatusCode::BAD_REQUEST, message: Some(message.into()) }
    }
    fn silent(code: &'static str) -> Self {
        Self { code, status: StatusCode::BAD_REQUEST, message: None }
    }
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedOperationException", message)
    }
    pub(crate) fn body(&self) -> Value {
        match &self.message {
            Some(message) => json!({ "__type": self.code, "message": message }),
            None => json!({ "__type": self.code }),
        }
    }
}

impl From<KmsError> for Fault {
    fn from(error: KmsError) -> Self {
        let text = error.to_string();
        match error {
            KmsError::NotFound(_) | KmsError::InvalidKeyId(_) => Self::new("NotFoundException", text),
            KmsError::InvalidArn(_) => Self::new("InvalidArnException", text),
            KmsError::Disabled(_) => Self::new("DisabledException", text),
            KmsError::InvalidState(_) => Self::new("KMSInvalidStateException", text),
            KmsError::AccessDenied(_) => Self::new("AccessDeniedException", text),
            KmsError::AlreadyExists(_) => Self::new("AlreadyExistsException", text),
            KmsError::InvalidAliasName(_) => Self::new("InvalidAliasNameException", text),
            KmsError::LimitExceeded(_) => Self::new("LimitExceededException", text),
            KmsError::Validation(_) => Self::validation(text),
            KmsError::InvalidKeyUsage(_) => Self::new("InvalidKeyUsageException", text),
            KmsError::Unsupported(text) if text.is_empty() => Self::silent("UnsupportedOperationException"),
            KmsError::Unsupported(_) => Self::unsupported(text),
            KmsError::IncorrectKey => Self::new("IncorrectKeyException", text),
            KmsError::MalformedPolicy(_) => Self::new("MalformedPolicyDocumentException", text),
            KmsError::Tag(_) => Self::new("TagException", text),
            KmsError::Conflict(_) => Self::new("ConflictException", text),
            KmsError::DryRun => Self::new("DryRunOperationException", text),
            KmsError::InvalidGrantToken => Self::new("InvalidGrantTokenException", text),
            KmsError::InvalidGrantId(_) => Self::new("InvalidGrantIdException", text),
            KmsError::InvalidMarker => Self::new("InvalidMarkerException", text),
            KmsError::InvalidSignature => Self::silent("KMSInvalidSignatureException"),
            KmsError::InvalidMac => Self::silent("KMSInvalidMacException"),
            KmsError::IncorrectKeyMaterial(_) => Self::new("IncorrectKeyMaterialException", text),
            KmsError::ExpiredImportToken => Self::new("ExpiredImportTokenException", text),
            KmsError::InvalidImportToken => Self::new("InvalidImportTokenException", text),
            KmsError::InvalidCiphertext => Self::silent("InvalidCiphertextException"),
            KmsError::WrongCustomerKey | KmsError::Unavailable(_) => {
                tracing::error!(error = text, "a key could not be used");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self { status, ..Self::new("KeyUnavailableException", "The key material is not available.") }
            }
        }
    }
}

/// The codes that every JSON service of AWS answers with when a caller cannot be told. Source: "Common errors" of the KMS API reference.
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
                Self::new("InvalidSignatureException", "Credential should be scoped to correct service: 'kms'.")
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
