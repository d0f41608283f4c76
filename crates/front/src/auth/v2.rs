//! Signature Version 2, which boto3 still presigns with on custom endpoints.
//! Source: S3 user guide, "Signing and authenticating REST requests (Signature Version 2)".

use super::{AuthError, AuthInfo, Authenticated, Authenticator, MAX_SKEW_MS, SigVersion, Via, payload};
use crate::head::Head;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{collections::BTreeMap, time::UNIX_EPOCH};
use subtle::ConstantTimeEq;
use tresor_model::Timestamp;

/// Query parameters that are part of the resource.
const SUB_RESOURCES: [&str; 50] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "abac",
    "attributes",
    "encryption",
    "intelligent-tiering",
    "legal-hold",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "ownershipControls",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "retention",
    "session",
];
/// Younger than the signature: most signers leave these out of a header's. Without them a presigned URL could be turned into another
/// operation than the one it was given for.
const OPTIONAL: &[&str] = SUB_RESOURCES.split_at(35).1;

impl Authenticator {
    pub(super) fn v2_header(&self, head: &Head, header: &str) -> Result<Authenticated, AuthError> {
        let (key_id, signature) =
            header.strip_prefix("AWS ").and_then(|rest| rest.trim().rsplit_once(':')).ok_or_else(|| {
                AuthError::MalformedHeader(
                    "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature".into(),
                )
            })?;
        let amz_date = head.text("x-amz-date");
        let text = amz_date.or_else(|| head.text("date")).ok_or(AuthError::MissingDate)?;
        let at = httpdate::parse_http_date(text)
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map(|since| Timestamp::from_millis(since.as_secs() * 1000))
            .or_else(|| Timestamp::parse_basic(text))
            .ok_or(AuthError::MissingDate)?;
        let now = self.clock.now();
        if at.since(now).max(now.since(at)) > MAX_SKEW_MS {
            return Err(AuthError::Skewed { request: text.to_owned(), now });
        }
        let date = if amz_date.is_some() { "" } else { text };
        self.check_v2(head, key_id, signature, date, Via::Header)
    }

    pub(super) fn v2_query(&self, head: &Head) -> Result<Authenticated, AuthError> {
        let parameter = |name: &str| {
            head.query.get(name).ok_or_else(|| {
                AuthError::MalformedQuery(
                    "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters".into(),
                )
            })
        };
        let (key_id, expires) = (parameter("AWSAccessKeyId")?, parameter("Expires")?);
        // Base64 may hold a plus sign, which the decoded query has turned into a space.
        let signature = parameter("Signature")?.replace(' ', "+");
        let seconds: u64 = expires
            .parse()
            .map_err(|_| AuthError::MalformedQuery("Invalid date (should be seconds since epoch)".into()))?;
        let (until, now) = (Timestamp::from_millis(seconds.saturating_mul(1000)), self.clock.now());
        if now > until {
            return Err(AuthError::Expired { expires: until, now });
        }
        self.check_v2(head, key_id, &signature, expires, Via::Query)
    }

    fn check_v2(
        &self,
        head: &Head,
        key_id: &str,
        signature: &str,
        date: &str,
        via: Via,
    ) -> Result<Authenticated, AuthError> {
        let credential = self.signer(head, key_id)?;
        let given = STANDARD.decode(signature).unwrap_or_default();
        let mut string_to_sign = String::new();
        let mut matched = false;
        // A presigned URL must cover what selects its operation.
        let forms: &[bool] = if via == Via::Query { &[true] } else { &[false, true] };
        // boto signs a bucket's path with a slash at its end and sends it without; both name the bucket.
        let slashed = format!("{}/", head.path);
        let of_bucket = head.path.len() > 1 && !head.path[1..].contains('/');
        for path in of_bucket.then_some(slashed.as_str()).into_iter().chain([head.path.as_str()]) {
            for with_optional in forms.iter().copied() {
                string_to_sign = self.string_to_sign(head, path, date, via, with_optional);
                let secret = credential.secret.expose().as_bytes();
                let expected = tresor_digest::hmac_sha1(secret, string_to_sign.as_bytes());
                matched |= bool::from(expected.ct_eq(&given[..]));
            }
        }
        if !matched {
            let (access_key_id, provided) = (key_id.to_owned(), signature.to_owned());
            return Err(AuthError::SignatureDoesNotMatch { access_key_id, string_to_sign, provided });
        }
        Ok(Authenticated {
            payload: payload(head, None, SigVersion::V2)?,
            caller: credential.caller(key_id, head.source_ip, head.secure),
            info: AuthInfo { version: SigVersion::V2, via },
        })
    }

    fn string_to_sign(&self, head: &Head, path: &str, date: &str, via: Via, with_optional: bool) -> String {
        let standard = |name: &str| {
            let from_query = || if via == Via::Query { head.query.get_ignoring_case(name) } else { None };
            head.text(name).or_else(from_query).unwrap_or_default().trim().to_owned()
        };
        let mut amz: BTreeMap<String, String> = BTreeMap::new();
        if via == Via::Query {
            for (name, value) in head.query.signed().filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-amz-"))
            {
                // Of two the first counts, as it does for whoever reads the request.
                amz.entry(name.to_ascii_lowercase()).or_insert_with(|| value.trim().to_owned());
            }
        }
        for name in head.headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-")) {
            let values: Vec<String> = head
                .headers
                .get_all(name)
                .iter()
                .map(|v| String::from_utf8_lossy(v.as_bytes()).trim().to_owned())
                .collect();
            amz.insert(name.to_owned(), values.join(","));
        }
        let amz: String = amz.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let mut sub: Vec<(&str, &str)> = head
            .query
            .signed()
            .filter(|(name, _)| SUB_RESOURCES.contains(name) && (with_optional || !OPTIONAL.contains(name)))
            .collect();
        sub.sort_unstable();
        let sub: Vec<String> = sub
            .into_iter()
            .map(|(name, value)| if value.is_empty() { name.to_owned() } else { format!("{name}={value}") })
            .collect();
        let bucket = self
            .settings
            .virtual_host_domains
            .iter()
            .find_map(|domain| head.host.strip_suffix(domain.as_str())?.strip_suffix('.'));
        let bucket = bucket.map(|bucket| format!("/{bucket}")).unwrap_or_default();
        let question = if sub.is_empty() { "" } else { "?" };
        let resource = format!("{bucket}{path}{question}{}", sub.join("&"));
        format!("{}\n{}\n{}\n{date}\n{amz}{resource}", head.method, standard("content-md5"), standard("content-type"))
    }
}
