//! Identifiers that the store makes itself; none is ever chosen by a client.

use crate::{Entropy, Timestamp};
use std::{fmt, str::FromStr};

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A fresh id: 6 bytes of milliseconds since 1970 (big-endian, so ids sort by time) and 10 random bytes.
            pub fn fresh(now: Timestamp, entropy: &dyn Entropy) -> Self {
                let mut bytes = [0; 16];
                entropy.fill(&mut bytes);
                bytes[..6].copy_from_slice(&now.millis().to_be_bytes()[2..]);
                Self(bytes)
            }
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl FromStr for $name {
            type Err = crate::InvalidName;
            /// Reads 32 lower-case hex digits.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 16];
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(crate::InvalidName);
                }
                hex::decode_to_slice(text, &mut bytes).map_err(|_| crate::InvalidName)?;
                Ok(Self(bytes))
            }
        }
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }
        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                d.bytes()?.try_into().map(Self).map_err(|_| minicbor::decode::Error::message("an id has 16 bytes"))
            }
        }
    };
}

id16!(
    /// One bucket for as long as it lives; a bucket made again under an old name has another id.
    BucketId
);
id16!(
    /// One write of one object: unique even where S3's version id is `null`. Part of every binding.
    WriteId
);
id16!(
    /// One multipart upload.
    UploadId
);

/// S3's version id: `null` in a bucket that never had versioning, else the write's own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VersionId {
    Null,
    Id(WriteId),
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl FromStr for VersionId {
    type Err = crate::InvalidName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "null" { Ok(Self::Null) } else { text.parse().map(Self::Id) }
    }
}
