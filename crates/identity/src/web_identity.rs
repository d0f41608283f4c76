//! Tokens of OpenID Connect: read, and proved with keys that the configuration gives. Source: RFC 7515, 7517 and 7519; the IAM user
//! guide, "Available keys for AWS OIDC federation". Nothing is ever fetched.

use crate::error::IdentityError;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::HashMap, fmt};
use tresor_model::Timestamp;

/// Clocks of providers may differ by this much, in seconds.
const LEEWAY: u64 = 60;
/// AWS's limit of a token, in characters.
const MAX_TOKEN: usize = 20_000;

enum Key {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
}

/// The public keys of one provider, by their ids.
pub struct Jwks(Vec<(Option<String>, Key)>);

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Reads a JWK set; keys of other kinds than RSA and P-256 are left out. Errors: what is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let set: KeySet = serde_json::from_slice(json).map_err(|error| format!("it is no JWK set: {error}"))?;
        let bytes = |text: Option<String>| {
            URL_SAFE_NO_PAD.decode(text.unwrap_or_default()).ok().filter(|bytes| !bytes.is_empty())
        };
        let mut keys = Vec::new();
        for raw in set.keys {
            let key = match (raw.kty.as_str(), raw.crv.as_deref()) {
                ("RSA", _) => bytes(raw.n).zip(bytes(raw.e)).map(|(n, e)| Key::Rsa { n, e }),
                ("EC", Some("P-256")) => {
                    bytes(raw.x).zip(bytes(raw.y)).map(|(x, y)| Key::P256([vec![4], x, y].concat()))
                }
                _ => continue,
            };
            keys.push((raw.kid, key.ok_or("a key of it lacks a part")?));
        }
        if keys.is_empty() { Err("it holds no key of RSA or P-256".into()) } else { Ok(Self(keys)) }
    }
}

/// Providers whose keys the configuration gives, by their URL without `https://`.
#[derive(Default)]
pub struct Issuers(pub HashMap<String, Jwks>);

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// A token as it claims to be: nothing of it is proved.
#[derive(Debug)]
pub struct Claims {
    /// Without `https://`.
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    pub authorized_party: Option<String>,
    pub expires: Timestamp,
    pub not_before: Option<Timestamp>,
    pub email: Option<String>,
}

/// A token whose signature and time were checked.
#[derive(Debug)]
pub struct WebIdentity {
    claims: Claims,
}

impl WebIdentity {
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

fn invalid(text: &str) -> IdentityError {
    IdentityError::InvalidIdentityToken(text.into())
}

fn object(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl Issuers {
    /// Proves a token. Errors: InvalidIdentityToken, ExpiredIdentityToken.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<WebIdentity, IdentityError> {
        let malformed = || {
            invalid("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
        };
        if token.len() > MAX_TOKEN {
            return Err(malformed());
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (head, body) = signed.split_once('.').ok_or_else(malformed)?;
        let (head, body) = object(head).zip(object(body)).ok_or_else(malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
        let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
        let issuer = text(&body, "iss").ok_or_else(|| invalid("Missing a required claim: iss"))?;
        let issuer = issuer.strip_prefix("https://").unwrap_or(&issuer).trim_end_matches('/').to_owned();
        let keys = self.0.get(&issuer).ok_or_else(|| {
            invalid("No OpenIDConnect provider found in your account for the issuer, or the server's configuration gives no keys for it")
        })?;
        let algorithm = text(&head, "alg").unwrap_or_default();
        let kid = text(&head, "kid");
        let proved = keys.0.iter().any(|(id, key)| {
            let named = kid.is_none() || id.is_none() || *id == kid;
            named && verifies(key, &algorithm, signed.as_bytes(), &signature)
        });
        if !proved {
            return Err(invalid(
                "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements",
            ));
        }
        let seconds = |name: &str| body[name].as_f64().filter(|s| (0.0..1e11).contains(s)).map(|s| s as u64);
        let expires = seconds("exp").ok_or_else(|| invalid("Missing a required claim: exp"))?;
        if now.seconds() > expires.saturating_add(LEEWAY) {
            let (now, until) = (now.seconds(), expires);
            return Err(IdentityError::ExpiredIdentityToken(format!(
                "Token expired: current date/time {now} must be before the expiration date/time {until}"
            )));
        }
        let not_before = seconds("nbf").or_else(|| seconds("iat"));
        if not_before.is_some_and(|from| from > now.seconds() + LEEWAY) {
            return Err(invalid("The token is not valid yet"));
        }
        let audiences = match &body["aud"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        let claims = Claims {
            issuer,
            subject: text(&body, "sub").ok_or_else(|| invalid("Missing a required claim: sub"))?,
            audiences,
            authorized_party: text(&body, "azp"),
            expires: Timestamp::from_millis(expires * 1000),
            not_before: not_before.map(|from| Timestamp::from_millis(from * 1000)),
            email: text(&body, "email"),
        };
        if claims.audiences.is_empty() && claims.authorized_party.is_none() {
            return Err(invalid("Missing a required claim: aud"));
        }
        Ok(WebIdentity { claims })
    }
}

fn verifies(key: &Key, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
    match (key, algorithm) {
        (Key::Rsa { n, e }, "RS256" | "RS384" | "RS512") => {
            let parameters = match algorithm {
                "RS256" => &RSA_PKCS1_2048_8192_SHA256,
                "RS384" => &RSA_PKCS1_2048_8192_SHA384,
                _ => &RSA_PKCS1_2048_8192_SHA512,
            };
            RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
        }
        (Key::P256(point), "ES256") => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
        }
        // `none`, and whatever else a token may ask for.
        _ => false,
    }
}
