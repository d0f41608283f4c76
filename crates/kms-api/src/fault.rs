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

impl From<AuthError> for Fault {
    fn from(why: AuthError) -> Self {
        let (code, message) = why.json_fault("kms");
        Self::new(code, message)
    }
}
