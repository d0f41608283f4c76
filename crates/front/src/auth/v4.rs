//! Signature Version 4. The canonical request is ours, because a server must rebuild it from what arrived; key derivation and
//! signature are aws-sigv4's. Source: "Authenticating Requests (AWS Signature Version 4)", S3 API reference.

use super::{
    AuthError, AuthInfo, Authenticated, Authenticator, MAX_SIGNING_KEYS, MAX_SKEW_MS, SigVersion, SigningKey, Via,
    payload,
};
use crate::{body::EMPTY_SHA256, chunked::ChunkSigner, head::Head};
use aws_sigv4::sign::v4::generate_signing_key;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tresor_identity::Credential;
use tresor_model::Timestamp;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Headers that a signature may name: no request has more. Each may be named once, so what is signed is never longer than what was sent.
const MAX_SIGNED: usize = 100;
/// The longest region and the longest service of a credential, and the longest access key id, in bytes.
const MAX_SCOPE_TEXT: usize = 64;
const MAX_KEY_ID: usize = 128;
/// The longest life of a presigned URL, in seconds: seven days.
const MAX_EXPIRES: u64 = 604_800;

/// `ACCESS-KEY/20261123/us-east-1/s3/aws4_request`
pub(super) struct Scope<'a> {
    /// As the client wrote it, the access key first.
    credential: &'a str,
    pub(super) access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    pub(super) service: &'a str,
}

impl<'a> Scope<'a> {
    pub(super) fn parse(credential: &'a str) -> Option<Self> {
        // An access key id may hold slashes, the rest may not.
        let mut parts = credential.rsplitn(5, '/');
        let ("aws4_request", service, region, date, key) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?)
        else {
            return None;
        };
        let date_ok = date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
        let short = region.len().max(service.len()) <= MAX_SCOPE_TEXT && key.len() <= MAX_KEY_ID;
        (date_ok && short && !key.is_empty()).then_some(Self { credential, access_key_id: key, date, region, service })
    }
    /// Without the access key.
    fn text(&self) -> &'a str {
        &self.credential[self.access_key_id.len() + 1..]
    }
}

/// What a request claims.
struct Claim<'a> {
    scope: Scope<'a>,
    /// Names in lower case, joined by semicolons, as the client ordered them.
    signed_headers: &'a str,
    signature: &'a str,
    /// `20261123T205711Z`
    date_time: String,
}

impl Claim<'_> {
    fn signs(&self, header: &str) -> bool {
        self.signed_headers.split(';').any(|signed| signed == header)
    }
    /// Whether each header is named once, and not more than a request can have.
    fn names_each_once(&self) -> bool {
        let mut names = [""; MAX_SIGNED];
        for (n, name) in self.signed_headers.split(';').enumerate() {
            if n == MAX_SIGNED || names[..n].contains(&name) {
                return false;
            }
            names[n] = name;
        }
        true
    }
}

impl Authenticator {
    pub(super) fn v4_header(&self, head: &Head, header: &str) -> Result<Authenticated, AuthError> {
        let malformed = |what: &str| AuthError::MalformedHeader(what.to_owned());
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for part in header[ALGORITHM.len()..].split(',') {
            match part.trim().split_once('=') {
                Some(("Credential", value)) if credential.is_none() => credential = Some(value),
                Some(("SignedHeaders", value)) if signed.is_none() => signed = Some(value),
                Some(("Signature", value)) if signature.is_none() => signature = Some(value),
                _ => return Err(malformed("The authorization header is malformed.")),
            }
        }
        let credential =
            credential.ok_or_else(|| malformed("The authorization header is malformed; missing Credential."))?;
        let scope = Scope::parse(credential).ok_or_else(|| {
            malformed("The authorization header is malformed; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
        })?;
        let signed =
            signed.ok_or_else(|| malformed("The authorization header is malformed; missing SignedHeaders."))?;
        let signature =
            signature.ok_or_else(|| malformed("The authorization header is malformed; missing Signature."))?;
        let at = match (head.text("x-amz-date"), head.text("date")) {
            (Some(text), _) => Timestamp::parse_basic(text),
            (None, Some(text)) => httpdate::parse_http_date(text)
                .ok()
                .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
                .map(|since| Timestamp::from_millis(since.as_secs() * 1000)),
            (None, None) => None,
        };
        let at = at.ok_or(AuthError::MissingDate)?;
        let claim = Claim { scope, signed_headers: signed, signature, date_time: at.basic() };
        if !claim.date_time.starts_with(claim.scope.date) {
            return Err(malformed("Invalid credential date. Date is not the same as X-Amz-Date."));
        }
        let now = self.clock.now();
        if at.since(now).max(now.since(at)) > MAX_SKEW_MS {
            return Err(AuthError::Skewed { request: claim.date_time, now });
        }
        if claim.scope.service == "s3" && head.headers.find("x-amz-content-sha256").is_none() {
            return Err(AuthError::MissingContentSha256);
        }
        self.check(head, claim, Via::Header)
    }

    pub(super) fn v4_query(&self, head: &Head) -> Result<Authenticated, AuthError> {
        let malformed = |what: &str| AuthError::MalformedQuery(what.to_owned());
        let parameter = |name: &str| {
            head.query.get(name).ok_or_else(|| {
                malformed("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
            })
        };
        if parameter("X-Amz-Algorithm")? != ALGORITHM {
            return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\""));
        }
        let scope = Scope::parse(parameter("X-Amz-Credential")?).ok_or_else(|| {
            malformed("Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
        })?;
        let date_time = parameter("X-Amz-Date")?.to_owned();
        let at = Timestamp::parse_basic(&date_time)
            .ok_or_else(|| malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
        if !date_time.starts_with(scope.date) {
            return Err(malformed("Invalid credential date. Date is not the same as X-Amz-Date."));
        }
        if parameter("X-Amz-Expires")?.starts_with('-') {
            return Err(malformed("X-Amz-Expires must be non-negative"));
        }
        let expires: u64 =
            parameter("X-Amz-Expires")?.parse().map_err(|_| malformed("X-Amz-Expires should be a number"))?;
        if expires > MAX_EXPIRES {
            return Err(malformed(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
            ));
        }
        let now = self.clock.now();
        if at.since(now) > MAX_SKEW_MS {
            return Err(AuthError::Skewed { request: date_time, now });
        }
        let until = at.plus_millis(expires * 1000);
        if now > until {
            return Err(AuthError::Expired { expires: until, now });
        }
        let claim = Claim {
            scope,
            signed_headers: parameter("X-Amz-SignedHeaders")?,
            signature: parameter("X-Amz-Signature")?,
            date_time,
        };
        self.check(head, claim, Via::Query)
    }

    fn check(&self, head: &Head, claim: Claim<'_>, via: Via) -> Result<Authenticated, AuthError> {
        if !claim.names_each_once() {
            return Err(match via {
                Via::Query => AuthError::MalformedQuery("X-Amz-SignedHeaders must name each header once.".to_owned()),
                _ => AuthError::MalformedHeader(
                    "The authorization header is malformed; SignedHeaders must name each header once.".to_owned(),
                ),
            });
        }
        let unsigned: Vec<String> = head
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| (name.starts_with("x-amz-") || *name == "host") && !claim.signs(name))
            // A presigned URL's payload hash is part of what is signed, wherever it stands.
            .filter(|name| !(via == Via::Query && *name == "x-amz-content-sha256"))
            .map(str::to_owned)
            .collect();
        if !unsigned.is_empty() {
            return Err(AuthError::HeadersNotSigned(unsigned));
        }
        let key_id = claim.scope.access_key_id;
        let credential = self.signer(head, key_id)?;
        let key = self.signing_key(&credential, &claim.scope);
        let scope = claim.scope.text();
        let mut string_to_sign = String::with_capacity(192);
        let mut matched = false;
        // S3 signs the path encoded once; a client that encodes more than it must signs what it sent.
        let encoded = encoded_path(&head.path);
        let other = (encoded != head.path).then_some(head.path.as_str());
        for path in std::iter::once(&*encoded).chain(other) {
            let hash = tresor_digest::sha256(canonical_request(head, &claim, via, path).as_bytes());
            string_to_sign.clear();
            string_to_sign.extend([ALGORITHM, "\n", &claim.date_time, "\n", scope, "\n", &hex::encode(hash)]);
            matched = key.made(claim.signature, &string_to_sign);
            if matched {
                break;
            }
        }
        if !matched {
            let (access_key_id, provided) = (key_id.to_owned(), claim.signature.to_owned());
            return Err(AuthError::SignatureDoesNotMatch { access_key_id, string_to_sign, provided });
        }
        self.keep_signing_key(&claim.scope, &key);
        let signer = || ChunkSigner {
            key: Arc::clone(&key),
            date_time: claim.date_time.clone(),
            scope: scope.to_owned(),
            previous: claim.signature.to_owned(),
        };
        Ok(Authenticated {
            payload: payload(head, Some(&signer), SigVersion::V4)?,
            caller: credential.caller(key_id, head.source_ip, head.secure),
            info: AuthInfo { version: SigVersion::V4, via },
        })
    }

    pub(super) fn signing_key(&self, credential: &Credential, scope: &Scope<'_>) -> Arc<SigningKey> {
        if let Some(key) = self.signing_keys.lock().get(scope.credential) {
            return Arc::clone(key);
        }
        let day = Timestamp::parse_basic(&format!("{}T000000Z", scope.date)).unwrap_or_default();
        let time = UNIX_EPOCH + Duration::from_secs(day.seconds());
        let key = generate_signing_key(credential.secret.expose(), time, scope.region, scope.service);
        Arc::new(SigningKey::new(key.as_ref()))
    }

    /// Keeps a key by which a signature was found right: strangers fill no memory.
    pub(super) fn keep_signing_key(&self, scope: &Scope<'_>, key: &Arc<SigningKey>) {
        let mut keys = self.signing_keys.lock();
        if keys.contains_key(scope.credential) {
            return;
        }
        if keys.len() >= MAX_SIGNING_KEYS {
            keys.clear();
        }
        keys.insert(scope.credential.to_owned(), Arc::clone(key));
    }
}

/// Letters, digits and `- _ . ~` stay as they are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

fn encoded_path(path: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    if path.bytes().all(plain) {
        return Cow::Borrowed(path);
    }
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    Cow::Owned(percent_encoding::percent_encode(&decoded, ENCODED_PATH).to_string())
}

/// Bytes that most canonical requests fit.
const TYPICAL: usize = 1024;

fn canonical_request(head: &Head, claim: &Claim<'_>, via: Via, path: &str) -> String {
    let mut text = String::with_capacity(TYPICAL);
    for line in [head.method.as_str(), path] {
        text.push_str(line);
        text.push('\n');
    }
    let mut query: Vec<(String, String)> = head
        .query
        .covered()
        .filter(|(name, _)| !(via == Via::Query && *name == "X-Amz-Signature"))
        .map(|(name, value)| {
            (utf8_percent_encode(name, ENCODED).to_string(), utf8_percent_encode(value, ENCODED).to_string())
        })
        .collect();
    query.sort_unstable();
    for (n, (name, value)) in query.iter().enumerate() {
        let between = if n == 0 { "" } else { "&" };
        text.extend([between, name, "=", value]);
    }
    text.push('\n');
    for name in claim.signed_headers.split(';') {
        text.push_str(name);
        let mut between = ':';
        for (_, value) in head.headers.iter().filter(|(known, _)| known.as_str() == name) {
            text.push(between);
            push_trimmed(&mut text, &String::from_utf8_lossy(value.as_bytes()));
            between = ',';
        }
        if between == ':' {
            text.push(':');
        }
        text.push('\n');
    }
    text.extend(["\n", claim.signed_headers, "\n"]);
    match (&head.document_sha256, via) {
        (Some(document), _) => text.push_str(&hex::encode(document)),
        (None, Via::Query) => text.push_str(head.text("x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD")),
        (None, Via::Header | Via::Nothing | Via::Form) => {
            text.push_str(head.text("x-amz-content-sha256").unwrap_or(EMPTY_SHA256));
        }
    }
    text
}

/// Without spaces at the ends, and one where several follow each other.
fn push_trimmed(text: &mut String, value: &str) {
    // Nearly every value is so already.
    let mut before = b' ';
    let is_trimmed = value.bytes().all(|byte| {
        let single = byte.is_ascii_graphic() || (byte == b' ' && before != b' ');
        before = byte;
        single
    });
    if is_trimmed && before != b' ' {
        return text.push_str(value);
    }
    for (n, word) in value.split_whitespace().enumerate() {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{AuthSettings, Query};
    use http::{HeaderMap, Method};
    use tresor_identity::{Account, Directory, SecretAccessKey};
    use tresor_model::{Clock, Principal};

    #[derive(Debug)]
    struct At(Timestamp);
    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    pub(in super::super) fn authenticator(now: &str) -> Authenticator {
        let id: tresor_model::AccountId = "111122223333".parse().unwrap();
        let mut directory = Directory::default();
        directory
            .add_account(Account { id: id.clone(), name: "a".into(), canonical_id: "0".repeat(64), email: None })
            .unwrap();
        let secret = SecretAccessKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        directory
            .add_credential("AKIAIOSFODNN7EXAMPLE", Credential::new(Principal::Root { account: id }, secret))
            .unwrap();
        let clock = Arc::new(At(Timestamp::parse_basic(now).unwrap()));
        Authenticator::new(AuthSettings { sigv2: true, virtual_host_domains: Vec::new() }, Arc::new(directory), clock)
    }

    pub(in super::super) fn head(method: Method, uri: &str, headers: &[(&str, &str)]) -> Head {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let headers: HeaderMap = headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
        Head {
            document_sha256: None,
            method,
            path: path.into(),
            query: Query::parse(query),
            host: "examplebucket.s3.amazonaws.com".into(),
            headers: headers.into(),
            peer: "127.0.0.1:1".parse().unwrap(),
            tls_version: None,
            secure: false,
            source_ip: "127.0.0.1".parse().unwrap(),
            request_id: "".into(),
            host_id: "".into(),
        }
    }

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// The worked examples of the S3 API reference: GET with a range, GET of a sub-resource, and a list.
    #[test]
    fn the_examples_of_the_reference_verify() {
        let check = |uri: &str, extra: &[(&str, &str)], signed: &str, signature: &str| {
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders={signed}, Signature={signature}"
            );
            let mut headers = vec![
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-content-sha256", EMPTY),
                ("authorization", authorization.as_str()),
            ];
            headers.extend_from_slice(extra);
            authenticator("20130524T000100Z").authenticate(&head(Method::GET, uri, &headers)).map(|_| ())
        };
        let range = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let signed = "host;range;x-amz-content-sha256;x-amz-date";
        assert_eq!(check("/test.txt", &[("range", "bytes=0-9")], signed, range), Ok(()));
        assert!(matches!(
            check("/test.txt", &[("range", "bytes=0-8")], signed, range),
            Err(AuthError::SignatureDoesNotMatch { .. })
        ));
        let many = format!("{signed};{}", (0..100).map(|n| format!("h{n}")).collect::<Vec<_>>().join(";"));
        for names in [format!("{signed};host"), many] {
            assert!(matches!(
                check("/test.txt", &[("range", "bytes=0-9")], &names, range),
                Err(AuthError::MalformedHeader(_))
            ));
        }
        assert!(matches!(
            check("/test.txt", &[("range", "bytes=0-9"), ("x-amz-acl", "private")], signed, range),
            Err(AuthError::HeadersNotSigned(_))
        ));
        let plain = "host;x-amz-content-sha256;x-amz-date";
        assert_eq!(
            check("/?lifecycle", &[], plain, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            Ok(())
        );
        assert_eq!(
            check(
                "/?max-keys=2&prefix=J",
                &[],
                plain,
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
            ),
            Ok(())
        );
    }

    /// The presigned example of the same reference.
    #[test]
    fn a_presigned_url_verifies_until_it_expires() {
        let uri = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        let head = head(Method::GET, uri, &[("host", "examplebucket.s3.amazonaws.com")]);
        let at = |now: &str| authenticator(now).authenticate(&head).map(|found| found.info.via);
        assert_eq!(at("20130524T120000Z"), Ok(Via::Query));
        assert!(matches!(at("20130525T000001Z"), Err(AuthError::Expired { .. })));
        assert!(matches!(at("20130523T230000Z"), Err(AuthError::Skewed { .. })));
    }
}
