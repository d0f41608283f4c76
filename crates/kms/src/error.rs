//! What can go wrong with a key; `Display` is AWS's text.

use crate::traits::KeyStoreError;

#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// A key or alias that does not exist; the whole text.
    #[error("{0}")]
    NotFound(String),
    /// A name that no key can have, or one of another region; the whole text.
    #[error("{0}")]
    InvalidKeyId(String),
    /// The key's ARN.
    #[error("{0} is disabled.")]
    Disabled(String),
    /// The key's ARN and its state, as AWS words it: "pending deletion".
    #[error("{0} is {1}.")]
    InvalidState(String, &'static str),
    /// What was refused, for the log.
    #[error("not authorized to use {0}")]
    AccessDenied(String),
    #[error("an alias with the name {0} already exists")]
    AlreadyExists(String),
    #[error("{0}")]
    InvalidAliasName(String),
    #[error("the limit of {0} was reached")]
    LimitExceeded(&'static str),
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
