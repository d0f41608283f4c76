//! Commands that touch data, run by the server that holds the directory, or by the command line when none runs.

use crate::{
    assemble::Parts,
    backup, policy,
    users::{self, UserAction},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tresor_audit::{AuditSink, AuditSpan, search, verify};
use tresor_kms::{Call, KeyRecord, KeyState, KmsError, NewKey};
use tresor_kms_api::SpanRecording;
use tresor_model::{AccountId, BucketName, Caller, ObjectKey, Principal};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    Keys {
        account: Option<String>,
        action: KeyAction,
    },
    Users {
        account: Option<String>,
        action: UserAction,
    },
    Inspect {
        bucket: String,
        key: String,
    },
    Audit {
        action: AuditAction,
    },
    Explain {
        account: Option<String>,
        asked: policy::Asked,
    },
    /// Answered by the control socket alone: it tells what it finds while it looks.
    Verify,
}

#[derive(Debug, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "lowercase")]
pub enum AuditAction {
    /// Proves that the trail is whole and in order, or names the first event that is not.
    Verify,
    /// Shows the newest events, newest last.
    Tail {
        /// How many.
        #[arg(long, default_value_t = 20)]
        lines: usize,
    },
    /// Shows the newest events of a name, a key or a caller, newest last.
    Search {
        /// `eventName`: Decrypt.
        #[arg(long)]
        event: Option<String>,
        /// A text that stands in the event: an ARN, an access key id, an address.
        #[arg(long)]
        text: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 100)]
        lines: usize,
    },
}

/// The most events one command shows.
const MAX_EVENTS: usize = 10_000;

#[derive(Debug, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "lowercase")]
pub enum KeyAction {
    /// Makes a key with new material.
    Create {
        #[arg(long, default_value = "")]
        description: String,
        /// An alias for it: alias/NAME.
        #[arg(long)]
        alias: Option<String>,
    },
    /// Lists the keys of the account.
    List,
    /// Shows one key, by id, ARN or alias.
    Describe { key: String },
    /// Refuses every use of a key, for writing and for reading.
    Disable { key: String },
    /// Lets a disabled key be used again.
    Enable { key: String },
    /// Makes new material; what older material encrypted stays readable.
    Rotate { key: String },
    /// Says how many objects and bytes become unreadable without the key.
    Impact { key: String },
    /// Writes keys, aliases and grants to a folder, and their erasure secrets to another one. The root key is not in it, and neither are
    /// users, roles and policies: a copy of the data directory has them.
    Backup {
        /// Where keys, aliases and grants are written.
        #[arg(value_name = "BACKUP")]
        to: std::path::PathBuf,
        /// A folder of its own, so that destroying a key can reach every copy of its secret.
        #[arg(long, value_name = "SECRETS")]
        erasure_to: std::path::PathBuf,
    },
    /// Adds keys of a backup that are missing; destroyed ones stay destroyed. The server must be stopped, and the root key be the one
    /// of the backup.
    Restore {
        /// A folder that `backup` wrote, or the key mirror.
        #[arg(value_name = "BACKUP")]
        from: std::path::PathBuf,
        /// Where the secrets are; left out, those that lie in the data directory serve.
        #[arg(long, value_name = "SECRETS")]
        erasure_from: Option<std::path::PathBuf>,
    },
    /// Gives a key a name: alias/NAME.
    Alias { key: String, alias: String },
}

/// What a command answers: JSON, or why it failed.
pub async fn run(parts: &Parts, command: Command) -> Result<Value, String> {
    match command {
        Command::Keys { account, action } => keys(parts, account, action).await,
        Command::Users { account, action } => users::run(parts, &account_of(parts, account)?, action).await,
        Command::Audit { action } => audit(parts, action).await,
        Command::Inspect { bucket, key } => inspect(parts, &bucket, &key).await,
        Command::Explain { account, asked } => {
            policy::explain_stored(parts, &account_of(parts, account)?, &asked).await
        }
        Command::Verify => Err("verify tells what it finds while it looks".into()),
    }
}

fn account_of(parts: &Parts, named: Option<String>) -> Result<AccountId, String> {
    match named {
        Some(id) => id.parse().map_err(|_| format!("{id:?} is not an account id")),
        None => Ok(parts.first_account.clone()),
    }
}

async fn keys(parts: &Parts, account: Option<String>, action: KeyAction) -> Result<Value, String> {
    let account = account_of(parts, account)?;
    let ring = &parts.keys;
    let caller = Caller::local(Principal::Root { account: account.clone() });
    let text = |error: KmsError| error.to_string();
    let caller = &caller;
    let find = async |name: &str| {
        let arn = ring.resolve(caller, Some(name)).await.map_err(text)?;
        ring.locate(caller, arn.as_str()).map_err(text)
    };
    match action {
        KeyAction::List => {
            let all = ring.list(&account);
            all.iter().map(|(key, aliases)| shown(parts, key, aliases)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        KeyAction::Create { description, alias } => {
            // A key without the alias it was made for would only lie about.
            if let Some(name) = &alias {
                ring.alias_is_free(&account, name).map_err(text)?;
            }
            let new = NewKey { description, ..NewKey::default() };
            let key =
                recorded(parts, caller, "CreateKey", async |call| ring.create_key(&call, new, false).await).await?;
            if let Some(alias) = &alias {
                let arn = key.arn.as_str();
                recorded(parts, caller, "CreateAlias", async |call| ring.create_alias(&call, alias, arn).await).await?;
            }
            described(parts, key.record())
        }
        KeyAction::Describe { key } => described(parts, find(&key).await?.record()),
        KeyAction::Disable { key } => {
            let found = find(&key).await?;
            let disable = async |call: Call<'_>| ring.set_state_locally(&call, &found, KeyState::Disabled).await;
            described(parts, &*recorded(parts, caller, "DisableKey", disable).await?)
        }
        KeyAction::Enable { key } => {
            let found = find(&key).await?;
            let enable = async |call: Call<'_>| ring.set_state_locally(&call, &found, KeyState::Enabled).await;
            described(parts, &*recorded(parts, caller, "EnableKey", enable).await?)
        }
        KeyAction::Rotate { key } => {
            let found = find(&key).await?;
            let rotate = async |call: Call<'_>| ring.rotate_locally(&call, &found).await;
            described(parts, &*recorded(parts, caller, "RotateKeyOnDemand", rotate).await?)
        }
        KeyAction::Backup { to, erasure_to } => {
            let done = backup::backup(&parts.data_dir, &parts.records, &to, &erasure_to).await;
            let (rows, secrets) = done.map_err(|error| error.to_string())?;
            Ok(json!({ "Rows": rows, "ErasureSecrets": secrets }))
        }
        KeyAction::Restore { from, erasure_from } => {
            let done = backup::restore(&parts.data_dir, &parts.records, &from, erasure_from.as_deref()).await;
            let (rows, secrets) = done.map_err(|error| error.to_string())?;
            Ok(json!({ "Rows": rows, "ErasureSecrets": secrets }))
        }
        KeyAction::Impact { key } => {
            let found = find(&key).await?;
            let (objects, bytes) =
                parts.store.key_impact(&found.record().id).await.map_err(|error| error.to_string())?;
            Ok(json!({ "KeyId": found.arn.as_str(), "Objects": objects, "Bytes": bytes }))
        }
        KeyAction::Alias { key, alias } => {
            let found = find(&key).await?;
            let arn = found.arn.as_str();
            recorded(parts, caller, "CreateAlias", async |call| ring.create_alias(&call, &alias, arn).await).await?;
            described(parts, found.record())
        }
    }
}

async fn audit(parts: &Parts, action: AuditAction) -> Result<Value, String> {
    let trail = parts.audit.trail();
    trail.flush().map_err(|error| error.to_string())?;
    let directory = trail.directory();
    let newest_last = |mut events: Vec<Value>| {
        events.reverse();
        Value::from(events)
    };
    match action {
        AuditAction::Verify => {
            let head = parts.records.audit_head().await.map_err(|error| error.to_string())?;
            let found = verify(directory, &trail.public_key(), head)
                .map_err(|broken| format!("the audit trail is broken: {broken}"))?;
            Ok(json!({ "first": found.first, "last": found.last, "files": found.files, "digests": found.digests }))
        }
        AuditAction::Tail { lines } => {
            search(directory, lines.min(MAX_EVENTS), |_| true).map(newest_last).map_err(|error| error.to_string())
        }
        AuditAction::Search { event, text, lines } => search(directory, lines.min(MAX_EVENTS), |found| {
            event.as_deref().is_none_or(|name| found["eventName"] == name)
                && text.as_deref().is_none_or(|text| found.to_string().contains(text))
        })
        .map(newest_last)
        .map_err(|error| error.to_string()),
    }
}

/// Runs a change of the command line with an audit span of its own, as a request has one.
async fn recorded<T>(
    parts: &Parts,
    caller: &Caller,
    operation: &'static str,
    run: impl AsyncFnOnce(Call<'_>) -> Result<T, KmsError>,
) -> Result<T, String> {
    let sink = Arc::clone(&parts.audit) as Arc<dyn AuditSink>;
    let mut span = AuditSpan::open(sink, "".into(), parts.audit.command_line());
    span.service("kms");
    span.operation(operation, false);
    span.caller(caller);
    let recording = SpanRecording::new(&span);
    let done = run(Call::new(caller, operation, "").recorded_by(&recording)).await;
    recording.into_learnt().tell(&mut span);
    if let Err(error) = &done {
        span.error("CommandFailed", &error.to_string());
    }
    span.seal(if done.is_ok() { 200 } else { 400 });
    done.map_err(|error| error.to_string())
}

fn described(parts: &Parts, key: &KeyRecord) -> Result<Value, String> {
    let all = parts.keys.list(&key.account);
    let aliases = all.into_iter().find(|(found, _)| found.id == key.id).map(|(_, aliases)| aliases).unwrap_or_default();
    shown(parts, key, &aliases)
}

/// By the names of KMS's KeyMetadata.
fn shown(parts: &Parts, key: &KeyRecord, aliases: &[String]) -> Result<Value, String> {
    let arn = parts.keys.arn(&key.account, &key.id).map_err(|error| error.to_string())?;
    Ok(json!({
        "KeyId": key.id,
        "Arn": arn.as_str(),
        "AWSAccountId": key.account.as_str(),
        "Description": key.description,
        "KeyManager": key.manager.name(),
        "KeyState": key.state(parts.keys.now()).name(),
        "CreationDate": key.created.iso8601(),
        "CurrentKeyMaterialId": key.current().map(|material| material.id.clone()),
        "KeyMaterials": key.materials.len(),
        "Aliases": aliases,
    }))
}

/// What lies beside an object's ciphertext: nothing of it is secret.
async fn inspect(parts: &Parts, bucket: &str, key: &str) -> Result<Value, String> {
    let name: BucketName = bucket.parse().map_err(|_| format!("{bucket:?} is not a bucket name"))?;
    let key: ObjectKey = key.parse().map_err(|_| format!("{key:?} is not an object key"))?;
    let text = |error: tresor_storage::StoreError| error.to_string();
    let bucket = parts.store.bucket(&name).await.map_err(text)?.ok_or("no such bucket")?;
    let version = parts.store.version(&bucket, &key, None).await.map_err(text)?.ok_or("no such key")?;
    let envelope = &version.envelope;
    Ok(json!({
        "bucket": name.as_str(),
        "bucket_id": bucket.id.to_string(),
        "key": key.as_str(),
        "write_id": version.write.to_string(),
        "size": version.size,
        "etag": version.etag.to_string(),
        "body": version.body_place(&bucket),
        "envelope": {
            "mode": format!("{:?}", envelope.header.mode),
            "algorithm": if envelope.header.layers() == 2 { "AES-256-GCM, two layers" } else { "AES-256-GCM" },
            "chunk_bytes": envelope.header.chunk(),
            "kms_key": envelope.header.key_arn,
            "header_hash": hex::encode(envelope.header.hash()),
            "wrapped_data_key": hex::encode(&envelope.wrapped),
            "outer_wrapped_data_key": envelope.outer_wrapped.as_ref().map(hex::encode),
            "owned_key_material": envelope.owned_material.map(hex::encode),
            "bucket_key_salt": envelope.bucket_key_salt.map(hex::encode),
            "customer_key_check": envelope.customer.as_ref().map(|check| hex::encode(check.check)),
            "encryption_context": envelope.context,
            "commitment": hex::encode(envelope.commitment),
        },
        "user_metadata": version.meta.user,
    }))
}
