//! Keys themselves: made, described, tagged, disabled, deleted, and their policies.

use super::time;
use crate::{fault::Fault, fields::Fields, page::Page, table::Input};
use serde_json::{Value, json};
use tresor_kms::{Found, KeyRecord, KeyRing, KeySpec, KeyState, KeyUsage, NewKey, Origin};

const ORIGINS: &[&str] = &["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];
/// The only name a key policy has.
const POLICY_NAME: &str = "default";

/// `KeyMetadata`
fn metadata(ring: &KeyRing, found: &Found) -> Value {
    let key: &KeyRecord = found.record();
    let state = key.state(ring.now());
    let mut shown = json!({
        "AWSAccountId": key.account.as_str(),
        "KeyId": key.id,
        "Arn": found.arn.as_str(),
        "CreationDate": time(key.created),
        "Enabled": state == KeyState::Enabled,
        "Description": key.description,
        "KeyUsage": key.usage.name(),
        "KeyState": state.name(),
        "Origin": key.origin.name(),
        "KeyManager": key.manager.name(),
        "CustomerMasterKeySpec": key.spec.name(),
        "KeySpec": key.spec.name(),
        "MultiRegion": false,
    });
    match key.usage {
        KeyUsage::EncryptDecrypt => shown["EncryptionAlgorithms"] = json!(key.spec.encryption_algorithms()),
        KeyUsage::SignVerify => shown["SigningAlgorithms"] = json!(key.spec.signing_algorithms()),
        KeyUsage::Mac => shown["MacAlgorithms"] = json!(key.spec.mac_algorithms()),
        KeyUsage::KeyAgreement => shown["KeyAgreementAlgorithms"] = json!(["ECDH"]),
        KeyUsage::Encapsulate => shown["EncapsulationAlgorithms"] = json!(["ML_KEM"]),
    }
    if let Some(current) = key.current()
        && key.spec.is_symmetric()
    {
        shown["CurrentKeyMaterialId"] = current.id.as_str().into();
    }
    if let Some((at, _)) = key.deletion {
        shown["DeletionDate"] = time(at);
    }
    if key.origin == Origin::External
        && let Some(current) = key.current().filter(|current| current.is_present(ring.now()))
    {
        let expires = current.valid_to.is_some();
        shown["ExpirationModel"] = if expires { "KEY_MATERIAL_EXPIRES" } else { "KEY_MATERIAL_DOES_NOT_EXPIRE" }.into();
        if let Some(until) = current.valid_to {
            shown["ValidTo"] = time(until);
        }
    }
    shown
}

pub(crate) async fn create(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let policy = fields.text("Policy", 1..=131_072)?;
    let description = fields.text("Description", 0..=8192)?.unwrap_or_default();
    let usage = fields.choice("KeyUsage", KeyUsage::NAMES)?;
    let old_spec = fields.choice("CustomerMasterKeySpec", &KeySpec::NAMES[..13])?;
    let spec = fields.choice("KeySpec", KeySpec::NAMES)?;
    let origin = fields.choice("Origin", ORIGINS)?;
    let bypass = fields.flag("BypassPolicyLockoutSafetyCheck")?;
    let tags = fields.tags()?.unwrap_or_default();
    let multi_region = fields.flag("MultiRegion")?;
    let elsewhere = fields.has("CustomKeyStoreId") || fields.has("XksKeyId");
    fields.finish()?;
    if spec.is_some() && old_spec.is_some() {
        return Err(Fault::validation(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.",
        ));
    }
    if multi_region {
        return Err(Fault::unsupported("Multi-Region keys are not supported."));
    }
    if elsewhere || matches!(origin.as_deref(), Some("AWS_CLOUDHSM" | "EXTERNAL_KEY_STORE")) {
        return Err(Fault::unsupported("Custom key stores are not supported."));
    }
    let spec = spec.or(old_spec).and_then(|name| KeySpec::parse(&name)).unwrap_or_default();
    let usage = match usage.and_then(|name| KeyUsage::parse(&name)) {
        Some(usage) => usage,
        None if spec.is_symmetric() => KeyUsage::EncryptDecrypt,
        None => {
            return Err(Fault::validation(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
            ));
        }
    };
    let origin = if origin.as_deref() == Some("EXTERNAL") { Origin::External } else { Origin::AwsKms };
    let new = NewKey { id: None, description, spec, usage, origin, policy, tags };
    let found = input.ring.create_key(&input.call(), new, bypass).await?;
    Ok(json!({ "KeyMetadata": metadata(input.ring, &found) }))
}

pub(crate) async fn describe(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let common = super::Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    // The name of aws/s3 stands for a key that is made when it is first asked for.
    if key.ends_with("alias/aws/s3") && input.caller.account().is_some() {
        input.ring.resolve(input.caller, Some("alias/aws/s3")).await?;
    }
    Ok(json!({ "KeyMetadata": metadata(input.ring, &input.ring.describe_key(&input.call(), &key)?) }))
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let page = Page::read(&input, &mut fields, 100, 1000)?;
    let owners = fields.choices("ResourceOwners", &["SELF", "OTHER_ACCOUNTS_VIA_RAM"])?;
    fields.finish()?;
    let mut keys = input.ring.list_keys(&input.call())?;
    if owners.is_some_and(|owners| !owners.iter().any(|owner| owner == "SELF")) {
        keys.clear();
    }
    let account = input.caller.account().cloned();
    Ok(page.of("Keys", &keys, String::as_str, |id| {
        let arn = account.as_ref().and_then(|account| input.ring.arn(account, id).ok());
        json!({ "KeyId": id, "KeyArn": arn.map(|arn| arn.to_string()) })
    }))
}

async fn set_enabled(input: Input<'_>, mut fields: Fields, enabled: bool) -> Result<Value, Fault> {
    let key = fields.key()?;
    fields.finish()?;
    input.ring.set_enabled(&input.call(), &key, enabled).await?;
    Ok(Value::Null)
}
pub(crate) async fn enable(input: Input<'_>, fields: Fields) -> Result<Value, Fault> {
    set_enabled(input, fields, true).await
}
pub(crate) async fn disable(input: Input<'_>, fields: Fields) -> Result<Value, Fault> {
    set_enabled(input, fields, false).await
}

pub(crate) async fn update_description(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let description = fields.required("Description", 0..=8192)?;
    fields.finish()?;
    input.ring.describe_as(&input.call(), &key, &description).await?;
    Ok(Value::Null)
}

pub(crate) async fn schedule_deletion(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let days = fields.number("PendingWindowInDays", 1..=365)?.unwrap_or(30);
    fields.finish()?;
    let found = input.ring.schedule_deletion(&input.call(), &key, days, input.dependents).await?;
    let at = found.record().deletion.map(|(at, _)| time(at));
    Ok(json!({
        "KeyId": found.arn.as_str(),
        "DeletionDate": at,
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": days,
    }))
}

pub(crate) async fn cancel_deletion(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    fields.finish()?;
    let found = input.ring.cancel_deletion(&input.call(), &key).await?;
    Ok(json!({ "KeyId": found.arn.as_str() }))
}

pub(crate) async fn last_usage(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    fields.finish()?;
    let found = input.ring.look(&input.call(), &key)?;
    let record = found.record();
    let last = input.ring.last_use(record).map(
        |last| json!({ "Operation": last.operation, "Timestamp": time(last.at), "KmsRequestId": last.request_id }),
    );
    Ok(json!({
        "KeyId": found.arn.as_str(),
        "KeyLastUsage": last.unwrap_or_else(|| json!({})),
        "TrackingStartDate": time(input.ring.tracking_since().max(record.created)),
        "KeyCreationDate": time(record.created),
    }))
}

pub(crate) async fn tag(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let tags = fields.tags()?;
    let tags = fields.missing_list("Tags", tags);
    fields.finish()?;
    input.ring.tag(&input.call(), &key, tags).await?;
    Ok(Value::Null)
}

pub(crate) async fn untag(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let keys = fields.texts("TagKeys", 0..=usize::MAX, 1..=128)?;
    let keys = fields.missing_list("TagKeys", keys);
    fields.finish()?;
    input.ring.untag(&input.call(), &key, &keys).await?;
    Ok(Value::Null)
}

pub(crate) async fn list_tags(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let page = Page::read(&input, &mut fields, 50, 50)?;
    fields.finish()?;
    let found = input.ring.look(&input.call(), &key)?;
    let mut tags = found.record().tags.clone();
    tags.sort_unstable();
    Ok(page.of("Tags", &tags, |(name, _)| name, |(name, value)| json!({ "TagKey": name, "TagValue": value })))
}

fn policy_name(fields: &mut Fields) -> Result<String, Fault> {
    Ok(fields.text("PolicyName", 1..=128)?.unwrap_or_else(|| POLICY_NAME.into()))
}

pub(crate) async fn get_policy(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let name = policy_name(&mut fields)?;
    fields.finish()?;
    let found = input.ring.look(&input.call(), &key)?;
    if name != POLICY_NAME {
        return Err(Fault::new("NotFoundException", format!("No such policy exists: {name}")));
    }
    Ok(json!({ "Policy": input.ring.policy(found.record()), "PolicyName": name }))
}

pub(crate) async fn put_policy(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let name = policy_name(&mut fields)?;
    let policy = fields.required("Policy", 1..=131_072)?;
    let bypass = fields.flag("BypassPolicyLockoutSafetyCheck")?;
    fields.finish()?;
    if name != POLICY_NAME {
        return Err(Fault::new("NotFoundException", format!("No such policy exists: {name}")));
    }
    input.ring.put_policy(&input.call(), &key, &policy, bypass).await?;
    Ok(Value::Null)
}

pub(crate) async fn list_policies(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let page = Page::read(&input, &mut fields, 100, 1000)?;
    fields.finish()?;
    input.ring.look(&input.call(), &key)?;
    Ok(page.of("PolicyNames", &[POLICY_NAME], |name| name, |name| json!(name)))
}
