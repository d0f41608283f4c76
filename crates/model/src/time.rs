//! Time and randomness as arguments: nothing in the product asks the machine for either except through these.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

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
    /// `2026-11-23T20:57:11.000Z`, the form of S3's XML.
    pub fn iso8601(self) -> String {
        ascii(&[&self.iso8601_ascii()])
    }
    /// The same as bytes, for who writes many.
    pub fn iso8601_ascii(self) -> [u8; 24] {
        let civil = Civil::of(self);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put(&mut text[0..4], civil.year);
        put(&mut text[5..7], civil.month);
        put(&mut text[8..10], civil.day);
        put(&mut text[11..13], civil.second_of_day / 3600);
        put(&mut text[14..16], civil.second_of_day / 60 % 60);
        put(&mut text[17..19], civil.second_of_day % 60);
        put(&mut text[20..23], civil.millisecond);
        text
    }
    /// `20261123T205711Z`, the form of SigV4.
    pub fn basic(self) -> String {
        let iso = self.iso8601_ascii();
        ascii(&[&iso[0..4], &iso[5..7], &iso[8..13], &iso[14..16], &iso[17..19], b"Z"])
    }
    /// Reads an ISO 8601 / RFC 3339 instant.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
    /// Reads SigV4's `20261123T205711Z`.
    pub fn parse_basic(text: &str) -> Option<Self> {
        // Every request has one: read by place, and held against the calendar by the library.
        let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
        let number = |at: usize, digits: usize| {
            let digits = &bytes[at..at + digits];
            let value = || digits.iter().fold(0_u16, |number, digit| number * 10 + u16::from(digit - b'0'));
            digits.iter().all(u8::is_ascii_digit).then(value)
        };
        let two = |at| number(at, 2).and_then(|number| u8::try_from(number).ok());
        if bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let day = time::Date::from_calendar_date(i32::from(number(0, 4)?), two(4)?.try_into().ok()?, two(6)?).ok()?;
        let at = day.with_hms(two(9)?, two(11)?, two(13)?).ok()?.assume_utc();
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

/// A moment by the calendar, in UTC. A list writes a thousand of them: the library's types take a third of a microsecond for each.
struct Civil {
    year: u32,
    month: u32,
    day: u32,
    second_of_day: u32,
    millisecond: u32,
}

impl Civil {
    /// The first moment of the year 10000, which no text of ours can hold.
    const END_MILLIS: u64 = 253_402_300_800_000;

    /// What is beyond the year 9999 counts as the beginning of 1970. Days become a date as in Howard Hinnant, "chrono-Compatible
    /// Low-Level Date Algorithms", civil_from_days: years begin in March, so that a leap day is the last of its year.
    fn of(at: Timestamp) -> Self {
        let millis = if at.0 < Self::END_MILLIS { at.0 } else { 0 };
        let (days, of_day) = ((millis / 86_400_000) as u32, (millis % 86_400_000) as u32);
        // Days since the first of March of the year 0; an era has 400 years.
        let days = days + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: year_of_era + era * 400 + u32::from(month <= 2),
            month,
            day: of_year - (153 * month_from_march + 2) / 5 + 1,
            second_of_day: of_day / 1000,
            millisecond: of_day % 1000,
        }
    }
}

/// Decimal digits, zeros in front.
#[inline]
fn put(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
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

fn ascii(pieces: &[&[u8]]) -> String {
    String::from_utf8(pieces.concat()).expect("digits and signs of ASCII are UTF-8")
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

/// Bytes that are drawn at a time for identifiers.
const DRAWN: usize = 4096;

/// Identifiers of requests and events. They are drawn many at once, because asking the generator costs more than what it gives.
/// Never for keys: what is drawn and not used yet lies in memory.
#[derive(Debug)]
pub struct Identifiers {
    entropy: Arc<dyn Entropy>,
    /// How much of the bytes was given away.
    drawn: Mutex<(usize, Vec<u8>)>,
}

impl Identifiers {
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, drawn: Mutex::new((DRAWN, vec![0; DRAWN])) }
    }

    /// `N` uniformly random bytes, never the same twice. `N` is at most 4096.
    pub fn draw<const N: usize>(&self) -> [u8; N] {
        const { assert!(N <= DRAWN) };
        // Bytes are marked as given before anything could panic.
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let (given, bytes) = &mut *drawn;
        if *given + N > DRAWN {
            self.entropy.fill(bytes);
            *given = 0;
        }
        let mut out = [0; N];
        out.copy_from_slice(&bytes[*given..*given + N]);
        *given += N;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts its calls, and gives other bytes at each.
    #[derive(Debug, Default)]
    struct Counting(std::sync::atomic::AtomicU32);
    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) {
            let call = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            for (n, bytes) in out.chunks_mut(8).enumerate() {
                let number = (u64::from(call) << 32 | n as u64).to_be_bytes();
                bytes.copy_from_slice(&number[..bytes.len()]);
            }
        }
    }

    #[test]
    fn identifiers_are_drawn_many_at_once_and_given_once() {
        let entropy = Arc::new(Counting::default());
        let identifiers = Identifiers::new(Arc::clone(&entropy) as Arc<dyn Entropy>);
        let given: std::collections::HashSet<[u8; 24]> = (0..1000).map(|_| identifiers.draw()).collect();
        assert_eq!(given.len(), 1000);
        assert_eq!(entropy.0.load(std::sync::atomic::Ordering::Relaxed), 1000 / (4096 / 24) + 1);
    }

    #[test]
    fn forms_of_one_instant() {
        let at = Timestamp::parse_basic("20130524T000000Z").unwrap();
        assert_eq!(at.seconds(), 1_369_353_600);
        assert_eq!(at.iso8601(), "2013-05-24T00:00:00.000Z");
        assert_eq!(at.basic(), "20130524T000000Z");
        assert_eq!(Timestamp::parse_iso8601("2013-05-24T00:00:00Z"), Some(at));
        assert_eq!(
            Timestamp::parse_basic("20240229T235959Z").map(Timestamp::basic).as_deref(),
            Some("20240229T235959Z")
        );
        for text in [
            "20130524T000000",
            "20130524T000000Z ",
            "20130524t000000Z",
            "20130524T000000z",
            "+0130524T000000Z",
            "20130024T000000Z",
            "20131324T000000Z",
            "20130229T000000Z",
            "20130524T240000Z",
            "20130524T006000Z",
            "20130524T000060Z",
            "2013052\u{e9}T00000Z",
            "19691231T235959Z",
        ] {
            assert_eq!(Timestamp::parse_basic(text), None, "{text}");
        }
    }

    #[test]
    fn every_moment_reads_back_as_it_was_written() {
        let (mut millis, last) = (0, Civil::END_MILLIS - 1);
        // Steps of about twenty days that meet every time of the day.
        while millis < last {
            let at = Timestamp::from_millis(millis);
            let text = at.iso8601();
            assert_eq!(Timestamp::parse_iso8601(&text), Some(at), "{text}");
            assert_eq!(Timestamp::parse_basic(&at.basic()).map(Timestamp::seconds), Some(at.seconds()), "{text}");
            millis += 1_700_123_457;
        }
        assert_eq!(Timestamp::from_millis(last).iso8601(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_millis(951_825_599_999).iso8601(), "2000-02-29T11:59:59.999Z");
        assert_eq!(Timestamp::from_millis(last + 1).iso8601(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(u64::MAX).basic(), "19700101T000000Z");
    }
}
