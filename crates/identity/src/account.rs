//! Accounts: declared in the configuration, and nowhere else.

use tresor_model::AccountId;

/// An account as S3 shows it.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: AccountId,
    /// The display name.
    pub name: String,
    /// 64 hex digits.
    pub canonical_id: String,
    pub email: Option<String>,
}

impl Account {
    /// The canonical id of an account that declares none: SHA-256-shaped, the same at every start.
    pub fn derived_canonical_id(id: &AccountId) -> String {
        // Twelve digits, spread over 64 hex digits; not a secret.
        format!("{:0>64}", id.as_str())
    }
}
