//! Rotation.

use super::time;
use crate::{fault::Fault, fields::Fields, page::Page, table::Input};
use serde_json::{Value, json};
use tresor_kms::{Material, Origin, RotationType};

/// Days between rotations when nothing is said.
const DEFAULT_PERIOD: u32 = 365;

pub(crate) async fn enable(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let days = fields.number("RotationPeriodInDays", 90..=2560)?.unwrap_or(DEFAULT_PERIOD);
    fields.finish()?;
    input.ring.set_rotation(&input.call(), &key, Some(days)).await?;
    Ok(Value::Null)
}

pub(crate) async fn disable(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    fields.finish()?;
    input.ring.set_rotation(&input.call(), &key, None).await?;
    Ok(Value::Null)
}

pub(crate) async fn status(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    fields.finish()?;
    let found = input.ring.rotation_status(&input.call(), &key)?;
    let next = input.ring.next_rotation(found.record());
    let mut answer = json!({ "KeyId": found.record().id, "KeyRotationEnabled": next.is_some() });
    if let Some((days, at)) = next {
        answer["RotationPeriodInDays"] = days.into();
        answer["NextRotationDate"] = time(at);
    }
    Ok(answer)
}

pub(crate) async fn on_demand(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    fields.finish()?;
    let found = input.ring.rotate_on_demand(&input.call(), &key).await?;
    Ok(json!({ "KeyId": found.arn.as_str() }))
}

pub(crate) async fn list(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let include = fields.choice("IncludeKeyMaterial", &["ALL_KEY_MATERIAL", "ROTATIONS_ONLY"])?;
    let page = Page::read(&input, &mut fields, 100, 1000)?;
    fields.finish()?;
    let found = input.ring.look(&input.call(), &key)?;
    let key = found.record();
    if !key.spec.is_symmetric() {
        return Err(Fault::unsupported(format!("{} key spec does not support rotation.", found.arn)));
    }
    let all = include.as_deref() == Some("ALL_KEY_MATERIAL");
    // The name of an entry is its place, so that pages follow the order of time.
    let entries: Vec<(String, &Material)> = key
        .materials
        .iter()
        .enumerate()
        .filter(|(_, material)| all || (material.rotation.is_some() && !material.pending))
        .map(|(n, material)| (format!("{n:06}"), material))
        .collect();
    let now = input.ring.now();
    Ok(page.of(
        "Rotations",
        &entries,
        |(name, _)| name,
        |(_, material)| {
            let current = key.current().is_some_and(|current| current.id == material.id);
            let mut shown = json!({ "KeyId": found.arn.as_str(), "KeyMaterialId": material.id });
            if let Some(by) = material.rotation {
                shown["RotationDate"] = time(material.created);
                shown["RotationType"] = RotationType::name(by).into();
            }
            if all {
                shown["KeyMaterialState"] = match (material.pending, current) {
                    (true, _) => "PENDING_ROTATION",
                    (false, true) => "CURRENT",
                    (false, false) => "NON_CURRENT",
                }
                .into();
            }
            if key.origin == Origin::External {
                shown["ImportState"] = if material.is_present(now) { "IMPORTED" } else { "PENDING_IMPORT" }.into();
                if let Some(description) = &material.description {
                    shown["KeyMaterialDescription"] = description.as_str().into();
                }
                let expires = material.valid_to.is_some();
                shown["ExpirationModel"] =
                    if expires { "KEY_MATERIAL_EXPIRES" } else { "KEY_MATERIAL_DOES_NOT_EXPIRE" }.into();
                if let Some(until) = material.valid_to {
                    shown["ValidTo"] = time(until);
                }
            }
            shown
        },
    ))
}
