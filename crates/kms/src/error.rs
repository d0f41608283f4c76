//! What can go wrong with a key; `Display` is AWS's text.

use crate::traits::KeyStoreError;
use tresor_policy::MalformedPolicy;

#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// A key or alias that does not exist; the whole text.
    #[error("{0}")]
    NotFound(String),
    /// A name that no key can have, or one of another region; the whole text.
    #[error("{0}")]
    InvalidKeyId(String),
    /// An ARN that is none; the whole text.
    #[error("{0}")]
    InvalidArn(String),
    /// The key's ARN.
    #[error("{0} is disabled.")]
    Disabled(String),
    /// The whole text: "ARN is pending deletion."
    #[error("{0}")]
    InvalidState(String),
    /// Who was refused what: AWS's whole text, for callers of the key's own account.
    #[error("{0}")]
    AccessDenied(String),
    #[error("{0}")]
    AlreadyExists(String),
    #[error("{0}")]
    InvalidAliasName(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    Validation(String),
    #[error("{0}")]
    InvalidKeyUsage(String),
    /// Empty where AWS says nothing.
    #[error("{0}")]
    Unsupported(String),
    #[error("The key ID in the request does not identify a CMK that can perform this operation.")]
    IncorrectKey,
    #[error(transparent)]
    MalformedPolicy(#[from] MalformedPolicy),
    #[error("{0}")]
    Tag(String),
    #[error("{0}")]
    Conflict(String),
    #[error("The request would have succeeded, but the DryRun option is set.")]
    DryRun,
    #[error("The grant token is not valid.")]
    InvalidGrantToken,
    #[error("The grant id {0} is not valid.")]
    InvalidGrantId(String),
    #[error("The marker is not valid.")]
    InvalidMarker,
    #[error("the signature is invalid")]
    InvalidSignature,
    #[error("the MAC is invalid")]
    InvalidMac,
    #[error("{0}")]
    IncorrectKeyMaterial(String),
    #[error("The import token has expired.")]
    ExpiredImportToken,
    #[error("The import token is not valid for this key.")]
    InvalidImportToken,
    #[error("the customer's key is not the one the object was written with")]
    WrongCustomerKey,
    /// A wrapped key does not authenticate under its key, context and place.
    #[error("the ciphertext is invalid")]
    InvalidCiphertext,
    /// Material or its erasure secret cannot be reached now.
    #[error("key material is unavailable: {0}")]
    Unavailable(String),
}

impl From<KeyStoreError> for KmsError {
    fn from(error: KeyStoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
