//! A byte range as a client asks for it.

use std::ops::Range;

/// One range of RFC 9110 section 14.1.2, before the length of the object is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=FIRST-LAST`, both inclusive.
    FromTo(u64, u64),
    /// `bytes=FIRST-`
    From(u64),
    /// `bytes=-LENGTH`
    Suffix(u64),
}

impl ByteRange {
    /// Reads a `Range` header. `None` for anything that is not exactly one well-formed byte range: S3, as the RFC allows,
    /// then answers with the whole object.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, spec) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = spec.trim().split_once('-')?;
        let number = |text: &str| {
            if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            Some(text.parse::<u64>().unwrap_or(u64::MAX))
        };
        match (first.trim(), last.trim()) {
            ("", last) => number(last).map(Self::Suffix),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::FromTo(first, last))
            }
        }
    }

    /// The half-open range within an object of `length` bytes; `None` when it cannot be satisfied (416 InvalidRange).
    pub fn within(self, length: u64) -> Option<Range<u64>> {
        match self {
            Self::FromTo(first, last) if first < length => Some(first..last.saturating_add(1).min(length)),
            Self::From(first) if first < length => Some(first..length),
            Self::Suffix(n) if n > 0 && length > 0 => Some(length.saturating_sub(n)..length),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |header: &str, length: u64, expected: Option<Option<Range<u64>>>| {
            assert_eq!(ByteRange::parse(header).map(|r| r.within(length)), expected, "{header} of {length}");
        };
        check("bytes=0-4", 10, Some(Some(0..5)));
        check("bytes=5-", 10, Some(Some(5..10)));
        check("bytes=-3", 10, Some(Some(7..10)));
        check("bytes=-30", 10, Some(Some(0..10)));
        check("bytes=0-99999999999999999999999", 10, Some(Some(0..10)));
        check("bytes=10-", 10, Some(None));
        check("bytes=-0", 10, Some(None));
        check("bytes=-5", 0, Some(None));
        check("bytes=5-4", 10, None);
        check("bytes=0-1,3-4", 10, None);
        check("lines=0-1", 10, None);
    }
}
