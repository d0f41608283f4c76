//! The flags of `tresor bench`.

use crate::{
    case::{Encryption, Operation, Size},
    client::Payload,
    worker::Verify,
};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// More clients than this measure the client.
pub(crate) const MAX_CONCURRENCY: usize = 512;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Answers PUT, GET, HEAD, DELETE, LIST and uploads without a store, authentication or metadata: the limit line of a machine.
    Sink(SinkArgs),
    /// Makes the HTML and PNG files of runs that were kept as JSON.
    Report(ReportArgs),
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "put,get")]
    pub op: Vec<Operation>,
    /// Where: URL, NAME=URL, or a name of the targets file; several are measured in turns, the first is the base of ratios.
    #[arg(long, value_delimiter = ',')]
    pub endpoint: Vec<String>,
    /// Endpoints with their credentials, TOML or JSON; mode 0600.
    #[arg(long)]
    pub targets: Option<PathBuf>,
    /// The region that signatures name.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub region: String,
    /// Made when it is missing.
    #[arg(long, default_value = "tresor-bench")]
    pub bucket: String,
    /// PEM to trust, instead of the system's.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// Sizes of objects: 4096, 4KiB, 16MiB, 1GiB.
    #[arg(long, value_delimiter = ',', default_value = "4KiB")]
    pub size: Vec<Size>,
    /// Connections, each with one request in flight.
    #[arg(long, value_delimiter = ',', default_value = "8")]
    pub concurrency: Vec<usize>,
    /// Encryption that writes ask for.
    #[arg(long, value_delimiter = ',', default_value = "none")]
    pub sse: Vec<Encryption>,
    /// The key of SSE-KMS; the account's default key when it is not said.
    #[arg(long)]
    pub kms_key: Option<String>,
    /// How bodies are signed and framed.
    #[arg(long, value_delimiter = ',', default_value = "unsigned")]
    pub payload: Vec<Payload>,
    /// Objects to read, list or delete; by default as many as fit into 256 MiB, at most 1000.
    #[arg(long)]
    pub objects: Option<u64>,
    /// Bytes of a range.
    #[arg(long, default_value = "64KiB")]
    pub range: Size,
    /// Bytes of a part.
    #[arg(long, default_value = "16MiB")]
    pub part: Size,
    /// Keys of a LIST page.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub page: u32,
    /// Seconds of a round.
    #[arg(long, default_value_t = 5.0)]
    pub duration: f64,
    /// Seconds before a round that do not count.
    #[arg(long, default_value_t = 0.3)]
    pub warm_up: f64,
    /// Requests of a round at most (uploads, for multipart); 0 is no limit.
    #[arg(long, default_value_t = 0)]
    pub requests: u64,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How much of what is read is compared with what was written.
    #[arg(long, value_enum, default_value = "sample")]
    pub verify: Verify,
    /// The server's processes, whose processor time is counted; found by the port when it is on this machine.
    #[arg(long, value_delimiter = ',')]
    pub server_pid: Vec<i32>,
    /// Stops the servers on this machine while it is another one's turn, so that nobody pays for what they do in the background. They go
    /// on at the end; a bench that is killed leaves them stopped (kill -CONT).
    #[arg(long)]
    pub hold_others: bool,
    /// Keys of this run begin with it; with --keep, objects that are there already are read again.
    #[arg(long)]
    pub prefix: Option<String>,
    /// Leaves the objects.
    #[arg(long)]
    pub keep: bool,
    /// Where the JSON document goes; "-" is the standard output, instead of the table.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Where a report with charts goes, one self-contained file.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Where the charts go as a picture.
    #[arg(long)]
    pub png: Option<PathBuf>,
    /// No progress bar.
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// What `--json` wrote; several are put into one report.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[arg(long)]
    pub html: Option<PathBuf>,
    #[arg(long)]
    pub png: Option<PathBuf>,
}

/// Where the sink's bodies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SinkStore {
    /// Nowhere: HTTP alone.
    Null,
    /// Memory.
    Memory,
    /// A file each.
    File,
    /// Up to 1 MiB one log, with group commit; above it a file each.
    Log,
}

#[derive(Args)]
pub(crate) struct SinkArgs {
    /// ADDRESS:PORT of loopback; with port 0 the one that was taken is printed.
    #[arg(long, default_value = "127.0.0.1:9900")]
    pub listen: std::net::SocketAddr,
    #[arg(long, value_enum, default_value = "log")]
    pub store: SinkStore,
    /// A directory for the stores that have files. Files in it may be overwritten.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// fdatasync before the answer.
    #[arg(long)]
    pub fsync: bool,
    /// The MD5 of every body, as the ETag.
    #[arg(long)]
    pub md5: bool,
    /// AES-256-GCM of every 64 KiB.
    #[arg(long)]
    pub gcm: bool,
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// Bytes of the log, written once at the start; behind its end it begins again over the oldest bodies.
    #[arg(long, default_value = "1GiB")]
    pub log_size: Size,
    /// Bytes that `memory` keeps; what comes later is forgotten.
    #[arg(long, default_value = "1GiB")]
    pub memory_limit: Size,
}
