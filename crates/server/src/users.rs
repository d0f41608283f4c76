//! `tresor user`: the same code as IAM's calls, for whoever holds the data directory.

use crate::assemble::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{fmt, sync::Arc};
use tresor_identity::{IdentityError, Kind, Member, NewMember, SecretAccessKey, Writing};
use tresor_model::AccountId;

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
    let (directory, writing) = (&parts.directory, &Writing::of(account));
    let text = |error: IdentityError| error.to_string();
    match action {
        UserAction::Add { name, document, .. } => {
            let new = NewMember {
                kind: Kind::User,
                name: name.clone(),
                path: "/".into(),
                tags: Vec::new(),
                boundary: None,
                role: None,
            };
            let user = directory.create(writing, new).await.map_err(text)?;
            let made = async {
                if let Some(policy) = document {
                    directory.put_inline(writing, (Kind::User, &name), POLICY, &policy).await?;
                }
                directory.create_key(writing, &name).await
            };
            match made.await {
                Ok((key, secret)) => Ok(added(&user, &key.id, &secret)),
                Err(why) => {
                    // Half a user would only be in the way of the next try.
                    directory.delete_whole(writing, Kind::User, &name).await.map_err(text)?;
                    Err(text(why))
                }
            }
        }
        UserAction::List => Ok(directory.state(account).members(Kind::User).map(shown).collect::<Vec<_>>().into()),
        UserAction::Disable { name } => {
            let keys = directory.disable_keys(writing, &name).await.map_err(text)?;
            Ok(json!({ "UserName": name, "DisabledAccessKeys": keys }))
        }
        UserAction::Remove { name } => {
            directory.delete_whole(writing, Kind::User, &name).await.map_err(text)?;
            Ok(json!({ "UserName": name, "Removed": true }))
        }
    }
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
