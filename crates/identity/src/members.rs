//! Changes of users, groups and roles.

use crate::{
    directory::{Directory, Writing},
    draft::{Draft, no_such},
    error::IdentityError,
    limits,
    names::{check_name, check_path, merge_tags, name_member},
    records::{IdentityRecord, Kind, RoleDetail},
    world::Member,
};
use std::sync::Arc;
use tresor_policy::{counted_characters, identity_policy, size, trust_policy};

/// What a user, group or role is to be.
#[derive(Clone, Debug)]
pub struct NewMember {
    pub kind: Kind,
    pub name: String,
    pub path: String,
    pub tags: Vec<(String, String)>,
    pub boundary: Option<String>,
    /// Of a role, and only of one.
    pub role: Option<RoleDetail>,
}

/// What is to change; nothing stays as it is.
#[derive(Clone, Debug, Default)]
pub struct MemberUpdate {
    pub new_name: Option<String>,
    pub new_path: Option<String>,
    pub description: Option<String>,
    pub max_session_seconds: Option<u64>,
    /// The trust policy.
    pub trust: Option<String>,
}

const fn quota(kind: Kind) -> (&'static str, usize) {
    match kind {
        Kind::User => ("UsersPerAccount", limits::USERS_PER_ACCOUNT),
        Kind::Group => ("GroupsPerAccount", limits::GROUPS_PER_ACCOUNT),
        Kind::Role => ("RolesPerAccount", limits::ROLES_PER_ACCOUNT),
    }
}

/// Names do not differ by case alone. Errors: EntityAlreadyExists.
fn check_free(draft: &Draft<'_>, kind: Kind, name: &str, but: Option<&str>) -> Result<(), IdentityError> {
    let same = |member: &&Arc<Member>| {
        member.record.name.eq_ignore_ascii_case(name) && but != Some(member.record.name.as_str())
    };
    match draft.state.members(kind).find(same) {
        None => Ok(()),
        Some(_) => {
            Err(IdentityError::EntityAlreadyExists(format!("{} with name {name} already exists.", kind.title())))
        }
    }
}

fn check_role(role: &RoleDetail) -> Result<(), IdentityError> {
    if counted_characters(&role.trust) > size::TRUST {
        return Err(IdentityError::LimitExceeded(format!("Cannot exceed quota for ACLSizePerRole: {}", size::TRUST)));
    }
    let (least, most) = (limits::ROLE_SESSION_SECONDS, limits::MAX_ROLE_SESSION_SECONDS);
    if !(least..=most).contains(&role.max_session_seconds) {
        let bound = if role.max_session_seconds < least {
            format!("greater than or equal to {least}")
        } else {
            format!("less than or equal to {most}")
        };
        return Err(IdentityError::Validation(format!(
            "1 validation error detected: Value '{}' at 'maxSessionDuration' failed to satisfy constraint: Member must have value {bound}",
            role.max_session_seconds
        )));
    }
    if role.description.as_ref().is_some_and(|text| text.chars().count() > 1000) {
        return Err(IdentityError::Validation(
            "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 1000".into(),
        ));
    }
    Ok(())
}

/// A managed policy that can be attached or bound by. Errors: NoSuchEntity.
fn check_policy(draft: &Draft<'_>, arn: &str) -> Result<(), IdentityError> {
    match draft.state.policy(arn) {
        Some(_) => Ok(()),
        None => Err(IdentityError::NoSuchEntity(format!("Policy {arn} does not exist or is not attachable."))),
    }
}

impl Directory {
    /// Errors: EntityAlreadyExists, LimitExceeded, MalformedPolicy, NoSuchEntity for a boundary, Validation.
    pub async fn create(self: &Arc<Self>, writing: &Writing, new: NewMember) -> Result<Arc<Member>, IdentityError> {
        check_name(&new.name, name_member(new.kind), new.kind.max_name())?;
        check_path(&new.path)?;
        if let Some(role) = &new.role {
            check_role(role)?;
            trust_policy(&role.trust, |name| self.names(name))?;
        }
        self.change(writing, |draft| {
            check_free(draft, new.kind, &new.name, None)?;
            let (quota, most) = quota(new.kind);
            if draft.state.members(new.kind).count() >= most {
                return Err(IdentityError::LimitExceeded(format!("Cannot exceed quota for {quota}: {most}")));
            }
            if let Some(arn) = &new.boundary {
                check_policy(draft, arn)?;
            }
            let mut tags = Vec::new();
            merge_tags(&mut tags, new.tags, limits::TAGS)?;
            draft.put(IdentityRecord {
                id: draft.unique_id(new.kind.id_prefix()),
                kind: new.kind,
                account: draft.account.clone(),
                name: new.name,
                path: new.path,
                created: draft.now,
                tags,
                inline: Vec::new(),
                attached: Vec::new(),
                boundary: new.boundary,
                groups: Vec::new(),
                keys: Vec::new(),
                role: new.role,
            })
        })
        .await
    }

    /// Errors: NoSuchEntity, EntityAlreadyExists, Unmodifiable, Validation, MalformedPolicy, LimitExceeded.
    pub async fn update(
        self: &Arc<Self>,
        writing: &Writing,
        kind: Kind,
        name: &str,
        update: MemberUpdate,
    ) -> Result<Arc<Member>, IdentityError> {
        if let Some(trust) = &update.trust {
            trust_policy(trust, |name| self.names(name))?;
        }
        self.change(writing, |draft| {
            let mut record = draft.changeable(kind, name)?;
            if let Some(path) = update.new_path {
                check_path(&path)?;
                record.path = path;
            }
            if let Some(role) = &mut record.role {
                role.description = update.description.or(role.description.take());
                role.max_session_seconds = update.max_session_seconds.unwrap_or(role.max_session_seconds);
                role.trust = update.trust.unwrap_or_else(|| std::mem::take(&mut role.trust));
                check_role(role)?;
            }
            if let Some(new_name) = update.new_name.filter(|new_name| new_name != name) {
                check_name(&new_name, "newName", kind.max_name())?;
                check_free(draft, kind, &new_name, Some(name))?;
                if kind == Kind::Group {
                    rename_in_users(draft, name, &new_name)?;
                }
                draft.remove(kind, name);
                record.name = new_name;
            }
            draft.put(record)
        })
        .await
    }

    /// Only what has nothing left. Errors: NoSuchEntity, DeleteConflict, Unmodifiable.
    pub async fn delete(self: &Arc<Self>, writing: &Writing, kind: Kind, name: &str) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let record = draft.changeable(kind, name)?;
            let left =
                if !record.groups.is_empty() || (kind == Kind::Group && draft.state.users_of(name).next().is_some()) {
                    Some("remove users from group")
                } else if !record.attached.is_empty() {
                    Some("detach all policies")
                } else if !record.inline.is_empty() {
                    Some("delete policies")
                } else if !record.keys.is_empty() {
                    Some("delete access keys")
                } else {
                    None
                };
            if let Some(first) = left {
                return Err(IdentityError::DeleteConflict(format!("Cannot delete entity, must {first} first.")));
            }
            draft.remove(kind, name);
            Ok(())
        })
        .await
    }

    /// With everything it has: for the command line. Errors: NoSuchEntity, Unmodifiable.
    pub async fn delete_whole(
        self: &Arc<Self>,
        writing: &Writing,
        kind: Kind,
        name: &str,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            draft.changeable(kind, name)?;
            draft.remove(kind, name);
            Ok(())
        })
        .await
    }

    /// Sets an inline policy. Errors: NoSuchEntity, MalformedPolicy, LimitExceeded, Unmodifiable, Validation.
    pub async fn put_inline(
        self: &Arc<Self>,
        writing: &Writing,
        (kind, name): (Kind, &str),
        policy: &str,
        text: &str,
    ) -> Result<(), IdentityError> {
        check_name(policy, "policyName", 128)?;
        self.change(writing, |draft| {
            let mut record = draft.changeable(kind, name)?;
            identity_policy(text)?;
            record.inline.retain(|(known, _)| known != policy);
            record.inline.push((policy.to_owned(), text.to_owned()));
            record.inline.sort();
            let most = kind.inline_size();
            if record.inline.iter().map(|(_, text)| counted_characters(text)).sum::<usize>() > most {
                return Err(IdentityError::LimitExceeded(format!(
                    "Maximum policy size of {most} bytes exceeded for {} {name}",
                    kind.name()
                )));
            }
            draft.put(record).map(drop)
        })
        .await
    }

    /// Errors: NoSuchEntity, Unmodifiable.
    pub async fn delete_inline(
        self: &Arc<Self>,
        writing: &Writing,
        (kind, name): (Kind, &str),
        policy: &str,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.changeable(kind, name)?;
            let before = record.inline.len();
            record.inline.retain(|(known, _)| known != policy);
            if record.inline.len() == before {
                return Err(IdentityError::NoSuchEntity(format!(
                    "The {} policy with name {policy} cannot be found.",
                    kind.name()
                )));
            }
            draft.put(record).map(drop)
        })
        .await
    }

    /// Attaching what is attached succeeds. Errors: NoSuchEntity, LimitExceeded, Unmodifiable.
    pub async fn attach(
        self: &Arc<Self>,
        writing: &Writing,
        (kind, name): (Kind, &str),
        arn: &str,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.changeable(kind, name)?;
            check_policy(draft, arn)?;
            if record.attached.iter().any(|known| known == arn) {
                return Ok(());
            }
            if record.attached.len() >= limits::ATTACHED_POLICIES {
                return Err(IdentityError::LimitExceeded(format!(
                    "Cannot exceed quota for PoliciesPer{}: {}",
                    kind.title(),
                    limits::ATTACHED_POLICIES
                )));
            }
            record.attached.push(arn.to_owned());
            draft.put(record).map(drop)
        })
        .await
    }

    /// Errors: NoSuchEntity, Unmodifiable.
    pub async fn detach(
        self: &Arc<Self>,
        writing: &Writing,
        (kind, name): (Kind, &str),
        arn: &str,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.changeable(kind, name)?;
            let before = record.attached.len();
            record.attached.retain(|known| known != arn);
            if record.attached.len() == before {
                return Err(IdentityError::NoSuchEntity(format!("Policy {arn} was not found.")));
            }
            draft.put(record).map(drop)
        })
        .await
    }

    /// Sets or removes the permission boundary of a user or role. Errors: NoSuchEntity, Unmodifiable.
    pub async fn set_boundary(
        self: &Arc<Self>,
        writing: &Writing,
        (kind, name): (Kind, &str),
        boundary: Option<&str>,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.changeable(kind, name)?;
            match boundary {
                Some(arn) => check_policy(draft, arn)?,
                None if record.boundary.is_none() => {
                    return Err(IdentityError::NoSuchEntity(format!(
                        "{} {name} does not have a permission boundary.",
                        kind.title()
                    )));
                }
                None => {}
            }
            record.boundary = boundary.map(str::to_owned);
            draft.put(record).map(drop)
        })
        .await
    }

    /// Adds a user to a group, or takes him out of it. Both succeed when nothing is to be done.
    /// Errors: NoSuchEntity, LimitExceeded, Unmodifiable.
    pub async fn set_group(
        self: &Arc<Self>,
        writing: &Writing,
        user: &str,
        group: &str,
        within: bool,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            if draft.state.member(Kind::Group, group).is_none() {
                return Err(no_such(Kind::Group, group));
            }
            let mut record = draft.changeable(Kind::User, user)?;
            record.groups.retain(|known| known != group);
            if within {
                record.groups.push(group.to_owned());
                record.groups.sort();
            }
            if record.groups.len() > limits::GROUPS_PER_USER {
                return Err(IdentityError::LimitExceeded(format!(
                    "Cannot exceed quota for GroupsPerUser: {}",
                    limits::GROUPS_PER_USER
                )));
            }
            draft.put(record).map(drop)
        })
        .await
    }
}

/// Users that one change of a group may touch: a batch of the store holds no more.
const MAX_RENAMED: usize = 90;

fn rename_in_users(draft: &mut Draft<'_>, name: &str, new_name: &str) -> Result<(), IdentityError> {
    let users: Vec<IdentityRecord> = draft.state.users_of(name).map(|user| user.record.clone()).collect();
    if users.len() > MAX_RENAMED {
        return Err(IdentityError::LimitExceeded(format!(
            "A group of more than {MAX_RENAMED} users cannot be renamed."
        )));
    }
    for mut user in users {
        for group in user.groups.iter_mut().filter(|group| *group == name) {
            new_name.clone_into(group);
        }
        draft.put(user)?;
    }
    Ok(())
}
