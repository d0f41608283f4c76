//! One file a blob: `BUCKET/SLOT/REST`, where SLOT is the first 28 bits of the owner's time, about 17 minutes. Listing in order is
//! walking directories in order, and no directory grows beyond what 17 minutes bring.

use crate::sync_directory;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};
use tresor_envelope::{CipherStream, SealedBody};
use tresor_storage::{BlobError, BlobId, BlobStore, BlobTree, Surveyed};

/// Bytes handed to the disk at once.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes read at once; the next piece is read while this one is opened.
const READ_BYTES: u64 = 256 << 10;
/// How often a blob's directory is made again when it vanishes before the blob is in it.
const CREATE_ATTEMPTS: usize = 16;
/// Directories remembered as durable.
const MAX_KNOWN: usize = 10_000;
const BUCKET_DIGITS: usize = 32;
const SLOT_DIGITS: usize = 7;

/// Blobs below one directory.
#[derive(Debug)]
pub struct FsBlobs {
    root: PathBuf,
    known: Arc<Mutex<HashSet<PathBuf>>>,
}

impl FsBlobs {
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        if let Some(parent) = root.parent() {
            sync_directory(parent)?;
        }
        Ok(Self { root: root.to_owned(), known: Arc::default() })
    }

    /// For reading only: nothing is made, and a directory that is missing holds no blobs.
    pub fn reading(root: &Path) -> Self {
        Self { root: root.to_owned(), known: Arc::default() }
    }

    /// The directory and the file of a blob.
    fn place(&self, id: &BlobId) -> (PathBuf, PathBuf) {
        let name = id.to_string();
        let (bucket, rest) = name.split_at(BUCKET_DIGITS);
        let (slot, rest) = rest.split_at(SLOT_DIGITS);
        let directory = self.root.join(bucket).join(slot);
        let file = directory.join(rest);
        (directory, file)
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the directory of a blob durable, from the root down.
fn prepare(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut above = directory.parent();
    for _ in 0..2 {
        let Some(parent) = above else { break };
        sync_directory(parent)?;
        above = parent.parent();
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[async_trait]
impl BlobStore for FsBlobs {
    async fn write(&self, id: &BlobId, body: &mut SealedBody) -> Result<u64, BlobError> {
        let (directory, path) = self.place(id);
        let known = Arc::clone(&self.known);
        let (at, home) = (path.clone(), directory.clone());
        let file = blocking(move || {
            let mut known = known.lock().map_err(|_| io::Error::other("a lock is poisoned"))?;
            if !known.contains(&home) {
                prepare(&home)?;
                if known.len() >= MAX_KNOWN {
                    known.clear();
                }
                known.insert(home.clone());
            }
            drop(known);
            // Removing the last blob of a directory removes the directory, perhaps again right after it was made.
            for _ in 0..CREATE_ATTEMPTS {
                match create(&at) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => prepare(&home)?,
                    other => return other,
                }
            }
            create(&at)
        })
        .await?;
        let file = Arc::new(file);
        let mut length = 0;
        let mut pending = Vec::with_capacity(WRITE_BYTES + 128 * 1024);
        let mut writing: Option<JoinHandle<io::Result<()>>> = None;
        while let Some(chunk) = body.next().await? {
            length += chunk.len() as u64;
            pending.extend_from_slice(&chunk);
            if pending.len() >= WRITE_BYTES {
                // One write is on its way while the next piece is received and sealed.
                if let Some(before) = writing.take() {
                    before.await.map_err(io::Error::other)??;
                }
                let full = std::mem::replace(&mut pending, Vec::with_capacity(WRITE_BYTES + 128 * 1024));
                let to = Arc::clone(&file);
                writing = Some(spawn_blocking(move || (&*to).write_all(&full)));
            }
        }
        if let Some(before) = writing {
            before.await.map_err(io::Error::other)??;
        }
        blocking(move || {
            (&*file).write_all(&pending)?;
            file.sync_data()?;
            sync_directory(&directory)
        })
        .await?;
        Ok(length)
    }

    async fn read(&self, id: &BlobId, range: Range<u64>) -> io::Result<CipherStream> {
        let (_, path) = self.place(id);
        let reader = blocking(move || {
            let file = File::open(path)?;
            if range.start > range.end || file.metadata()?.len() < range.end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let file = Arc::new(file);
            let first = (range.start < range.end).then(|| piece(&file, &range)).transpose()?;
            Ok(Reading {
                file,
                at: range.start + first.as_ref().map_or(0, |b: &Bytes| b.len() as u64),
                end: range.end,
                first,
                next: None,
            })
        })
        .await?;
        Ok(CipherStream::new(stream::unfold(Some(reader), Reading::step)))
    }

    async fn remove(&self, id: &BlobId) -> io::Result<()> {
        let (directory, path) = self.place(id);
        blocking(move || {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Only an empty directory goes; whoever needs it again makes it again.
            drop(fs::remove_dir(directory));
            Ok(())
        })
        .await
    }

    async fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Vec<BlobId>> {
        let root = self.root.clone();
        blocking(move || {
            let after = after.map(|id| id.to_string()).unwrap_or_default();
            let mut found = Vec::new();
            for bucket in names(&root)? {
                if bucket.as_str() < after.get(..BUCKET_DIGITS).unwrap_or_default() {
                    continue;
                }
                for slot in names(&root.join(&bucket))? {
                    let above = format!("{bucket}{slot}");
                    if above.as_str() < after.get(..above.len()).unwrap_or_default() {
                        continue;
                    }
                    for rest in names(&root.join(&bucket).join(&slot))? {
                        let name = format!("{above}{rest}");
                        if name <= after {
                            continue;
                        }
                        if found.len() == limit {
                            return Ok(found);
                        }
                        match name.parse() {
                            Ok(id) => found.push(id),
                            Err(_) => tracing::warn!(name, "a file among the blobs is not a blob"),
                        }
                    }
                }
            }
            Ok(found)
        })
        .await
    }
}

#[async_trait]
impl BlobTree for FsBlobs {
    async fn survey(&self, out: mpsc::Sender<Surveyed>) -> io::Result<()> {
        let root = self.root.clone();
        blocking(move || walk(&root, "", &out).map(drop)).await
    }

    async fn sample(&self, path: &str, bytes: usize) -> io::Result<Vec<u8>> {
        let path = self.root.join(path);
        blocking(move || {
            let mut sample = Vec::new();
            // Only files: opening a pipe would wait, and a link leads elsewhere.
            if !fs::symlink_metadata(&path)?.is_file() {
                return Ok(sample);
            }
            File::open(path)?.take(bytes as u64).read_to_end(&mut sample)?;
            Ok(sample)
        })
        .await
    }
}

/// Sends every file below a directory; false when nobody takes them any more.
fn walk(directory: &Path, path: &str, out: &mpsc::Sender<Surveyed>) -> io::Result<bool> {
    for name in names(directory)? {
        let (file, path) = (directory.join(&name), if path.is_empty() { name } else { format!("{path}/{name}") });
        let about = match fs::symlink_metadata(&file) {
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            about => about?,
        };
        let goes_on = match about.is_dir() {
            true => walk(&file, &path, out)?,
            false => {
                let mut found = Surveyed::new(path, about.len());
                found.blob = found.blob.filter(|_| about.is_file());
                out.blocking_send(found).is_ok()
            }
        };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names in a directory, ascending; none if it is gone.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let names: io::Result<Vec<_>> =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
    let mut names = names?;
    names.sort_unstable();
    Ok(names)
}

/// A range on its way out, one piece ahead.
struct Reading {
    file: Arc<File>,
    at: u64,
    end: u64,
    first: Option<Bytes>,
    next: Option<JoinHandle<io::Result<Bytes>>>,
}

fn piece(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let mut bytes = vec![0; (range.end - range.start).min(READ_BYTES) as usize];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

impl Reading {
    fn read_ahead(&mut self) {
        if self.at < self.end {
            let (file, range) = (Arc::clone(&self.file), self.at..self.end);
            self.at += (range.end - range.start).min(READ_BYTES);
            self.next = Some(spawn_blocking(move || piece(&file, &range)));
        }
    }

    async fn step(this: Option<Self>) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let mut this = this?;
        let bytes = match (this.first.take(), this.next.take()) {
            (Some(first), _) => Ok(first),
            (None, Some(next)) => next.await.map_err(io::Error::other).flatten(),
            (None, None) => return None,
        };
        match bytes {
            Ok(bytes) => {
                this.read_ahead();
                Some((Ok(bytes), Some(this)))
            }
            Err(error) => Some((Err(error), None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        tresor_storage::conformance::blobs(&FsBlobs::open(&directory.path().join("blobs")).unwrap()).await;
    }
}
