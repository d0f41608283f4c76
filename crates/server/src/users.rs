//! `tresor user`: the same code as IAM's calls, and the same events in the audit trail, for whoever holds the data directory.

use crate::assemble::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc};
use tresor_audit::{AuditSink, AuditSpan};
use tresor_identity::{AccessKeyRecord, IdentityError, Kind, Member, NewMember, SecretAccessKey, Writing, arn};
use tresor_model::{AccountId, Caller, Principal};

/// The name of the policy that `--policy` sets.
const POLICY: &str = "tresor-user";

#[derive(Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "lowercase")]
pub enum UserAction {
    /// Makes a user with an access key, which is shown once.
    Add {
        name: String,
        /// A file with its identity policy; without one the user may do nothing but what resource policies give it.
        #[arg(long)]
        policy: Option<std::path::PathBuf>,
        /// What the file held, once the command line has read it.
        #[arg(skip)]
        document: Option<String>,
    },
    /// Lists the users of the account.
    List,
    /// Refuses every access key of a user, and its sessions.
    Disable { name: String },
    /// Removes a user with its keys and policies.
    Remove { name: String },
}

impl fmt::Debug for UserAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add { .. } => "Add",
            Self::List => "List",
            Self::Disable { .. } => "Disable",
            Self::Remove { .. } => "Remove",
        })
    }
}

pub async fn run(parts: &Parts, account: &AccountId, action: UserAction) -> Result<Value, String> {
    let directory = &parts.directory;
    match action {
        UserAction::Add { name, document, .. } => add(&Operator { parts, account, user: &name }, document).await,
        UserAction::List => Ok(directory.state(account).members(Kind::User).map(shown).collect::<Vec<_>>().into()),
        UserAction::Disable { name } => {
            let operator = Operator { parts, account, user: &name };
            let mut disabled = 0;
            for id in operator.known()?.record.keys.iter().map(|key| &key.id) {
                let span = operator.span("UpdateAccessKey", &[("accessKeyId", id), ("status", "Inactive")]);
                let done = directory.set_key(&operator.writing(&span), &name, id, false).await;
                ended(span, done, |()| Map::new())?;
                disabled += 1;
            }
            Ok(json!({ "UserName": name, "DisabledAccessKeys": disabled }))
        }
        UserAction::Remove { name } => {
            remove(&Operator { parts, account, user: &name }).await?;
            Ok(json!({ "UserName": name, "Removed": true }))
        }
    }
}

/// Whoever holds the data directory, about to change one user.
struct Operator<'a> {
    parts: &'a Parts,
    account: &'a AccountId,
    user: &'a str,
}

impl Operator<'_> {
    fn known(&self) -> Result<Arc<Member>, String> {
        let found = self.parts.directory.state(self.account).member(Kind::User, self.user).cloned();
        found.ok_or_else(|| format!("The user with name {} cannot be found.", self.user))
    }

    /// The event of one change, as the call of IAM has it that does the same.
    fn span(&self, operation: &'static str, parameters: &[(&str, &str)]) -> AuditSpan {
        let audit = &self.parts.audit;
        let mut span = AuditSpan::open(Arc::clone(audit) as Arc<dyn AuditSink>, "".into(), audit.command_line());
        span.service("iam");
        span.operation(operation, false);
        span.caller(&Caller::local(Principal::Root { account: self.account.clone() }));
        span.parameter("userName", self.user);
        for (name, value) in parameters {
            span.parameter(name, *value);
        }
        let known = self.known().map(|user| user.record.arn());
        span.resource("AWS::IAM::User", known.unwrap_or_else(|_| arn(self.account, "user", "/", self.user)));
        span
    }

    /// A change that carries the event's record into its commit.
    fn writing(&self, span: &AuditSpan) -> Writing {
        Writing { account: self.account.clone(), record: span.change(&[], &[]) }
    }
}

/// Ends the event of a change; `shown` is what it says of what was made.
fn ended<T>(
    mut span: AuditSpan,
    done: Result<T, IdentityError>,
    shown: impl FnOnce(&T) -> Map<String, Value>,
) -> Result<T, String> {
    match &done {
        Ok(made) => {
            for (name, value) in shown(made) {
                span.response(&name, value);
            }
        }
        Err(error) => span.error("CommandFailed", &error.to_string()),
    }
    span.seal(if done.is_ok() { 200 } else { 400 });
    done.map_err(|error| error.to_string())
}

fn one(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

async fn add(operator: &Operator<'_>, document: Option<String>) -> Result<Value, String> {
    let (directory, name) = (&operator.parts.directory, operator.user);
    let new = NewMember {
        kind: Kind::User,
        name: name.to_owned(),
        path: "/".into(),
        tags: Vec::new(),
        boundary: None,
        role: None,
    };
    let span = operator.span("CreateUser", &[]);
    let made = directory.create(&operator.writing(&span), new).await;
    let user = ended(span, made, |user| {
        let record = &user.record;
        one("user", json!({ "userName": record.name, "userId": record.id, "path": record.path, "arn": record.arn() }))
    })?;
    match equip(operator, document).await {
        Ok((key, secret)) => Ok(added(&user, &key.id, &secret)),
        Err(why) => {
            // Half a user would only be in the way of the next try.
            remove(operator).await?;
            Err(why)
        }
    }
}

/// Gives a new user its policy and its access key.
async fn equip(
    operator: &Operator<'_>,
    document: Option<String>,
) -> Result<(AccessKeyRecord, SecretAccessKey), String> {
    let (directory, name) = (&operator.parts.directory, operator.user);
    if let Some(policy) = document {
        let span = operator.span("PutUserPolicy", &[("policyName", POLICY), ("policyDocument", &policy)]);
        let put = directory.put_inline(&operator.writing(&span), (Kind::User, name), POLICY, &policy).await;
        ended(span, put, |()| Map::new())?;
    }
    let span = operator.span("CreateAccessKey", &[]);
    let made = directory.create_key(&operator.writing(&span), name).await;
    ended(span, made, |(key, _)| {
        one("accessKey", json!({ "userName": name, "accessKeyId": key.id, "status": "Active" }))
    })
}

/// A user with everything it has: one event, which tells what went with it.
async fn remove(operator: &Operator<'_>) -> Result<(), String> {
    let mut span = operator.span("DeleteUser", &[]);
    if let Ok(user) = operator.known() {
        let record = &user.record;
        span.additional("accessKeyIds", record.keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>());
        span.additional("policyNames", record.inline.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        span.additional("attachedPolicies", record.attached.clone());
        span.additional("groups", record.groups.clone());
    }
    let directory = &operator.parts.directory;
    let done = directory.delete_whole(&operator.writing(&span), Kind::User, operator.user).await;
    ended(span, done, |()| Map::new())
}

fn added(user: &Member, key: &str, secret: &SecretAccessKey) -> Value {
    json!({
        "UserName": user.record.name,
        "Arn": user.record.arn(),
        "AccessKeyId": key,
        "SecretAccessKey": secret.expose(),
    })
}

/// By the names of IAM's User, with its keys.
fn shown(user: &Arc<Member>) -> Value {
    let record = &user.record;
    let status = |active: bool| if active { "Active" } else { "Inactive" };
    let keys: Vec<Value> =
        record.keys.iter().map(|key| json!({ "AccessKeyId": key.id, "Status": status(key.active) })).collect();
    json!({
        "UserName": record.name,
        "Arn": record.arn(),
        "UserId": record.id,
        "Declared": user.declared,
        "AccessKeys": keys,
        "Policies": record.inline.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "AttachedPolicies": record.attached,
        "Groups": record.groups,
    })
}
