//! Accounts, users and the root access key: from the configuration, the environment, or a credentials file that is made once.

use crate::{config::Config, files, machine::Secrets};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use std::{
    io,
    path::{Path, PathBuf},
};
use tresor_identity::{Account, Credential, Directory, DirectoryError, Issuers, Jwks, SecretAccessKey};
use tresor_model::{AccountId, Entropy, Principal};
use tresor_policy::Policy;

/// The account of a server that declares none.
const DEFAULT_ACCOUNT: &str = "000000000000";

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the credentials file {0} cannot be used: {1}")]
    File(String, io::Error),
    #[error("the policy {0} cannot be used: {1}")]
    Policy(PathBuf, String),
    #[error("the keys of an identity provider in {0} cannot be used: {1}")]
    Keys(PathBuf, String),
    #[error("an account id is malformed")]
    Account,
}

/// Accounts and users as the configuration declares them, with the ids of the accounts; nothing is made.
/// Errors: TwoSecrets, TwoAccounts, Policy.
pub fn declared(config: &Config) -> Result<(Directory, Vec<AccountId>), CredentialsError> {
    let mut directory = Directory::default();
    let mut ids: Vec<AccountId> = Vec::new();
    for declared in &config.account {
        let id: AccountId = declared.id.parse().map_err(|_| CredentialsError::Account)?;
        directory.add_account(Account {
            name: declared.name.clone().unwrap_or_else(|| declared.id.clone()),
            canonical_id: declared.canonical_id.clone().unwrap_or_else(|| Account::derived_canonical_id(&id)),
            email: declared.email.clone(),
            id: id.clone(),
        })?;
        if let (Some(key), Some(secret)) = (&declared.access_key_id, &declared.secret_access_key) {
            let principal = Principal::Root { account: id.clone() };
            directory.add_credential(key, Credential::new(principal, SecretAccessKey::new(secret.as_str())))?;
        }
        for user in &declared.user {
            let principal = Principal::user(id.clone(), user.name.as_str());
            let secret = SecretAccessKey::new(user.secret_access_key.as_str());
            if let Some(path) = &user.policy {
                let path = config.directory.join(path);
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| CredentialsError::Policy(path.clone(), error.to_string()))?;
                let policy = Policy::of_identity(&text)
                    .map_err(|error| CredentialsError::Policy(path.clone(), error.to_string()))?;
                let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                directory.add_policy(&principal, &name, &policy)?;
            }
            directory.add_credential(&user.access_key_id, Credential::new(principal, secret))?;
        }
        ids.push(id);
    }
    if ids.is_empty() {
        let id: AccountId = DEFAULT_ACCOUNT.parse().map_err(|_| CredentialsError::Account)?;
        let canonical_id = Account::derived_canonical_id(&id);
        directory.add_account(Account { name: "root".into(), canonical_id, email: None, id: id.clone() })?;
        ids.push(id);
    }
    Ok((directory, ids))
}

/// What is declared, and the root access key of the environment; where neither gives the first account one, that of the credentials
/// file. Errors: TwoSecrets, TwoAccounts, Policy, File.
pub fn directory(
    config: &Config,
    data_dir: &Path,
    secrets: &Secrets,
    entropy: &dyn Entropy,
) -> Result<Directory, CredentialsError> {
    let (mut directory, ids) = declared(config)?;
    let has_key = config.account.first().is_some_and(|account| account.access_key_id.is_some());
    let (key, secret) = match &secrets.access_key {
        Some((key, secret)) => (key.clone(), secret.clone()),
        None if has_key => return Ok(directory),
        None => stored(&data_dir.join("credentials"), entropy)?,
    };
    let bearer = config.account.iter().position(|account| account.access_key_id.as_ref() == Some(&key));
    let account = ids[bearer.unwrap_or(0)].clone();
    directory.add_credential(&key, Credential::new(Principal::Root { account }, secret))?;
    Ok(directory)
}

/// The keys of identity providers that the configuration gives. Errors: Keys.
pub fn issuers(config: &Config) -> Result<Issuers, CredentialsError> {
    let mut issuers = Issuers::default();
    for declared in &config.identity_provider {
        let path = config.directory.join(&declared.jwks);
        let failed = |why: String| CredentialsError::Keys(path.clone(), why);
        let json = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let url = declared.url.strip_prefix("https://").unwrap_or(&declared.url).trim_end_matches('/');
        issuers.0.insert(url.to_owned(), Jwks::parse(&json).map_err(failed)?);
    }
    Ok(issuers)
}

/// The access key of the credentials file, which is made if it is not there.
fn stored(path: &Path, entropy: &dyn Entropy) -> Result<(String, SecretAccessKey), CredentialsError> {
    let failed = |error| CredentialsError::File(path.display().to_string(), error);
    match files::read_private(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let value = |name: &str| {
                text.lines().find_map(|line| {
                    let (key, value) = line.split_once('=')?;
                    (key.trim() == name).then(|| value.trim().to_owned())
                })
            };
            let pair = value("aws_access_key_id").zip(value("aws_secret_access_key").map(SecretAccessKey::new));
            return pair.ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidData, "it names no access key")));
        }
    }
    let mut random = [0; 46];
    entropy.fill(&mut random);
    // Twenty characters as AWS makes them; the secret has forty.
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let key: String = random[..16].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    let key = format!("AKIA{key}");
    let secret = zeroize::Zeroizing::new(STANDARD_NO_PAD.encode(&random[16..]));
    let text = zeroize::Zeroizing::new(format!(
        "[default]\naws_access_key_id = {key}\naws_secret_access_key = {}\n",
        &*secret
    ));
    files::create_private(path, text.as_bytes()).map_err(failed)?;
    tracing::info!(path = %path.display(), "made a root access key; AWS_SHARED_CREDENTIALS_FILE can name this file");
    Ok((key, SecretAccessKey::new(secret.as_str())))
}
