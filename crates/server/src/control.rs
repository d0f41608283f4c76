//! The control socket: commands of the command line, run by the server that holds the data directory. One line of JSON each way.

use crate::{
    assemble::Parts,
    commands::{self, Command},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

/// The longest command, in bytes.
const MAX_COMMAND: u64 = 64 * 1024;
const COMMAND_TIME: Duration = Duration::from_secs(60);

pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// Listens, readable and writable by the owner only. The lock of the directory is held, so a socket that is there is stale.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = path(data_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The directory is 0700, so nobody connects between the two steps.
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers commands until the task is dropped, one at a time.
pub async fn serve(listener: UnixListener, parts: Arc<Parts>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match tokio::time::timeout(COMMAND_TIME, answer(stream, &parts)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a command broke off"),
                Err(_) => tracing::warn!("a command took too long"),
            },
            Err(error) => {
                tracing::warn!(%error, "the control socket failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, parts: &Parts) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(MAX_COMMAND).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Command>(&line) {
        Ok(command) => match commands::run(parts, command).await {
            Ok(value) => Answer::Ok(value),
            Err(why) => Answer::Error(why),
        },
        Err(error) => Answer::Error(format!("the server does not know this command: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await
}

/// Sends a command to a running server; `None` when none runs.
pub async fn send(data_dir: &Path, command: &Command) -> io::Result<Option<Result<Value, String>>> {
    let mut stream = match UnixStream::connect(path(data_dir)).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        other => other?,
    };
    let mut bytes = serde_json::to_vec(command)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(Some(match serde_json::from_str(&text)? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(why) => Err(why),
    }))
}
