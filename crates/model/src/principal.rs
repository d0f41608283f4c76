//! Who calls, and the ARNs by which AWS names things.

use crate::{InvalidName, names::cbor_text};
use std::{fmt, str::FromStr};

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
    Root { account: AccountId },
    User { account: AccountId, name: String },
}

impl Principal {
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Anonymous => None,
            Self::Root { account } | Self::User { account, .. } => Some(account),
        }
    }
    /// `arn:aws:iam::ACCOUNT:root` or `arn:aws:iam::ACCOUNT:user/NAME`; nothing for an anonymous caller.
    pub fn arn(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Root { account } => Some(format!("arn:{PARTITION}:iam::{account}:root")),
            Self::User { account, name } => Some(format!("arn:{PARTITION}:iam::{account}:user/{name}")),
        }
    }
}

/// A principal and how it identified itself for this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    pub access_key_id: Option<String>,
    /// Where the request came from, if it came over the network.
    pub source_ip: Option<std::net::IpAddr>,
    /// The request came over TLS, through a trusted proxy that says so, or to a development server.
    pub secure_transport: bool,
}

impl Caller {
    pub fn anonymous(source_ip: Option<std::net::IpAddr>, secure_transport: bool) -> Self {
        Self { principal: Principal::Anonymous, access_key_id: None, source_ip, secure_transport }
    }
    pub fn account(&self) -> Option<&AccountId> {
        self.principal.account()
    }
}

/// `arn:aws:kms:REGION:ACCOUNT:key/ID`, checked by shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyArn(String);

impl KeyArn {
    pub fn new(region: &str, account: &AccountId, key_id: &str) -> Result<Self, InvalidName> {
        format!("arn:{PARTITION}:kms:{region}:{account}:key/{key_id}").parse()
    }
    pub fn as_str(&self) -> &str {
        &self.0
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
        let parts: Vec<&str> = text.split(':').collect();
        let [arn, partition, service, region, account, resource] = parts.as_slice() else { return Err(InvalidName) };
        let id = resource.strip_prefix("key/").ok_or(InvalidName)?;
        let ok = *arn == "arn"
            && *partition == PARTITION
            && *service == "kms"
            && !region.is_empty()
            && account.parse::<AccountId>().is_ok()
            && !id.is_empty()
            && id.len() <= 128
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
cbor_text!(KeyArn);
