//! Object and bucket tags.

use std::fmt;

/// Tags of one object: at most ten, unique keys, sizes by S3's rules. The order given is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct TagSet(#[n(0)] Vec<(String, String)>);

/// Which rule a tag set broke; the gateway gives it S3's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidTags {
    TooMany,
    DuplicateKey(String),
    InvalidKey(String),
    InvalidValue(String),
}

impl fmt::Display for InvalidTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "Object tags cannot be greater than 10",
            Self::DuplicateKey(_) => "Cannot provide multiple Tags with the same key",
            Self::InvalidKey(_) => "The TagKey you have provided is invalid",
            Self::InvalidValue(_) => "The TagValue you have provided is invalid",
        })
    }
}
impl std::error::Error for InvalidTags {}

impl TagSet {
    /// S3's limit for objects.
    pub const MAX_OBJECT_TAGS: usize = 10;
    const MAX_KEY_CHARS: usize = 128;
    const MAX_VALUE_CHARS: usize = 256;

    /// Checks count, lengths (in UTF-16 units, as S3 counts) and that no key stands twice.
    pub fn for_object(pairs: Vec<(String, String)>) -> Result<Self, InvalidTags> {
        if pairs.len() > Self::MAX_OBJECT_TAGS {
            return Err(InvalidTags::TooMany);
        }
        for (n, (key, value)) in pairs.iter().enumerate() {
            let key_units = key.encode_utf16().count();
            if key_units == 0 || key_units > Self::MAX_KEY_CHARS || key.starts_with("aws:") || !key.chars().all(allowed)
            {
                return Err(InvalidTags::InvalidKey(key.clone()));
            }
            if value.encode_utf16().count() > Self::MAX_VALUE_CHARS || !value.chars().all(allowed) {
                return Err(InvalidTags::InvalidValue(value.clone()));
            }
            if pairs[..n].iter().any(|(other, _)| other == key) {
                return Err(InvalidTags::DuplicateKey(key.clone()));
            }
        }
        Ok(Self(pairs))
    }
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Letters, white space, numbers and `+ - = . _ : / @` (S3 user guide, "Categorizing your storage using tags").
fn allowed(c: char) -> bool {
    c.is_alphanumeric() || c.is_whitespace() || "+-=._:/@".contains(c)
}
