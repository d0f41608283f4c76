//! Imported key material.

use super::{blob, time};
use crate::{fault::Fault, fields::Fields, table::Input};
use serde_json::{Value, json};
use tresor_kms::{Import, KeySpec};

const WRAPPING: &[&str] = &[
    "RSAES_PKCS1_V1_5",
    "RSAES_OAEP_SHA_1",
    "RSAES_OAEP_SHA_256",
    "RSA_AES_KEY_WRAP_SHA_1",
    "RSA_AES_KEY_WRAP_SHA_256",
    "SM2PKE",
];
const WRAPPING_SPECS: &[&str] = &["RSA_2048", "RSA_3072", "RSA_4096", "SM2"];
/// How long material may live that expires: 365 days.
const MAX_VALID_MS: u64 = 365 * 24 * 60 * 60 * 1000;

pub(crate) async fn parameters(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let algorithm = fields.required_choice("WrappingAlgorithm", WRAPPING)?;
    let spec = fields.required_choice("WrappingKeySpec", WRAPPING_SPECS)?;
    fields.finish()?;
    let spec = KeySpec::parse(&spec).unwrap_or(KeySpec::Rsa2048);
    let given = input.ring.import_parameters(&input.call(), &key, &algorithm, spec).await?;
    Ok(json!({
        "KeyId": given.found.arn.as_str(),
        "ImportToken": blob(&given.token),
        "PublicKey": blob(&given.public_key),
        "ParametersValidTo": time(given.valid_to),
    }))
}

pub(crate) async fn import(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let token = fields.required_blob("ImportToken", 1..=6144)?;
    let wrapped = fields.required_blob("EncryptedKeyMaterial", 1..=6144)?;
    let valid_to = fields.time("ValidTo")?;
    let model = fields.choice("ExpirationModel", &["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"])?;
    let kind = fields.choice("ImportType", &["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"])?;
    let description = fields.text("KeyMaterialDescription", 0..=256)?;
    let material_id = fields.text("KeyMaterialId", 64..=64)?;
    fields.finish()?;
    let expires = model.as_deref() != Some("KEY_MATERIAL_DOES_NOT_EXPIRE");
    let now = input.ring.now();
    match (expires, valid_to) {
        (true, None) => {
            return Err(Fault::validation("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"));
        }
        (false, Some(_)) => {
            return Err(Fault::validation(
                "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
            ));
        }
        (true, Some(at)) if at <= now || at.since(now) > MAX_VALID_MS => {
            return Err(Fault::validation("The validTo date must be in the future and at most 365 days ahead."));
        }
        _ => {}
    }
    let new = kind.map(|kind| kind == "NEW_KEY_MATERIAL");
    let brought = Import { token: &token, wrapped: &wrapped, valid_to, new, description, material_id };
    let (found, id) = input.ring.import(&input.call(), &key, brought).await?;
    Ok(json!({ "KeyId": found.arn.as_str(), "KeyMaterialId": id }))
}

pub(crate) async fn delete(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let material = fields.text("KeyMaterialId", 64..=64)?;
    fields.finish()?;
    let (found, id) = input.ring.delete_imported(&input.call(), &key, material.as_deref()).await?;
    Ok(json!({ "KeyId": found.arn.as_str(), "KeyMaterialId": id.unwrap_or_default() }))
}
