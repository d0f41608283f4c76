//! The key mirror as files: `store.tresor` as it lies in the data directory, and `rows/`, one file a row, named by the SHA-256 of the
//! row's key. A row that stands beside one that was lost from the store has `-` and a number behind its name.

use crate::{assemble::HEADER, files};
use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};
use tresor_kms::DomainHeader;
use tresor_records::{Mirror, RawRow};

/// Rows that may stand beside each other.
const MAX_BESIDE: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    #[error("the key mirror {0} cannot be used: {1}")]
    File(PathBuf, io::Error),
    #[error("the key mirror {0} lies inside the data directory: it would be lost together with it")]
    BesideData(PathBuf),
    #[error("the key mirror {0} is of store {1}, and this is store {2}")]
    OtherStore(PathBuf, String, String),
    #[error("the key mirror {0} holds keys, but its store.tresor is missing or damaged")]
    NoHeader(PathBuf),
}

#[derive(Debug)]
pub struct MirrorFiles(PathBuf);

impl MirrorFiles {
    /// Opens the mirror of a store, or makes it. Errors: `MirrorError`.
    pub fn open(directory: &Path, data_dir: &Path) -> Result<Self, MirrorError> {
        let failed = |error| MirrorError::File(directory.to_owned(), error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let (data, real) = (fs::canonicalize(data_dir).map_err(failed)?, fs::canonicalize(directory).map_err(failed)?);
        if real.starts_with(&data) {
            return Err(MirrorError::BesideData(directory.to_owned()));
        }
        let ours = fs::read(data_dir.join(HEADER)).map_err(failed)?;
        let store = |bytes: &[u8]| minicbor::decode::<DomainHeader>(bytes).ok().map(|header| hex::encode(header.store));
        let copy = directory.join(HEADER);
        match fs::read(&copy) {
            Ok(theirs) if theirs == ours => {}
            Ok(theirs) => match (store(&theirs), store(&ours)) {
                // The root key was rotated since.
                (Some(there), Some(here)) if there == here => files::replace(&copy, &ours).map_err(failed)?,
                (Some(there), Some(here)) => return Err(MirrorError::OtherStore(directory.to_owned(), there, here)),
                _ => return Err(MirrorError::NoHeader(directory.to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if directory.join("rows").exists() {
                    return Err(MirrorError::NoHeader(directory.to_owned()));
                }
                files::replace(&copy, &ours).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory.join("rows")).map_err(failed)?;
        fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(Self(directory.to_owned()))
    }

    fn path(&self, key: &[u8]) -> PathBuf {
        self.0.join("rows").join(hex::encode(tresor_digest::sha256(key)))
    }
}

/// Whether a directory is a mirror, for restoring from it.
pub fn is_mirror(directory: &Path) -> bool {
    directory.join("rows").is_dir() && directory.join(HEADER).is_file()
}

/// Every row of a mirror, tombstones first, so that they count for the keys that follow.
pub fn rows(directory: &Path) -> io::Result<Vec<RawRow>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(directory.join("rows"))? {
        let path = entry?.path();
        // What a crash left of a file that was being replaced.
        if path.extension().is_some_and(|extension| extension == "new") {
            continue;
        }
        let damaged = |_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is no row of a key", path.display()));
        let row: RawRow = minicbor::decode(&fs::read(&path)?).map_err(damaged)?;
        rows.push(row);
    }
    rows.sort_by_key(|row| (!row.key.starts_with(b"tombstone/"), row.key.clone()));
    Ok(rows)
}

impl Mirror for MirrorFiles {
    fn put(&self, row: &RawRow) -> io::Result<()> {
        files::replace(&self.path(&row.key), &minicbor::to_vec(row).map_err(io::Error::other)?)
    }

    fn put_beside(&self, row: &RawRow) -> io::Result<()> {
        let path = self.path(&row.key);
        let free =
            (1..=MAX_BESIDE).map(|n| PathBuf::from(format!("{}-{n}", path.display()))).find(|path| !path.exists());
        let kept = free.ok_or_else(|| io::Error::other("too many rows stand beside each other"))?;
        match fs::rename(&path, kept) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.put(row)
    }

    fn remove(&self, key: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let beside = (1..=MAX_BESIDE).map(|n| PathBuf::from(format!("{}-{n}", path.display())));
        for path in std::iter::once(path.clone()).chain(beside.take_while(|path| path.exists())) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::File::open(self.0.join("rows"))?.sync_all()
    }

    fn rows(&self) -> io::Result<Vec<RawRow>> {
        rows(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::SystemEntropy;
    use tresor_kms::{Domain, RootKey};

    #[test]
    fn a_mirror_is_of_one_store_and_keeps_what_was_lost() {
        let home = tempfile::tempdir().unwrap();
        let store = |name: &str, id: u8| {
            let data = home.path().join(name);
            fs::create_dir(&data).unwrap();
            let entropy = SystemEntropy::new();
            let (_, header) = Domain::create(&RootKey::generate(&entropy), [id; 16], &entropy);
            fs::write(data.join(HEADER), minicbor::to_vec(&header).unwrap()).unwrap();
            data
        };
        let (ours, other) = (store("ours", 1), store("other", 2));
        let place = home.path().join("mirror");
        let mirror = MirrorFiles::open(&place, &ours).unwrap();
        assert!(matches!(MirrorFiles::open(&place, &other), Err(MirrorError::OtherStore(..))));
        assert!(matches!(MirrorFiles::open(&ours.join("mirror"), &ours), Err(MirrorError::BesideData(_))));
        let row = |value: u8| RawRow { key: b"key/1/2".to_vec(), value: vec![value] };
        mirror.put(&row(1)).unwrap();
        mirror.put(&row(2)).unwrap();
        mirror.put_beside(&row(3)).unwrap();
        let mut values: Vec<u8> = mirror.rows().unwrap().into_iter().map(|row| row.value[0]).collect();
        values.sort_unstable();
        assert_eq!(values, [2, 3]);
        mirror.remove(b"key/1/2").unwrap();
        mirror.remove(b"key/1/2").unwrap();
        assert!(mirror.rows().unwrap().is_empty());
        fs::remove_file(place.join(HEADER)).unwrap();
        assert!(matches!(MirrorFiles::open(&place, &ours), Err(MirrorError::NoHeader(_))));
    }
}
