//! Who signed a request: Signature Version 4 in headers, query or form, Signature Version 2 likewise, or nobody.

mod post;
mod v2;
mod v4;

use crate::{
    body::{Body, PayloadHash, Protection, Raw},
    chunked::{ChunkDecoder, ChunkSigner},
    head::Head,
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use subtle::ConstantTimeEq;
use tresor_audit::Claimed;
use tresor_digest::HmacSha256;
use tresor_identity::{Credential, Directory, NoSigner};
use tresor_model::{Caller, Clock, Timestamp, bytes_of_hex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigVersion {
    /// An anonymous request.
    None,
    V2,
    V4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Nothing,
    Header,
    /// A presigned URL.
    Query,
    /// The signed policy of a POST form.
    Form,
}

/// How a caller identified itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthInfo {
    pub version: SigVersion,
    pub via: Via,
}

/// Why a caller could not be told. The texts are the services' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The access key id; a disabled key is unknown too.
    UnknownAccessKey(String),
    /// A session token that was never given with this key, or whose user or role is gone.
    InvalidToken,
    ExpiredToken,
    SignatureDoesNotMatch {
        access_key_id: String,
        string_to_sign: String,
        provided: String,
    },
    /// Signed for another service than the one that is asked.
    WrongService,
    /// A service that answers nobody without a signature.
    Anonymous,
    BodyTooLarge,
    BodyBroken,
    /// Request time and server time.
    Skewed {
        request: String,
        now: Timestamp,
    },
    Expired {
        expires: Timestamp,
        now: Timestamp,
    },
    /// The names of `x-amz-*` headers that the signature does not cover.
    HeadersNotSigned(Vec<String>),
    MissingDate,
    /// What is wrong with the Authorization header.
    MalformedHeader(String),
    /// What is wrong with the query parameters.
    MalformedQuery(String),
    /// Two mechanisms at once.
    TwoMechanisms,
    /// `[auth] sigv2 = false`, or an unknown mechanism.
    UnsupportedMechanism,
    /// `x-amz-content-sha256` has a value that is no hash and no known mode.
    InvalidContentSha256(String),
    MissingContentSha256,
    /// A payload mode of AWS that Tresor does not have: SigV4A.
    NotImplementedPayload(String),
    MissingDecodedLength,
    /// A form that claims a signature lacks this field.
    MissingFormField(&'static str),
    /// A field of a form that cannot be read.
    InvalidFormField {
        name: &'static str,
        value: String,
        message: String,
    },
}

impl AuthError {
    /// The code and text that a JSON service of AWS answers when a caller cannot be told; `service` is the name it signs with.
    /// Source: "Common errors" of the services' API references.
    pub fn json_fault(&self, service: &str) -> (&'static str, String) {
        let (code, text) = match self {
            Self::UnknownAccessKey(_) | Self::InvalidToken => {
                ("UnrecognizedClientException", "The security token included in the request is invalid.")
            }
            Self::ExpiredToken => ("ExpiredTokenException", "The security token included in the request is expired"),
            Self::SignatureDoesNotMatch { .. } => (
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            ),
            Self::Skewed { request, now } => return ("InvalidSignatureException", Self::skew_text(request, *now)),
            Self::Expired { expires, now } => {
                let text = format!("Signature expired: {} is now earlier than {}", expires.basic(), now.basic());
                return ("InvalidSignatureException", text);
            }
            Self::WrongService => {
                let text = format!("Credential should be scoped to correct service: '{service}'.");
                return ("InvalidSignatureException", text);
            }
            Self::Anonymous => ("MissingAuthenticationTokenException", "Missing Authentication Token"),
            Self::BodyTooLarge => ("SerializationException", "The request is too large."),
            Self::BodyBroken => ("SerializationException", "The request could not be read to its end."),
            _ => (
                "IncompleteSignatureException",
                "Authorization header requires 'Credential', 'Signature', 'SignedHeaders' and 'X-Amz-Date' parameters.",
            ),
        };
        (code, text.to_owned())
    }

    /// What every service but S3 says of a signature made at another time. Source: answers of AWS, whose bound is five minutes.
    pub fn skew_text(request: &str, now: Timestamp) -> String {
        let (minutes, at) = (MAX_SKEW_MS / 60_000, now.basic());
        match Timestamp::parse_basic(request) {
            Some(signed) if signed > now => {
                let latest = now.plus_millis(MAX_SKEW_MS).basic();
                format!("Signature not yet current: {request} is still later than {latest} ({at} + {minutes} min.)")
            }
            _ => {
                let earliest = Timestamp::from_millis(now.millis().saturating_sub(MAX_SKEW_MS)).basic();
                format!("Signature expired: {request} is now earlier than {earliest} ({at} - {minutes} min.)")
            }
        }
    }
}

/// What an operator chooses.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    pub sigv2: bool,
    /// Names below which a label is a bucket; Signature Version 2 signs the bucket's name.
    pub virtual_host_domains: Vec<String>,
}

/// Requests may be this much older or newer than the server's clock, in milliseconds (S3's limit).
const MAX_SKEW_MS: u64 = 15 * 60 * 1000;
/// Signing keys kept, one for each access key, day, region and service.
const MAX_SIGNING_KEYS: usize = 4096;

/// The key of one access key, day, region and service.
pub(crate) struct SigningKey(HmacSha256);

impl SigningKey {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(HmacSha256::new(bytes))
    }
    /// Whether a signature, in lower-case hex, is the one of a text. Compares in constant time.
    pub(crate) fn made(&self, signature: &str, text: &str) -> bool {
        let mut expected = [0; 64];
        hex::encode_to_slice(self.0.sign(text.as_bytes()), &mut expected).expect("64 digits are 32 bytes");
        expected.ct_eq(signature.as_bytes()).into()
    }
}

/// Checks signatures.
pub struct Authenticator {
    settings: AuthSettings,
    directory: Arc<Directory>,
    clock: Arc<dyn Clock>,
    signing_keys: Mutex<HashMap<String, Arc<SigningKey>>>,
}

/// The caller, and how the body is protected.
pub(crate) struct Authenticated {
    pub caller: Caller,
    pub info: AuthInfo,
    payload: Payload,
}

/// What `x-amz-content-sha256` says.
enum Payload {
    Unsigned,
    Hash([u8; 32]),
    Chunks { signer: Option<ChunkSigner>, trailer: bool },
}

impl Authenticator {
    pub fn new(settings: AuthSettings, directory: Arc<Directory>, clock: Arc<dyn Clock>) -> Self {
        Self { settings, directory, clock, signing_keys: Mutex::default() }
    }

    /// The service that the credential scope names, if the request is signed with Signature Version 4.
    pub(crate) fn scope_service(head: &Head) -> Option<&str> {
        Self::scope(head)?.rsplit('/').nth(1)
    }

    /// A signature of Signature Version 4 is for one service. Errors: MalformedHeader, MalformedQuery.
    /// `named` is the service that the scope names.
    pub(crate) fn check_service(head: &Head, named: Option<&str>, signing_name: &str) -> Result<(), AuthError> {
        let Some(other) = named.filter(|name| *name != signing_name) else { return Ok(()) };
        let wrong = format!("incorrect service \"{other}\". This endpoint belongs to \"{signing_name}\".");
        Err(match head.query.get("X-Amz-Credential") {
            Some(_) => AuthError::MalformedQuery(format!("Error parsing the X-Amz-Credential parameter; {wrong}")),
            None => AuthError::MalformedHeader(format!("The authorization header is malformed; {wrong}")),
        })
    }

    /// Whether the access key that a request names exists; nothing is proved yet.
    pub(crate) fn knows_key(&self, head: &Head) -> Result<(), AuthError> {
        let scope = Self::scope(head).unwrap_or_default();
        let id = scope.rsplitn(5, '/').nth(4).unwrap_or_default();
        self.signer(head, id).map(drop)
    }

    /// The access key that a request names without proof, if it is one that an account here has.
    pub(crate) fn claimed(&self, head: &Head) -> Option<Claimed> {
        let scope = Self::scope(head);
        let v2 = || head.text("authorization")?.strip_prefix("AWS ")?.split(':').next();
        let id = match &scope {
            Some(scope) => scope.rsplitn(5, '/').nth(4)?,
            None => v2().or_else(|| head.query.get("AWSAccessKeyId"))?,
        };
        self.claimed_key(id)
    }

    /// The same of a key that stood elsewhere.
    pub fn claimed_key(&self, access_key_id: &str) -> Option<Claimed> {
        let (owner, ..) = self.directory.owner_of_key(access_key_id)?;
        Some(Claimed { access_key_id: access_key_id.to_owned(), account: owner.account()?.clone() })
    }

    /// The key that a request names, with the session token it brings. Errors: UnknownAccessKey, InvalidToken, ExpiredToken.
    fn signer(&self, head: &Head, access_key_id: &str) -> Result<Arc<Credential>, AuthError> {
        let token = match head.text("x-amz-security-token") {
            Some(token) => Some(token.to_owned()),
            // The query was decoded as forms are; a token may hold a plus sign.
            None => head.query.get_ignoring_case("X-Amz-Security-Token").map(|token| token.replace(' ', "+")),
        };
        self.signer_with(access_key_id, token.as_deref())
    }

    /// The same with a token that stood elsewhere.
    fn signer_with(&self, access_key_id: &str, token: Option<&str>) -> Result<Arc<Credential>, AuthError> {
        self.directory.signer(access_key_id, token, self.clock.now()).map_err(|why| match why {
            NoSigner::Unknown => AuthError::UnknownAccessKey(access_key_id.to_owned()),
            NoSigner::InvalidToken => AuthError::InvalidToken,
            NoSigner::ExpiredToken => AuthError::ExpiredToken,
        })
    }

    /// `ACCESS-KEY/DATE/REGION/SERVICE/aws4_request`
    fn scope(head: &Head) -> Option<&str> {
        match head.query.get("X-Amz-Credential") {
            Some(credential) => Some(credential),
            None => {
                let header = head.text("authorization")?.strip_prefix(v4::ALGORITHM)?;
                header.split(',').find_map(|part| part.trim().strip_prefix("Credential="))
            }
        }
    }

    /// Who signed a request, by its head alone. Errors: `AuthError`.
    pub fn caller(&self, head: &Head) -> Result<Caller, AuthError> {
        self.authenticate(head).map(|authenticated| authenticated.caller)
    }

    /// Errors: `AuthError`; nothing of the body has been read.
    pub(crate) fn authenticate(&self, head: &Head) -> Result<Authenticated, AuthError> {
        let header = head.text("authorization");
        let presigned_v4 = head.query.get("X-Amz-Signature").is_some() || head.query.get("X-Amz-Credential").is_some();
        let presigned_v2 = head.query.get("AWSAccessKeyId").is_some() && head.query.get("Signature").is_some();
        match (header, presigned_v4, presigned_v2) {
            (None, false, false) => {
                let payload = payload(head, None, SigVersion::None)?;
                let info = AuthInfo { version: SigVersion::None, via: Via::Nothing };
                Ok(Authenticated { caller: Caller::anonymous(Some(head.source_ip), head.secure), info, payload })
            }
            (Some(header), false, false) if header.starts_with(v4::ALGORITHM) => self.v4_header(head, header),
            (Some(header), false, false) if header.starts_with("AWS ") && self.settings.sigv2 => {
                self.v2_header(head, header)
            }
            (None, true, false) => self.v4_query(head),
            (None, false, true) if self.settings.sigv2 => self.v2_query(head),
            (Some(header), false, false) if !header.starts_with("AWS") => {
                Err(AuthError::MalformedHeader("Unsupported Authorization Type".into()))
            }
            (Some(_), false, false) | (None, false, true) => Err(AuthError::UnsupportedMechanism),
            _ => Err(AuthError::TwoMechanisms),
        }
    }
}

impl Authenticated {
    /// The body under the protection that was signed.
    pub(crate) fn body(payload: Self, head: &Head, raw: Raw) -> (Caller, AuthInfo, Body) {
        let number = |name: &str| head.text(name).and_then(|text| text.trim().parse().ok());
        let (protection, declared) = match payload.payload {
            Payload::Unsigned => (Protection::None, number("content-length")),
            Payload::Hash(hash) => (Protection::Hash(PayloadHash::new(hash)), number("content-length")),
            Payload::Chunks { signer, trailer } => (
                Protection::Chunks(Box::new(ChunkDecoder::new(signer, trailer))),
                number("x-amz-decoded-content-length"),
            ),
        };
        let bodyless = declared.is_none()
            && !head.headers.contains_key("transfer-encoding")
            && !matches!(protection, Protection::Chunks(_));
        // No Content-Length and no Transfer-Encoding: HTTP/1.1 says that there is no body.
        let has_none = bodyless && !matches!(head.method, http::Method::PUT | http::Method::POST);
        (payload.caller, payload.info, Body::new(raw, protection, if has_none { Some(0) } else { declared }))
    }
}

/// Reads `x-amz-content-sha256`. `signer` makes the chunk signer of a request that is signed with Signature Version 4.
fn payload(head: &Head, signer: Option<&dyn Fn() -> ChunkSigner>, version: SigVersion) -> Result<Payload, AuthError> {
    let value = head.text("x-amz-content-sha256");
    let chunks = |signer, trailer| {
        if head.text("x-amz-decoded-content-length").is_none_or(|text| text.trim().parse::<u64>().is_err()) {
            return Err(AuthError::MissingDecodedLength);
        }
        Ok(Payload::Chunks { signer, trailer })
    };
    match (value, signer) {
        (None, _) | (Some("UNSIGNED-PAYLOAD"), _) => Ok(Payload::Unsigned),
        (Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), _) => chunks(None, true),
        (Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), Some(signer)) => chunks(Some(signer()), false),
        (Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), Some(signer)) => chunks(Some(signer()), true),
        (Some(mode), _) if mode.starts_with("STREAMING-AWS4-ECDSA") => {
            Err(AuthError::NotImplementedPayload(mode.to_owned()))
        }
        (Some(value), _) => match bytes_of_hex(value) {
            Some(hash) => Ok(Payload::Hash(hash)),
            // Only Signature Version 4 gives the header a meaning.
            None if version == SigVersion::V4 => Err(AuthError::InvalidContentSha256(value.to_owned())),
            None => Ok(Payload::Unsigned),
        },
    }
}
