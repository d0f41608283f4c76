//! Inline policies of users, groups and roles.

use super::{members::found, name_field};
use crate::{fault::Fault, fields::Fields, page::Page, table::Input, xml::Xml};
use tresor_identity::{IdentityError, Kind};
use tresor_policy::Context;

pub(crate) async fn put(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let policy = fields.name("PolicyName")?;
    let text = fields.document("PolicyDocument")?;
    fields.finish()?;
    input.permit_member(kind, &name, Context::default())?;
    input.api.directory.put_inline(&input.writing()?, (kind, &name), &policy, &text).await?;
    Ok(Xml::default())
}

pub(crate) async fn get(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let policy = fields.name("PolicyName")?;
    fields.finish()?;
    input.permit_member(kind, &name, Context::default())?;
    let member = found(&input, kind, &name)?;
    let (_, text) = member.record.inline.iter().find(|(known, _)| *known == policy).ok_or_else(|| {
        IdentityError::NoSuchEntity(format!("The {} policy with name {policy} cannot be found.", kind.name()))
    })?;
    let mut xml = Xml::default();
    xml.text(name_field(kind), &name).text("PolicyName", &policy).document("PolicyDocument", text);
    Ok(xml)
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    input.permit_member(kind, &name, Context::default())?;
    let member = found(&input, kind, &name)?;
    let mut names: Vec<&String> = member.record.inline.iter().map(|(name, _)| name).collect();
    names.sort();
    let mut xml = Xml::default();
    page.write_texts(&mut xml, "PolicyNames", &names);
    Ok(xml)
}

pub(crate) async fn delete(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let name = fields.name(name_field(kind))?;
    let policy = fields.name("PolicyName")?;
    fields.finish()?;
    input.permit_member(kind, &name, Context::default())?;
    input.api.directory.delete_inline(&input.writing()?, (kind, &name), &policy).await?;
    Ok(Xml::default())
}
