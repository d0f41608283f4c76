//! Where the root key comes from. It never falls back to a constant, and never lies beside the data.

use crate::{
    config::{Provider, RootKey as Settings},
    files::{create_private, read_private},
    machine::Secrets,
};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tresor_kms::RootKey;
use tresor_model::Entropy;
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    #[error(
        "no root key provider is configured. Set [root_key] provider = \"file\" (or env, systemd, passphrase), or start with --dev for development"
    )]
    NoProvider,
    #[error("the root key file {0} cannot be used: {1}")]
    File(PathBuf, std::io::Error),
    #[error("the root key file {0} lies inside the data directory; a root key never lies beside the data")]
    BesideData(PathBuf),
    #[error("{0}")]
    Missing(String),
    #[error("{0} does not hold 32 bytes in hex or base64")]
    Malformed(String),
    #[error("the passphrase cannot be used: {0}")]
    Passphrase(String),
}

/// What a root key is asked for.
pub struct Asked<'a> {
    pub settings: &'a Settings,
    pub dev: bool,
    pub data_dir: &'a Path,
    pub store: &'a [u8; 16],
    /// The store is being made, so a key file may be made with it.
    pub new_store: bool,
}

/// Argon2id's memory in KiB, passes and lanes (RFC 9106, section 4, second recommended choice).
const ARGON2: (u32, u32, u32) = (64 * 1024, 3, 4);

/// Where the root key will come from. Errors: NoProvider.
pub fn provider(settings: &Settings, dev: bool, secrets: &Secrets) -> Result<Provider, RootKeyError> {
    match settings.provider {
        Some(provider) => Ok(provider),
        None if settings.path.is_some() || dev => Ok(Provider::File),
        None if secrets.root_key.is_some() => Ok(Provider::Env),
        None => Err(RootKeyError::NoProvider),
    }
}

/// Errors: `RootKeyError`.
pub fn obtain(asked: &Asked<'_>, secrets: &Secrets, entropy: &dyn Entropy) -> Result<RootKey, RootKeyError> {
    match provider(asked.settings, asked.dev, secrets)? {
        Provider::File => {
            let path = match &asked.settings.path {
                Some(path) => path.clone(),
                None => default_path(asked.store)?,
            };
            from_file(asked, &path, entropy)
        }
        Provider::Env => {
            let text =
                secrets.root_key.as_ref().ok_or_else(|| RootKeyError::Missing("TRESOR_ROOT_KEY is not set".into()))?;
            decode(text.as_bytes(), "TRESOR_ROOT_KEY")
        }
        Provider::Systemd => {
            let directory = std::env::var("CREDENTIALS_DIRECTORY").map_err(|_| {
                RootKeyError::Missing(
                    "CREDENTIALS_DIRECTORY is not set: systemd passed no credential (LoadCredential=)".into(),
                )
            })?;
            let name = asked.settings.path.clone().unwrap_or_else(|| "tresor-root-key".into());
            let path = Path::new(&directory).join(name);
            let bytes = fs::read(&path).map(Zeroizing::new).map_err(|error| RootKeyError::File(path.clone(), error))?;
            decode(&bytes, &path.display().to_string())
        }
        Provider::Passphrase => {
            let path = asked.settings.path.as_ref().ok_or_else(|| {
                RootKeyError::Missing(
                    "[root_key] provider = \"passphrase\" needs path, a file that holds the passphrase".into(),
                )
            })?;
            let bytes = read_private(path).map_err(|error| RootKeyError::File(path.clone(), error))?;
            let passphrase = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            if passphrase.is_empty() {
                return Err(RootKeyError::Passphrase("it is empty".into()));
            }
            let failed = |error: argon2::Error| RootKeyError::Passphrase(error.to_string());
            let params = Params::new(ARGON2.0, ARGON2.1, ARGON2.2, Some(32)).map_err(failed)?;
            let mut key = Zeroizing::new([0; 32]);
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password_into(passphrase, asked.store, &mut key[..]).map_err(failed)?;
            Ok(RootKey::from_bytes(*key))
        }
    }
}

/// `~/.config/tresor/STORE.root-key`: outside the data, and no two stores share it.
fn default_path(store: &[u8; 16]) -> Result<PathBuf, RootKeyError> {
    let base = match std::env::var_os("XDG_CONFIG_HOME") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let home = std::env::var_os("HOME")
                .ok_or_else(|| RootKeyError::Missing("neither HOME nor [root_key] path is set".into()))?;
            PathBuf::from(home).join(".config")
        }
    };
    Ok(base.join("tresor").join(format!("{}.root-key", hex::encode(store))))
}

fn from_file(asked: &Asked<'_>, path: &Path, entropy: &dyn Entropy) -> Result<RootKey, RootKeyError> {
    let failed = |error| RootKeyError::File(path.to_owned(), error);
    if asked.new_store && !path.exists() {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let key = RootKey::generate(entropy);
        write_new(path, asked.data_dir, &key)?;
        tracing::warn!(path = %path.display(), "made a root key; without this file nothing in the store can ever be read: keep a copy, and back the keys up with `tresor keys backup`");
        return Ok(key);
    }
    refuse_beside_data(asked.data_dir, path)?;
    let bytes = read_private(path).map_err(failed)?;
    decode(&bytes, &path.display().to_string())
}

/// Writes a key to a file that does not exist yet, outside of the data directory; durable on return. Errors: File, BesideData.
pub fn write_new(path: &Path, data_dir: &Path, key: &RootKey) -> Result<(), RootKeyError> {
    refuse_beside_data(data_dir, path)?;
    let text = Zeroizing::new(hex::encode(key.expose()) + "\n");
    create_private(path, text.as_bytes()).map_err(|error| RootKeyError::File(path.to_owned(), error))
}

fn refuse_beside_data(data_dir: &Path, path: &Path) -> Result<(), RootKeyError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::canonicalize(data_dir), fs::canonicalize(parent)) {
        (Ok(data), Ok(parent)) if parent.starts_with(&data) => Err(RootKeyError::BesideData(path.to_owned())),
        _ => Ok(()),
    }
}

/// 32 bytes as 64 hex digits or as base64, white space around them or not.
fn decode(text: &[u8], name: &str) -> Result<RootKey, RootKeyError> {
    let text = text.trim_ascii();
    let bytes = match text.len() {
        64 => hex::decode(text).ok(),
        _ => STANDARD.decode(text).ok(),
    };
    let bytes = Zeroizing::new(bytes.unwrap_or_default());
    let key: [u8; 32] = bytes[..].try_into().map_err(|_| RootKeyError::Malformed(name.to_owned()))?;
    Ok(RootKey::from_bytes(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::SystemEntropy;
    use std::os::unix::fs::PermissionsExt;

    fn ask(settings: &Settings, data: &Path, new_store: bool) -> Result<[u8; 32], RootKeyError> {
        let asked = Asked { settings, dev: false, data_dir: data, store: &[1; 16], new_store };
        obtain(&asked, &Secrets::default(), &SystemEntropy::new()).map(|key| *key.expose())
    }

    #[test]
    fn a_key_file_is_made_once_kept_private_and_never_beside_the_data() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        let path = directory.path().join("root-key");
        let settings = Settings { provider: Some(Provider::File), path: Some(path.clone()) };
        assert!(
            matches!(ask(&settings, &data, false), Err(RootKeyError::File(..))),
            "an existing store never gets a new key"
        );
        let key = ask(&settings, &data, true).unwrap();
        assert_eq!(ask(&settings, &data, false).unwrap(), key);
        assert_eq!(ask(&settings, &data, true).unwrap(), key, "a key file is never overwritten");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(ask(&settings, &data, false), Err(RootKeyError::File(..))));
        let beside = Settings { provider: Some(Provider::File), path: Some(data.join("root-key")) };
        assert!(matches!(ask(&beside, &data, true), Err(RootKeyError::BesideData(_))));
        assert!(matches!(ask(&Settings::default(), &data, true), Err(RootKeyError::NoProvider)));
    }

    #[test]
    fn a_passphrase_gives_the_same_key_for_the_same_store() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        create_private(&path, b"correct horse\n").unwrap();
        let settings = Settings { provider: Some(Provider::Passphrase), path: Some(path) };
        assert_eq!(ask(&settings, directory.path(), true).unwrap(), ask(&settings, directory.path(), false).unwrap());
    }
}
