//! Changes of managed policies, and of the tags of everything.

use crate::{
    directory::{Directory, Writing},
    draft::Draft,
    error::IdentityError,
    limits,
    names::{check_name, check_path, merge_tags},
    records::{IdentityRecord, Kind, PolicyRecord, PolicyVersion},
    world::{AccountState, Managed},
};
use std::sync::Arc;
use tresor_policy::{counted_characters, identity_policy, size};

/// What a managed policy is to be.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    pub name: String,
    pub path: String,
    pub text: String,
    pub description: Option<String>,
    pub tags: Vec<(String, String)>,
}

/// What bears tags.
#[derive(Clone, Debug)]
pub enum TagTarget<'a> {
    Member(Kind, &'a str),
    /// By ARN.
    Policy(&'a str),
    /// By ARN.
    Provider(&'a str),
}

/// A document as AWS takes it. Errors: LimitExceeded, MalformedPolicy.
fn check_document(text: &str) -> Result<(), IdentityError> {
    if counted_characters(text) > size::MANAGED {
        return Err(IdentityError::LimitExceeded(format!("Cannot exceed quota for PolicySize: {}", size::MANAGED)));
    }
    identity_policy(text)?;
    Ok(())
}

impl AccountState {
    /// Users, groups and roles that a policy is attached to.
    pub fn attached_to<'a>(&'a self, arn: &'a str) -> impl Iterator<Item = &'a IdentityRecord> {
        let records = self.members.values().map(|member| &member.record);
        records.filter(move |record| record.attached.iter().any(|known| known == arn))
    }
    /// Users and roles that it bounds.
    pub fn bounded_by<'a>(&'a self, arn: &'a str) -> impl Iterator<Item = &'a IdentityRecord> {
        let records = self.members.values().map(|member| &member.record);
        records.filter(move |record| record.boundary.as_deref() == Some(arn))
    }
}

/// Errors: NoSuchEntity.
fn version_number(record: &PolicyRecord, version: &str) -> Result<u32, IdentityError> {
    let number = version.strip_prefix('v').and_then(|number| number.parse().ok());
    number.filter(|number| record.version(*number).is_some()).ok_or_else(|| {
        IdentityError::NoSuchEntity(format!(
            "Policy {} version {version} does not exist or is not attachable.",
            record.arn()
        ))
    })
}

impl Directory {
    /// Errors: EntityAlreadyExists, LimitExceeded, MalformedPolicy, Validation.
    pub async fn create_policy(
        self: &Arc<Self>,
        writing: &Writing,
        new: NewPolicy,
    ) -> Result<Arc<Managed>, IdentityError> {
        check_name(&new.name, "policyName", 128)?;
        check_path(&new.path)?;
        check_document(&new.text)?;
        self.change(writing, |draft| {
            if draft.state.policies().any(|policy| policy.record.name.eq_ignore_ascii_case(&new.name)) {
                return Err(IdentityError::EntityAlreadyExists(format!(
                    "A policy called {} already exists. Duplicate names are not allowed.",
                    new.name
                )));
            }
            let most = limits::POLICIES_PER_ACCOUNT;
            if draft.state.policies().count() >= most {
                return Err(IdentityError::LimitExceeded(format!(
                    "Cannot exceed quota for PoliciesPerAccount: {most}"
                )));
            }
            let mut tags = Vec::new();
            merge_tags(&mut tags, new.tags, limits::TAGS)?;
            draft.put_policy(PolicyRecord {
                account: draft.account.clone(),
                id: draft.unique_id("ANPA"),
                name: new.name,
                path: new.path,
                created: draft.now,
                updated: draft.now,
                description: new.description,
                versions: vec![PolicyVersion { number: 1, text: new.text, created: draft.now }],
                default: 1,
                next: 2,
                tags,
            })
        })
        .await
    }

    /// Errors: NoSuchEntity, DeleteConflict, Unmodifiable.
    pub async fn delete_policy(self: &Arc<Self>, writing: &Writing, arn: &str) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let record = draft.policy(arn)?;
            let conflict = |text: &str| Err(IdentityError::DeleteConflict(text.into()));
            if draft.state.attached_to(arn).next().is_some() || draft.state.bounded_by(arn).next().is_some() {
                return conflict("Cannot delete a policy attached to entities.");
            }
            if record.versions.len() > 1 {
                return conflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.");
            }
            draft.remove_policy(&record);
            Ok(())
        })
        .await
    }

    /// The new version's number. Errors: NoSuchEntity, LimitExceeded, MalformedPolicy, Unmodifiable.
    pub async fn create_version(
        self: &Arc<Self>,
        writing: &Writing,
        arn: &str,
        text: &str,
        default: bool,
    ) -> Result<PolicyVersion, IdentityError> {
        check_document(text)?;
        self.change(writing, |draft| {
            let mut record = draft.policy(arn)?;
            if record.versions.len() >= limits::VERSIONS_PER_POLICY {
                return Err(IdentityError::LimitExceeded(format!(
                    "A managed policy can have up to {} versions. Before you create a new version, you must delete an existing version.",
                    limits::VERSIONS_PER_POLICY
                )));
            }
            let version = PolicyVersion { number: record.next, text: text.to_owned(), created: draft.now };
            record.versions.push(version.clone());
            record.next += 1;
            record.updated = draft.now;
            if default {
                record.default = version.number;
            }
            draft.put_policy(record)?;
            Ok(version)
        })
        .await
    }

    /// Errors: NoSuchEntity, DeleteConflict, Unmodifiable.
    pub async fn delete_version(
        self: &Arc<Self>,
        writing: &Writing,
        arn: &str,
        version: &str,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.policy(arn)?;
            let number = version_number(&record, version)?;
            if number == record.default {
                return Err(IdentityError::DeleteConflict("Cannot delete the default version of a policy.".into()));
            }
            record.versions.retain(|version| version.number != number);
            record.updated = draft.now;
            draft.put_policy(record).map(drop)
        })
        .await
    }

    /// Errors: NoSuchEntity, Unmodifiable.
    pub async fn set_default_version(
        self: &Arc<Self>,
        writing: &Writing,
        arn: &str,
        version: &str,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.policy(arn)?;
            record.default = version_number(&record, version)?;
            record.updated = draft.now;
            draft.put_policy(record).map(drop)
        })
        .await
    }

    /// Errors: NoSuchEntity, InvalidInput, LimitExceeded, Unmodifiable, Validation.
    pub async fn tag(
        self: &Arc<Self>,
        writing: &Writing,
        target: TagTarget<'_>,
        tags: Vec<(String, String)>,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| retag(draft, &target, |known| merge_tags(known, tags, limits::TAGS))).await
    }

    /// Keys that are not there are no error. Errors: NoSuchEntity, Unmodifiable.
    pub async fn untag(
        self: &Arc<Self>,
        writing: &Writing,
        target: TagTarget<'_>,
        keys: &[String],
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            retag(draft, &target, |known| {
                known.retain(|(key, _)| !keys.iter().any(|gone| gone.eq_ignore_ascii_case(key)));
                Ok(())
            })
        })
        .await
    }
}

fn retag(
    draft: &mut Draft<'_>,
    target: &TagTarget<'_>,
    change: impl FnOnce(&mut Vec<(String, String)>) -> Result<(), IdentityError>,
) -> Result<(), IdentityError> {
    match target {
        TagTarget::Member(kind, name) => {
            let mut record = draft.changeable(*kind, name)?;
            change(&mut record.tags)?;
            draft.put(record).map(drop)
        }
        TagTarget::Policy(arn) => {
            let mut record = draft.policy(arn)?;
            change(&mut record.tags)?;
            draft.put_policy(record).map(drop)
        }
        TagTarget::Provider(arn) => {
            let mut record = draft.provider(arn)?;
            change(&mut record.tags)?;
            draft.put_provider(record);
            Ok(())
        }
    }
}
