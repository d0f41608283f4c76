//! Names that clients choose: checked when made, so that nothing later checks them again.

use std::{fmt, str::FromStr};

/// The text is not a valid name or identifier of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid name")
    }
}
impl std::error::Error for InvalidName {}

/// A bucket name by the rules for general purpose buckets: 3 to 63 of `a-z 0-9 . -`, starting and ending with a letter or
/// digit, no two dots in a row, not shaped like an IPv4 address, none of the reserved prefixes and suffixes.
/// Source: S3 user guide, "General purpose bucket naming rules".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(String);

const RESERVED_PREFIXES: [&str; 4] = ["xn--", "sthree-", "amzn-s3-demo-", "sthree-configurator"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

impl BucketName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// `arn:aws:s3:::BUCKET`
    pub fn arn(&self) -> String {
        ["arn:", crate::PARTITION, ":s3:::", &self.0].concat()
    }
    /// `arn:aws:s3:::BUCKET/KEY`
    pub fn object_arn(&self, key: &ObjectKey) -> String {
        ["arn:", crate::PARTITION, ":s3:::", &self.0, "/", key.as_str()].concat()
    }
}

impl FromStr for BucketName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ok = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|b| edge(b) || matches!(b, b'.' | b'-'))
            && bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && !text.contains("..")
            && text.parse::<std::net::Ipv4Addr>().is_err()
            && !RESERVED_PREFIXES.iter().any(|p| text.starts_with(p))
            && !RESERVED_SUFFIXES.iter().any(|s| text.ends_with(s));
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object key: 1 to 1024 bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// S3's limit, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 1024;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if (1..=Self::MAX_BYTES).contains(&text.len()) { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! cbor_text {
    ($name:ident) => {
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }
        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                d.str()?.parse().map_err(|_| minicbor::decode::Error::message("not a valid name"))
            }
        }
    };
}
pub(crate) use cbor_text;
cbor_text!(BucketName);
cbor_text!(ObjectKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules_of_the_user_guide() {
        for good in ["abc", "my-bucket.2026", "0ab", "a.b.c", &"a".repeat(63)] {
            assert!(good.parse::<BucketName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            &"a".repeat(64),
            "Abc",
            "a_b_c",
            "a..b",
            "-abc",
            "abc-",
            ".abc",
            "192.168.0.1",
            "xn--abc",
            "a-s3alias",
            "b--x-s3",
            "a/b",
        ] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn object_keys_are_limited_in_bytes() {
        assert!("é".repeat(512).parse::<ObjectKey>().is_ok());
        assert!("é".repeat(513).parse::<ObjectKey>().is_err());
        assert!("".parse::<ObjectKey>().is_err());
    }
}
