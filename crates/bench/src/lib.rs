//! `tresor bench`: makes load on any S3 endpoint, measures several side by side in one run, checks what it reads, and reports. `tresor
//! bench sink` is the limit line: what HTTP and the disk allow on this machine without a store around them.
//! Must never be linked by what answers clients, and must never print a secret.

mod args;
mod body;
mod case;
mod client;
mod measure;
mod process;
mod report;
mod run;
mod sink;
mod targets;
mod worker;

pub use args::BenchArgs;
pub use case::{Case, Encryption, Operation, Size};
pub use client::Payload;
pub use report::Report;

/// What benches/hot_paths.rs measures.
#[doc(hidden)]
pub mod client_parts {
    pub use crate::client::{Credentials, Signer};
}

/// Why a run ended early, or what it found wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BenchError(String);

impl From<String> for BenchError {
    fn from(what: String) -> Self {
        Self(what)
    }
}

/// Does what the command line says. Errors: what cannot be done, or that answers were errors or not what was written; the
/// report is written all the same.
pub fn bench(args: BenchArgs) -> Result<(), BenchError> {
    match args.command {
        Some(args::BenchCommand::Sink(sink)) => Ok(sink::run(sink)?),
        Some(args::BenchCommand::Report(report)) => Ok(run::report(&report)?),
        None => Ok(run::run(args.run)?),
    }
}
