//! Which uploads a bucket policy lets through, by the server's own derivation.

use super::judge::{Asking, PolicySet};
use std::sync::Arc;
use tresor_gateway::{Asked, Role, derive};
use tresor_policy::{NamedCaller, Policy};

const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-east-1";

/// What an upload says about its encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Nothing,
    Aes256,
    Kms,
    OtherKey,
    Dsse,
    Customer,
}

pub const SAID: [(Said, &str); 6] = [
    (Said::Nothing, "no header"),
    (Said::Aes256, "AES256"),
    (Said::Kms, "aws:kms, this key"),
    (Said::OtherKey, "aws:kms, another key"),
    (Said::Dsse, "aws:kms:dsse, this key"),
    (Said::Customer, "SSE-C"),
];

/// How the object arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Put,
    Multipart,
    Copy,
    Post,
}

pub const WAYS: [(Way, &str); 4] =
    [(Way::Put, "PUT"), (Way::Multipart, "multipart"), (Way::Copy, "copy"), (Way::Post, "POST")];

/// A policy, and the key it is about.
pub struct Guard {
    set: PolicySet,
    bucket: String,
    key_arn: String,
}

impl Guard {
    /// For a bucket whose policy this is; `key_arn` is "this key".
    pub fn new(policy: Policy, bucket: &str, key_arn: &str) -> Result<Self, String> {
        let all = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
        let identity = vec![Arc::new(Policy::of_identity(all).map_err(|error| error.to_string())?)];
        let set = PolicySet { identity, bucket: Some(policy), ..PolicySet::default() };
        Ok(Self { set, bucket: bucket.to_owned(), key_arn: key_arn.to_owned() })
    }

    /// Whether the policy lets an upload through for a user of the bucket's account who may otherwise write, over TLS 1.3.
    /// `kms_default`: the bucket's default is this key, otherwise AES256.
    pub fn passes(&self, said: Said, way: Way, kms_default: bool) -> bool {
        let headers = self.headers(said);
        let customer: Vec<_> = headers.iter().filter(|(name, _)| name.contains("customer")).cloned().collect();
        let copy = [&headers[..], &[("x-amz-copy-source".to_owned(), format!("/{}/source", self.bucket))]].concat();
        match way {
            Way::Put => self.judge("PutObject", &headers, None, None, kms_default),
            Way::Copy => self.judge("CopyObject", &copy, None, None, kms_default),
            Way::Post => self.judge("PostObject", &[], Some(&headers), None, kms_default),
            Way::Multipart => {
                let upload = self.record(&headers, kms_default);
                self.judge("CreateMultipartUpload", &headers, None, None, kms_default)
                    && self.judge("UploadPart", &customer, None, Some(&upload), kms_default)
                    && self.judge("CompleteMultipartUpload", &customer, None, Some(&upload), kms_default)
            }
        }
    }

    fn headers(&self, said: Said) -> Vec<(String, String)> {
        let header = |name: &str, value: &str| (format!("x-amz-server-side-encryption{name}"), value.to_owned());
        let other = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000");
        match said {
            Said::Nothing => Vec::new(),
            Said::Aes256 => vec![header("", "AES256")],
            Said::Kms => vec![header("", "aws:kms"), header("-aws-kms-key-id", &self.key_arn)],
            Said::OtherKey => vec![header("", "aws:kms"), header("-aws-kms-key-id", &other)],
            Said::Dsse => vec![header("", "aws:kms:dsse"), header("-aws-kms-key-id", &self.key_arn)],
            Said::Customer => vec![header("-customer-algorithm", "AES256")],
        }
    }

    /// What the upload is remembered by: what was said, and the key that a default gave it.
    fn record(&self, headers: &[(String, String)], kms_default: bool) -> Vec<(String, String)> {
        if headers.is_empty() && kms_default {
            return vec![("x-amz-server-side-encryption-aws-kms-key-id".to_owned(), self.key_arn.clone())];
        }
        headers.to_vec()
    }

    fn judge(
        &self,
        operation: &str,
        headers: &[(String, String)],
        form: Option<&[(String, String)]>,
        upload: Option<&[(String, String)]>,
        kms_default: bool,
    ) -> bool {
        let asked = Asked {
            operation,
            bucket: Some(&self.bucket),
            object_key: Some("key"),
            headers,
            form,
            upload,
            default_encryption: Some(if kms_default { ("aws:kms", Some(&self.key_arn)) } else { ("AES256", None) }),
            bucket_owner: Some(ACCOUNT),
            account: Some(ACCOUNT),
            region: REGION,
            tls_version: Some("1.3"),
            ..Asked::default()
        };
        let derived = derive(&asked);
        let caller = NamedCaller::parse("arn:aws:iam::111122223333:user/writer").expect("the ARN is written here");
        // The key's policy is not the bucket's.
        derived.required.iter().filter(|required| required.role == Role::Target).all(|required| {
            let mut context = derived.context_of(required).clone();
            context.set("aws:SecureTransport", "true");
            let asking = Asking {
                caller: &caller,
                action: required.action,
                resource: &required.resource,
                resource_account: ACCOUNT,
                context: &context,
                grants: &[],
                encryption_context: &[],
                restrict_public_buckets: false,
            };
            asking.decide(&self.set).allowed()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tresor_policy::bucket_policy;

    const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    /// No header under both defaults, AES256, this key, another key, SSE-C; the same in every way an object arrives.
    #[test]
    fn every_template_lets_through_what_its_readme_says() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/policies");
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        for (name, table) in [
            ("require-sse-s3", "RRPRRR"),
            ("require-sse-kms", "RRRPPR"),
            ("require-kms-key", "RPRPPR"),
            ("require-this-kms-key", "RPRPRR"),
            ("require-sse-c", "RRRRRP"),
            ("forbid-sse-c", "PPPPPR"),
            ("default-or-sse-kms", "PPRPPP"),
            ("name-sse-s3-or-sse-kms", "RRPPPR"),
            ("require-tls", "PPPPPP"),
            ("require-sse-c-aes256", "RRRRRP"),
        ] {
            let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
            let policy = bucket_policy(&text, "example-bucket", |_| true).unwrap();
            let guard = Guard::new(policy, "example-bucket", KEY).unwrap();
            for (way, _) in WAYS {
                let mark = |said, kms| if guard.passes(said, way, kms) { 'P' } else { 'R' };
                let got: String = [
                    (Said::Nothing, false),
                    (Said::Nothing, true),
                    (Said::Aes256, false),
                    (Said::Kms, false),
                    (Said::OtherKey, false),
                    (Said::Customer, false),
                ]
                .map(|(said, kms)| mark(said, kms))
                .iter()
                .collect();
                assert_eq!(got, table, "{name} {way:?}");
            }
            let row = table.chars().map(|c| format!(" {c} |")).collect::<String>();
            assert!(readme.contains(&format!("| {name}.json |{row}")), "{name} is described otherwise");
        }
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, 11, "a template that is not in the table");
    }
}
