//! What is measured: an operation at a size, by so many clients, with an encryption and a form of payload.

use crate::client::Payload;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    Put,
    Get,
    Head,
    Delete,
    /// ListObjectsV2, page after page.
    List,
    /// GET of a random range.
    Range,
    /// Whole multipart uploads, one after the other, their parts sent by all clients.
    Multipart,
    /// 70 % GET, 10 % HEAD, 15 % PUT, 5 % DELETE.
    Mixed,
}

impl Operation {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Range => "range",
            Self::Multipart => "multipart",
            Self::Mixed => "mixed",
        }
    }

    /// Whether it reads objects that must be there before.
    pub(crate) const fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Range | Self::Mixed)
    }

    /// Whether it sends bodies, in a form that can be chosen.
    pub(crate) const fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Multipart | Self::Mixed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// No header: what the bucket's default says.
    None,
    /// SSE-S3: AES256.
    S3,
    /// SSE-KMS: aws:kms, a data key for each object.
    Kms,
    /// SSE-KMS with a bucket key.
    KmsBucketKey,
    /// Two layers: aws:kms:dsse.
    Dsse,
    /// SSE-C.
    C,
}

impl Encryption {
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::S3 => "s3",
            Self::Kms => "kms",
            Self::KmsBucketKey => "kms-bucket-key",
            Self::Dsse => "dsse",
            Self::C => "c",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub operation: Operation,
    /// Bytes of an object.
    pub size: u64,
    /// Connections, each with a request in flight.
    pub concurrency: usize,
    pub encryption: Encryption,
    pub payload: Payload,
    /// Objects that are there to be read, listed or deleted.
    pub objects: u64,
    /// Bytes of a range.
    pub range: u64,
    /// Bytes of a part.
    pub part: u64,
    /// Keys of a page.
    pub page: u32,
}

impl Case {
    /// The key prefix of the objects that this case reads; cases that can read the same objects share it.
    pub(crate) fn fill_prefix(&self, prefix: &str) -> String {
        match self.operation {
            Operation::List => format!("{prefix}list/"),
            _ => format!("{prefix}fill/{}/{}/", self.encryption.name(), self.size),
        }
    }

    /// Whether rates are of bytes rather than of requests.
    pub fn is_bulk(&self) -> bool {
        match self.operation {
            Operation::Multipart => true,
            Operation::Range => self.range >= BULK,
            Operation::Put | Operation::Get | Operation::Mixed => self.size >= BULK,
            Operation::Head | Operation::Delete | Operation::List => false,
        }
    }
}

/// From here on the bytes count, below it the requests.
const BULK: u64 = 1 << 20;

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, clients) = (Size(self.size), self.concurrency);
        match self.operation {
            Operation::List => write!(f, "list {}/page of {} c{clients}", self.page, self.objects)?,
            Operation::Range => write!(f, "range {} of {size} c{clients}", Size(self.range))?,
            operation => write!(f, "{} {size} c{clients}", operation.name())?,
        }
        if self.encryption != Encryption::None {
            write!(f, " sse-{}", self.encryption.name())?;
        }
        if self.operation.writes() && self.payload != Payload::Unsigned {
            let value = clap::ValueEnum::to_possible_value(&self.payload);
            write!(f, " {}", value.as_ref().map_or("", |value| value.get_name()))?;
        }
        Ok(())
    }
}

/// Bytes, written and read as people do: `4KiB`, `1MiB`, `100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
/// The largest object of S3.
const MAX_SIZE: u64 = 50 << 40;

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => write!(f, "{} {unit}", self.0 / bytes),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size such as 4096, 4KiB, 16MiB, 1GiB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = text[digits..].trim().to_ascii_lowercase();
        let bytes = match unit.trim_end_matches('b').trim_end_matches('i') {
            "" => 1,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(bytes).filter(|size| *size <= MAX_SIZE).map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, size) in
            [("0", 0), ("4096", 4096), ("4KiB", 4096), ("4k", 4096), ("16 MiB", 16 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(text.parse(), Ok(Size(size)), "{text}");
        }
        for size in [0, 1, 1000, 4096, 5 << 20, 1 << 30] {
            assert_eq!(Size(size).to_string().replace(" B", "").parse(), Ok(Size(size)));
        }
        for text in ["", "k", "-1", "1.5MiB", "4KiBs", "4 parsecs", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
