//! One case of a file: a decision, a derivation with a decision, or a document that must be refused.

use super::judge::{Asking, Grant, PolicySet, pairs, read_context, scalar, text};
use serde_json::Value;
use std::collections::BTreeSet;
use tresor_gateway::{Asked, Derived, Required, Role, derive};
use tresor_policy::{
    Context, Decision, Effect, NamedCaller, Question, bucket_policy, identity_policy, key_policy, locks_out,
    session_policy, trust_policy,
};

/// The bucket of validation cases that name none, and the author of their key policies.
const BUCKET: &str = "vault";
const AUTHOR: &str = "arn:aws:iam::111122223333:user/alice";
const REGION: &str = "us-east-1";

/// What a file says about the world: whoever asks in one of its cases exists.
#[derive(Debug)]
pub struct Known(BTreeSet<String>);

impl Known {
    pub fn of(cases: &[Value]) -> Self {
        let asking = cases.iter().filter_map(|case| case["request"]["principal"].as_str());
        Self(asking.map(ToOwned::to_owned).collect())
    }
    fn exists(&self, principal: &str) -> bool {
        !principal.contains(":user/") || principal == AUTHOR || self.0.contains(principal)
    }
}

/// A case as it was read.
pub struct Case<'a> {
    value: &'a Value,
    expect: &'a str,
}

impl<'a> Case<'a> {
    /// Errors: not an object, or an expectation that is not known.
    pub fn read(value: &'a Value) -> Result<Self, String> {
        if !value.is_object() {
            return Err("the case is no object".into());
        }
        let expect = value["expect"].as_str().unwrap_or_default();
        Ok(Self { value, expect })
    }

    /// Errors: what differs from the expectation.
    pub fn run(&self, known: &Known) -> Result<(), String> {
        match (self.value.get("kind"), self.value.get("request")) {
            (Some(kind), _) => self.validate(kind.as_str().unwrap_or_default(), known),
            (None, Some(request)) => self.decide(request),
            (None, None) => Err("the case has neither a request nor a document".into()),
        }
    }

    /// A document that must be refused when it is put, or taken.
    fn validate(&self, kind: &str, known: &Known) -> Result<(), String> {
        let document = text(&self.value["policy"]);
        let exists = |name: &str| known.exists(name);
        let bucket = self.value["bucket"].as_str().unwrap_or(BUCKET);
        let (answer, code) = match kind {
            "bucket" => (bucket_policy(&document, bucket, exists).map(drop), "MalformedPolicy"),
            "identity" => (identity_policy(&document).map(drop), "MalformedPolicyDocument"),
            "session" => (session_policy(&document).map(drop), "MalformedPolicyDocument"),
            "trust" => (trust_policy(&document, exists).map(drop), "MalformedPolicyDocument"),
            "key" => (put_key_policy(&document), "MalformedPolicyDocumentException"),
            other => return Err(format!("documents of the kind {other:?} are not known")),
        };
        match (self.expect, answer) {
            ("reject", Ok(())) => Err("expected reject, the document was taken".into()),
            ("accept" | "allow", Err(fault)) => Err(format!("expected accept, got {code}: {fault}")),
            ("accept" | "allow", Ok(())) => Ok(()),
            ("reject", Err(fault)) => {
                let error = &self.value["error"];
                let wanted = (error["code"].as_str().unwrap_or(code), error["message"].as_str().unwrap_or_default());
                let worded = error["verified_text"].as_bool().unwrap_or(false);
                if wanted.0 != code || (worded && wanted.1 != fault.0) {
                    return Err(format!("expected {}: {}, got {code}: {fault}", wanted.0, wanted.1));
                }
                Ok(())
            }
            (other, _) => Err(format!("the expectation {other:?} is not known for a document")),
        }
    }

    fn decide(&self, request: &Value) -> Result<(), String> {
        if !matches!(self.expect, "allow" | "explicit_deny" | "implicit_deny" | "refuse") {
            return Err(format!("the expectation {:?} is not known", self.expect));
        }
        let action = request["action"].as_str();
        let set = PolicySet::read(self.value.get("policies").unwrap_or(&Value::Null), action)?;
        let principal = request["principal"].as_str().unwrap_or("anonymous");
        let caller = NamedCaller::parse(principal).ok_or_else(|| format!("{principal} is no principal"))?;
        let said = read_context(request.get("context").unwrap_or(&Value::Object(serde_json::Map::default())))?;
        let mut asking = Asking {
            caller: &caller,
            action: action.unwrap_or_default(),
            resource: request["resource"].as_str().ok_or("the request names no resource")?,
            resource_account: request["resource_account"].as_str().unwrap_or_default(),
            context: &said,
            grants: &self.grants()?,
            encryption_context: &match request.get("encryption_context") {
                Some(value) => pairs(value)?,
                None => Vec::new(),
            },
            restrict_public_buckets: false,
        };
        for (name, value) in self.value.get("settings").and_then(Value::as_object).into_iter().flatten() {
            match (name.as_str(), value.as_bool()) {
                ("restrict_public_buckets", Some(on)) => asking.restrict_public_buckets = on,
                _ => return Err(format!("the setting {name} is not known")),
            }
        }
        match self.value.get("operation") {
            None if action.is_none() => Err("the request has neither an action nor an operation".into()),
            None => self.compare(&asking.decide(&set), asking.action),
            Some(operation) => self.derived(operation, &asking, &set),
        }
    }

    /// Derives what the operation needs and fills, and judges that.
    fn derived(&self, operation: &Value, asking: &Asking<'_>, set: &PolicySet) -> Result<(), String> {
        let derived = derive_operation(operation, asking)?;
        let required: Vec<&Required> = match asking.action {
            "" => derived.required.iter().collect(),
            action => derived.required.iter().filter(|required| required.action == action).take(1).collect(),
        };
        if required.is_empty() {
            let needs: Vec<&str> = derived.required.iter().map(|required| required.action).collect();
            return Err(format!("the operation needs {needs:?}, not {}", asking.action));
        }
        if !asking.action.is_empty() {
            let first = required[0];
            if first.role == Role::Target && first.resource != asking.resource {
                return Err(format!("derived the resource {}, expected {}", first.resource, asking.resource));
            }
            contains(derived.context_of(first), asking.context)?;
        }
        for check in self.value["required_checks"].as_array().into_iter().flatten() {
            let action = check["action"].as_str().unwrap_or_default();
            let found = derived.required.iter().find(|required| required.action == action);
            let found = found.ok_or_else(|| format!("the operation does not need {action}"))?;
            if let Some(context) = check.get("context") {
                let text = context.to_string().replace("<region>", REGION);
                let wanted = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                contains(derived.context_of(found), &read_context(&wanted)?)?;
            }
        }
        let mut outcome = Err("the operation needs nothing".into());
        for required in required {
            // The rest of the world, which no operation can know.
            let mut context = derived.context_of(required).clone();
            for (key, values) in asking.context.iter().filter(|(key, _)| key.starts_with("aws:")) {
                context.set_all(key, values.iter().cloned());
            }
            let here = Asking { action: required.action, resource: &required.resource, context: &context, ..*asking };
            let decision = here.decide(set);
            outcome = self.compare(&decision, required.action);
            if !decision.allowed() {
                break;
            }
        }
        outcome
    }

    fn compare(&self, decision: &Decision<'_>, action: &str) -> Result<(), String> {
        let got = match decision.effect {
            Effect::Allow => "allow",
            Effect::ExplicitDeny => "explicit_deny",
            Effect::ImplicitDeny => "implicit_deny",
        };
        if got == self.expect || (self.expect == "refuse" && got != "allow") {
            return Ok(());
        }
        let statement = decision.statement.map(|(kind, statement)| format!(" ({}: {statement:?})", kind.name()));
        let why = decision.because(action);
        Err(format!("expected {}, got {got} for {action}{} {why}", self.expect, statement.unwrap_or_default()))
    }

    fn grants(&self) -> Result<Vec<Grant>, String> {
        let constraint = |grant: &Value, name: &str| grant["constraints"].get(name).map(pairs).transpose();
        let one = |grant: &Value| {
            Ok(Grant {
                grantee: grant["grantee"].as_str().ok_or("a grant names no grantee")?.to_owned(),
                operations: grant["operations"].as_array().into_iter().flatten().filter_map(scalar).collect(),
                context_equals: constraint(grant, "EncryptionContextEquals")?,
                context_subset: constraint(grant, "EncryptionContextSubset")?,
            })
        };
        self.value["grants"].as_array().into_iter().flatten().map(one).collect()
    }
}

/// As PutKeyPolicy takes it from its author.
fn put_key_policy(document: &str) -> Result<(), tresor_policy::MalformedPolicy> {
    let policy = key_policy(document)?;
    let author = NamedCaller::parse(AUTHOR).expect("the ARN is written above");
    let (context, resource) = (Context::default(), "*");
    let question = Question { who: author.requester(), action: "kms:PutKeyPolicy", resource, context: &context };
    if locks_out(&policy, &question) {
        return Err(tresor_policy::MalformedPolicy(
            "The new key policy will not allow you to update the key policy in the future.".into(),
        ));
    }
    Ok(())
}

/// Errors: a key that was expected and was not derived, or with other values.
fn contains(derived: &Context, expected: &Context) -> Result<(), String> {
    for (key, values) in expected.iter().filter(|(key, _)| !key.starts_with("aws:")) {
        let got = derived.values(key);
        if got != Some(values) {
            return Err(format!("derived {key} = {got:?}, expected {values:?}"));
        }
    }
    Ok(())
}

/// Runs the server's own derivation on an operation of a case.
fn derive_operation(operation: &Value, asking: &Asking<'_>) -> Result<Derived, String> {
    let api = operation["api"].as_str().ok_or("the operation names no api")?;
    let known = tresor_gateway::operations().iter().any(|row| row.name == api) || api == "PostObject";
    if !known {
        return Err(format!("the operation {api} is not known"));
    }
    let given = |name: &str| operation.get(name).filter(|value| !value.is_null()).map(pairs).transpose();
    let mut headers = given("headers")?.unwrap_or_default();
    for (name, _) in &mut headers {
        name.make_ascii_lowercase();
    }
    let (query, form, upload) = (given("query")?.unwrap_or_default(), given("form")?, given("upload_record")?);
    let path = asking.resource.strip_prefix("arn:aws:s3:::").unwrap_or_default();
    let (bucket, key) = path.split_once('/').map_or((path, None), |(bucket, key)| (bucket, Some(key)));
    let default = &operation["bucket_default_encryption"];
    let tags = |of: &Value| of.get("tags").map(pairs).transpose().map(Option::unwrap_or_default);
    let (existing_tags, source_tags) = (tags(&operation["object"])?, tags(&operation["source_object"])?);
    let (bucket_tags, document_tags) = (tags(&operation["bucket"])?, given("document_tags")?);
    // Only the account knows what an alias names: the case says it by the key it expects.
    let key_header = headers.iter().find(|(name, _)| name == "x-amz-server-side-encryption-aws-kms-key-id");
    let by_alias = key_header.is_some_and(|(_, value)| value.contains("alias/"));
    let expected_key = asking.context.values("s3:x-amz-server-side-encryption-aws-kms-key-id");
    let asked = Asked {
        operation: api,
        bucket: Some(bucket),
        object_key: key,
        headers: &headers,
        query: &query,
        form: form.as_deref(),
        upload: upload.as_deref(),
        default_encryption: default["SSEAlgorithm"].as_str().map(|name| (name, default["KMSMasterKeyID"].as_str())),
        key_arn: expected_key.filter(|_| by_alias).and_then(|values| values.first()).map(String::as_str),
        existing_tags: &existing_tags,
        source_tags: &source_tags,
        bucket_tags: &bucket_tags,
        document_tags: document_tags.as_deref(),
        object_kms_key: operation["object"]["key"].as_str(),
        source_kms_key: operation["source_object"]["key"].as_str(),
        bucket_owner: Some(asking.resource_account),
        account: asking.caller.account(),
        region: REGION,
        ..Asked::default()
    };
    Ok(derive(&asked))
}
