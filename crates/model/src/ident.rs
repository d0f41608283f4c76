//! Identifiers that the store makes itself; none is ever chosen by a client.

use crate::{Entropy, Timestamp};
use std::{fmt, str::FromStr};

/// The `N` bytes that twice as many hexadecimal digits stand for, and nothing else: the library would leave out a leading `0x`.
pub fn bytes_of_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (text.len() == 2 * N).then(|| hex::decode_to_slice(text, &mut bytes).ok())??;
    Some(bytes)
}

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
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(crate::InvalidName);
                }
                bytes_of_hex(text).map(Self).ok_or(crate::InvalidName)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_in_one_spelling_and_length() {
        assert_eq!(bytes_of_hex("00fF"), Some([0, 255]));
        for text in ["", "00f", "00ff0", "0x00ff", "0x0f", "00fg", "\u{e9}ff"] {
            assert_eq!(bytes_of_hex::<2>(text), None, "{text}");
        }
        assert!("0x000102030405060708090a0b0c0d0e0f".parse::<UploadId>().is_err());
    }
}
