//! Who calls, and the ARNs by which AWS names things.

use crate::{InvalidName, Timestamp, names::cbor_text};
use std::{fmt, str::FromStr, sync::Arc};

/// The only partition Tresor speaks.
pub const PARTITION: &str = "aws";

/// An AWS account id: exactly twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

impl AccountId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
cbor_text!(AccountId);

/// Who a request acts as, once its signature has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    Anonymous,
    Root {
        account: AccountId,
    },
    User {
        account: AccountId,
        /// `/` or `/division/team/`.
        path: String,
        name: String,
    },
    /// A session of a role.
    AssumedRole {
        account: AccountId,
        /// The role's path; the session's own ARN does not show it.
        path: String,
        role: String,
        session: String,
    },
    /// A session that a user made for somebody else with GetFederationToken.
    Federated {
        account: AccountId,
        name: String,
        /// The name of the user that made it, whose policies bound it.
        user: String,
    },
}

impl Principal {
    /// A user without a path.
    pub fn user(account: AccountId, name: impl Into<String>) -> Self {
        Self::User { account, path: "/".into(), name: name.into() }
    }
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Anonymous => None,
            Self::Root { account }
            | Self::User { account, .. }
            | Self::AssumedRole { account, .. }
            | Self::Federated { account, .. } => Some(account),
        }
    }
    /// `arn:aws:iam::ACCOUNT:root`, `arn:aws:iam::ACCOUNT:user/PATH/NAME`, `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION` or
    /// `arn:aws:sts::ACCOUNT:federated-user/NAME`; nothing for an anonymous caller.
    pub fn arn(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Root { account } => Some(["arn:", PARTITION, ":iam::", account.as_str(), ":root"].concat()),
            Self::User { account, path, name } => {
                Some(["arn:", PARTITION, ":iam::", account.as_str(), ":user", path, name].concat())
            }
            Self::AssumedRole { account, role, session, .. } => {
                Some(format!("arn:{PARTITION}:sts::{account}:assumed-role/{role}/{session}"))
            }
            Self::Federated { account, name, .. } => {
                Some(format!("arn:{PARTITION}:sts::{account}:federated-user/{name}"))
            }
        }
    }
    /// `arn:aws:iam::ACCOUNT:role/PATH/ROLE` of a role's session; nothing for everybody else.
    pub fn role_arn(&self) -> Option<String> {
        match self {
            Self::AssumedRole { account, path, role, .. } => {
                Some(format!("arn:{PARTITION}:iam::{account}:role{path}{role}"))
            }
            Self::Anonymous | Self::Root { .. } | Self::User { .. } | Self::Federated { .. } => None,
        }
    }
    /// The value of `aws:PrincipalType`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "Anonymous",
            Self::Root { .. } => "Account",
            Self::User { .. } => "User",
            Self::AssumedRole { .. } => "AssumedRole",
            Self::Federated { .. } => "FederatedUser",
        }
    }
}

/// What temporary credentials bring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// `aws:TokenIssueTime`
    pub issued: Timestamp,
    pub expires: Timestamp,
    /// Session tags; they win over the tags of the user or role.
    pub tags: Vec<(String, String)>,
    /// Keys of those tags that go on to the next role.
    pub transitive_tags: Vec<String>,
    pub source_identity: Option<String>,
    /// The text of the session policy that was passed, if one was.
    pub policy: Option<String>,
    /// ARNs of managed policies that were passed as session policies.
    pub policy_arns: Vec<String>,
    /// Condition keys that a web identity leaves: `aws:FederatedProvider`, `PROVIDER:sub`, `PROVIDER:aud`.
    pub federated: Vec<(String, String)>,
}

/// A principal and how it identified itself for this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    /// `aws:userid`: `AIDA...` of a user, `AROA...:SESSION` of a role's session, `ACCOUNT:NAME` of a federated user, the account's id
    /// of its root, `anonymous`.
    pub user_id: String,
    pub access_key_id: Option<String>,
    /// Temporary credentials signed the request.
    pub session: Option<Arc<Session>>,
    /// Where the request came from, if it came over the network.
    pub source_ip: Option<std::net::IpAddr>,
    /// The request came over TLS, through a trusted proxy that says so, or to a development server.
    pub secure_transport: bool,
}

impl Caller {
    pub fn anonymous(source_ip: Option<std::net::IpAddr>, secure_transport: bool) -> Self {
        Self { source_ip, secure_transport, ..Self::local(Principal::Anonymous) }
    }
    /// A caller that came over no network: the command line.
    pub fn local(principal: Principal) -> Self {
        let user_id = match &principal {
            Principal::Anonymous => "anonymous".to_owned(),
            other => other.account().map(ToString::to_string).unwrap_or_default(),
        };
        Self { principal, user_id, access_key_id: None, session: None, source_ip: None, secure_transport: true }
    }
    pub fn account(&self) -> Option<&AccountId> {
        self.principal.account()
    }
    /// The account's root, with its own key or a session of it.
    pub fn is_root(&self) -> bool {
        matches!(self.principal, Principal::Root { .. })
    }
}

/// `arn:aws:kms:REGION:ACCOUNT:key/ID`, checked by shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyArn(String);

impl KeyArn {
    pub fn new(region: &str, account: &AccountId, key_id: &str) -> Result<Self, InvalidName> {
        Self::read(["arn:", PARTITION, ":kms:", region, ":", account.as_str(), ":key/", key_id].concat())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    fn read(text: String) -> Result<Self, InvalidName> {
        let mut parts = text.split(':');
        let start = [parts.next(), parts.next(), parts.next()] == [Some("arn"), Some(PARTITION), Some("kms")];
        let region = parts.next().is_some_and(|region| !region.is_empty());
        let account = parts.next().is_some_and(|account| account.parse::<AccountId>().is_ok());
        let id = parts.next().and_then(|resource| resource.strip_prefix("key/")).is_some_and(|id| {
            (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
        if start && region && account && id && parts.next().is_none() { Ok(Self(text)) } else { Err(InvalidName) }
    }
    fn segment(&self, n: usize) -> &str {
        self.0.split(':').nth(n).unwrap_or_default()
    }
    pub fn region(&self) -> &str {
        self.segment(3)
    }
    pub fn account(&self) -> &str {
        self.segment(4)
    }
    /// The id behind `key/`.
    pub fn key_id(&self) -> &str {
        self.segment(5).strip_prefix("key/").unwrap_or_default()
    }
}

impl FromStr for KeyArn {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::read(text.to_owned())
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
cbor_text!(KeyArn);
