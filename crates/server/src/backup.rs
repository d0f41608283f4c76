//! Backups of keys: the rows of the KMS and the store's header in one file, the erasure secrets in another folder. Without the root
//! key neither opens anything.

use crate::{assemble::HEADER, files, mirror};
use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};
use tresor_kms::{DomainHeader, ErasureSecrets, KeyStore};
use tresor_records::{KeyRecords, RawRow};
use tresor_storage_fs::ErasureFiles;
use zeroize::Zeroizing;

/// The file of rows in a backup.
const ROWS: &str = "keys.tresor";

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Backup {
    #[n(0)]
    format: u8,
    /// `store.tresor`
    #[cbor(n(1), with = "minicbor::bytes")]
    header: Vec<u8>,
    #[n(2)]
    rows: Vec<RawRow>,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("{0} is not a backup of keys")]
    Malformed(PathBuf),
    #[error("the backup is of another store")]
    OtherStore,
    #[error(
        "the backup was made under another root key: with that one it opens in an empty data directory, and here a new backup takes its place"
    )]
    OtherRootKey,
    #[error("{0} lies in {1}: keys, their erasure secrets and the data directory are kept apart")]
    NotApart(PathBuf, PathBuf),
    #[error(transparent)]
    Records(#[from] tresor_kms::KeyStoreError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    |error| BackupError::File(path, error)
}

fn read(from: &Path) -> Result<Backup, BackupError> {
    let path = from.join(ROWS);
    if !path.exists() && mirror::is_mirror(from) {
        let header = from.join(HEADER);
        let header = fs::read(&header).map_err(at(&header))?;
        return Ok(Backup { format: 1, header, rows: mirror::rows(from).map_err(at(from))? });
    }
    let bytes = fs::read(&path).map_err(at(&path))?;
    let backup: Backup = minicbor::decode(&bytes).map_err(|_| BackupError::Malformed(path.clone()))?;
    if backup.format == 1 { Ok(backup) } else { Err(BackupError::Malformed(path)) }
}

/// Writes the rows to `to` and the erasure secrets to `erasure_to`; the numbers of both.
pub async fn backup(
    data_dir: &Path,
    records: &KeyRecords,
    to: &Path,
    erasure_to: &Path,
) -> Result<(usize, usize), BackupError> {
    apart(data_dir, to, erasure_to)?;
    for place in [to, erasure_to] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(place).map_err(at(place))?;
    }
    let header = data_dir.join(HEADER);
    let rows = records.export().await?;
    let count = rows.len();
    let backup = Backup { format: 1, header: fs::read(&header).map_err(at(&header))?, rows };
    let path = to.join(ROWS);
    files::replace(&path, &minicbor::to_vec(&backup).unwrap_or_default()).map_err(at(&path))?;
    Ok((count, copy_secrets(&data_dir.join("erasure"), erasure_to, |_| true)?))
}

/// Each of the three places is lost, copied and destroyed by itself. Errors: NotApart.
fn apart(data_dir: &Path, to: &Path, erasure_to: &Path) -> Result<(), BackupError> {
    let real = |path: &Path| {
        // What is there already tells where the rest will be made.
        let known =
            path.ancestors().find_map(|part| Some((fs::canonicalize(part).ok()?, path.strip_prefix(part).ok()?)));
        known.map_or_else(|| path.to_owned(), |(real, rest)| real.join(rest))
    };
    let (data, rows, secrets) = (real(data_dir), real(to), real(erasure_to));
    for (inner, outer) in [(&rows, &data), (&secrets, &data), (&secrets, &rows), (&rows, &secrets)] {
        if inner.starts_with(outer) {
            return Err(BackupError::NotApart(inner.clone(), outer.clone()));
        }
    }
    Ok(())
}

/// Secrets that are missing in `to` and wanted there.
fn copy_secrets(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<usize, BackupError> {
    let (source, target) = (ErasureFiles::reading(from), ErasureFiles::open(to).map_err(at(to))?);
    let mut copied = 0;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let name = entry.map_err(at(from))?.file_name().to_string_lossy().into_owned();
        if name.contains('.') || !wanted(&name) {
            continue;
        }
        let secret: Option<Zeroizing<[u8; 32]>> = source.get(&name).map_err(at(from))?;
        if let Some(secret) = secret
            && target.get(&name).map_err(at(to))?.is_none()
        {
            target.put(&name, &secret).map_err(at(to))?;
            copied += 1;
        }
    }
    Ok(copied)
}

/// Gives a data directory that has no store yet the header of the backup, so that its keys open again under the same root key.
pub fn prepare(data_dir: &Path, from: &Path, erasure_from: Option<&Path>) -> Result<(), BackupError> {
    // Rows without their secrets open nothing: a wrong place is said before anything comes back.
    if let Some(from) = erasure_from {
        fs::read_dir(from).map_err(at(from))?;
    }
    let header = data_dir.join(HEADER);
    let backup = read(from)?;
    match fs::read(&header) {
        Ok(known) if known == backup.header => Ok(()),
        Ok(known) => {
            let store = |bytes: &[u8]| minicbor::decode::<DomainHeader>(bytes).ok().map(|header| header.store);
            match (store(&known), store(&backup.header)) {
                (Some(here), Some(there)) if here == there => Err(BackupError::OtherRootKey),
                _ => Err(BackupError::OtherStore),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(at(data_dir))?;
            files::replace(&header, &backup.header).map_err(at(&header))
        }
        Err(error) => Err(at(&header)(error)),
    }
}

/// Adds what is missing, from a backup or a mirror; keys and imported materials that were destroyed stay so. A mirror has no erasure
/// secrets: those of the data directory serve, or a backup's. The numbers of rows and secrets that came back.
pub async fn restore(
    data_dir: &Path,
    records: &KeyRecords,
    from: &Path,
    erasure_from: Option<&Path>,
) -> Result<(usize, usize), BackupError> {
    let rows = records.import(&read(from)?.rows).await?;
    // A secret that no key names any more protects what was destroyed: it must not come back.
    let mut named = HashSet::new();
    for key in records.load().await?.keys {
        named.extend(key.materials.into_iter().filter_map(|material| material.erasure));
        named.insert(key.id);
    }
    let secrets = match erasure_from {
        Some(from) => copy_secrets(from, &data_dir.join("erasure"), |name| named.contains(name))?,
        None => 0,
    };
    Ok((rows, secrets))
}
