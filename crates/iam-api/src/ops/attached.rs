//! Managed policies attached to users, groups and roles, and permission boundaries.

use super::{members::found, name_field};
use crate::{fault::Fault, fields::Fields, page::Page, table::Input, xml::Xml};
use tresor_identity::Kind;
use tresor_policy::Context;

fn about(arn: &str) -> Context {
    let mut keys = Context::default();
    keys.set("iam:PolicyARN", arn);
    keys
}

pub(crate) async fn attach(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let arn = fields.arn("PolicyArn")?;
    fields.finish()?;
    input.permit_member(kind, &name, about(&arn))?;
    input.api.directory.attach(&input.writing()?, (kind, &name), &arn).await?;
    Ok(Xml::default())
}

pub(crate) async fn detach(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let arn = fields.arn("PolicyArn")?;
    fields.finish()?;
    input.permit_member(kind, &name, about(&arn))?;
    input.api.directory.detach(&input.writing()?, (kind, &name), &arn).await?;
    Ok(Xml::default())
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let prefix = fields.path_prefix()?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    input.permit_member(kind, &name, Context::default())?;
    let member = found(&input, kind, &name)?;
    let state = input.state()?;
    let mut policies: Vec<_> = member.record.attached.iter().filter_map(|arn| state.policy(arn)).collect();
    policies.retain(|policy| policy.record.path.starts_with(&prefix));
    policies.sort_by_key(|policy| policy.arn());
    let mut xml = Xml::default();
    page.write(
        &mut xml,
        "AttachedPolicies",
        &policies,
        |policy| policy.arn(),
        |xml, policy| {
            xml.text("PolicyName", &policy.record.name).text("PolicyArn", policy.arn());
        },
    );
    Ok(xml)
}

pub(crate) async fn put_boundary(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let arn = fields.arn("PermissionsBoundary")?;
    fields.finish()?;
    let mut keys = Context::default();
    keys.set("iam:PermissionsBoundary", arn.as_str());
    input.permit_member(kind, &name, keys)?;
    input.api.directory.set_boundary(&input.writing()?, (kind, &name), Some(&arn)).await?;
    Ok(Xml::default())
}

pub(crate) async fn delete_boundary(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    fields.finish()?;
    input.permit_member(kind, &name, Context::default())?;
    input.api.directory.set_boundary(&input.writing()?, (kind, &name), None).await?;
    Ok(Xml::default())
}
