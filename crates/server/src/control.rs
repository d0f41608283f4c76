//! The control socket: commands of the command line, run by the server that holds the data directory. One line of JSON each way.

use crate::{
    assemble::Parts,
    commands::{self, Command},
    verify::{self, Said},
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
    sync::{Semaphore, mpsc},
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
    /// One line of several, before the last.
    Said(Said),
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

/// Answers commands until the task is dropped, one at a time. Looking at everything takes long, so it goes on beside them.
pub async fn serve(listener: UnixListener, parts: Arc<Parts>) {
    let looking = Arc::new(Semaphore::new(1));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match tokio::time::timeout(COMMAND_TIME, answer(stream, &parts, &looking)).await {
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

async fn answer(stream: UnixStream, parts: &Arc<Parts>, looking: &Arc<Semaphore>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(MAX_COMMAND).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Command>(&line) {
        Ok(Command::Verify) => match Arc::clone(looking).try_acquire_owned() {
            Ok(permit) => {
                let parts = Arc::clone(parts);
                tokio::spawn(async move {
                    if let Err(error) = tell(stream, &parts).await {
                        tracing::debug!(%error, "nobody listens to a verification any more");
                    }
                    drop(permit);
                });
                return Ok(());
            }
            Err(_) => Answer::Error("the store is being verified already".into()),
        },
        Ok(command) => match commands::run(parts, command).await {
            Ok(value) => Answer::Ok(value),
            Err(why) => Answer::Error(why),
        },
        Err(error) => Answer::Error(format!("the server does not know this command: {error}")),
    };
    write(&mut stream, &answer).await
}

async fn write(stream: &mut BufReader<UnixStream>, answer: &Answer) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(answer)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await
}

/// Verifies, and tells it line by line; ends with a client that goes away.
async fn tell(mut stream: BufReader<UnixStream>, parts: &Parts) -> io::Result<()> {
    // What waits here is bounded: problems are shown up to a limit, and progress comes at most five times a second.
    let (say, mut said) = mpsc::unbounded_channel();
    let subject = verify::running(parts);
    let mut speak = |line: Said| drop(say.send(line));
    let looking = verify::verify(&subject, &mut speak);
    tokio::pin!(looking);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(line) = said.recv() => write(&mut stream, &Answer::Said(line)).await?,
            outcome = &mut looking => break outcome,
        }
    };
    while let Ok(line) = said.try_recv() {
        write(&mut stream, &Answer::Said(line)).await?;
    }
    let last = outcome.map_or_else(Answer::Error, |()| Answer::Ok(Value::Null));
    write(&mut stream, &last).await
}

/// Lets a running server verify; false when none runs.
pub async fn verify(data_dir: &Path, say: &mut (dyn FnMut(Said) + Send)) -> io::Result<Option<Result<(), String>>> {
    let Some(mut stream) = connect(data_dir, &Command::Verify).await? else { return Ok(None) };
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server ended before it had looked at everything",
            ));
        }
        match serde_json::from_str(&line)? {
            Answer::Said(said) => say(said),
            Answer::Ok(_) => return Ok(Some(Ok(()))),
            Answer::Error(why) => return Ok(Some(Err(why))),
        }
    }
}

async fn connect(data_dir: &Path, command: &Command) -> io::Result<Option<BufReader<UnixStream>>> {
    let mut stream = match UnixStream::connect(path(data_dir)).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        other => other?,
    };
    let mut bytes = serde_json::to_vec(command)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    Ok(Some(BufReader::new(stream)))
}

/// Sends a command to a running server; `None` when none runs.
pub async fn send(data_dir: &Path, command: &Command) -> io::Result<Option<Result<Value, String>>> {
    let Some(mut stream) = connect(data_dir, command).await? else { return Ok(None) };
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(Some(match serde_json::from_str(&text)? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(why) => Err(why),
        Answer::Said(_) => Err("the server answered something else".into()),
    }))
}
