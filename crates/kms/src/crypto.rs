//! What key material of each spec does. Material is: 32 bytes (symmetric), the hash's length (HMAC), PKCS#8 (RSA, curves, ML-DSA), the
//! decapsulation key of FIPS 203 (ML-KEM). Nothing here stores or logs it.

use crate::{error::KmsError, spec::KeySpec};
use aws_lc_rs::{
    agreement,
    digest::{self, Digest},
    encoding::AsDer,
    hmac,
    kem::{self, DecapsulationKey, EncapsulationKey},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rand::SystemRandom,
    rsa::{
        self, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
        OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
    },
    signature::{
        self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
        ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
        ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, RsaKeyPair,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use tresor_model::Entropy;
use zeroize::Zeroizing;

type Secret = Zeroizing<Vec<u8>>;

fn broken(_: impl std::fmt::Debug) -> KmsError {
    KmsError::Unavailable("key material cannot be used by its algorithm".into())
}

/// Makes material of a spec. Errors: Unsupported for one that the library lacks.
pub(crate) fn generate(spec: KeySpec, entropy: &dyn Entropy) -> Result<Secret, KmsError> {
    let random = |length: usize| {
        let mut bytes = Zeroizing::new(vec![0; length]);
        entropy.fill(&mut bytes);
        Ok(bytes)
    };
    let pkcs8 = |bytes: &[u8]| Ok(Zeroizing::new(bytes.to_vec()));
    match spec {
        KeySpec::Symmetric => random(32),
        KeySpec::Hmac224 | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => random(spec.mac_bytes()),
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => {
            let size = match spec {
                KeySpec::Rsa2048 => KeySize::Rsa2048,
                KeySpec::Rsa3072 => KeySize::Rsa3072,
                _ => KeySize::Rsa4096,
            };
            pkcs8(rsa::KeyPair::generate(size).map_err(broken)?.as_der().map_err(broken)?.as_ref())
        }
        KeySpec::P256 | KeySpec::P384 | KeySpec::P521 | KeySpec::Secp256k1 => {
            let pair = EcdsaKeyPair::generate(curve(spec)?).map_err(broken)?;
            pkcs8(pair.to_pkcs8v1().map_err(broken)?.as_ref())
        }
        KeySpec::Ed25519 => pkcs8(Ed25519KeyPair::generate().map_err(broken)?.to_pkcs8v1().map_err(broken)?.as_ref()),
        KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => {
            pkcs8(PqdsaKeyPair::generate(ml_dsa(spec)).map_err(broken)?.to_pkcs8v1().map_err(broken)?.as_ref())
        }
        KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => {
            let key = DecapsulationKey::generate(ml_kem(spec)).map_err(broken)?;
            pkcs8(key.key_bytes().map_err(broken)?.as_ref())
        }
        KeySpec::Sm2 => Err(KmsError::Unsupported("KeySpec SM2 is not supported in this Region.".into())),
    }
}

fn curve(spec: KeySpec) -> Result<&'static EcdsaSigningAlgorithm, KmsError> {
    match spec {
        KeySpec::P256 => Ok(&ECDSA_P256_SHA256_ASN1_SIGNING),
        KeySpec::P384 => Ok(&ECDSA_P384_SHA384_ASN1_SIGNING),
        KeySpec::P521 => Ok(&ECDSA_P521_SHA512_ASN1_SIGNING),
        KeySpec::Secp256k1 => Ok(&ECDSA_P256K1_SHA256_ASN1_SIGNING),
        _ => Err(broken(spec)),
    }
}
fn ml_dsa(spec: KeySpec) -> &'static PqdsaSigningAlgorithm {
    match spec {
        KeySpec::MlDsa44 => &ML_DSA_44_SIGNING,
        KeySpec::MlDsa65 => &ML_DSA_65_SIGNING,
        _ => &ML_DSA_87_SIGNING,
    }
}
fn ml_kem(spec: KeySpec) -> &'static kem::Algorithm {
    match spec {
        KeySpec::MlKem512 => &kem::ML_KEM_512,
        KeySpec::MlKem768 => &kem::ML_KEM_768,
        _ => &kem::ML_KEM_1024,
    }
}

/// Where FIPS 203 puts the encapsulation key inside the decapsulation key: after `dk_PKE`, 384 bytes a module rank.
fn encapsulation_bytes(spec: KeySpec, material: &[u8]) -> Result<&[u8], KmsError> {
    let rank = match spec {
        KeySpec::MlKem512 => 2,
        KeySpec::MlKem768 => 3,
        _ => 4,
    };
    material.get(384 * rank..384 * rank + 384 * rank + 32).ok_or_else(|| broken("length"))
}

/// SubjectPublicKeyInfo of an ML-KEM key (RFC 9935): `2.16.840.1.101.3.4.4.{1,2,3}`.
fn ml_kem_spki(spec: KeySpec, key: &[u8]) -> Vec<u8> {
    let last = match spec {
        KeySpec::MlKem512 => 1,
        KeySpec::MlKem768 => 2,
        _ => 3,
    };
    let length = |n: usize| [0x82, (n >> 8) as u8, n as u8];
    let algorithm = [0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, last];
    let mut out = vec![0x30];
    out.extend(length(algorithm.len() + 4 + 1 + key.len()));
    out.extend(algorithm);
    out.push(0x03);
    out.extend(length(key.len() + 1));
    out.push(0);
    out.extend(key);
    out
}

/// The public key as SubjectPublicKeyInfo, DER.
pub(crate) fn public_key(spec: KeySpec, material: &[u8]) -> Result<Vec<u8>, KmsError> {
    Ok(match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => {
            let pair = RsaKeyPair::from_pkcs8(material).map_err(broken)?;
            AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key())
                .map_err(broken)?
                .as_ref()
                .to_vec()
        }
        KeySpec::P256 | KeySpec::P384 | KeySpec::P521 | KeySpec::Secp256k1 => {
            let pair = EcdsaKeyPair::from_pkcs8(curve(spec)?, material).map_err(broken)?;
            pair.public_key().as_der().map_err(broken)?.as_ref().to_vec()
        }
        KeySpec::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(material).map_err(broken)?;
            pair.public_key().as_der().map_err(broken)?.as_ref().to_vec()
        }
        KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => {
            let pair = PqdsaKeyPair::from_pkcs8(ml_dsa(spec), material).map_err(broken)?;
            pair.public_key().as_der().map_err(broken)?.as_ref().to_vec()
        }
        KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => {
            ml_kem_spki(spec, encapsulation_bytes(spec, material)?)
        }
        _ => return Err(broken(spec)),
    })
}

fn hash_of(algorithm: &str) -> &'static digest::Algorithm {
    match algorithm.rsplit_once('_').map(|(_, bits)| bits) {
        Some("384") => &digest::SHA384,
        Some("512") => &digest::SHA512,
        _ => &digest::SHA256,
    }
}

fn imported(algorithm: &str, message: &[u8]) -> Result<Digest, KmsError> {
    Digest::import_less_safe(message, hash_of(algorithm))
        .map_err(|_| KmsError::Validation(format!("Digest is invalid length for algorithm {algorithm}.")))
}

fn rsa_encoding(algorithm: &str) -> &'static signature::RsaSignatureEncoding {
    match algorithm {
        "RSASSA_PSS_SHA_256" => &signature::RSA_PSS_SHA256,
        "RSASSA_PSS_SHA_384" => &signature::RSA_PSS_SHA384,
        "RSASSA_PSS_SHA_512" => &signature::RSA_PSS_SHA512,
        "RSASSA_PKCS1_V1_5_SHA_384" => &signature::RSA_PKCS1_SHA384,
        "RSASSA_PKCS1_V1_5_SHA_512" => &signature::RSA_PKCS1_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    }
}
fn rsa_verification(algorithm: &str) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        "RSASSA_PSS_SHA_256" => &signature::RSA_PSS_2048_8192_SHA256,
        "RSASSA_PSS_SHA_384" => &signature::RSA_PSS_2048_8192_SHA384,
        "RSASSA_PSS_SHA_512" => &signature::RSA_PSS_2048_8192_SHA512,
        "RSASSA_PKCS1_V1_5_SHA_384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RSASSA_PKCS1_V1_5_SHA_512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

/// Signs a message, or a digest of it. Errors: Validation for a digest of the wrong length.
pub(crate) fn sign(
    spec: KeySpec,
    material: &[u8],
    algorithm: &str,
    message: &[u8],
    is_digest: bool,
) -> Result<Vec<u8>, KmsError> {
    Ok(match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => {
            let pair = RsaKeyPair::from_pkcs8(material).map_err(broken)?;
            let mut out = vec![0; pair.public_modulus_len()];
            let encoding = rsa_encoding(algorithm);
            if is_digest {
                pair.sign_digest(encoding, &imported(algorithm, message)?, &mut out).map_err(broken)?;
            } else {
                pair.sign(encoding, &SystemRandom::new(), message, &mut out).map_err(broken)?;
            }
            out
        }
        KeySpec::P256 | KeySpec::P384 | KeySpec::P521 | KeySpec::Secp256k1 => {
            let pair = EcdsaKeyPair::from_pkcs8(curve(spec)?, material).map_err(broken)?;
            let signature = if is_digest {
                pair.sign_digest(&imported(algorithm, message)?)
            } else {
                pair.sign(&SystemRandom::new(), message)
            };
            signature.map_err(broken)?.as_ref().to_vec()
        }
        KeySpec::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(material).map_err(broken)?;
            pair.try_sign(message).map_err(broken)?.as_ref().to_vec()
        }
        KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => {
            let pair = PqdsaKeyPair::from_pkcs8(ml_dsa(spec), material).map_err(broken)?;
            let mut out = vec![0; pair.algorithm().signature_len()];
            let length = pair.sign(message, &mut out).map_err(broken)?;
            out.truncate(length);
            out
        }
        _ => return Err(broken(spec)),
    })
}

/// Errors: InvalidSignature; Validation for a digest of the wrong length.
pub(crate) fn verify(
    spec: KeySpec,
    material: &[u8],
    algorithm: &str,
    message: &[u8],
    is_digest: bool,
    signature: &[u8],
) -> Result<(), KmsError> {
    let public = public_key(spec, material)?;
    let verification: &'static dyn VerificationAlgorithm = match spec {
        KeySpec::P256 => &signature::ECDSA_P256_SHA256_ASN1,
        KeySpec::P384 => &signature::ECDSA_P384_SHA384_ASN1,
        KeySpec::P521 => &signature::ECDSA_P521_SHA512_ASN1,
        KeySpec::Secp256k1 => &signature::ECDSA_P256K1_SHA256_ASN1,
        KeySpec::Ed25519 => &signature::ED25519,
        KeySpec::MlDsa44 => &signature::ML_DSA_44,
        KeySpec::MlDsa65 => &signature::ML_DSA_65,
        KeySpec::MlDsa87 => &signature::ML_DSA_87,
        _ => rsa_verification(algorithm),
    };
    let key = UnparsedPublicKey::new(verification, public);
    let verified = if is_digest {
        key.verify_digest(&imported(algorithm, message)?, signature)
    } else {
        key.verify(message, signature)
    };
    verified.map_err(|_| KmsError::InvalidSignature)
}

fn mac_algorithm(spec: KeySpec) -> hmac::Algorithm {
    match spec {
        KeySpec::Hmac224 => hmac::HMAC_SHA224,
        KeySpec::Hmac384 => hmac::HMAC_SHA384,
        KeySpec::Hmac512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}

pub(crate) fn mac(spec: KeySpec, material: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(mac_algorithm(spec), material), message).as_ref().to_vec()
}
/// In constant time. Errors: InvalidMac.
pub(crate) fn verify_mac(spec: KeySpec, material: &[u8], message: &[u8], mac: &[u8]) -> Result<(), KmsError> {
    let key = hmac::Key::new(mac_algorithm(spec), material);
    hmac::verify(&key, message, mac).map_err(|_| KmsError::InvalidMac)
}

fn oaep(algorithm: &str) -> &'static OaepAlgorithm {
    if algorithm.ends_with("SHA_1") { &OAEP_SHA1_MGF1SHA1 } else { &OAEP_SHA256_MGF1SHA256 }
}

/// RSAES-OAEP under the public half.
pub(crate) fn rsa_encrypt(material: &[u8], algorithm: &str, plaintext: &[u8]) -> Result<Vec<u8>, KmsError> {
    let private = PrivateDecryptingKey::from_pkcs8(material).map_err(broken)?;
    let public: PublicEncryptingKey = private.public_key();
    let key = OaepPublicEncryptingKey::new(public).map_err(broken)?;
    let mut out = vec![0; key.ciphertext_size()];
    let length = key.encrypt(oaep(algorithm), plaintext, &mut out, None).map_err(broken)?.len();
    out.truncate(length);
    Ok(out)
}
/// Errors: InvalidCiphertext.
pub(crate) fn rsa_decrypt(material: &[u8], algorithm: &str, ciphertext: &[u8]) -> Result<Secret, KmsError> {
    let private = PrivateDecryptingKey::from_pkcs8(material).map_err(broken)?;
    let key = OaepPrivateDecryptingKey::new(private).map_err(broken)?;
    let mut out = Zeroizing::new(vec![0; key.min_output_size()]);
    let length =
        key.decrypt(oaep(algorithm), ciphertext, &mut out, None).map_err(|_| KmsError::InvalidCiphertext)?.len();
    out.truncate(length);
    Ok(out)
}

/// RFC 5649, the second half of RSA_AES_KEY_WRAP. Errors: InvalidCiphertext.
pub(crate) fn aes_unwrap_padded(kek: &[u8], wrapped: &[u8]) -> Result<Secret, KmsError> {
    let invalid = |_| KmsError::InvalidCiphertext;
    let kek = AesKek::new(&AES_256, kek).map_err(invalid)?;
    let mut out = Zeroizing::new(vec![0; wrapped.len()]);
    let length = kek.unwrap_with_padding(wrapped, &mut out).map_err(invalid)?.len();
    out.truncate(length);
    Ok(out)
}

/// ECDH with another's public key (SubjectPublicKeyInfo). Errors: Validation for a key that is not on the curve.
pub(crate) fn derive_shared_secret(spec: KeySpec, material: &[u8], peer: &[u8]) -> Result<Secret, KmsError> {
    let algorithm = match spec {
        KeySpec::P256 => &agreement::ECDH_P256,
        KeySpec::P384 => &agreement::ECDH_P384,
        _ => &agreement::ECDH_P521,
    };
    let private = agreement::PrivateKey::from_private_key_der(algorithm, material).map_err(broken)?;
    let peer = agreement::UnparsedPublicKey::new(algorithm, peer);
    let invalid = KmsError::Validation("The public key is not valid for the key spec of the KMS key.".into());
    agreement::agree(&private, peer, invalid, |secret| Ok(Zeroizing::new(secret.to_vec())))
}

/// A fresh shared secret and its ciphertext (FIPS 203).
pub(crate) fn encapsulate(spec: KeySpec, material: &[u8]) -> Result<(Vec<u8>, Secret), KmsError> {
    let key = EncapsulationKey::new(ml_kem(spec), encapsulation_bytes(spec, material)?).map_err(broken)?;
    let (ciphertext, secret) = key.encapsulate().map_err(broken)?;
    Ok((ciphertext.as_ref().to_vec(), Zeroizing::new(secret.as_ref().to_vec())))
}
/// Errors: InvalidCiphertext.
pub(crate) fn decapsulate(spec: KeySpec, material: &[u8], ciphertext: &[u8]) -> Result<Secret, KmsError> {
    let key = DecapsulationKey::new(ml_kem(spec), material).map_err(broken)?;
    let secret = key.decapsulate(ciphertext.into()).map_err(|_| KmsError::InvalidCiphertext)?;
    Ok(Zeroizing::new(secret.as_ref().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tests::Counting;

    #[test]
    fn every_spec_does_what_it_is_for() {
        let entropy = Counting::default();
        for name in KeySpec::NAMES {
            let spec = KeySpec::parse(name).unwrap();
            let Ok(material) = generate(spec, &entropy) else {
                assert_eq!(spec, KeySpec::Sm2);
                continue;
            };
            if spec.is_asymmetric() {
                assert_eq!(public_key(spec, &material).unwrap()[0], 0x30, "{name}");
            }
            for algorithm in spec.signing_algorithms() {
                let mut signature = sign(spec, &material, algorithm, b"message", false).unwrap();
                verify(spec, &material, algorithm, b"message", false, &signature).unwrap();
                assert!(verify(spec, &material, algorithm, b"other", false, &signature).is_err());
                if *algorithm != "ED25519_SHA_512" && *algorithm != "ML_DSA_SHAKE_256" {
                    let digest = digest::digest(hash_of(algorithm), b"message");
                    verify(spec, &material, algorithm, digest.as_ref(), true, &signature).unwrap();
                    let other = sign(spec, &material, algorithm, digest.as_ref(), true).unwrap();
                    verify(spec, &material, algorithm, b"message", false, &other).unwrap();
                    assert!(sign(spec, &material, algorithm, b"short", true).is_err());
                }
                let last = signature.len() - 1;
                signature[last] ^= 1;
                assert!(verify(spec, &material, algorithm, b"message", false, &signature).is_err());
            }
            if spec.is_rsa() {
                for algorithm in spec.encryption_algorithms() {
                    let sealed = rsa_encrypt(&material, algorithm, b"secret").unwrap();
                    assert_eq!(*rsa_decrypt(&material, algorithm, &sealed).unwrap(), b"secret");
                }
            }
            if spec.is_hmac() {
                let tag = mac(spec, &material, b"m");
                verify_mac(spec, &material, b"m", &tag).unwrap();
                assert!(verify_mac(spec, &material, b"n", &tag).is_err());
            }
            if spec.is_kem() {
                let (sealed, secret) = encapsulate(spec, &material).unwrap();
                assert_eq!(decapsulate(spec, &material, &sealed).unwrap(), secret);
            }
            if matches!(spec, KeySpec::P256 | KeySpec::P384 | KeySpec::P521) {
                let other = generate(spec, &entropy).unwrap();
                let (a, b) = (public_key(spec, &material).unwrap(), public_key(spec, &other).unwrap());
                let secret = derive_shared_secret(spec, &material, &b).unwrap();
                assert_eq!(secret, derive_shared_secret(spec, &other, &a).unwrap());
            }
        }
    }
}
