//! Cryptography of one stored object, by docs/format.md: data keys and their envelopes, bodies sealed chunk by chunk, and the
//! small seals around records, entity tags and checksums.
//!
//! Must never do I/O, read a clock, make its own randomness, or log. Plaintext leaves this crate only after it was authenticated.

mod chunk;
mod envelope;
mod etag;
mod key;
mod open;
mod primitive;
mod record;
mod seal;

pub use chunk::{PartParams, SealedPart};
pub use envelope::{Binding, CustomerCheck, Envelope, Header, OwnedLayer, SseMode, WrappedKeys, owned_aad};
pub use etag::IndexKey;
pub use key::{ContentKey, CustomerKey, DataKey};
pub use open::{CipherSource, CipherStream, OpenError, PlainBody, open};
pub use primitive::{hkdf, unwrap, wrap};
pub use record::{RecordGroup, RecordKey};
pub use seal::{BodyError, Finished, PlainSource, SealedBody, decode_checksums, encode_checksums, seal};

/// What is stored does not authenticate, or does not have the form of docs/format.md. It says no more on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A tag, a commitment or a MAC does not match.
    #[error("the ciphertext does not authenticate")]
    NotAuthentic,
    /// Lengths, numbers or encodings that no writer of this format produces.
    #[error("the sealed form is malformed")]
    Malformed,
}

/// The format this crate writes.
pub const FORMAT: u8 = 1;
