//! What only the machine gives: time, randomness, environment, and limits of the process.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::time::{SystemTime, UNIX_EPOCH};
use tresor_identity::SecretAccessKey;
use tresor_model::{Clock, Entropy, Timestamp};
use zeroize::Zeroizing;

#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The generator of aws-lc, seeded by the machine.
#[derive(Debug)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        // Without randomness no key may be made: the process ends rather than go on.
        self.0.fill(out).expect("the machine gives randomness");
    }
}

/// Secrets that came by the environment.
#[derive(Default)]
pub struct Secrets {
    /// TRESOR_ROOT_KEY
    pub root_key: Option<Zeroizing<String>>,
    /// TRESOR_ROOT_ACCESS_KEY_ID and TRESOR_ROOT_SECRET_ACCESS_KEY
    pub access_key: Option<(String, SecretAccessKey)>,
}

#[derive(Debug, thiserror::Error)]
#[error("TRESOR_ROOT_ACCESS_KEY_ID and TRESOR_ROOT_SECRET_ACCESS_KEY come together, and neither is empty")]
pub struct HalfAccessKey;

/// Reads the secrets of the environment and removes them from it. Call before any thread exists. Errors: HalfAccessKey.
#[allow(unsafe_code)]
pub fn take_secrets() -> Result<Secrets, HalfAccessKey> {
    let take = |name: &str| {
        let value = std::env::var(name).ok();
        if value.is_some() {
            // SAFETY: called first thing in main, so no other thread reads the environment meanwhile.
            unsafe { std::env::remove_var(name) };
        }
        value
    };
    let root_key = take("TRESOR_ROOT_KEY").map(Zeroizing::new);
    let (key, secret) = (take("TRESOR_ROOT_ACCESS_KEY_ID"), take("TRESOR_ROOT_SECRET_ACCESS_KEY").map(Zeroizing::new));
    let access_key = match (key, secret) {
        (None, None) => None,
        (Some(key), Some(secret)) if !key.is_empty() && !secret.is_empty() => {
            Some((key, SecretAccessKey::new(secret.as_str())))
        }
        _ => return Err(HalfAccessKey),
    };
    Ok(Secrets { root_key, access_key })
}

/// A core dump would hold keys.
pub fn forbid_core_dumps() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        eprintln!("tresor: core dumps could not be forbidden: {error}");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("tresor: the process could not be made undumpable: {error}");
    }
}
