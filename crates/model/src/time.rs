//! Time and randomness as arguments: nothing in the product asks the machine for either except through these.

use std::fmt;
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
    pub const fn millis(self) -> u64 {
        self.0
    }
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
    /// `2026-11-23T20:57:11.000Z`, the form of S3's XML.
    pub fn iso8601(self) -> String {
        let at = self.date_time();
        let mut text = String::with_capacity(24);
        push_date(&mut text, at, "-");
        text.push('T');
        push_time(&mut text, at, ":");
        text.push('.');
        push_digits(&mut text, u32::from(at.millisecond()), 3);
        text.push('Z');
        text
    }
    /// `20261123T205711Z`, the form of SigV4.
    pub fn basic(self) -> String {
        let at = self.date_time();
        let mut text = String::with_capacity(16);
        push_date(&mut text, at, "");
        text.push('T');
        push_time(&mut text, at, "");
        text.push('Z');
        text
    }
    /// Reads an ISO 8601 / RFC 3339 instant.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
    /// Reads SigV4's `20261123T205711Z`.
    pub fn parse_basic(text: &str) -> Option<Self> {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let at = time::PrimitiveDateTime::parse(text, format).ok()?.assume_utc();
        u64::try_from(at.unix_timestamp()).ok().map(|s| Self(s * 1000))
    }
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

// A list writes a thousand times; the library's formatter takes a third of a microsecond for each.
fn push_date(text: &mut String, at: OffsetDateTime, between: &str) {
    push_digits(text, at.year().unsigned_abs(), 4);
    text.push_str(between);
    push_digits(text, u32::from(u8::from(at.month())), 2);
    text.push_str(between);
    push_digits(text, u32::from(at.day()), 2);
}

fn push_time(text: &mut String, at: OffsetDateTime, between: &str) {
    push_digits(text, u32::from(at.hour()), 2);
    text.push_str(between);
    push_digits(text, u32::from(at.minute()), 2);
    text.push_str(between);
    push_digits(text, u32::from(at.second()), 2);
}

/// With zeros in front.
fn push_digits(text: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        text.push(char::from(b'0' + (number / 10_u32.pow(place) % 10) as u8));
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso8601())
    }
}

impl<C> minicbor::Encode<C> for Timestamp {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u64(self.0)?.ok()
    }
}
impl<'b, C> minicbor::Decode<'b, C> for Timestamp {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.u64().map(Self)
    }
}

/// Where the time comes from: the machine's clock in the server, a settable one in tests.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
}

/// Where randomness comes from: the machine's generator in the server, a seeded one in tests.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `out` with uniformly random bytes.
    fn fill(&self, out: &mut [u8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_instant() {
        let at = Timestamp::parse_basic("20130524T000000Z").unwrap();
        assert_eq!(at.seconds(), 1_369_353_600);
        assert_eq!(at.iso8601(), "2013-05-24T00:00:00.000Z");
        assert_eq!(at.basic(), "20130524T000000Z");
        assert_eq!(Timestamp::parse_iso8601("2013-05-24T00:00:00Z"), Some(at));
        assert_eq!(Timestamp::parse_basic("20130524T000000"), None);
    }
}
