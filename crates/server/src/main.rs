//! The `tresor` binary: flags, configuration, assembly, and commands. Must never hold logic that another crate needs.

mod assemble;
mod backup;
mod cli;
mod commands;
mod config;
mod control;
mod credentials;
mod files;
mod machine;
mod metrics;
mod mirror;
mod operations;
mod policy;
mod recorder;
mod root_key;
mod serve;
mod users;
mod verify;

use std::process::ExitCode;

/// Many small pieces live for one request: docs/decisions/0007.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As shells count a program whose reader went away.
const ENDED_BY_SIGPIPE: u8 = 141;

fn main() -> ExitCode {
    // Before any thread exists: the secrets of the environment are taken out of it.
    let secrets = machine::take_secrets();
    machine::forbid_core_dumps();
    match secrets.map_err(Into::into).and_then(cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref::<cli::Unheard>().is_some_and(cli::Unheard::is_closed) => {
            ExitCode::from(ENDED_BY_SIGPIPE)
        }
        Err(error) if error.is::<cli::Unreadable>() => {
            eprintln!("tresor: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("tresor: {error}");
            ExitCode::FAILURE
        }
    }
}
