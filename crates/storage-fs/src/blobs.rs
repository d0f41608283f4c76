//! One file a blob: `BUCKET/SLOT/REST`, where SLOT is the first 28 bits of the owner's time, about 17 minutes. Listing in order is
//! walking directories in order, and no directory grows beyond what 17 minutes bring.

use crate::{reading, sync_directory, warming::Warming, writing};
use async_trait::async_trait;
use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::{sync::mpsc, task::spawn_blocking};
use tresor_buffers::BufferPool;
use tresor_envelope::{CipherStream, SealedBody};
use tresor_storage::{BlobError, BlobId, BlobStore, BlobTree, Surveyed};

/// How often a blob's directory is made again when it vanishes before the blob is in it.
const CREATE_ATTEMPTS: usize = 16;
/// Directories remembered as durable.
const MAX_KNOWN: usize = 10_000;
const BUCKET_DIGITS: usize = 32;
const SLOT_DIGITS: usize = 7;

/// What readers get by who only looks: `tresor verify`.
const READING_BYTES: usize = 16 << 20;

/// Blobs below one directory.
#[derive(Debug)]
pub struct FsBlobs {
    root: PathBuf,
    known: Arc<Mutex<HashSet<PathBuf>>>,
    pool: BufferPool,
    warming: Warming,
}

impl FsBlobs {
    /// `pool` is what bodies lie in on their way to the disk and back.
    pub fn open(root: &Path, pool: BufferPool) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        if let Some(parent) = root.parent() {
            sync_directory(parent)?;
        }
        Ok(Self { root: root.to_owned(), known: Arc::default(), pool, warming: Warming::default() })
    }

    /// For reading only: nothing is made, and a directory that is missing holds no blobs.
    pub fn reading(root: &Path) -> Self {
        let pool = BufferPool::new(READING_BYTES);
        Self { root: root.to_owned(), known: Arc::default(), pool, warming: Warming::default() }
    }

    fn place(&self, id: &BlobId) -> Place {
        let name = id.to_string();
        let (bucket, rest) = name.split_at(BUCKET_DIGITS);
        let (slot, rest) = rest.split_at(SLOT_DIGITS);
        let directory = self.root.join(bucket).join(slot);
        let file = directory.join(rest);
        Place { directory, file, known: Arc::clone(&self.known) }
    }
}

/// Where a blob lies.
pub(crate) struct Place {
    pub directory: PathBuf,
    pub file: PathBuf,
    known: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Place {
    /// Makes the blob's file, and what is missing above it.
    pub(crate) fn create(&self) -> io::Result<File> {
        let mut known = self.known.lock().map_err(|_| io::Error::other("a lock is poisoned"))?;
        if !known.contains(&self.directory) {
            prepare(&self.directory)?;
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(self.directory.clone());
        }
        drop(known);
        // Removing the last blob of a directory removes the directory, perhaps again right after it was made.
        for _ in 0..CREATE_ATTEMPTS {
            match create(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => prepare(&self.directory)?,
                other => return other,
            }
        }
        create(&self.file)
    }

    /// Removes the blob's file, if it is there, and its directory, if that is empty then.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Only an empty directory goes; whoever needs it again makes it again.
        drop(fs::remove_dir(&self.directory));
        Ok(())
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

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[async_trait]
impl BlobStore for FsBlobs {
    async fn write(&self, id: &BlobId, body: &mut SealedBody) -> Result<u64, BlobError> {
        writing::write(self.place(id), &self.pool, body).await
    }

    async fn read(&self, id: &BlobId, range: Range<u64>, unit: usize) -> io::Result<CipherStream> {
        reading::read(self.place(id).file, (&self.pool, &self.warming), range, unit).await
    }

    async fn remove(&self, id: &BlobId) -> io::Result<()> {
        let place = self.place(id);
        blocking(move || place.remove()).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        tresor_storage::conformance::blobs(
            &FsBlobs::open(&directory.path().join("blobs"), BufferPool::new(16 << 20)).unwrap(),
        )
        .await;
    }
}
