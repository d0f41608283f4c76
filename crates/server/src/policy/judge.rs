//! One decision over policies given as texts: what `check` and `explain` share.

use serde_json::Value;
use std::sync::Arc;
use tresor_policy::{
    Context, Decision, GrantTerms, NamedCaller, Policy, Question, Sources, decide_identity, decide_key,
    decide_resource, decide_trust,
};

/// Policies by the side they are on.
#[derive(Default)]
pub struct PolicySet {
    pub identity: Vec<Arc<Policy>>,
    pub boundary: Option<Vec<Arc<Policy>>>,
    pub session: Option<Vec<Arc<Policy>>>,
    /// Of the bucket or object.
    pub bucket: Option<Policy>,
    pub key: Option<Policy>,
    pub trust: Option<Policy>,
}

impl PolicySet {
    /// `{"identity": [...], "boundary": [...], "session": {...}, "resource": {...}}`; `resource` is the policy of the bucket, key or
    /// role that the action concerns, `bucket_policy`, `key_policy` and `trust_policy` name theirs. Errors: what is no policy, or has
    /// no such side.
    pub fn read(value: &Value, action: Option<&str>) -> Result<Self, String> {
        let mut set = Self::default();
        for (side, value) in value.as_object().ok_or("the policies are no object")? {
            if value.is_null() {
                continue;
            }
            let wrong = |error: tresor_policy::MalformedPolicy| format!("{side}: {error}");
            let own =
                || list(value).map(|text| Policy::of_identity(&text).map(Arc::new)).collect::<Result<Vec<_>, _>>();
            let service = action.and_then(|action| action.split(':').next()).unwrap_or("s3");
            match (side.as_str(), service) {
                ("identity", _) => set.identity = own().map_err(wrong)?,
                ("boundary", _) => set.boundary = Some(own().map_err(wrong)?),
                ("session", _) => set.session = Some(own().map_err(wrong)?),
                ("trust_policy" | "trust", _) | ("resource", "sts") => {
                    set.trust = Some(Policy::of_trust(&text(value)).map_err(wrong)?);
                }
                ("key_policy", _) | ("resource", "kms") => {
                    set.key = Some(Policy::of_resource(&text(value)).map_err(wrong)?);
                }
                ("bucket_policy" | "resource", _) => {
                    set.bucket = Some(Policy::of_resource(&text(value)).map_err(wrong)?);
                }
                _ => return Err(format!("policies have no side {side}")),
            }
        }
        Ok(set)
    }

    fn own(&self) -> Sources<'_> {
        Sources {
            identity: &self.identity,
            boundary: self.boundary.as_deref(),
            session: self.session.as_deref(),
            ..Sources::default()
        }
    }

    /// Every policy that has a say in the action, with the side it is on.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Policy)> {
        let own = self.identity.iter().map(|policy| ("identity-based policy", &**policy));
        let boundary = self.boundary.iter().flatten().map(|policy| ("permissions boundary", &**policy));
        let session = self.session.iter().flatten().map(|policy| ("session policy", &**policy));
        let resource = self.bucket.iter().chain(&self.key).chain(&self.trust);
        own.chain(boundary).chain(session).chain(resource.map(|policy| ("resource-based policy", policy)))
    }
}

/// What is asked besides the policies.
pub struct Asking<'a> {
    pub caller: &'a NamedCaller,
    pub action: &'a str,
    pub resource: &'a str,
    pub resource_account: &'a str,
    pub context: &'a Context,
    pub grants: &'a [Grant],
    /// The encryption context of a KMS call.
    pub encryption_context: &'a [(String, String)],
    pub restrict_public_buckets: bool,
}

/// A KMS grant.
pub struct Grant {
    pub grantee: String,
    pub operations: Vec<String>,
    pub context_equals: Option<Vec<(String, String)>>,
    pub context_subset: Option<Vec<(String, String)>>,
}

impl Asking<'_> {
    pub fn question(&self) -> Question<'_> {
        Question { who: self.caller.requester(), action: self.action, resource: self.resource, context: self.context }
    }

    /// By the rule of the action's service.
    pub fn decide<'p>(&'p self, set: &'p PolicySet) -> Decision<'p> {
        let question = self.question();
        let own = set.own();
        match self.action.split_once(':') {
            Some(("kms", operation)) if self.resource != "*" => {
                let cover = |grant: &Grant| {
                    let terms = GrantTerms {
                        grantee: &grant.grantee,
                        operations: &grant.operations,
                        context_equals: grant.context_equals.as_deref(),
                        context_subset: grant.context_subset.as_deref(),
                    };
                    terms.cover(&question.who, operation, Some(self.encryption_context))
                };
                let granted = self.grants.iter().filter_map(cover).max();
                let resource_account = self.resource.split(':').nth(4).unwrap_or(self.resource_account);
                decide_key(&question, &Sources { resource: set.key.as_ref(), resource_account, granted, ..own })
            }
            Some(("sts", _)) if set.trust.is_some() => {
                let resource_account = self.resource_account;
                decide_trust(&question, &Sources { resource: set.trust.as_ref(), resource_account, ..own })
            }
            Some(("s3", _)) if self.resource != "*" => {
                let public_access_cut =
                    self.restrict_public_buckets && set.bucket.as_ref().is_some_and(Policy::is_public);
                let resource_account = self.resource_account;
                let resource = set.bucket.as_ref();
                decide_resource(&question, &Sources { resource, resource_account, public_access_cut, ..own })
            }
            _ => decide_identity(&question, &own),
        }
    }
}

/// A policy as a file of cases holds it: JSON, or its text.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = String> + '_ {
    match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    }
    .iter()
    .map(text)
}

/// Fills a context from `{"key": "value", "key": ["value", "value"]}`. Errors: another shape.
pub fn read_context(value: &Value) -> Result<Context, String> {
    let mut context = Context::default();
    for (key, value) in value.as_object().ok_or("the context is no object")? {
        match value {
            Value::Array(items) => {
                let items = items.iter().map(scalar).collect::<Option<Vec<_>>>();
                context.set_all(key, items.ok_or_else(|| format!("{key} has a value that is no text"))?);
            }
            one => {
                context.set(key, scalar(one).ok_or_else(|| format!("{key} has a value that is no text"))?);
            }
        }
    }
    Ok(context)
}

pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `{"name": "value"}` in the order of the names.
pub fn pairs(value: &Value) -> Result<Vec<(String, String)>, String> {
    let pair = |(name, value): (&String, &Value)| {
        scalar(value).map(|value| (name.clone(), value)).ok_or_else(|| format!("{name} is no text"))
    };
    value.as_object().ok_or("not an object of texts")?.iter().map(pair).collect()
}
