//! Aliases.

use super::time;
use crate::{fault::Fault, fields::Fields, page::Page, table::Input};
use serde_json::{Value, json};

pub(crate) async fn create(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let name = fields.required("AliasName", 1..=256)?;
    let target = fields.required("TargetKeyId", 1..=2048)?;
    fields.finish()?;
    input.ring.create_alias(&input.call(), &name, &target).await?;
    Ok(Value::Null)
}

pub(crate) async fn update(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let name = fields.required("AliasName", 1..=256)?;
    let target = fields.required("TargetKeyId", 1..=2048)?;
    fields.finish()?;
    input.ring.update_alias(&input.call(), &name, &target).await?;
    Ok(Value::Null)
}

pub(crate) async fn delete(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let name = fields.required("AliasName", 1..=256)?;
    fields.finish()?;
    input.ring.delete_alias(&input.call(), &name).await?;
    Ok(Value::Null)
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key_named("KeyId")?;
    let page = Page::read(&input, &mut fields, 50, 100)?;
    fields.finish()?;
    let aliases = input.ring.list_aliases(&input.call(), key.as_deref())?;
    Ok(page.of(
        "Aliases",
        &aliases,
        |alias| &alias.name,
        |alias| {
            let mut shown =
                json!({ "AliasName": alias.name, "AliasArn": input.ring.alias_arn(&alias.account, &alias.name) });
            if !alias.key_id.is_empty() {
                shown["TargetKeyId"] = alias.key_id.as_str().into();
                shown["CreationDate"] = time(alias.created);
                shown["LastUpdatedDate"] = time(alias.updated);
            }
            shown
        },
    ))
}
