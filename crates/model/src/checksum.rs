//! Checksums and entity tags, as values. Computing them is `digest`'s work.

use crate::{InvalidName, bytes_of_hex};
use std::{fmt, str::FromStr};

/// The checksum algorithms of the S3 API model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum ChecksumAlgorithm {
    #[n(0)]
    Crc32,
    #[n(1)]
    Crc32c,
    #[n(2)]
    Crc64Nvme,
    #[n(3)]
    Sha1,
    #[n(4)]
    Sha256,
    #[n(5)]
    Sha512,
    #[n(6)]
    Md5,
    #[n(7)]
    XxHash64,
    #[n(8)]
    XxHash3,
    #[n(9)]
    XxHash128,
}

impl ChecksumAlgorithm {
    pub const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Md5,
        Self::XxHash64,
        Self::XxHash3,
        Self::XxHash128,
    ];
    /// The value of `x-amz-checksum-algorithm` and of `ChecksumAlgorithm` in XML.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Md5 => "MD5",
            Self::XxHash64 => "XXHASH64",
            Self::XxHash3 => "XXHASH3",
            Self::XxHash128 => "XXHASH128",
        }
    }
    /// `x-amz-checksum-crc32` and so on.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
            Self::Sha512 => "x-amz-checksum-sha512",
            Self::Md5 => "x-amz-checksum-md5",
            Self::XxHash64 => "x-amz-checksum-xxhash64",
            Self::XxHash3 => "x-amz-checksum-xxhash3",
            Self::XxHash128 => "x-amz-checksum-xxhash128",
        }
    }
    /// The XML element: `ChecksumCRC32` and so on.
    pub const fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
            Self::Sha512 => "ChecksumSHA512",
            Self::Md5 => "ChecksumMD5",
            Self::XxHash64 => "ChecksumXXHASH64",
            Self::XxHash3 => "ChecksumXXHASH3",
            Self::XxHash128 => "ChecksumXXHASH128",
        }
    }
    /// Length of the value in bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme | Self::XxHash64 | Self::XxHash3 => 8,
            Self::XxHash128 | Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
    /// Whether the checksum of a whole can be computed from those of its parts (`FULL_OBJECT` for multipart).
    pub const fn combines(self) -> bool {
        matches!(self, Self::Crc32 | Self::Crc32c | Self::Crc64Nvme)
    }
}

impl FromStr for ChecksumAlgorithm {
    type Err = InvalidName;
    /// Reads the name, in any case (S3 takes `crc32` and `CRC32`).
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL.into_iter().find(|a| a.name().eq_ignore_ascii_case(text)).ok_or(InvalidName)
    }
}

/// How a multipart object's checksum relates to its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum ChecksumType {
    #[n(0)]
    FullObject,
    #[n(1)]
    Composite,
}

impl ChecksumType {
    pub const fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

impl FromStr for ChecksumType {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "FULL_OBJECT" => Ok(Self::FullObject),
            "COMPOSITE" => Ok(Self::Composite),
            _ => Err(InvalidName),
        }
    }
}

/// One checksum: algorithm and raw bytes. It identifies the plaintext, so it does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: ChecksumAlgorithm,
    pub value: Vec<u8>,
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({}, {} bytes)", self.algorithm.name(), self.value.len())
    }
}

/// An entity tag: 16 bytes, and the number of parts for an object made by a multipart upload.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ETag {
    pub digest: [u8; 16],
    pub parts: Option<u16>,
}

impl ETag {
    /// Appends the tag as it is shown, without quotes.
    pub fn push_to(&self, text: &mut String) {
        text.push_str(hex::Buffer::<16>::new().format(&self.digest));
        if let Some(parts) = self.parts {
            text.push('-');
            text.push_str(&parts.to_string());
        }
    }
}

impl fmt::Display for ETag {
    /// Without quotes: `5eb63bbb…` or `93a0cb8e…-3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(38);
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ETag")
    }
}

impl FromStr for ETag {
    type Err = InvalidName;
    /// Reads a tag with or without double quotes.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        let (hex_digits, parts) = match bare.split_once('-') {
            Some((digits, n)) => (digits, Some(n.parse().map_err(|_| InvalidName)?)),
            None => (bare, None),
        };
        Ok(Self { digest: bytes_of_hex(hex_digits).ok_or(InvalidName)?, parts })
    }
}
