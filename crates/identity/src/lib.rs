//! Accounts, users and access keys: who signs with an access key, and how S3 names an owner. Must never see a request body.

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};
use subtle::ConstantTimeEq;
use tresor_model::{AccountId, Caller, Principal, Session};
use tresor_policy::{Bindings, Policy};
use zeroize::Zeroizing;

/// A secret access key: it signs, and never prints.
#[derive(Clone)]
pub struct SecretAccessKey(Zeroizing<String>);

impl SecretAccessKey {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }
    /// For deriving signing keys, and for writing the credentials file.
    pub fn expose(&self) -> &str {
        &self.0
    }
    pub fn equals(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for SecretAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretAccessKey")
    }
}

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

/// An access key and whose it is.
#[derive(Clone, Debug)]
pub struct Credential {
    pub principal: Principal,
    /// `aws:userid`
    pub user_id: String,
    pub secret: SecretAccessKey,
    /// What temporary credentials bring.
    pub session: Option<Arc<Session>>,
}

impl Credential {
    /// A long-term key of an account's root or of a declared user.
    pub fn new(principal: Principal, secret: SecretAccessKey) -> Self {
        let user_id = match &principal {
            Principal::User { .. } => declared_id("AIDA", &principal.arn().unwrap_or_default()),
            other => Caller::local(other.clone()).user_id,
        };
        Self { principal, user_id, secret, session: None }
    }
    /// Who a request acts as that this key signed.
    pub fn caller(&self, access_key_id: &str, source_ip: IpAddr, secure_transport: bool) -> Caller {
        Caller {
            principal: self.principal.clone(),
            user_id: self.user_id.clone(),
            access_key_id: Some(access_key_id.to_owned()),
            session: self.session.clone(),
            source_ip: Some(source_ip),
            secure_transport,
        }
    }
}

/// The unique id of somebody whom the configuration declares: the same at every start. Four letters and 17 of `A-Z2-7`, as AWS's.
fn declared_id(prefix: &str, arn: &str) -> String {
    let hash = tresor_digest::sha256(arn.as_bytes());
    let rest: String = hash[..17].iter().map(|byte| char::from(ID_ALPHABET[usize::from(byte % 32)])).collect();
    format!("{prefix}{rest}")
}

const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("the access key {0} is declared with two secrets or for two principals")]
    TwoSecrets(String),
    #[error("the account {0} is declared twice")]
    TwoAccounts(AccountId),
    #[error("the account {0} is not declared")]
    NoAccount(AccountId),
}

/// Everyone who may sign.
#[derive(Debug, Default)]
pub struct Directory {
    accounts: HashMap<AccountId, Account>,
    credentials: HashMap<String, Arc<Credential>>,
    /// Identity policies of users.
    policies: HashMap<Principal, Vec<Arc<Policy>>>,
}

impl Directory {
    /// Errors: TwoAccounts.
    pub fn add_account(&mut self, account: Account) -> Result<(), DirectoryError> {
        let id = account.id.clone();
        match self.accounts.insert(id.clone(), account) {
            None => Ok(()),
            Some(_) => Err(DirectoryError::TwoAccounts(id)),
        }
    }

    /// The same key twice is fine if it is the same secret of the same principal. Errors: TwoSecrets, NoAccount.
    pub fn add_credential(&mut self, access_key_id: &str, credential: Credential) -> Result<(), DirectoryError> {
        if let Some(account) = credential.principal.account()
            && !self.accounts.contains_key(account)
        {
            return Err(DirectoryError::NoAccount(account.clone()));
        }
        match self.credentials.get(access_key_id) {
            Some(known) if !known.secret.equals(&credential.secret) || known.principal != credential.principal => {
                Err(DirectoryError::TwoSecrets(access_key_id.to_owned()))
            }
            Some(_) => Ok(()),
            None => {
                self.credentials.insert(access_key_id.to_owned(), Arc::new(credential));
                Ok(())
            }
        }
    }

    /// Binds an identity policy to a user.
    pub fn add_policy(&mut self, principal: Principal, policy: Policy) {
        self.policies.entry(principal).or_default().push(Arc::new(policy));
    }
    /// The policies and tags that bind a caller now; an account's root has none and needs none.
    pub fn bindings(&self, caller: &Caller) -> Bindings {
        let identity = self.policies.get(&caller.principal).cloned().unwrap_or_default();
        Bindings { identity: identity.into(), ..Bindings::default() }
    }
    /// Whether an ARN or an account id, as policies write principals, names someone who is declared.
    pub fn names(&self, principal: &str) -> bool {
        let known = |account: &str| account.parse().is_ok_and(|id: AccountId| self.accounts.contains_key(&id));
        known(principal)
            || self
                .accounts
                .keys()
                .any(|id| Principal::Root { account: id.clone() }.arn().as_deref() == Some(principal))
            || self.credentials.values().any(|credential| credential.principal.arn().as_deref() == Some(principal))
    }

    pub fn credential(&self, access_key_id: &str) -> Option<Arc<Credential>> {
        self.credentials.get(access_key_id).cloned()
    }
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }
    /// The canonical id and display name of an owner, for XML. An account that is no longer declared keeps its derived id.
    pub fn owner(&self, id: &AccountId) -> (String, String) {
        match self.accounts.get(id) {
            Some(account) => (account.canonical_id.clone(), account.name.clone()),
            None => (Account::derived_canonical_id(id), id.to_string()),
        }
    }
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_access_key_has_one_secret() {
        let id: AccountId = "111122223333".parse().unwrap();
        let mut directory = Directory::default();
        let root = || Principal::Root { account: id.clone() };
        let credential = |secret: &str| Credential::new(root(), SecretAccessKey::new(secret));
        assert!(matches!(directory.add_credential("A", credential("s")), Err(DirectoryError::NoAccount(_))));
        let account = Account { id: id.clone(), name: "main".into(), canonical_id: "0".repeat(64), email: None };
        directory.add_account(account).unwrap();
        directory.add_credential("A", credential("s")).unwrap();
        directory.add_credential("A", credential("s")).unwrap();
        assert!(matches!(directory.add_credential("A", credential("t")), Err(DirectoryError::TwoSecrets(_))));
        assert_eq!(format!("{:?}", directory.credential("A").unwrap().secret), "SecretAccessKey");
    }
}
