//! One file for each group of operations.

use crate::{fault::Fault, fields::Fields};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tresor_kms::KeyRing;
use tresor_model::Timestamp;

pub(crate) mod aliases;
pub(crate) mod asymmetric;
pub(crate) mod cipher;
pub(crate) mod grants;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod rotation;

/// Bytes as the protocol carries them.
fn blob(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

/// Seconds since 1970, with milliseconds.
fn time(at: Timestamp) -> Value {
    json!(at.millis() as f64 / 1000.0)
}

/// `GrantTokens` and `DryRun`. Errors: InvalidGrantTokenException once the rest was read.
struct Common {
    tokens: Vec<String>,
    dry: bool,
}

impl Common {
    fn read(fields: &mut Fields) -> Result<Self, Fault> {
        let tokens = fields.texts("GrantTokens", 0..=10, 1..=8192)?.unwrap_or_default();
        Ok(Self { tokens, dry: fields.flag("DryRun")? })
    }
    fn check(&self, ring: &KeyRing) -> Result<(), Fault> {
        Ok(ring.check_tokens(&self.tokens)?)
    }
}
