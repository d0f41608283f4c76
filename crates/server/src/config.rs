//! The configuration: a TOML file, then variables TRESOR_SECTION_NAME, then flags. config/tresor.toml shows every setting.

use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tresor_model::AccountId;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration {0} cannot be read: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("the configuration is not valid: {0}")]
    Invalid(String),
}

/// Everything an operator may set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub region: String,
    pub data_dir: PathBuf,
    pub server: Server,
    pub s3: S3,
    pub auth: Auth,
    pub root_key: RootKey,
    pub log: Log,
    pub account: Vec<Account>,
    pub identity_provider: Vec<IdentityProvider>,
    pub kms: Kms,
    pub audit: Audit,
    /// Where the file lies: policies are named relative to it.
    #[serde(skip)]
    pub directory: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            data_dir: "tresor-data".into(),
            server: Server::default(),
            s3: S3::default(),
            auth: Auth::default(),
            root_key: RootKey::default(),
            log: Log::default(),
            account: Vec::new(),
            identity_provider: Vec::new(),
            kms: Kms::default(),
            audit: Audit::default(),
            directory: PathBuf::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    pub listen: String,
    pub tls_listen: Option<String>,
    pub admin_listen: String,
    /// PEM files of an operator's own certificate.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub trusted_proxies: Vec<String>,
    pub max_connections: usize,
    pub drain_seconds: u64,
    /// Memory for bodies on their way, in bytes.
    pub buffer_bytes: usize,
    /// AVX-512 for the MD5 of many uploads, where the machine has it.
    pub avx512: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9000".into(),
            tls_listen: None,
            admin_listen: "127.0.0.1:9001".into(),
            tls_certificate: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            max_connections: 4096,
            drain_seconds: 30,
            buffer_bytes: 64 << 20,
            avx512: true,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    pub virtual_host_domains: Vec<String>,
    pub block_sse_c: bool,
    pub new_buckets: NewBuckets,
    pub max_buckets_per_account: usize,
    /// In progress.
    pub max_uploads_per_bucket: usize,
}

/// What a new bucket has when its creator says nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum NewBuckets {
    /// Public access is blocked and access control lists are disabled.
    #[default]
    Private,
    /// Neither, as on AWS before April 2023.
    Legacy,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            virtual_host_domains: vec!["s3.localhost".into(), "localhost".into()],
            block_sse_c: false,
            new_buckets: NewBuckets::default(),
            // AWS's default quota.
            max_buckets_per_account: 10_000,
            max_uploads_per_bucket: 10_000,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    pub sigv2: bool,
}

impl Default for Auth {
    fn default() -> Self {
        Self { sigv2: true }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    File,
    Env,
    Systemd,
    Passphrase,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RootKey {
    pub provider: Option<Provider>,
    pub path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub id: String,
    pub name: Option<String>,
    pub canonical_id: Option<String>,
    pub email: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    #[serde(default)]
    pub user: Vec<User>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({}, {} users)", self.id, self.user.len())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Identity policy, relative to the configuration: what the user may do; without one, nothing.
    pub policy: Option<PathBuf>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.name)
    }
}

/// The public keys of an OpenID Connect provider: nothing is fetched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityProvider {
    /// `https://..`, as its tokens name it.
    pub url: String,
    /// A JWK set, relative to the configuration.
    pub jwks: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kms {
    /// A second place for wrapped keys, outside of the data directory.
    pub mirror: Option<PathBuf>,
    pub key: Vec<KmsKey>,
}

/// Which events about objects are recorded; those about keys, buckets and their configuration always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataEvents {
    All,
    Writes,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    pub data_events: DataEvents,
    /// Buckets whose events about objects are recorded; empty for every bucket.
    pub data_buckets: Vec<String>,
    pub file_bytes: u64,
    pub files: usize,
}

impl Default for Audit {
    fn default() -> Self {
        Self { data_events: DataEvents::Writes, data_buckets: Vec::new(), file_bytes: 64 << 20, files: 64 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsKey {
    pub id: String,
    pub account: String,
    pub alias: Option<String>,
}

/// Below this a handful of bodies could not go at full speed.
const MIN_BUFFER_BYTES: usize = 8 << 20;

/// Settings that a variable may give: section and name. A list is written as TOML: `["10.0.0.0/8"]`.
const VARIABLES: [(&str, &str); 27] = [
    ("", "region"),
    ("", "data_dir"),
    ("server", "listen"),
    ("server", "tls_listen"),
    ("server", "admin_listen"),
    ("server", "tls_certificate"),
    ("server", "tls_key"),
    ("server", "trusted_proxies"),
    ("server", "max_connections"),
    ("server", "drain_seconds"),
    ("server", "buffer_bytes"),
    ("server", "avx512"),
    ("s3", "virtual_host_domains"),
    ("s3", "block_sse_c"),
    ("s3", "new_buckets"),
    ("s3", "max_buckets_per_account"),
    ("s3", "max_uploads_per_bucket"),
    ("auth", "sigv2"),
    ("root_key", "provider"),
    ("root_key", "path"),
    ("kms", "mirror"),
    ("log", "filter"),
    ("log", "format"),
    ("audit", "data_events"),
    ("audit", "data_buckets"),
    ("audit", "file_bytes"),
    ("audit", "files"),
];

impl Config {
    /// Reads the file (if one is named) and the variables that `variable` finds. Errors: Read, Invalid.
    pub fn load(file: Option<&Path>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut table = match file {
            None => toml::Table::new(),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| ConfigError::Read(path.to_owned(), error))?;
                // The error's own text would quote the line, which may hold a secret.
                toml::from_str(&text).map_err(|error| ConfigError::Invalid(without_source(&error)))?
            }
        };
        for (section, name) in VARIABLES {
            let key = if section.is_empty() { name.to_owned() } else { format!("{section}_{name}") };
            let Some(text) = variable(&format!("TRESOR_{}", key.to_ascii_uppercase())) else { continue };
            let value = text_value(&text);
            let place = if section.is_empty() {
                &mut table
            } else {
                let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                section.as_table_mut().ok_or_else(|| ConfigError::Invalid(format!("{key} is not in a section")))?
            };
            place.insert(name.to_owned(), value);
        }
        let mut config: Self =
            table.try_into().map_err(|error: toml::de::Error| ConfigError::Invalid(without_source(&error)))?;
        config.directory = file.and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
        config.check(file)?;
        Ok(config)
    }

    fn check(&self, file: Option<&Path>) -> Result<(), ConfigError> {
        let invalid = |what: String| Err(ConfigError::Invalid(what));
        for account in &self.account {
            if account.id.parse::<AccountId>().is_err() {
                return invalid(format!("the account id {:?} does not have twelve digits", account.id));
            }
            if account
                .canonical_id
                .as_ref()
                .is_some_and(|id| id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()))
            {
                return invalid(format!("the canonical id of account {} does not have 64 hex digits", account.id));
            }
            if account.access_key_id.is_some() != account.secret_access_key.is_some() {
                return invalid(format!("account {} has half an access key", account.id));
            }
            for user in &account.user {
                if let Some(policy) = &user.policy
                    && !self.directory.join(policy).is_file()
                {
                    return invalid(format!("the policy {} of user {} does not exist", policy.display(), user.name));
                }
            }
        }
        for key in &self.kms.key {
            if !self.account.iter().any(|account| account.id == key.account) {
                return invalid(format!(
                    "the KMS key {} belongs to account {}, which is not declared",
                    key.id, key.account
                ));
            }
        }
        if self.server.tls_certificate.is_some() != self.server.tls_key.is_some() {
            return invalid("tls_certificate and tls_key come together".into());
        }
        if self.audit.files < 2 || self.audit.file_bytes < 4096 {
            return invalid("[audit] needs at least 2 files of 4096 bytes".into());
        }
        if self.server.max_connections == 0 {
            return invalid("max_connections must be at least 1".into());
        }
        if self.server.buffer_bytes < MIN_BUFFER_BYTES {
            return invalid(format!("buffer_bytes must be at least {MIN_BUFFER_BYTES}"));
        }
        let holds_secrets =
            self.account.iter().any(|account| account.secret_access_key.is_some() || !account.user.is_empty());
        match file {
            Some(path) if holds_secrets => {
                crate::files::check_private(path).map_err(|error| ConfigError::Read(path.to_owned(), error))
            }
            _ => Ok(()),
        }
    }
}

/// A variable's text as TOML, or as a string where it is none.
fn text_value(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("v = {text}")).ok();
    parsed.and_then(|mut table| table.remove("v")).unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn without_source(error: &toml::de::Error) -> String {
    error.message().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_win_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tresor.toml");
        fs::write(&path, "region = \"eu-west-1\"\n[auth]\nsigv2 = true\n").unwrap();
        let variable = |name: &str| match name {
            "TRESOR_AUTH_SIGV2" => Some("false".into()),
            "TRESOR_SERVER_LISTEN" => Some("127.0.0.1:1".into()),
            "TRESOR_SERVER_TRUSTED_PROXIES" => Some("[\"10.0.0.1\"]".into()),
            _ => None,
        };
        let config = Config::load(Some(&path), variable).unwrap();
        assert_eq!((config.region.as_str(), config.auth.sigv2), ("eu-west-1", false));
        assert_eq!((config.server.listen.as_str(), config.server.trusted_proxies.len()), ("127.0.0.1:1", 1));
        fs::write(&path, "regoin = \"x\"\n").unwrap();
        assert!(Config::load(Some(&path), |_| None).is_err());
    }

    #[test]
    fn the_documented_file_loads_and_names_exactly_what_variables_give() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/tresor.toml");
        let text = fs::read_to_string(&path).unwrap();
        Config::load(Some(&path), |_| None).unwrap();
        let mut section = String::new();
        let mut named = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
            }
            // Settings without a default are commented out.
            let setting = line.strip_prefix("# ").unwrap_or(line).split_once(" = ").map(|(name, _)| name);
            if let Some(name) = setting.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
                named.insert((section.clone(), name.to_owned()));
            }
        }
        let given = VARIABLES.map(|(section, name)| (section.to_owned(), name.to_owned())).into_iter().collect();
        assert_eq!(named, given);
    }

    #[test]
    fn a_config_with_secrets_must_be_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tresor.toml");
        fs::write(&path, "[[account]]\nid = \"111122223333\"\naccess_key_id = \"A\"\nsecret_access_key = \"S\"\n")
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Config::load(Some(&path), |_| None).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!format!("{:?}", Config::load(Some(&path), |_| None).unwrap()).contains("\"S\""));
    }
}
