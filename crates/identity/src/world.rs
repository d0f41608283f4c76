//! What is known now: everything compiled, shared, and never changed in place.

use crate::{
    error::IdentityError,
    records::{IdentityRecord, Kind, PolicyRecord, ProviderRecord},
    secret::SecretAccessKey,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};
use tresor_model::{AccountId, Caller, Principal, Session, Timestamp};
use tresor_policy::{Bindings, Policy};

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
pub(crate) fn declared_id(prefix: &str, arn: &str) -> String {
    unique_id(prefix, &tresor_digest::sha256(arn.as_bytes())[..17])
}

/// A unique id of drawn bytes, one character each.
pub(crate) fn unique_id(prefix: &str, random: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let rest: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    format!("{prefix}{rest}")
}

/// A user, group or role with its policies, compiled.
#[derive(Clone, Debug)]
pub struct Member {
    pub record: IdentityRecord,
    /// By the configuration: it cannot be changed by a call.
    pub declared: bool,
    pub trust: Option<Arc<Policy>>,
    pub(crate) inline: Vec<Arc<Policy>>,
    pub(crate) bindings: Bindings,
}

impl Member {
    /// Errors: MalformedPolicy.
    pub(crate) fn new(record: IdentityRecord, declared: bool) -> Result<Self, IdentityError> {
        let inline = record.inline.iter().map(|(_, text)| Policy::of_identity(text).map(Arc::new));
        let inline = inline.collect::<Result<_, _>>()?;
        let trust = match &record.role {
            Some(role) => Some(Arc::new(Policy::of_trust(&role.trust)?)),
            None => None,
        };
        Ok(Self { record, declared, trust, inline, bindings: Bindings::default() })
    }
}

/// A managed policy, compiled.
#[derive(Clone, Debug)]
pub struct Managed {
    pub record: PolicyRecord,
    pub policy: Arc<Policy>,
    /// Made by AWS, and by Tresor after its model: it belongs to every account.
    pub aws: bool,
}

impl Managed {
    /// Errors: MalformedPolicy.
    pub(crate) fn new(record: PolicyRecord) -> Result<Self, IdentityError> {
        let policy = Arc::new(Policy::of_identity(record.text())?);
        Ok(Self { record, policy, aws: false })
    }
    pub fn arn(&self) -> String {
        if self.aws {
            format!("arn:aws:iam::aws:policy{}{}", self.record.path, self.record.name)
        } else {
            self.record.arn()
        }
    }
}

/// One account.
#[derive(Clone, Debug, Default)]
pub struct AccountState {
    pub(crate) members: BTreeMap<(Kind, String), Arc<Member>>,
    /// By ARN.
    pub(crate) policies: BTreeMap<String, Arc<Managed>>,
    /// By ARN.
    pub(crate) providers: BTreeMap<String, Arc<ProviderRecord>>,
}

impl AccountState {
    pub fn member(&self, kind: Kind, name: &str) -> Option<&Arc<Member>> {
        self.members.get(&(kind, name.to_owned()))
    }
    /// All of a kind, by name.
    pub fn members(&self, kind: Kind) -> impl Iterator<Item = &Arc<Member>> {
        let from = (kind, String::new());
        self.members.range(from..).take_while(move |((found, _), _)| *found == kind).map(|(_, member)| member)
    }
    /// The policies of the account itself, by ARN.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Managed>> {
        self.policies.values()
    }
    /// A policy of the account, or one of AWS's.
    pub fn policy(&self, arn: &str) -> Option<Arc<Managed>> {
        self.policies.get(arn).cloned().or_else(|| crate::aws_policies::find(arn))
    }
    pub fn providers(&self) -> impl Iterator<Item = &Arc<ProviderRecord>> {
        self.providers.values()
    }
    pub fn provider(&self, arn: &str) -> Option<&Arc<ProviderRecord>> {
        self.providers.get(arn)
    }
    pub fn users_of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Arc<Member>> {
        self.members(Kind::User).filter(move |user| user.record.groups.iter().any(|name| name == group))
    }

    /// Puts together what binds each user and role, after anything has changed.
    pub(crate) fn bind(&mut self) {
        let of = |member: &Member| {
            let mut policies = member.inline.clone();
            let attached = member.record.attached.iter().filter_map(|arn| self.policy(arn));
            policies.extend(attached.map(|managed| Arc::clone(&managed.policy)));
            policies
        };
        let bound: Vec<((Kind, String), Arc<Member>)> = self
            .members
            .iter()
            .filter(|((kind, _), _)| *kind != Kind::Group)
            .map(|(place, member)| {
                let mut identity = of(member);
                for group in &member.record.groups {
                    identity.extend(self.member(Kind::Group, group).map(|group| of(group)).unwrap_or_default());
                }
                let boundary = member.record.boundary.as_deref();
                // A boundary that is gone bounds everything: it cannot be deleted while it is used, so nothing is lost.
                let boundary = boundary.map(|arn| match self.policy(arn) {
                    Some(managed) => Arc::clone(&managed.policy),
                    None => nothing(),
                });
                let bindings = Bindings {
                    identity: identity.into(),
                    boundary,
                    session: None,
                    principal_tags: member.record.tags.clone().into(),
                };
                (place.clone(), Arc::new(Member { bindings, ..Member::clone(member) }))
            })
            .collect();
        self.members.extend(bound);
    }
}

/// A policy that allows nothing that exists.
fn nothing() -> Arc<Policy> {
    const NOTHING: &str =
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"tresor:Nothing","Resource":"*"}}"#;
    Arc::new(Policy::of_identity(NOTHING).expect("the text is a policy"))
}

/// An access key as requests find it.
#[derive(Clone, Debug)]
pub(crate) struct KeyEntry {
    pub credential: Arc<Credential>,
    pub active: bool,
    pub created: Timestamp,
}

/// Everybody.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub(crate) accounts: HashMap<AccountId, Arc<AccountState>>,
    pub(crate) keys: HashMap<String, KeyEntry>,
}

impl World {
    pub fn account(&self, id: &AccountId) -> Option<&Arc<AccountState>> {
        self.accounts.get(id)
    }
    pub(crate) fn member(&self, account: &AccountId, kind: Kind, name: &str) -> Option<&Arc<Member>> {
        self.accounts.get(account)?.member(kind, name)
    }
}
