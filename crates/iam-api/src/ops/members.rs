//! Users, groups and roles.

use super::{member, name_field, whole_member};
use crate::{authorize::request_tags, fault::Fault, fields::Fields, page::Page, table::Input, xml::Xml};
use serde_json::json;
use std::sync::Arc;
use tresor_identity::{IdentityError, Kind, Member, MemberUpdate, NewMember, RoleDetail, limits};
use tresor_model::Principal;
use tresor_policy::Context;

pub(crate) async fn create(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let path = fields.path()?;
    let mut keys = Context::default();
    let (mut tags, mut boundary, mut role) = (Vec::new(), None, None);
    if kind != Kind::Group {
        tags = fields.tags()?;
        boundary = fields.text("PermissionsBoundary", 20..=2048)?;
    }
    if kind == Kind::Role {
        role = Some(RoleDetail {
            trust: fields.document("AssumeRolePolicyDocument")?,
            description: fields.text("Description", 0..=1000)?,
            max_session_seconds: fields
                .number("MaxSessionDuration", limits::ROLE_SESSION_SECONDS..=limits::MAX_ROLE_SESSION_SECONDS)?
                .unwrap_or(limits::ROLE_SESSION_SECONDS),
        });
    }
    fields.finish()?;
    request_tags(&mut keys, &tags);
    if let Some(arn) = &boundary {
        keys.set("iam:PermissionsBoundary", arn.as_str());
    }
    input.permit(&input.arn(kind.name(), &path, &name)?, keys)?;
    let new = NewMember { kind, name, path, tags, boundary, role };
    let made = input.api.directory.create(&input.writing()?, new).await?;
    let (record, member) = (&made.record, kind.name());
    let shown = json!({ format!("{member}Name"): record.name, format!("{member}Id"): record.id, "path": record.path, "arn": record.arn() });
    input.telling.answer(member, shown);
    let mut xml = Xml::default();
    xml.element(kind.title(), |xml| match kind {
        Kind::Role => whole_role(xml, &made),
        Kind::User | Kind::Group => whole_member(xml, &made.record),
    });
    Ok(xml)
}

/// CreateRole says nothing of a last use.
fn whole_role(xml: &mut Xml, role: &Member) {
    member(xml, &role.record);
    if let Some(arn) = &role.record.boundary {
        xml.element("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "Policy").text("PermissionsBoundaryArn", arn);
        });
    }
    if !role.record.tags.is_empty() {
        xml.tags(&role.record.tags);
    }
}

/// Errors: NoSuchEntity.
pub(super) fn found(input: &Input<'_>, kind: Kind, name: &str) -> Result<Arc<Member>, Fault> {
    input.state()?.member(kind, name).cloned().ok_or_else(|| {
        IdentityError::NoSuchEntity(format!("The {} with name {name} cannot be found.", kind.name())).into()
    })
}

pub(crate) async fn get_user(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = fields.text("UserName", 1..=128)?;
    fields.finish()?;
    let mut xml = Xml::default();
    if let (None, Principal::Root { account }) = (&named, &input.caller.principal) {
        input.permit(&input.caller_arn(), Context::default())?;
        xml.element("User", |xml| {
            xml.text("Path", "/").text("UserId", account).text("Arn", input.caller_arn());
            xml.time("CreateDate", tresor_model::Timestamp::default());
        });
        return Ok(xml);
    }
    let name = input.own_name(named)?;
    input.permit_member(Kind::User, &name, Context::default())?;
    let user = found(&input, Kind::User, &name)?;
    xml.element("User", |xml| whole_member(xml, &user.record));
    Ok(xml)
}

pub(crate) async fn get_role(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let name = fields.name("RoleName")?;
    fields.finish()?;
    input.permit_member(Kind::Role, &name, Context::default())?;
    let role = found(&input, Kind::Role, &name)?;
    let mut xml = Xml::default();
    xml.element("Role", |xml| whole_member(xml, &role.record));
    Ok(xml)
}

pub(crate) async fn get_group(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let name = fields.name("GroupName")?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    input.permit_member(Kind::Group, &name, Context::default())?;
    let group = found(&input, Kind::Group, &name)?;
    let state = input.state()?;
    let users: Vec<&Arc<Member>> = state.users_of(&name).collect();
    let mut xml = Xml::default();
    xml.element("Group", |xml| member(xml, &group.record));
    page.write(&mut xml, "Users", &users, |user| user.record.name.clone(), |xml, user| member(xml, &user.record));
    Ok(xml)
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let prefix = fields.path_prefix()?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    input.permit(&input.arn(kind.name(), &prefix, "")?, Context::default())?;
    let state = input.state()?;
    let all: Vec<&Arc<Member>> = state.members(kind).filter(|one| one.record.path.starts_with(&prefix)).collect();
    let list = match kind {
        Kind::User => "Users",
        Kind::Group => "Groups",
        Kind::Role => "Roles",
    };
    let mut xml = Xml::default();
    page.write(&mut xml, list, &all, |one| one.record.name.clone(), |xml, one| member(xml, &one.record));
    Ok(xml)
}

/// UpdateUser, UpdateGroup.
pub(crate) async fn rename(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let new_name = fields.text(if kind == Kind::Group { "NewGroupName" } else { "NewUserName" }, 1..=128)?;
    let new_path = fields.text("NewPath", 1..=512)?;
    fields.finish()?;
    input.permit_member(kind, &name, Context::default())?;
    if new_name.is_some() || new_path.is_some() {
        // The new place must be allowed too: IAM user guide, "Permissions required to access IAM resources".
        let known = found(&input, kind, &name)?;
        let path = new_path.as_ref().unwrap_or(&known.record.path);
        let place = input.arn(kind.name(), path, new_name.as_ref().unwrap_or(&name))?;
        input.permit(&place, Context::default())?;
    }
    let update = MemberUpdate { new_name, new_path, ..MemberUpdate::default() };
    input.api.directory.update(&input.writing()?, kind, &name, update).await?;
    Ok(Xml::default())
}

pub(crate) async fn delete(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    fields.finish()?;
    input.permit_member(kind, &name, Context::default())?;
    input.api.directory.delete(&input.writing()?, kind, &name).await?;
    Ok(Xml::default())
}

async fn changed_role(input: &Input<'_>, name: &str, update: MemberUpdate) -> Result<Arc<Member>, Fault> {
    input.permit_member(Kind::Role, name, Context::default())?;
    Ok(input.api.directory.update(&input.writing()?, Kind::Role, name, update).await?)
}

pub(crate) async fn update_role(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let name = fields.name("RoleName")?;
    let description = fields.text("Description", 0..=1000)?;
    let seconds = limits::ROLE_SESSION_SECONDS..=limits::MAX_ROLE_SESSION_SECONDS;
    let max_session_seconds = fields.number("MaxSessionDuration", seconds)?;
    fields.finish()?;
    changed_role(&input, &name, MemberUpdate { description, max_session_seconds, ..MemberUpdate::default() }).await?;
    Ok(Xml::default())
}

pub(crate) async fn update_role_description(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let name = fields.name("RoleName")?;
    let description = Some(fields.required("Description", 0..=1000)?);
    fields.finish()?;
    let role = changed_role(&input, &name, MemberUpdate { description, ..MemberUpdate::default() }).await?;
    let mut xml = Xml::default();
    xml.element("Role", |xml| member(xml, &role.record));
    Ok(xml)
}

pub(crate) async fn update_trust(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let name = fields.name("RoleName")?;
    let trust = Some(fields.document("PolicyDocument")?);
    fields.finish()?;
    changed_role(&input, &name, MemberUpdate { trust, ..MemberUpdate::default() }).await?;
    Ok(Xml::default())
}

async fn set_group(input: Input<'_>, mut fields: Fields, within: bool) -> Result<Xml, Fault> {
    let group = fields.name("GroupName")?;
    let user = fields.name("UserName")?;
    fields.finish()?;
    input.permit_member(Kind::Group, &group, Context::default())?;
    input.api.directory.set_group(&input.writing()?, &user, &group, within).await?;
    Ok(Xml::default())
}

pub(crate) async fn add_to_group(input: Input<'_>, fields: Fields) -> Result<Xml, Fault> {
    set_group(input, fields, true).await
}

pub(crate) async fn remove_from_group(input: Input<'_>, fields: Fields) -> Result<Xml, Fault> {
    set_group(input, fields, false).await
}

pub(crate) async fn groups_of_user(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let name = fields.name("UserName")?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    input.permit_member(Kind::User, &name, Context::default())?;
    let user = found(&input, Kind::User, &name)?;
    let state = input.state()?;
    let groups: Vec<&Arc<Member>> =
        user.record.groups.iter().filter_map(|group| state.member(Kind::Group, group)).collect();
    let mut xml = Xml::default();
    page.write(&mut xml, "Groups", &groups, |one| one.record.name.clone(), |xml, one| member(xml, &one.record));
    Ok(xml)
}
