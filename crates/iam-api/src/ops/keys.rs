//! Access keys.

use super::members::found;
use crate::{fault::Fault, fields::Fields, page::Page, table::Input, xml::Xml};
use serde_json::json;
use tresor_identity::{AccessKeyRecord, Kind};
use tresor_model::{Principal, Timestamp};
use tresor_policy::Context;

fn status(active: bool) -> &'static str {
    if active { "Active" } else { "Inactive" }
}

/// The keys of an account's root come from the configuration, and change only there.
fn refuse_root(input: &Input<'_>, named: &Option<String>) -> Result<(), Fault> {
    match (named, &input.caller.principal) {
        (None, Principal::Root { .. }) => Err(Fault::new(
            "UnmodifiableEntity",
            "The access keys of the account's root are declared in the configuration of the server and can be changed only there; name a user.",
        )),
        _ => Ok(()),
    }
}

pub(crate) async fn create(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = fields.text("UserName", 1..=128)?;
    fields.finish()?;
    refuse_root(&input, &named)?;
    let user = input.own_name(named)?;
    input.permit_member(Kind::User, &user, Context::default())?;
    let (key, secret) = input.api.directory.create_key(&input.writing()?, &user).await?;
    input.telling.answer("accessKey", json!({ "userName": user, "accessKeyId": key.id, "status": status(true) }));
    let mut xml = Xml::default();
    xml.element("AccessKey", |xml| {
        xml.text("UserName", &user).text("AccessKeyId", &key.id).text("Status", status(true));
        xml.text("SecretAccessKey", secret.expose()).time("CreateDate", key.created);
    });
    Ok(xml)
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = fields.text("UserName", 1..=128)?;
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    let mut xml = Xml::default();
    if let (None, Principal::Root { account }) = (&named, &input.caller.principal) {
        let keys: Vec<AccessKeyRecord> = input
            .api
            .directory
            .root_keys(account)
            .into_iter()
            .map(|id| AccessKeyRecord { id, sealed: Vec::new(), active: true, created: Timestamp::default() })
            .collect();
        write(&mut xml, &page, None, &keys);
        return Ok(xml);
    }
    let user = input.own_name(named)?;
    input.permit_member(Kind::User, &user, Context::default())?;
    let user = found(&input, Kind::User, &user)?;
    let mut keys = user.record.keys.clone();
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    write(&mut xml, &page, Some(&user.record.name), &keys);
    Ok(xml)
}

fn write(xml: &mut Xml, page: &Page, user: Option<&String>, keys: &[AccessKeyRecord]) {
    page.write(
        xml,
        "AccessKeyMetadata",
        keys,
        |key| key.id.clone(),
        |xml, key| {
            xml.maybe("UserName", user).text("AccessKeyId", &key.id).text("Status", status(key.active));
            xml.time("CreateDate", key.created);
        },
    );
}

pub(crate) async fn update(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = fields.text("UserName", 1..=128)?;
    let id = fields.required("AccessKeyId", 16..=128)?;
    let wanted = fields.choice("Status", &["Active", "Inactive"])?;
    fields.finish()?;
    let wanted = wanted.ok_or_else(|| {
        Fault::validation(
            "1 validation error detected: Value null at 'status' failed to satisfy constraint: Member must not be null",
        )
    })?;
    refuse_root(&input, &named)?;
    let user = input.own_name(named)?;
    input.permit_member(Kind::User, &user, Context::default())?;
    input.api.directory.set_key(&input.writing()?, &user, &id, wanted == "Active").await?;
    Ok(Xml::default())
}

pub(crate) async fn delete(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = fields.text("UserName", 1..=128)?;
    let id = fields.required("AccessKeyId", 16..=128)?;
    fields.finish()?;
    refuse_root(&input, &named)?;
    let user = input.own_name(named)?;
    input.permit_member(Kind::User, &user, Context::default())?;
    input.api.directory.delete_key(&input.writing()?, &user, &id).await?;
    Ok(Xml::default())
}
