//! Encryption and data keys.

use super::{Common, blob};
use crate::{fault::Fault, fields::Fields, table::Input};
use serde_json::{Value, json};
use tresor_kms::{KeySpec, KmsError, ReEncrypt, SYMMETRIC};
use zeroize::Zeroizing;

const ALGORITHMS: &[&str] = &["SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"];
const PAIR_SPECS: &[&str] = &[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SM2",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
];

/// A response wanted under the key of a Nitro enclave. Errors: UnsupportedOperationException.
fn no_recipient(fields: &Fields) -> Result<(), Fault> {
    fields.refuse("Recipient")
}

fn algorithm(fields: &mut Fields, name: &str) -> Result<String, Fault> {
    Ok(fields.choice(name, ALGORITHMS)?.unwrap_or_else(|| SYMMETRIC.into()))
}

/// `DryRunModifiers`: whether a dry run judges permissions alone, without a ciphertext. It means nothing without `DryRun`.
fn ignores_ciphertext(fields: &mut Fields) -> Result<bool, Fault> {
    Ok(fields.choices("DryRunModifiers", &["IGNORE_CIPHERTEXT"])?.is_some_and(|modifiers| !modifiers.is_empty()))
}

/// The ciphertext, which a dry run that ignores it need not have.
fn ciphertext(fields: &mut Fields, ignored: bool) -> Result<Zeroizing<Vec<u8>>, Fault> {
    if ignored {
        return Ok(fields.blob("CiphertextBlob", 1..=6144)?.unwrap_or_default());
    }
    fields.required_blob("CiphertextBlob", 1..=6144)
}

/// A key that a dry run without a ciphertext must be told. Errors: ValidationException.
fn told<'a>(key: Option<&'a String>, member: &str) -> Result<&'a str, Fault> {
    key.map(String::as_str)
        .ok_or_else(|| Fault::validation(format!("{member} is required when DryRunModifiers has IGNORE_CIPHERTEXT.")))
}

pub(crate) async fn encrypt(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let plaintext = fields.required_blob("Plaintext", 1..=4096)?;
    let context = fields.map("EncryptionContext")?.unwrap_or_default();
    let algorithm = algorithm(&mut fields, "EncryptionAlgorithm")?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let call = input.call().with_context(&context);
    let (found, ciphertext) = input.ring.encrypt_for(&call, &key, &algorithm, &plaintext, common.dry).await?;
    Ok(json!({ "CiphertextBlob": blob(&ciphertext), "KeyId": found.arn.as_str(), "EncryptionAlgorithm": algorithm }))
}

pub(crate) async fn decrypt(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    no_recipient(&fields)?;
    let ignored = ignores_ciphertext(&mut fields)? && fields.is_dry();
    let ciphertext = ciphertext(&mut fields, ignored)?;
    let key = fields.key_named("KeyId")?;
    let context = fields.map("EncryptionContext")?.unwrap_or_default();
    let algorithm = algorithm(&mut fields, "EncryptionAlgorithm")?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let call = input.call().with_context(&context);
    if ignored {
        input.ring.may_decrypt(&call, told(key.as_ref(), "KeyId")?, &algorithm)?;
        return Err(KmsError::DryRun.into());
    }
    let done = input.ring.decrypt_for(&call, key.as_deref(), &algorithm, &ciphertext, common.dry).await?;
    let mut answer = json!({
        "KeyId": done.found.arn.as_str(),
        "Plaintext": blob(&done.plaintext),
        "EncryptionAlgorithm": algorithm,
    });
    if let Some(id) = done.material_id {
        answer["KeyMaterialId"] = id.into();
    }
    Ok(answer)
}

pub(crate) async fn re_encrypt(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let ignored = ignores_ciphertext(&mut fields)? && fields.is_dry();
    let ciphertext = ciphertext(&mut fields, ignored)?;
    let source = fields.key_named("SourceKeyId")?;
    let source_context = fields.map("SourceEncryptionContext")?.unwrap_or_default();
    let destination = fields.required("DestinationKeyId", 1..=2048)?;
    let destination_context = fields.map("DestinationEncryptionContext")?.unwrap_or_default();
    let from = algorithm(&mut fields, "SourceEncryptionAlgorithm")?;
    let to = algorithm(&mut fields, "DestinationEncryptionAlgorithm")?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let mut opening = input.call().acting("ReEncryptFrom").with_context(&source_context);
    let mut sealing = input.call().acting("ReEncryptTo").with_context(&destination_context);
    if ignored {
        told(source.as_ref(), "SourceKeyId")?;
    }
    let asked = ReEncrypt {
        source: source.as_deref(),
        destination: &destination,
        from: &from,
        to: &to,
        ciphertext: &ciphertext,
        permissions_alone: ignored,
    };
    let (done, found, sealed) = input.ring.re_encrypt_for(&mut opening, &mut sealing, &asked, common.dry).await?;
    let mut answer = json!({
        "CiphertextBlob": blob(&sealed),
        "SourceKeyId": done.found.arn.as_str(),
        "KeyId": found.arn.as_str(),
        "SourceEncryptionAlgorithm": from,
        "DestinationEncryptionAlgorithm": to,
    });
    if let Some(id) = done.material_id {
        answer["SourceKeyMaterialId"] = id.into();
    }
    if found.record().spec.is_symmetric() {
        answer["DestinationKeyMaterialId"] = material(&found);
    }
    Ok(answer)
}

fn material(found: &tresor_kms::Found) -> Value {
    found.record().current().map(|material| material.id.clone()).into()
}

async fn data_key(input: Input<'_>, mut fields: Fields) -> Result<(Value, Zeroizing<Vec<u8>>), Fault> {
    no_recipient(&fields)?;
    let key = fields.key()?;
    let context = fields.map("EncryptionContext")?.unwrap_or_default();
    let spec = fields.choice("KeySpec", &["AES_256", "AES_128"])?;
    let number = fields.number("NumberOfBytes", 1..=1024)?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let length = match (spec.as_deref(), number) {
        (Some("AES_128"), None) => 16,
        (Some(_), None) => 32,
        (None, Some(number)) => number as usize,
        (None, None) => return Err(Fault::validation("Please specify either number of bytes or key spec.")),
        (Some(_), Some(_)) => {
            return Err(Fault::validation("Please specify either number of bytes or key spec, but not both."));
        }
    };
    let call = input.call().with_context(&context);
    let (found, plaintext, ciphertext) = input.ring.data_key_for(&call, &key, length, common.dry).await?;
    let answer = json!({
        "CiphertextBlob": blob(&ciphertext),
        "KeyId": found.arn.as_str(),
        "KeyMaterialId": material(&found),
    });
    Ok((answer, plaintext))
}

pub(crate) async fn generate_data_key(input: Input<'_>, fields: Fields) -> Result<Value, Fault> {
    let (mut answer, plaintext) = data_key(input, fields).await?;
    answer["Plaintext"] = blob(&plaintext);
    Ok(answer)
}
pub(crate) async fn generate_data_key_without_plaintext(input: Input<'_>, fields: Fields) -> Result<Value, Fault> {
    data_key(input, fields).await.map(|(answer, _)| answer)
}

async fn data_key_pair(input: Input<'_>, mut fields: Fields) -> Result<(Value, Zeroizing<Vec<u8>>), Fault> {
    no_recipient(&fields)?;
    let key = fields.key()?;
    let context = fields.map("EncryptionContext")?.unwrap_or_default();
    let spec = fields.required_choice("KeyPairSpec", PAIR_SPECS)?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let parsed = KeySpec::parse(&spec).unwrap_or_default();
    let call = input.call().with_context(&context);
    let (found, private, ciphertext, public) = input.ring.data_key_pair_for(&call, &key, parsed, common.dry).await?;
    let answer = json!({
        "PrivateKeyCiphertextBlob": blob(&ciphertext),
        "PublicKey": blob(&public),
        "KeyId": found.arn.as_str(),
        "KeyPairSpec": spec,
        "KeyMaterialId": material(&found),
    });
    Ok((answer, private))
}

pub(crate) async fn generate_data_key_pair(input: Input<'_>, fields: Fields) -> Result<Value, Fault> {
    let (mut answer, private) = data_key_pair(input, fields).await?;
    answer["PrivateKeyPlaintext"] = blob(&private);
    Ok(answer)
}
pub(crate) async fn generate_data_key_pair_without_plaintext(input: Input<'_>, fields: Fields) -> Result<Value, Fault> {
    data_key_pair(input, fields).await.map(|(answer, _)| answer)
}

pub(crate) async fn generate_random(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    no_recipient(&fields)?;
    let number = fields.number("NumberOfBytes", 1..=1024)?;
    let elsewhere = fields.has("CustomKeyStoreId");
    fields.finish()?;
    if elsewhere {
        return Err(Fault::unsupported("Custom key stores are not supported."));
    }
    let number = number.ok_or_else(|| Fault::validation("NumberOfBytes is required."))?;
    let bytes = input.ring.random(&input.call(), number as usize)?;
    Ok(json!({ "Plaintext": blob(&bytes) }))
}
