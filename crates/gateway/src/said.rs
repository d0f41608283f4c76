//! What a request said that policies may ask about: kept while it is parsed, and looked at only when a policy asks. Secrets are never
//! among it.

use http::{HeaderMap, HeaderValue};
use tresor_front::Query;

/// Headers that condition keys and permissions are made of. The customer's keys must never stand here.
const COUNTS: [&str; 22] = [
    "user-agent",
    "referer",
    "if-match",
    "if-none-match",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-acl",
    "x-amz-copy-source",
    "x-amz-metadata-directive",
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-object-ownership",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-bypass-governance-retention",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
];
const GRANT: &str = "x-amz-grant-";

fn counts(name: &str) -> bool {
    COUNTS.contains(&name) || name.starts_with(GRANT)
}

/// Fields of a form that count besides those that are named as headers are.
const FIELDS: [&str; 4] = ["acl", "tagging", "signature", "x-amz-signature"];

/// Headers, query and form fields of one request.
#[derive(Default)]
pub(crate) struct Said {
    taken: Vec<(String, HeaderValue)>,
    rest: HeaderMap,
    query: Query,
    form: Option<Vec<(String, String)>>,
}

impl Said {
    /// A header that the operation has taken.
    pub(crate) fn took(&mut self, name: &str, value: &HeaderValue) {
        if counts(name) {
            self.taken.push((name.to_owned(), value.clone()));
        }
    }
    /// The fields of a form, names in lower case. That there was a signature counts, and not what it was.
    pub(crate) fn took_form(&mut self, fields: &[(String, String)]) {
        let kept = fields.iter().filter(|(name, _)| counts(name) || FIELDS.contains(&name.as_str()));
        let shown =
            |name: &str, value: &str| if name.ends_with("signature") { String::new() } else { value.to_owned() };
        self.form = Some(kept.map(|(name, value)| (name.clone(), shown(name, value))).collect());
    }
    pub(crate) fn form(&self) -> Option<&[(String, String)]> {
        self.form.as_deref()
    }
    /// Adds what nobody took.
    pub(crate) fn with(self, rest: HeaderMap, query: Query) -> Self {
        Self { rest, query, ..self }
    }
    /// The headers that count, by their names in lower case.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let taken = self.taken.iter().map(|(name, value)| (name.as_str(), value));
        let rest = self.rest.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| counts(name));
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        taken.chain(rest).map(|(name, value)| (name.to_owned(), text(value))).collect()
    }
    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name)
    }
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        self.query.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customer_keys_are_not_kept() {
        let mut said = Said::default();
        let value = HeaderValue::from_static("secret");
        for name in [
            "x-amz-server-side-encryption-customer-key",
            "x-amz-server-side-encryption-customer-key-md5",
            "x-amz-copy-source-server-side-encryption-customer-key",
            "authorization",
            "x-amz-security-token",
        ] {
            said.took(name, &value);
            let rest: HeaderMap = [(name.parse().unwrap(), value.clone())].into_iter().collect();
            assert!(Said::default().with(rest, Query::default()).headers().is_empty(), "{name}");
        }
        assert!(said.headers().is_empty());
        let field = |name: &str| (name.to_owned(), "secret".to_owned());
        said.took_form(&[
            field("x-amz-server-side-encryption-customer-key"),
            field("x-amz-signature"),
            field("x-amz-credential"),
            field("policy"),
        ]);
        assert_eq!(said.form(), Some(&[("x-amz-signature".to_owned(), String::new())][..]));
        said.took("x-amz-grant-read", &value);
        assert_eq!(said.headers().len(), 1);
    }
}
