//! Signatures, MACs, shared secrets and encapsulation.

use super::{Common, blob};
use crate::{fault::Fault, fields::Fields, table::Input};
use serde_json::{Value, json};
use tresor_kms::{KeyUsage, KeyWork};

const SIGNING: &[&str] = &[
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "ECDSA_SHA_256",
    "ECDSA_SHA_384",
    "ECDSA_SHA_512",
    "SM2DSA",
    "ML_DSA_SHAKE_256",
    "ED25519_SHA_512",
    "ED25519_PH_SHA_512",
];
const MACS: &[&str] = &["HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"];

pub(crate) async fn get_public_key(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let (found, public) = input.ring.public_key_of(&input.call(), &key).await?;
    let record = found.record();
    let mut answer = json!({
        "KeyId": found.arn.as_str(),
        "PublicKey": blob(&public),
        "CustomerMasterKeySpec": record.spec.name(),
        "KeySpec": record.spec.name(),
        "KeyUsage": record.usage.name(),
    });
    match record.usage {
        KeyUsage::SignVerify => answer["SigningAlgorithms"] = json!(record.spec.signing_algorithms()),
        KeyUsage::KeyAgreement => answer["KeyAgreementAlgorithms"] = json!(["ECDH"]),
        KeyUsage::Encapsulate => answer["EncapsulationAlgorithms"] = json!(["ML_KEM"]),
        _ => answer["EncryptionAlgorithms"] = json!(record.spec.encryption_algorithms()),
    }
    Ok(answer)
}

/// Whether the message is a digest. Errors: ValidationException where only the message itself is signed.
fn is_digest(kind: Option<&str>, algorithm: &str) -> Result<bool, Fault> {
    match (kind.unwrap_or("RAW"), algorithm) {
        ("RAW", "ED25519_PH_SHA_512") => {
            Err(Fault::validation("Algorithm ED25519_PH_SHA_512 requires MessageType DIGEST."))
        }
        ("RAW", _) => Ok(false),
        ("DIGEST", "ED25519_SHA_512" | "ML_DSA_SHAKE_256") => {
            Err(Fault::validation(format!("MessageType DIGEST is not supported for algorithm {algorithm}.")))
        }
        ("DIGEST", _) => Ok(true),
        (kind, _) => Err(Fault::unsupported(format!("MessageType {kind} is not supported."))),
    }
}

pub(crate) async fn sign(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let message = fields.required_blob("Message", 1..=4096)?;
    let kind = fields.choice("MessageType", &["RAW", "DIGEST", "EXTERNAL_MU"])?;
    let algorithm = fields.required_choice("SigningAlgorithm", SIGNING)?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let is_digest = is_digest(kind.as_deref(), &algorithm)?;
    let mut call = input.call();
    call.keys.set("kms:MessageType", kind.as_deref().unwrap_or("RAW"));
    let work = KeyWork::Sign { algorithm: &algorithm, message: &message, is_digest };
    let (found, output) = input.ring.work_for(&call, &key, KeyUsage::SignVerify, &algorithm, work, common.dry).await?;
    Ok(json!({ "KeyId": found.arn.as_str(), "Signature": blob(&output.public), "SigningAlgorithm": algorithm }))
}

pub(crate) async fn verify(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let message = fields.required_blob("Message", 1..=4096)?;
    let signature = fields.required_blob("Signature", 1..=6144)?;
    let kind = fields.choice("MessageType", &["RAW", "DIGEST", "EXTERNAL_MU"])?;
    let algorithm = fields.required_choice("SigningAlgorithm", SIGNING)?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let is_digest = is_digest(kind.as_deref(), &algorithm)?;
    let mut call = input.call();
    call.keys.set("kms:MessageType", kind.as_deref().unwrap_or("RAW"));
    let work = KeyWork::Verify { algorithm: &algorithm, message: &message, is_digest, signature: &signature };
    let (found, _) = input.ring.work_for(&call, &key, KeyUsage::SignVerify, &algorithm, work, common.dry).await?;
    Ok(json!({ "KeyId": found.arn.as_str(), "SignatureValid": true, "SigningAlgorithm": algorithm }))
}

pub(crate) async fn generate_mac(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let message = fields.required_blob("Message", 1..=4096)?;
    let key = fields.key()?;
    let algorithm = fields.required_choice("MacAlgorithm", MACS)?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let work = KeyWork::Mac { message: &message };
    let (found, output) = input.ring.work_for(&input.call(), &key, KeyUsage::Mac, &algorithm, work, common.dry).await?;
    Ok(json!({ "Mac": blob(&output.public), "MacAlgorithm": algorithm, "KeyId": found.arn.as_str() }))
}

pub(crate) async fn verify_mac(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let message = fields.required_blob("Message", 1..=4096)?;
    let key = fields.key()?;
    let algorithm = fields.required_choice("MacAlgorithm", MACS)?;
    let mac = fields.required_blob("Mac", 1..=6144)?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let work = KeyWork::VerifyMac { message: &message, mac: &mac };
    let (found, _) = input.ring.work_for(&input.call(), &key, KeyUsage::Mac, &algorithm, work, common.dry).await?;
    Ok(json!({ "KeyId": found.arn.as_str(), "MacValid": true, "MacAlgorithm": algorithm }))
}

pub(crate) async fn derive_shared_secret(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    fields.refuse("Recipient")?;
    let key = fields.key()?;
    let algorithm = fields.required_choice("KeyAgreementAlgorithm", &["ECDH"])?;
    let peer = fields.required_blob("PublicKey", 1..=8192)?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let work = KeyWork::DeriveSharedSecret { peer: &peer };
    let (found, output) =
        input.ring.work_for(&input.call(), &key, KeyUsage::KeyAgreement, &algorithm, work, common.dry).await?;
    Ok(json!({
        "KeyId": found.arn.as_str(),
        "SharedSecret": blob(&output.secret),
        "KeyAgreementAlgorithm": algorithm,
        "KeyOrigin": found.record().origin.name(),
    }))
}

pub(crate) async fn encapsulate(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let algorithm = fields.required_choice("EncapsulationAlgorithm", &["ML_KEM"])?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let (found, output) = input
        .ring
        .work_for(&input.call(), &key, KeyUsage::Encapsulate, &algorithm, KeyWork::Encapsulate, common.dry)
        .await?;
    Ok(json!({
        "KeyId": found.arn.as_str(),
        "SharedSecret": blob(&output.secret),
        "SharedSecretCiphertextBlob": blob(&output.public),
        "EncapsulationAlgorithm": algorithm,
    }))
}

pub(crate) async fn decapsulate(input: Input<'_>, mut fields: Fields) -> Result<Value, Fault> {
    let key = fields.key()?;
    let ciphertext = fields.required_blob("SharedSecretCiphertextBlob", 1..=6144)?;
    let algorithm = fields.required_choice("EncapsulationAlgorithm", &["ML_KEM"])?;
    let common = Common::read(&mut fields)?;
    fields.finish()?;
    common.check(input.ring)?;
    let work = KeyWork::Decapsulate { ciphertext: &ciphertext };
    let (found, output) =
        input.ring.work_for(&input.call(), &key, KeyUsage::Encapsulate, &algorithm, work, common.dry).await?;
    Ok(json!({
        "KeyId": found.arn.as_str(),
        "SharedSecret": blob(&output.secret),
        "EncapsulationAlgorithm": algorithm,
    }))
}
