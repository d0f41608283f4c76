//! One change while it is made: on a copy, so that what is refused half-way leaves nothing behind.

use crate::{
    error::IdentityError,
    records::{IdentityChange, IdentityRecord, Kind, PolicyRecord, ProviderRecord},
    secret::SecretAccessKey,
    world::{AccountState, Managed, Member, unique_id},
};
use std::sync::Arc;
use tresor_model::{AccountId, Entropy, Timestamp};

pub(crate) struct Draft<'a> {
    pub account: &'a AccountId,
    pub now: Timestamp,
    pub entropy: &'a dyn Entropy,
    pub state: AccountState,
    pub changes: Vec<IdentityChange>,
    /// Secrets of keys that were made: key id and secret.
    pub secrets: Vec<(String, SecretAccessKey)>,
}

/// The text of an entity that is not there. Source: answers of AWS.
pub(crate) fn no_such(kind: Kind, name: &str) -> IdentityError {
    IdentityError::NoSuchEntity(format!("The {} with name {name} cannot be found.", kind.name()))
}

impl Draft<'_> {
    /// `PREFIX` and 17 drawn characters.
    pub(crate) fn unique_id(&self, prefix: &str) -> String {
        let mut random = [0; 17];
        self.entropy.fill(&mut random);
        unique_id(prefix, &random)
    }

    /// Errors: NoSuchEntity.
    pub(crate) fn member(&self, kind: Kind, name: &str) -> Result<Arc<Member>, IdentityError> {
        self.state.member(kind, name).cloned().ok_or_else(|| no_such(kind, name))
    }
    /// One that may be changed. Errors: NoSuchEntity, Unmodifiable.
    pub(crate) fn changeable(&self, kind: Kind, name: &str) -> Result<IdentityRecord, IdentityError> {
        let member = self.member(kind, name)?;
        if member.declared {
            return Err(IdentityError::Unmodifiable(format!(
                "The {} {name} is declared in the configuration of the server and can be changed only there.",
                kind.name()
            )));
        }
        Ok(member.record.clone())
    }
    /// Errors: MalformedPolicy.
    pub(crate) fn put(&mut self, record: IdentityRecord) -> Result<Arc<Member>, IdentityError> {
        let member = Arc::new(Member::new(record, false)?);
        let place = (member.record.kind, member.record.name.clone());
        self.changes.push(IdentityChange::Put(member.record.clone()));
        self.state.members.insert(place, Arc::clone(&member));
        Ok(member)
    }
    pub(crate) fn remove(&mut self, kind: Kind, name: &str) {
        self.state.members.remove(&(kind, name.to_owned()));
        let account = self.account.clone();
        self.changes.push(IdentityChange::Remove { kind, account, name: name.to_owned() });
    }

    /// A policy that may be changed. Errors: NoSuchEntity, Unmodifiable.
    pub(crate) fn policy(&self, arn: &str) -> Result<PolicyRecord, IdentityError> {
        match self.state.policy(arn) {
            None => Err(IdentityError::NoSuchEntity(format!("Policy {arn} was not found."))),
            Some(managed) if managed.aws => {
                Err(IdentityError::Unmodifiable(format!("Policy {arn} belongs to AWS and cannot be changed.")))
            }
            Some(managed) => Ok(managed.record.clone()),
        }
    }
    /// Errors: MalformedPolicy.
    pub(crate) fn put_policy(&mut self, record: PolicyRecord) -> Result<Arc<Managed>, IdentityError> {
        let managed = Arc::new(Managed::new(record)?);
        self.changes.push(IdentityChange::PutPolicy(managed.record.clone()));
        self.state.policies.insert(managed.record.arn(), Arc::clone(&managed));
        Ok(managed)
    }
    pub(crate) fn remove_policy(&mut self, record: &PolicyRecord) {
        self.state.policies.remove(&record.arn());
        let place = format!("{}{}", record.path, record.name);
        self.changes.push(IdentityChange::RemovePolicy { account: self.account.clone(), place });
    }

    /// Errors: NoSuchEntity.
    pub(crate) fn provider(&self, arn: &str) -> Result<ProviderRecord, IdentityError> {
        let found = self.state.provider(arn).map(|record| ProviderRecord::clone(record));
        found.ok_or_else(|| IdentityError::NoSuchEntity(format!("OpenIDConnect Provider not found for arn {arn}")))
    }
    pub(crate) fn put_provider(&mut self, record: ProviderRecord) -> Arc<ProviderRecord> {
        let record = Arc::new(record);
        self.changes.push(IdentityChange::PutProvider(ProviderRecord::clone(&record)));
        self.state.providers.insert(record.arn(), Arc::clone(&record));
        record
    }
    pub(crate) fn remove_provider(&mut self, record: &ProviderRecord) {
        self.state.providers.remove(&record.arn());
        let (account, url) = (self.account.clone(), record.url.clone());
        self.changes.push(IdentityChange::RemoveProvider { account, url });
    }
}
