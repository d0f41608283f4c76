//! Grants.

use super::{Common, time};
use crate::{fault::Fault, fields::Fields, page::Page, table::Input};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tresor_kms::{GRANT_OPERATIONS, GrantRecord, NewGrant};

/// Service principals have no meaning here: no AWS service calls this KMS by itself. Errors: UnsupportedOperationException.
fn no_services(fields: &Fields) -> Result<(), Fault> {
    fields.refuse("GranteeServicePrincipal")?;
    fields.refuse("RetiringServicePrincipal")
}

pub(crate) async fn create(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    no_services(&fields)?;
    let key = fields.key()?;
    let grantee = fields.required("GranteePrincipal", 1..=256)?;
    let retiring = fields.text("RetiringPrincipal", 1..=256)?;
    let operations = fields.choices("Operations", GRANT_OPERATIONS)?;
    let operations = fields.missing_list("Operations", operations);
    let name = fields.text("Name", 1..=256)?;
    let (mut context_equals, mut context_subset) = (None, None);
    if let Some(mut constraints) = fields.object("Constraints")? {
        constraints.refuse("SourceArn")?;
        context_equals = constraints.map("EncryptionContextEquals")?;
        context_subset = constraints.map("EncryptionContextSubset")?;
    }
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    if [&context_equals, &context_subset].into_iter().flatten().any(|pairs| pairs.len() > 8) {
        return Err(Fault::validation("A grant constraint has at most 8 encryption context pairs."));
    }
    let new = NewGrant { grantee, retiring, operations, name, context_equals, context_subset };
    let (_, id, token) = input.ring.create_grant(&input.call(), &key, new, common.dry).await?;
    Ok(json!({ "GrantId": id, "GrantToken": token }))
}

fn pairs(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

fn shown(input: Input<'_>, grant: &GrantRecord) -> Value {
    let arn = input.ring.arn(&grant.account, &grant.key_id).map(|arn| arn.to_string()).unwrap_or_default();
    let mut shown = json!({
        "KeyId": arn,
        "GrantId": grant.id,
        "Name": grant.name.as_deref().unwrap_or_default(),
        "CreationDate": time(grant.created),
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": grant.issuer,
        "Operations": grant.operations,
    });
    if let Some(retiring) = &grant.retiring {
        shown["RetiringPrincipal"] = retiring.as_str().into();
    }
    let mut constraints = Map::new();
    if let Some(equals) = &grant.context_equals {
        constraints.insert("EncryptionContextEquals".into(), pairs(equals));
    }
    if let Some(subset) = &grant.context_subset {
        constraints.insert("EncryptionContextSubset".into(), pairs(subset));
    }
    if !constraints.is_empty() {
        shown["Constraints"] = constraints.into();
    }
    shown
}

fn page_of(input: Input<'_>, page: &Page, grants: &[Arc<GrantRecord>]) -> Value {
    page.of("Grants", grants, |grant| &grant.id, |grant| shown(input, grant))
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    no_services(&fields)?;
    let key = fields.key()?;
    let page = Page::read(&input, &mut fields, 50, 100)?;
    let id = fields.text("GrantId", 1..=128)?;
    let grantee = fields.text("GranteePrincipal", 1..=256)?;
    fields.finish()?;
    let (_, mut grants) = input.ring.list_grants(&input.call(), &key)?;
    if let Some(id) = id {
        grants.retain(|grant| grant.id == id);
        if grants.is_empty() {
            return Err(tresor_kms::KmsError::InvalidGrantId(id).into());
        }
    }
    if let Some(grantee) = grantee {
        grants.retain(|grant| grant.grantee == grantee);
    }
    Ok(page_of(input, &page, &grants))
}

pub(crate) async fn list_retirable(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    no_services(&fields)?;
    let page = Page::read(&input, &mut fields, 50, 100)?;
    let principal = fields.required("RetiringPrincipal", 1..=256)?;
    fields.finish()?;
    let grants = input.ring.list_retirable(&input.call(), &principal)?;
    Ok(page_of(input, &page, &grants))
}

pub(crate) async fn retire(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let token = fields.text("GrantToken", 1..=8192)?;
    let key = fields.key_named("KeyId")?;
    let id = fields.text("GrantId", 1..=128)?;
    let dry = fields.flag("DryRun")?;
    fields.finish()?;
    let pair = key.as_deref().zip(id.as_deref());
    input.ring.retire_grant(&input.call(), token.as_deref(), pair, dry).await?;
    Ok(Value::Null)
}

pub(crate) async fn revoke(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let id = fields.required("GrantId", 1..=128)?;
    let dry = fields.flag("DryRun")?;
    fields.finish()?;
    input.ring.revoke_grant(&input.call(), &key, &id, dry).await?;
    Ok(Value::Null)
}
