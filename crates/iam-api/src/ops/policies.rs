//! Managed policies and their versions.

use crate::{
    authorize::{request_tags, resource_tags},
    fault::Fault,
    fields::Fields,
    page::Page,
    table::Input,
    xml::Xml,
};
use serde_json::json;
use std::sync::Arc;
use tresor_identity::{
    AccountState, IdentityError, IdentityRecord, Kind, Managed, NewPolicy, PolicyVersion, aws_policies,
};
use tresor_policy::Context;

fn summary(xml: &mut Xml, state: &AccountState, policy: &Managed) {
    let (record, arn) = (&policy.record, policy.arn());
    xml.text("PolicyName", &record.name).text("PolicyId", &record.id).text("Arn", &arn).text("Path", &record.path);
    xml.text("DefaultVersionId", format_args!("v{}", record.default));
    xml.text("AttachmentCount", state.attached_to(&arn).count());
    xml.text("PermissionsBoundaryUsageCount", state.bounded_by(&arn).count());
    xml.text("IsAttachable", true).time("CreateDate", record.created).time("UpdateDate", record.updated);
}

fn version(xml: &mut Xml, policy: &Managed, version: &PolicyVersion, with_text: bool) {
    if with_text {
        xml.document("Document", &version.text);
    }
    xml.text("VersionId", format_args!("v{}", version.number));
    xml.text("IsDefaultVersion", version.number == policy.record.default).time("CreateDate", version.created);
}

/// Errors: AccessDenied.
pub(super) fn permit(input: &Input<'_>, arn: &str) -> Result<(), Fault> {
    let mut keys = Context::default();
    if let Some(policy) = input.state()?.policy(arn) {
        resource_tags(&mut keys, &policy.record.tags);
    }
    input.permit(arn, keys)
}

/// Errors: NoSuchEntity.
pub(super) fn found(input: &Input<'_>, arn: &str) -> Result<Arc<Managed>, Fault> {
    let policy = input.state()?.policy(arn);
    policy.ok_or_else(|| IdentityError::NoSuchEntity(format!("Policy {arn} was not found.")).into())
}

pub(crate) async fn create(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let name = fields.name("PolicyName")?;
    let path = fields.path()?;
    let text = fields.document("PolicyDocument")?;
    let description = fields.text("Description", 0..=1000)?;
    let tags = fields.tags()?;
    fields.finish()?;
    let mut keys = Context::default();
    request_tags(&mut keys, &tags);
    input.permit(&input.arn("policy", &path, &name)?, keys)?;
    let new = NewPolicy { name, path, text, description, tags };
    let made = input.api.directory.create_policy(&input.writing()?, new).await?;
    let shown = json!({ "policyName": made.record.name, "policyId": made.record.id, "arn": made.arn(), "path": made.record.path });
    input.telling.answer("policy", shown);
    let mut xml = Xml::default();
    xml.element("Policy", |xml| {
        summary(xml, &AccountState::default(), &made);
        if !made.record.tags.is_empty() {
            xml.tags(&made.record.tags);
        }
    });
    Ok(xml)
}

pub(crate) async fn get(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicyArn")?;
    fields.finish()?;
    permit(&input, &arn)?;
    let policy = found(&input, &arn)?;
    let state = input.state()?;
    let mut xml = Xml::default();
    xml.element("Policy", |xml| {
        summary(xml, &state, &policy);
        xml.maybe("Description", policy.record.description.as_ref()).tags(&policy.record.tags);
    });
    Ok(xml)
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let scope = fields.choice("Scope", &["All", "AWS", "Local"])?.unwrap_or("All");
    let only_attached = fields.flag("OnlyAttached")?;
    let usage = fields.choice("PolicyUsageFilter", &["PermissionsPolicy", "PermissionsBoundary"])?;
    let prefix = fields.path_prefix()?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    input.permit(&input.arn("policy", &prefix, "")?, Context::default())?;
    let state = input.state()?;
    let local = state.policies().filter(|_| scope != "AWS").cloned();
    let aws = aws_policies().iter().filter(|_| scope != "Local").cloned();
    let mut all: Vec<Arc<Managed>> = local.chain(aws).collect();
    all.retain(|policy| {
        let arn = policy.arn();
        let attached = state.attached_to(&arn).next().is_some();
        let bounding = state.bounded_by(&arn).next().is_some();
        policy.record.path.starts_with(&prefix)
            && (!only_attached || attached)
            && match usage {
                Some("PermissionsPolicy") => attached,
                Some(_) => bounding,
                None => true,
            }
    });
    all.sort_by_key(|policy| policy.arn());
    let mut xml = Xml::default();
    page.write(&mut xml, "Policies", &all, |policy| policy.arn(), |xml, policy| summary(xml, &state, policy));
    Ok(xml)
}

pub(crate) async fn delete(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicyArn")?;
    fields.finish()?;
    permit(&input, &arn)?;
    input.api.directory.delete_policy(&input.writing()?, &arn).await?;
    Ok(Xml::default())
}

pub(crate) async fn create_version(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicyArn")?;
    let text = fields.document("PolicyDocument")?;
    let default = fields.flag("SetAsDefault")?;
    fields.finish()?;
    permit(&input, &arn)?;
    let made = input.api.directory.create_version(&input.writing()?, &arn, &text, default).await?;
    let policy = found(&input, &arn)?;
    let mut xml = Xml::default();
    xml.element("PolicyVersion", |xml| version(xml, &policy, &made, false));
    Ok(xml)
}

pub(crate) async fn get_version(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicyArn")?;
    let id = fields.required("VersionId", 2..=32)?;
    fields.finish()?;
    permit(&input, &arn)?;
    let policy = found(&input, &arn)?;
    let number = id.strip_prefix('v').and_then(|number| number.parse().ok());
    let known = number.and_then(|number| policy.record.version(number)).ok_or_else(|| {
        IdentityError::NoSuchEntity(format!("Policy {arn} version {id} does not exist or is not attachable."))
    })?;
    let mut xml = Xml::default();
    xml.element("PolicyVersion", |xml| version(xml, &policy, known, true));
    Ok(xml)
}

pub(crate) async fn list_versions(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicyArn")?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    permit(&input, &arn)?;
    let policy = found(&input, &arn)?;
    // Newest first, so the keys of pages count down.
    let versions: Vec<&PolicyVersion> = policy.record.versions.iter().rev().collect();
    let key = |one: &&PolicyVersion| format!("{:010}", u32::MAX - one.number);
    let mut xml = Xml::default();
    page.write(&mut xml, "Versions", &versions, key, |xml, one| version(xml, &policy, one, false));
    Ok(xml)
}

pub(crate) async fn set_default_version(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicyArn")?;
    let id = fields.required("VersionId", 2..=32)?;
    fields.finish()?;
    permit(&input, &arn)?;
    input.api.directory.set_default_version(&input.writing()?, &arn, &id).await?;
    Ok(Xml::default())
}

pub(crate) async fn delete_version(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicyArn")?;
    let id = fields.required("VersionId", 2..=32)?;
    fields.finish()?;
    permit(&input, &arn)?;
    input.api.directory.delete_version(&input.writing()?, &arn, &id).await?;
    Ok(Xml::default())
}

pub(crate) async fn entities(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicyArn")?;
    let prefix = fields.path_prefix()?;
    let filter = fields.choice("EntityFilter", &["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"])?;
    let usage = fields.choice("PolicyUsageFilter", &["PermissionsPolicy", "PermissionsBoundary"])?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    permit(&input, &arn)?;
    found(&input, &arn)?;
    let state = input.state()?;
    let attached = state.attached_to(&arn).filter(|_| usage != Some("PermissionsBoundary"));
    let bounded = state.bounded_by(&arn).filter(|_| usage != Some("PermissionsPolicy"));
    let mut all: Vec<&IdentityRecord> = attached.chain(bounded).collect();
    all.retain(|one| one.path.starts_with(&prefix) && filter.is_none_or(|kind| kind == one.kind.title()));
    let place = |one: &IdentityRecord| format!("{}/{}", one.kind.name(), one.name);
    all.sort_by_key(|one| place(one));
    all.dedup_by_key(|one| place(one));
    // One page over three lists.
    let (shown, rest) = page.split(&all, |one| place(one));
    let mut xml = Xml::default();
    for (kind, list, id) in [
        (Kind::Group, "PolicyGroups", "GroupId"),
        (Kind::User, "PolicyUsers", "UserId"),
        (Kind::Role, "PolicyRoles", "RoleId"),
    ] {
        xml.list(list, shown.iter().filter(|one| one.kind == kind), |xml, one| {
            xml.text(super::name_field(kind), &one.name).text(id, &one.id);
        });
    }
    rest.write(&mut xml);
    Ok(xml)
}
