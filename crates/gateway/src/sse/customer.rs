//! The three SSE-C headers. The key leaves the header map here, so no later line can print it.

use crate::{error::S3Error, fields::Fields};
use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;
use tresor_envelope::CustomerKey;

/// Which triple: that of the object, or that of a copy's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Triple {
    Object,
    CopySource,
}

/// What the key opens. AWS words a missing key MD5 differently for reads and for writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write,
    Read,
}

const ARGUMENT: &str = "x-amz-server-side-encryption";

fn invalid(message: &str) -> S3Error {
    S3Error::invalid_argument(message, ARGUMENT, None)
}

/// Takes one triple. Errors by facts of AWS's recorded answers: `sse.md` section 2.3.
pub(crate) fn take(fields: &mut Fields, triple: Triple, purpose: Purpose) -> Result<Option<CustomerKey>, S3Error> {
    let names = match triple {
        Triple::Object => [
            "x-amz-server-side-encryption-customer-algorithm",
            "x-amz-server-side-encryption-customer-key",
            "x-amz-server-side-encryption-customer-key-md5",
        ],
        Triple::CopySource => [
            "x-amz-copy-source-server-side-encryption-customer-algorithm",
            "x-amz-copy-source-server-side-encryption-customer-key",
            "x-amz-copy-source-server-side-encryption-customer-key-md5",
        ],
    };
    let algorithm = fields.take(names[0])?;
    let key = fields.take(names[1])?.map(zeroize::Zeroizing::new);
    let md5 = fields.take(names[2])?;
    let (algorithm, key) = match (algorithm, key, &md5) {
        (None, None, None) => return Ok(None),
        (None, ..) => {
            return Err(invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.",
            ));
        }
        (Some(algorithm), key, _) if algorithm != "AES256" => {
            drop(key);
            return Err(S3Error::new(
                http::StatusCode::BAD_REQUEST,
                "InvalidEncryptionAlgorithmError",
                "The Encryption request you specified is not valid. Supported value: AES256.",
            )
            .with("ArgumentName", ARGUMENT)
            .with("ArgumentValue", algorithm));
        }
        (Some(_), None, _) => {
            return Err(invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.",
            ));
        }
        (Some(algorithm), Some(key), _) => (algorithm, key),
    };
    debug_assert_eq!(algorithm, "AES256");
    if !fields.caller().secure_transport {
        return Err(S3Error::invalid_request(
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.",
        ));
    }
    let wrong_key = || invalid("The secret key was invalid for the specified algorithm.");
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    let decoded = zeroize::Zeroizing::new(STANDARD.decode(key.trim()).map_err(|_| wrong_key())?);
    if decoded.len() != bytes.len() {
        return Err(wrong_key());
    }
    bytes.copy_from_slice(&decoded);
    let Some(md5) = md5 else {
        return Err(match purpose {
            Purpose::Write => wrong_key(),
            Purpose::Read => wrong_customer_key(),
        });
    };
    let sent = STANDARD.decode(md5.trim()).unwrap_or_default();
    if !bool::from(sent.ct_eq(&tresor_digest::md5(&bytes[..]))) {
        return Err(invalid("The calculated MD5 hash of the key did not match the hash that was provided."));
    }
    Ok(Some(CustomerKey::from_bytes(*bytes)))
}

/// 403 for a key that does not open the object.
pub(crate) fn wrong_customer_key() -> S3Error {
    S3Error::forbidden(
        "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.",
    )
}

/// 400 for an SSE-C object asked for without a key.
pub(crate) fn customer_key_required() -> S3Error {
    S3Error::invalid_request(
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
    )
}

/// Base64 of the MD5 of the key: what S3 echoes.
pub(crate) fn key_md5(key: &CustomerKey) -> String {
    STANDARD.encode(tresor_digest::md5(&key.expose()[..]))
}
