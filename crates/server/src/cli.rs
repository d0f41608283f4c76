//! Flags and subcommands.

use crate::{
    assemble::{assemble, rotate_root},
    backup,
    commands::{self, AuditAction, Command, KeyAction},
    config::{Config, LogFormat, Provider},
    control,
    machine::Secrets,
    operations, policy, serve,
    users::UserAction,
    verify::{self, Said},
};
use clap::{Args, Parser, Subcommand};
use indicatif::{HumanBytes, ProgressBar};
use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};
use tracing_subscriber::EnvFilter;
use tresor_bench::BenchArgs;

#[derive(Parser)]
#[command(name = "tresor", version, about = "An S3-compatible object store whose server-side encryption is real.")]
struct Cli {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Args, Clone, Default)]
struct Place {
    /// The configuration file (TOML).
    #[arg(long, global = true, env = "TRESOR_CONFIG")]
    config: Option<PathBuf>,
    /// Where the data lies. A running server is found there; a stopped store needs its root key too, from the configuration or --dev.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// The file that holds the root key; outside of the data directory.
    #[arg(long, global = true)]
    root_key_file: Option<PathBuf>,
    /// For development: SSE-C and SSE-KMS over HTTP, generated root key, CA and certificate. Loopback only.
    #[arg(long, global = true)]
    dev: bool,
}

#[derive(Subcommand)]
enum Sub {
    /// Runs the server.
    Serve {
        #[command(flatten)]
        place: Place,
        /// Where HTTP is answered: ADDRESS:PORT.
        #[arg(long)]
        listen: Option<String>,
        /// Where HTTPS is answered.
        #[arg(long)]
        tls_listen: Option<String>,
        /// Where /live and /ready are answered.
        #[arg(long)]
        admin_listen: Option<String>,
    },
    /// Works on the configuration.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Prints the operations of S3, KMS, CloudTrail, IAM and STS and which of them answer.
    Operations {
        #[arg(long)]
        json: bool,
        #[arg(long, conflicts_with = "json")]
        markdown: bool,
    },
    /// Works on KMS keys.
    Keys {
        #[command(flatten)]
        place: Place,
        /// The account whose keys are meant; the first declared one if it is not said.
        #[arg(long, global = true)]
        account: Option<String>,
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Judges policies: of files, or of what is stored.
    Policy {
        #[command(subcommand)]
        action: PolicyAction,
    },
    /// Works on the root key.
    Root {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        action: RootAction,
    },
    /// Users and their access keys.
    User {
        #[command(flatten)]
        place: Place,
        /// The account; the first one of the configuration when nothing is said.
        #[arg(long, global = true)]
        account: Option<String>,
        #[command(subcommand)]
        action: UserAction,
    },
    /// Reads and proves the audit trail.
    Audit {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        action: AuditAction,
    },
    /// Looks at every record, chunk and file and says what is wrong; changes nothing. The exit status is 1 when something is.
    Verify {
        #[command(flatten)]
        place: Place,
        /// One JSON document instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Shows what lies beside an object's ciphertext.
    Inspect {
        #[command(flatten)]
        place: Place,
        bucket: String,
        key: String,
    },
    /// Makes load on S3 endpoints and measures them side by side. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
    /// or from a file of endpoints; AWS_SHARED_CREDENTIALS_FILE is not read.
    Bench(Box<BenchArgs>),
}

#[derive(Subcommand)]
enum PolicyAction {
    /// Runs a file of cases, each a set of policies, a request and the expected decision, and prints each failure. The exit status is 1
    /// when a case fails, 2 when the file cannot be read.
    Check { file: PathBuf },
    /// Tells which statement decides a request and what it saw. The policies and the request come from a file, as a case of `check` does,
    /// or the question is asked of what is stored: policies, lists, tags and grants as they are in the data directory now, by the server
    /// that runs on it, or here when none does. `also_needed` in the answer is what S3 asks of the KMS key for a PutObject or GetObject:
    /// both must be allowed.
    Explain(Box<ExplainArgs>),
    /// Tells which uploads a bucket policy lets through, and warns where it does not do what it seems to.
    Lint { file: PathBuf },
}

#[derive(Args)]
struct ExplainArgs {
    #[arg(required_unless_present = "action", conflicts_with_all = ["action", "principal", "resource"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    asked: policy::Asked,
    #[command(flatten)]
    place: Place,
    /// The account of a user who is named by his name; the first one of the configuration when nothing is said.
    #[arg(long)]
    account: Option<String>,
}

/// A file that was named and cannot be read: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

#[derive(Subcommand)]
enum RootAction {
    /// Draws a new root key and wraps the store under it. The server must be stopped; afterwards the configuration names the new file.
    Rotate {
        /// Where the new key is written; the file must not exist, and must not lie in the data directory.
        new_file: PathBuf,
    },
}

#[derive(Subcommand)]
enum ConfigAction {
    /// Reads the configuration and says what is wrong with it.
    Check {
        #[command(flatten)]
        place: Place,
    },
}

type BoxError = Box<dyn std::error::Error>;

/// Runs what the command line says.
pub fn run(secrets: Secrets) -> Result<(), BoxError> {
    match Cli::parse().command {
        Sub::Serve { place, listen, tls_listen, admin_listen } => {
            let mut config = load(&place)?;
            if let Some(listen) = listen {
                config.server.listen = listen;
            }
            if tls_listen.is_some() {
                config.server.tls_listen = tls_listen;
            }
            if let Some(admin_listen) = admin_listen {
                config.server.admin_listen = admin_listen;
            }
            start_log(&config)?;
            Ok(runtime()?.block_on(serve::serve(config, place.dev, secrets))?)
        }
        Sub::Config { action: ConfigAction::Check { place } } => {
            let config = load(&place)?;
            filter(&config)?;
            runtime()?.block_on(serve::check(&config, place.dev, &secrets))?;
            print(&format!(
                "the configuration is valid: {} accounts, {} KMS keys",
                config.account.len(),
                config.kms.key.len()
            ))
        }
        Sub::Operations { json: true, .. } => print(&operations::json()),
        Sub::Operations { markdown: true, .. } => print(&operations::markdown()),
        Sub::Operations { .. } => print(&operations::text()),
        Sub::Keys { place, account, action: KeyAction::Restore { from, erasure_from } } => {
            let mut config = load(&place)?;
            // A declared key must come back from the backup, not be made anew before it.
            config.kms.key.clear();
            backup::prepare(&config.data_dir, &from, erasure_from.as_deref())?;
            let restore = Command::Keys { account, action: KeyAction::Restore { from, erasure_from } };
            let answer = runtime()?.block_on(async {
                // Takes the directory's lock, so no server runs meanwhile.
                let parts = assemble(&config, place.dev, &secrets).await?;
                Ok::<_, BoxError>(commands::run(&parts, restore).await)
            })?;
            print(&serde_json::to_string_pretty(&answer?)?)
        }
        Sub::Keys { place, account, action: KeyAction::Backup { to, erasure_to } } => {
            // The running server writes it, from another working directory.
            let (to, erasure_to) = (std::path::absolute(to)?, std::path::absolute(erasure_to)?);
            command(&place, Command::Keys { account, action: KeyAction::Backup { to, erasure_to } }, &secrets)
        }
        Sub::Keys { place, account, action } => command(&place, Command::Keys { account, action }, &secrets),
        Sub::Policy { action: PolicyAction::Check { file } } => {
            let report = policy::check(&file).map_err(Unreadable)?;
            for (id, wrong) in &report.failed {
                print(&format!("{id}: {wrong}"))?;
            }
            print(&format!("{} passed, {} failed", report.passed, report.failed.len()))?;
            if report.failed.is_empty() { Ok(()) } else { Err("not every case passed".into()) }
        }
        Sub::Policy { action: PolicyAction::Explain(args) } => match *args {
            ExplainArgs { file: None, asked, place, account } => {
                command(&place, Command::Explain { account, asked }, &secrets)
            }
            ExplainArgs { file: Some(file), .. } => {
                print(&serde_json::to_string_pretty(&policy::explain(&file).map_err(Unreadable)?)?)
            }
        },
        Sub::Policy { action: PolicyAction::Lint { file } } => print(&policy::lint(&file).map_err(Unreadable)?),
        Sub::Root { place, action: RootAction::Rotate { new_file } } => {
            rotate_root(&load(&place)?, place.dev, &secrets, &new_file)?;
            print(&format!(
                "the store opens with {} from now on: name it in [root_key] path, keep a copy, and make a new key backup: older ones open with the old root key alone",
                new_file.display()
            ))
        }
        Sub::User { place, account, action } => {
            let action = match action {
                // The running server may not see the caller's files.
                UserAction::Add { name, policy: Some(policy), .. } => {
                    let document = std::fs::read_to_string(&policy)
                        .map_err(|error| format!("the policy {} cannot be read: {error}", policy.display()))?;
                    UserAction::Add { name, policy: Some(policy), document: Some(document) }
                }
                other => other,
            };
            command(&place, Command::Users { account, action }, &secrets)
        }
        Sub::Audit { place, action } => command(&place, Command::Audit { action }, &secrets),
        Sub::Verify { place, json } => look(&place, json, &secrets),
        Sub::Bench(args) => Ok(tresor_bench::bench(*args)?),
        Sub::Inspect { place, bucket, key } => command(&place, Command::Inspect { bucket, key }, &secrets),
    }
}

/// Standard output took no more.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written: {0}")]
pub struct Unheard(std::io::Error);

impl Unheard {
    /// Whoever read it went away, as `head` does: nothing to complain about.
    pub fn is_closed(&self) -> bool {
        self.0.kind() == std::io::ErrorKind::BrokenPipe
    }
}

fn print(text: &str) -> Result<(), BoxError> {
    writeln!(std::io::stdout(), "{}", text.trim_end()).map_err(|error| Unheard(error).into())
}

fn load(place: &Place) -> Result<Config, BoxError> {
    let mut config = Config::load(place.config.as_deref(), |name| std::env::var(name).ok())?;
    if let Some(data_dir) = &place.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if let Some(path) = &place.root_key_file {
        config.root_key.provider = Some(Provider::File);
        config.root_key.path = Some(path.clone());
    }
    Ok(config)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn filter(config: &Config) -> Result<EnvFilter, BoxError> {
    config.log.filter.parse().map_err(|error| format!("[log] filter {:?}: {error}", config.log.filter).into())
}

fn start_log(config: &Config) -> Result<(), BoxError> {
    let filter = filter(config)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Verifies the store: by the server that runs on the directory, or here, reading only.
fn look(place: &Place, json: bool, secrets: &Secrets) -> Result<(), BoxError> {
    let config = load(place)?;
    let bar = ProgressBar::new_spinner().with_message("looking at the store");
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let mut report = serde_json::Value::Null;
    let mut heard = Ok(());
    let mut say = |said: Said| match said {
        Said::Progress { objects, bytes } => {
            bar.set_message(format!("{objects} objects, {} authenticated", HumanBytes(bytes)));
        }
        Said::Problem(wrong) if !json && heard.is_ok() => bar.suspend(|| {
            let bucket = if wrong.bucket.is_empty() { String::new() } else { format!("{}/", wrong.bucket) };
            let line = format!("{}: {bucket}{}: {}", wrong.kind, wrong.name, wrong.what);
            heard = writeln!(std::io::stdout(), "{line}").map_err(Unheard);
        }),
        Said::Problem(_) => {}
        Said::Report(value) => report = value,
    };
    let outcome = runtime()?.block_on(async {
        match control::verify(&config.data_dir, &mut say).await? {
            Some(outcome) => Ok::<_, BoxError>(outcome),
            None => {
                let subject = verify::stopped(&config, place.dev, secrets).await?;
                Ok(verify::verify(&subject, &mut say).await)
            }
        }
    })?;
    bar.finish_and_clear();
    heard?;
    outcome?;
    if json {
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&verify::summary(&report))?;
    }
    match report["problem_count"].as_u64() {
        Some(0) => Ok(()),
        _ => Err(format!("{} problems were found", report["problem_count"]).into()),
    }
}

/// By the server that runs on the directory, or here when none does.
fn command(place: &Place, command: Command, secrets: &Secrets) -> Result<(), BoxError> {
    let config = load(place)?;
    let answer = runtime()?.block_on(async {
        match control::send(&config.data_dir, &command).await? {
            Some(answer) => Ok::<_, BoxError>(answer),
            None => {
                let parts = assemble(&config, place.dev, secrets).await?;
                Ok(commands::run(&parts, command).await)
            }
        }
    })?;
    print(&serde_json::to_string_pretty(&answer?)?)
}
