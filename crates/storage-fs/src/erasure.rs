//! One small file a KMS key, outside of the database: destroying it destroys the key in every old copy of the database.

use crate::sync_directory;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use tresor_kms::ErasureSecrets;
use zeroize::Zeroizing;

/// More than any secret has, in bytes.
const MAX_SECRET: usize = 4096;

#[derive(Debug)]
pub struct ErasureFiles(PathBuf);

impl ErasureFiles {
    pub fn open(directory: &Path) -> io::Result<Self> {
        // A relative path of one word has no parent to sync.
        let directory = std::path::absolute(directory)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        if let Some(parent) = directory.parent() {
            sync_directory(parent)?;
        }
        Ok(Self(directory))
    }

    /// For reading only: nothing is made.
    pub fn reading(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The names of all secrets, and of what a crash left of one (`NAME.new`).
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Key ids are letters, digits and dashes; anything else names no file.
    fn path(&self, key_id: &str) -> io::Result<PathBuf> {
        if key_id.is_empty() || !key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.0.join(key_id))
    }
}

impl ErasureSecrets for ErasureFiles {
    fn get(&self, key_id: &str) -> io::Result<Option<Zeroizing<[u8; 32]>>> {
        match fs::read(self.path(key_id)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let secret: [u8; 32] = bytes[..].try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                Ok(Some(Zeroizing::new(secret)))
            }
        }
    }

    fn put(&self, key_id: &str, secret: &[u8; 32]) -> io::Result<()> {
        let path = self.path(key_id)?;
        // Whole or not at all: a crash between the steps leaves a temporary file, never half a secret.
        let temporary = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(secret)?;
        file.sync_all()?;
        fs::hard_link(&temporary, &path)?;
        fs::remove_file(&temporary)?;
        sync_directory(&self.0)
    }

    fn destroy(&self, key_id: &str) -> io::Result<()> {
        let path = self.path(key_id)?;
        // A crash while it was made may have left the secret under its temporary name.
        for path in [path.with_extension("new"), path] {
            let mut file = match OpenOptions::new().write(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(MAX_SECRET);
            file.write_all(&vec![0; length])?;
            file.sync_all()?;
            fs::remove_file(&path)?;
        }
        sync_directory(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let files = ErasureFiles::open(&directory.path().join("erasure")).unwrap();
        assert_eq!(files.get("key-1").unwrap(), None);
        files.put("key-1", &[5; 32]).unwrap();
        assert!(files.put("key-1", &[6; 32]).is_err());
        assert_eq!(*files.get("key-1").unwrap().unwrap(), [5; 32]);
        assert!(files.get("../x").is_err());
        files.destroy("key-1").unwrap();
        files.destroy("key-1").unwrap();
        assert_eq!(files.get("key-1").unwrap(), None);
    }
}
