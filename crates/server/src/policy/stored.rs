//! `tresor policy explain --action …`: what is stored about a caller and a resource, held against one question. Run by the server that
//! holds the data directory; it changes nothing and answers whoever may read that directory.

use super::explain::{Told, answer_stored as answer};
use crate::assemble::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tresor_gateway::{KeyQuestion, StoredQuestion};
use tresor_identity::{Kind, Member};
use tresor_kms::Call;
use tresor_model::{AccountId, BucketName, Caller, ObjectKey, Principal, Session};
use tresor_policy::{Bindings, CallerNames, Context, Question, RequestFacts, Sources, decide_identity, decide_trust};

/// A question to what is stored. Sessions are explained without session policies.
#[derive(Clone, Debug, Default, Serialize, Deserialize, clap::Args)]
pub struct Asked {
    /// Who asks: a user's name, the ARN of a user, role, session or root, an account, or `anonymous`.
    #[arg(long, requires = "action")]
    principal: Option<String>,
    /// What is asked: s3:PutObject.
    #[arg(long, requires = "principal", requires = "resource")]
    action: Option<String>,
    /// Of what, as an ARN; a key by any of its names; `*` for what concerns no resource.
    #[arg(long, requires = "action")]
    resource: Option<String>,
    /// A header of the request, NAME=VALUE, from which condition keys are derived. May stand several times.
    #[arg(long, requires = "action", value_parser = pair)]
    header: Vec<(String, String)>,
    /// A condition key, KEY=VALUE: it wins over what is derived. Several values of one key make it multivalued.
    #[arg(long, requires = "action", value_parser = pair)]
    context: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Explains by what is stored now. Errors: who or what is asked about is not there.
pub async fn explain(parts: &Parts, account: &AccountId, asked: &Asked) -> Result<Value, String> {
    let needed = |value: &Option<String>| value.clone().ok_or("who asks what of which resource must be said");
    let (principal, action) = (needed(&asked.principal)?, needed(&asked.action)?);
    let resource = needed(&asked.resource)?;
    let caller = caller(parts, account, &principal)?;
    let bindings = parts.directory.bindings(&caller);
    let context = context(&asked.context);
    let facts = RequestFacts { now: parts.clock.now(), region: &parts.region, ..RequestFacts::default() };
    let scene = Scene { parts, caller: &caller, bindings: &bindings, action: &action, context: &context, facts };
    match action.split_once(':') {
        Some(("s3", operation)) if resource != "*" => scene.s3(operation, &resource, &asked.header).await,
        Some(("kms", operation)) if resource != "*" => scene.kms(operation, &resource),
        Some(("sts", _)) if resource.contains(":role/") => scene.trust(&resource),
        Some(_) => Ok(scene.identity(&resource)),
        None => Err(format!("{action} is no action: expected SERVICE:NAME")),
    }
}

struct Scene<'a> {
    parts: &'a Parts,
    caller: &'a Caller,
    bindings: &'a Bindings,
    action: &'a str,
    context: &'a Context,
    facts: RequestFacts<'a>,
}

impl Scene<'_> {
    async fn s3(&self, operation: &str, resource: &str, headers: &[(String, String)]) -> Result<Value, String> {
        let no_resource =
            || format!("{resource} is no bucket or object: expected arn:aws:s3:::BUCKET or arn:aws:s3:::BUCKET/KEY");
        let path = resource.strip_prefix("arn:aws:s3:::").ok_or_else(no_resource)?;
        let (bucket, key) = path.split_once('/').map_or((path, None), |(bucket, key)| (bucket, Some(key)));
        let bucket: BucketName = bucket.parse().map_err(|_| no_resource())?;
        let key: Option<ObjectKey> = key.map(str::parse).transpose().map_err(|_| no_resource())?;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        let account = self.caller.account().and_then(|account| self.parts.directory.account(account));
        let question = StoredQuestion {
            caller: self.caller,
            bindings: self.bindings,
            canonical_id: account.map(|account| account.canonical_id.as_str()),
            operation,
            action: self.action,
            bucket: &bucket,
            object_key: key.as_ref(),
            headers: &headers,
            context: self.context,
            facts: self.facts,
        };
        let ring = &self.parts.keys;
        let key_arn = |name: Option<&str>| {
            let found = ring.locate(self.caller, name.unwrap_or("alias/aws/s3")).ok()?;
            Some(found.arn.to_string())
        };
        let (mut answer, key_question) = question
            .explain(&self.parts.store, key_arn, |question, policy, decision| {
                answer(&Told { bindings: self.bindings, resource: policy, question, decision })
            })
            .await?;
        if let Some(asked) = key_question {
            answer["also_needed"] = self.key_of_s3(&asked);
        }
        Ok(answer)
    }

    /// What S3 asks of the KMS key on the caller's behalf: the request succeeds when this is allowed too.
    fn key_of_s3(&self, asked: &KeyQuestion) -> Value {
        let ring = &self.parts.keys;
        let found = match ring.locate(self.caller, &asked.key_arn) {
            Ok(found) => found,
            // Another account's key that this caller may not know, or none at all: the request is refused.
            Err(error) => return json!({ "decision": "implicit_deny", "because": error.to_string() }),
        };
        let bound = [("aws:s3:arn".to_owned(), asked.bound_to.clone())];
        let call = Call { via: Some("s3"), ..Call::new(self.caller, asked.operation, "") }.with_context(&bound);
        ring.explain(&call, &found, |question, policy, decision| {
            answer(&Told { bindings: self.bindings, resource: Some(policy), question, decision })
        })
    }

    fn kms(&self, operation: &str, resource: &str) -> Result<Value, String> {
        let known = tresor_policy::known_action(self.action);
        let known = known.and_then(|action| action.strip_prefix("kms:"));
        let operation = known.ok_or_else(|| format!("KMS has no action kms:{operation}"))?;
        let found = self.parts.keys.locate(self.caller, resource).map_err(|error| error.to_string())?;
        const PAIR: &str = "kms:encryptioncontext:";
        let pairs: Vec<(String, String)> = self
            .context
            .iter()
            .filter_map(|(key, values)| Some((key.strip_prefix(PAIR)?.to_owned(), values.first()?.clone())))
            .collect();
        let call = Call { keys: self.context.clone(), ..Call::new(self.caller, operation, "") };
        let call = if pairs.is_empty() { call } else { call.with_context(&pairs) };
        Ok(self.parts.keys.explain(&call, &found, |question, policy, decision| {
            answer(&Told { bindings: self.bindings, resource: Some(policy), question, decision })
        }))
    }

    fn trust(&self, resource: &str) -> Result<Value, String> {
        let account = resource.split(':').nth(4).and_then(|account| account.parse().ok());
        let account: AccountId = account.ok_or_else(|| format!("{resource} names no account"))?;
        let role = member(self.parts, &account, Kind::Role, resource)?;
        let trust = role.trust.as_deref();
        let sources = Sources { resource: trust, resource_account: account.as_str(), ..self.bindings.sources() };
        Ok(self.ask(resource, |question| {
            let decision = decide_trust(question, &sources);
            answer(&Told { bindings: self.bindings, resource: trust, question, decision: &decision })
        }))
    }

    fn identity(&self, resource: &str) -> Value {
        self.ask(resource, |question| {
            let decision = decide_identity(question, &self.bindings.sources());
            answer(&Told { bindings: self.bindings, resource: None, question, decision: &decision })
        })
    }

    fn ask(&self, resource: &str, tell: impl FnOnce(&Question<'_>) -> Value) -> Value {
        let mut context = Context::default();
        context.set_global(self.caller, self.bindings, &self.facts);
        context.extend(self.context);
        let names = CallerNames::of(self.caller);
        let who = names.requester(self.caller);
        tell(&Question { who, action: self.action, resource, context: &context })
    }
}

/// Several values of one key make it multivalued.
fn context(pairs: &[(String, String)]) -> Context {
    let mut context = Context::default();
    for (key, value) in pairs {
        match context.values(key) {
            None => context.set(key, value.as_str()),
            Some(values) => {
                let all: Vec<String> = values.iter().chain([value]).cloned().collect();
                context.set_all(key, all)
            }
        };
    }
    context
}

/// As if he had signed just now, over TLS. Errors: he is not there.
fn caller(parts: &Parts, account: &AccountId, named: &str) -> Result<Caller, String> {
    if matches!(named, "anonymous" | "*") {
        return Ok(Caller::anonymous(None, true));
    }
    let root = |account: AccountId| Caller::local(Principal::Root { account });
    if let Ok(account) = named.parse::<AccountId>() {
        return Ok(root(account));
    }
    if !named.contains(':') {
        let user = member(parts, account, Kind::User, &format!("arn:aws:iam::{account}:user/{named}"));
        let by_name = || parts.directory.state(account).member(Kind::User, named).cloned();
        let user = user.or_else(|why| by_name().ok_or(why))?;
        return Ok(user_caller(account.clone(), &user));
    }
    let fields: Vec<&str> = named.splitn(6, ':').collect();
    let ["arn", "aws", service, "", account, resource] = fields.as_slice() else {
        return Err(format!("{named} is no principal"));
    };
    let account: AccountId = account.parse().map_err(|_| format!("{named} names no account"))?;
    match (*service, resource.split_once('/')) {
        ("iam", None) if *resource == "root" => Ok(root(account)),
        ("iam", Some(("user", _))) => {
            let user = member(parts, &account, Kind::User, named)?;
            Ok(user_caller(account, &user))
        }
        ("iam", Some(("role", _))) => {
            Ok(session(account.clone(), &*member(parts, &account, Kind::Role, named)?, "explain", parts))
        }
        ("sts", Some(("assumed-role", name))) => {
            let (role, name) = name.split_once('/').ok_or_else(|| format!("{named} names no session"))?;
            let found = parts.directory.state(&account).member(Kind::Role, role).cloned();
            let role = found.ok_or_else(|| format!("there is no role {role} in {account}"))?;
            Ok(session(account, &role, name, parts))
        }
        _ => Err(format!("{named} cannot be asked about: name a user, a role, a session, a root or an account")),
    }
}

fn member(parts: &Parts, account: &AccountId, kind: Kind, arn: &str) -> Result<Arc<Member>, String> {
    let state = parts.directory.state(account);
    let found = state.members(kind).find(|member| member.record.arn() == arn).cloned();
    found.ok_or_else(|| format!("there is no {arn}"))
}

fn user_caller(account: AccountId, user: &Member) -> Caller {
    let record = &user.record;
    let principal = Principal::User { account, path: record.path.clone(), name: record.name.clone() };
    Caller { user_id: record.id.clone(), ..Caller::local(principal) }
}

fn session(account: AccountId, role: &Member, name: &str, parts: &Parts) -> Caller {
    let record = &role.record;
    let (path, role) = (record.path.clone(), record.name.clone());
    let session = Session { issued: parts.clock.now(), ..Session::default() };
    Caller {
        user_id: format!("{}:{name}", record.id),
        session: Some(Arc::new(session)),
        ..Caller::local(Principal::AssumedRole { account, path, role, session: name.to_owned() })
    }
}
