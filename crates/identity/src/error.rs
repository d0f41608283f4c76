//! Why a change of identities was refused; the texts are AWS's own where they are known.

use tresor_model::AccountId;

/// Named by what a caller can do about it; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("{0}")]
    NoSuchEntity(String),
    #[error("{0}")]
    EntityAlreadyExists(String),
    #[error("{0}")]
    DeleteConflict(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    MalformedPolicy(String),
    #[error("{0}")]
    InvalidInput(String),
    #[error("{0}")]
    Validation(String),
    /// Declared in the configuration, or made by Tresor.
    #[error("{0}")]
    Unmodifiable(String),
    #[error("{0}")]
    PackedPolicyTooLarge(String),
    #[error("{0}")]
    InvalidIdentityToken(String),
    #[error("{0}")]
    ExpiredIdentityToken(String),
    #[error("identities cannot be stored or loaded: {0}")]
    Unavailable(String),
}

impl From<tresor_policy::MalformedPolicy> for IdentityError {
    fn from(why: tresor_policy::MalformedPolicy) -> Self {
        Self::MalformedPolicy(why.to_string())
    }
}

/// Why the configuration's accounts and users cannot be.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("the access key {0} is declared with two secrets or for two principals")]
    TwoSecrets(String),
    #[error("the account {0} is declared twice")]
    TwoAccounts(AccountId),
    #[error("the account {0} is not declared")]
    NoAccount(AccountId),
    #[error("the user {0} is declared in the configuration and was made by a call too: rename one of them")]
    TwoUsers(String),
    #[error("a kept identity cannot be used: {0}")]
    Kept(#[from] IdentityError),
}
