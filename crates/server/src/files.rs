//! Small files that must be whole, durable and private.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};
use zeroize::Zeroizing;

/// Writes a file that did not exist, readable by its owner only; durable on return. Errors: AlreadyExists.
pub fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_parent(path)
}

/// Puts a file in the place of another one, whole or not at all; durable on return.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Reads a file that holds a secret: nobody but its owner may read or write it. Errors: PermissionDenied.
pub fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    check_private(path)?;
    fs::read(path).map(Zeroizing::new)
}

/// Errors: PermissionDenied when others than the owner may read or write the file.
pub fn check_private(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("{} holds secrets and has mode {mode:04o}; make it 0600", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}
