//! The endpoints of a run, from the command line and a file.

use crate::{
    case::{Case, Encryption},
    client::{Credentials, Endpoint},
    process,
};
use serde::Deserialize;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The file that `--targets` names, TOML or JSON. One that holds secrets must have mode 0600.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetsFile {
    endpoint: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    url: String,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    region: Option<String>,
    bucket: Option<String>,
    /// PEM to trust.
    ca: Option<PathBuf>,
    /// The server's processes; found by the port if it is not said.
    #[serde(default)]
    server_pids: Vec<i32>,
    kms_key: Option<String>,
    /// What it offers; all if it is not said.
    encryptions: Option<Vec<Encryption>>,
    /// What its writes ask for, whatever the case says: one server under several names compares its own encryptions, in turns.
    encryption: Option<Encryption>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

/// What holds for endpoints that say nothing else.
pub(crate) struct Defaults {
    pub credentials: Option<(String, String)>,
    pub region: String,
    pub bucket: String,
    pub ca: Option<PathBuf>,
    pub kms_key: Option<String>,
    pub server_pids: Vec<i32>,
}

/// One endpoint, ready to be measured.
#[derive(Debug)]
pub(crate) struct Target {
    pub name: String,
    pub url: String,
    pub endpoint: Endpoint,
    pub credentials: Credentials,
    pub bucket: String,
    pub kms_key: Option<String>,
    pub server_pids: Vec<i32>,
    encryptions: Option<Vec<Encryption>>,
    encryption: Option<Encryption>,
}

impl Target {
    /// The case as this endpoint is asked it.
    pub(crate) fn asked(&self, case: &Case) -> Case {
        Case { encryption: self.encryption.unwrap_or(case.encryption), ..case.clone() }
    }

    /// Whether the file says that the endpoint can do this.
    pub(crate) fn offers(&self, case: &Case) -> bool {
        self.encryptions.as_ref().is_none_or(|offered| offered.contains(&self.asked(case).encryption))
    }
}

/// The endpoints in the order of `named` (`NAME=URL`, a URL, or a name that the file explains), or all of the file.
pub(crate) fn targets(file: Option<&Path>, named: &[String], defaults: &Defaults) -> Result<Vec<Target>, String> {
    let mut known = file.map(read).transpose()?.unwrap_or_default().endpoint;
    let mut chosen = Vec::new();
    for text in named {
        let (name, url) = match text.split_once('=') {
            Some((name, url)) => (name, Some(url)),
            None if text.contains("://") => (text.as_str(), Some(text.as_str())),
            None => (text.as_str(), None),
        };
        let at = known.iter().position(|entry| entry.name == name);
        let mut entry = match (at.map(|at| known.swap_remove(at)), url) {
            (Some(entry), _) => entry,
            (None, Some(url)) => Entry::bare(name, url),
            (None, None) => return Err(format!("no endpoint is named {name:?}")),
        };
        if let Some(url) = url {
            url.clone_into(&mut entry.url);
        }
        chosen.push(entry);
    }
    let entries = if named.is_empty() { known } else { chosen };
    if entries.is_empty() {
        return Err("name an endpoint: --endpoint http://127.0.0.1:9000, or --targets FILE".into());
    }
    entries.into_iter().map(|entry| entry.resolve(defaults)).collect()
}

fn read(path: &Path) -> Result<TargetsFile, String> {
    let text = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = fs::read_to_string(path).map_err(|error| text(&error))?;
    let file: TargetsFile = match path.extension().is_some_and(|extension| extension == "json") {
        true => serde_json::from_str(&bytes).map_err(|error| text(&error))?,
        // Only the message: an excerpt could show a secret.
        false => toml::from_str(&bytes).map_err(|error| text(&error.message()))?,
    };
    let mode = fs::metadata(path).map_err(|error: io::Error| text(&error))?.permissions().mode();
    if mode & 0o077 != 0 && file.endpoint.iter().any(|entry| entry.secret_access_key.is_some()) {
        return Err(text(&"it holds secrets and others can read it: make it 0600"));
    }
    Ok(file)
}

impl Entry {
    fn bare(name: &str, url: &str) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            access_key_id: None,
            secret_access_key: None,
            region: None,
            bucket: None,
            ca: None,
            server_pids: Vec::new(),
            kms_key: None,
            encryptions: None,
            encryption: None,
        }
    }

    fn resolve(self, defaults: &Defaults) -> Result<Target, String> {
        let (key, secret) = match (self.access_key_id, self.secret_access_key, &defaults.credentials) {
            (Some(key), Some(secret), _) => (key, secret),
            (None, None, Some((key, secret))) => (key.clone(), secret.clone()),
            (None, None, None) => {
                return Err(format!(
                    "{} has no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into the targets file",
                    self.name
                ));
            }
            _ => return Err(format!("{}: access_key_id and secret_access_key come together", self.name)),
        };
        let ca = self.ca.or_else(|| defaults.ca.clone());
        let endpoint = Endpoint::parse(&self.url, ca.as_deref())?;
        let server_pids = match (self.server_pids, &defaults.server_pids) {
            (own, _) if !own.is_empty() => own,
            (_, given) if !given.is_empty() => given.clone(),
            _ => process::listeners(endpoint.address),
        };
        Ok(Target {
            name: self.name,
            url: self.url,
            credentials: Credentials::new(&key, &secret, self.region.as_ref().unwrap_or(&defaults.region)),
            bucket: self.bucket.unwrap_or_else(|| defaults.bucket.clone()),
            kms_key: self.kms_key.or_else(|| defaults.kms_key.clone()),
            server_pids,
            encryptions: self.encryptions,
            encryption: self.encryption,
            endpoint,
        })
    }
}
