//! Condition blocks. Source: IAM user guide, "IAM JSON policy elements: Condition operators".

use crate::{
    context::{Context, folded},
    document::MalformedPolicy,
    json::Json,
    pattern::{Allows, ArnPattern, Pattern},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{cmp::Ordering, net::IpAddr};
use tresor_model::Timestamp;

#[derive(Clone, Debug)]
enum Test {
    Text {
        values: Vec<Pattern>,
        fold: bool,
    },
    Number(Vec<f64>, Compare),
    Date(Vec<f64>, Compare),
    Bool(Vec<String>),
    /// In base64 as AWS writes it.
    Binary(Vec<String>),
    Ip(Vec<ipnet::IpNet>),
    Arn(Vec<ArnPattern>),
    /// `Null`: whether the key may be absent, whether it may be there.
    Absent {
        absent: bool,
        present: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Compare {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Compare {
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::GreaterEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Set {
    Single,
    All,
    Any,
}

/// One operator over one key.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// As it was written: `ForAnyValue:StringLike`.
    operator: String,
    key: String,
    folded_key: String,
    wanted: Vec<String>,
    test: Test,
    negated: bool,
    if_exists: bool,
    set: Set,
}

/// A condition and what a request brought for it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub operator: &'a str,
    pub key: &'a str,
    pub wanted: &'a [String],
    /// `None`: the request has no such key.
    pub values: Option<&'a [String]>,
    pub holds: bool,
}

impl Condition {
    /// Reads one `Condition` element. Errors: an unknown operator, a value that no request could match for its form.
    pub(crate) fn read(block: &Json, variables: bool) -> Result<Vec<Self>, MalformedPolicy> {
        let mut conditions = Vec::new();
        for (operator, keys) in block.object().ok_or_else(MalformedPolicy::syntax)? {
            for (key, values) in keys.object().ok_or_else(MalformedPolicy::syntax)? {
                conditions.push(Self::one(operator, key, values, variables)?);
            }
        }
        Ok(conditions)
    }

    fn one(operator: &str, key: &str, values: &Json, variables: bool) -> Result<Self, MalformedPolicy> {
        let unknown = || MalformedPolicy(format!("Invalid Condition type : {operator}"));
        let (set, name) = match operator.split_once(':') {
            Some((prefix, name)) if prefix.eq_ignore_ascii_case("ForAllValues") => (Set::All, name),
            Some((prefix, name)) if prefix.eq_ignore_ascii_case("ForAnyValue") => (Set::Any, name),
            Some(_) => return Err(unknown()),
            None => (Set::Single, operator),
        };
        let lower = name.to_ascii_lowercase();
        let (name, if_exists) = match lower.strip_suffix("ifexists") {
            Some("null") => return Err(unknown()),
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        let wanted: Vec<String> = values
            .items()
            .iter()
            .map(|value| value.scalar().ok_or_else(MalformedPolicy::syntax))
            .collect::<Result<_, _>>()?;
        let text = |wildcards: bool, fold: bool| Test::Text {
            values: wanted.iter().map(|text| Pattern::compile(text, Allows { wildcards, variables })).collect(),
            fold,
        };
        let arns = || Test::Arn(wanted.iter().map(|text| ArnPattern::compile(text, variables)).collect());
        // A value that cannot be read would match nothing, so that a Deny would quietly protect nothing.
        let numbers = || read_all(operator, &wanted, number);
        let dates = || read_all(operator, &wanted, instant);
        let networks = || read_all(operator, &wanted, network);
        let booleans = || read_all(operator, &wanted, |text| boolean(text).map(|value| value.to_string()));
        let (test, negated) = match name {
            "stringequals" => (text(false, false), false),
            "stringnotequals" => (text(false, false), true),
            "stringequalsignorecase" => (text(false, true), false),
            "stringnotequalsignorecase" => (text(false, true), true),
            "stringlike" => (text(true, false), false),
            "stringnotlike" => (text(true, false), true),
            "numericequals" => (Test::Number(numbers()?, Compare::Equal), false),
            "numericnotequals" => (Test::Number(numbers()?, Compare::Equal), true),
            "numericlessthan" => (Test::Number(numbers()?, Compare::Less), false),
            "numericlessthanequals" => (Test::Number(numbers()?, Compare::LessEqual), false),
            "numericgreaterthan" => (Test::Number(numbers()?, Compare::Greater), false),
            "numericgreaterthanequals" => (Test::Number(numbers()?, Compare::GreaterEqual), false),
            "dateequals" => (Test::Date(dates()?, Compare::Equal), false),
            "datenotequals" => (Test::Date(dates()?, Compare::Equal), true),
            "datelessthan" => (Test::Date(dates()?, Compare::Less), false),
            "datelessthanequals" => (Test::Date(dates()?, Compare::LessEqual), false),
            "dategreaterthan" => (Test::Date(dates()?, Compare::Greater), false),
            "dategreaterthanequals" => (Test::Date(dates()?, Compare::GreaterEqual), false),
            "bool" => (Test::Bool(booleans()?), false),
            "binaryequals" => (Test::Binary(read_all(operator, &wanted, canonical_base64)?), false),
            "ipaddress" => (Test::Ip(networks()?), false),
            "notipaddress" => (Test::Ip(networks()?), true),
            "arnequals" | "arnlike" => (arns(), false),
            "arnnotequals" | "arnnotlike" => (arns(), true),
            "null" if set == Set::Single => {
                let values = read_all(operator, &wanted, boolean)?;
                (Test::Absent { absent: values.contains(&true), present: values.contains(&false) }, false)
            }
            _ => return Err(unknown()),
        };
        let (operator, key, folded_key) = (operator.to_owned(), key.to_owned(), folded(key));
        Ok(Self { operator, key, folded_key, wanted, test, negated, if_exists, set })
    }

    /// `allow`: of a statement that allows.
    pub(crate) fn seen<'s>(&'s self, context: &'s Context, allow: bool) -> Seen<'s> {
        Seen {
            operator: &self.operator,
            key: &self.key,
            wanted: &self.wanted,
            values: context.get(&self.folded_key),
            holds: self.holds(context, allow),
        }
    }

    /// The key in lower case (but for an object tag's key) and its values, if only requests that bring one of these values pass: a
    /// positive comparison of one or any value that an absent key fails.
    pub(crate) fn pinned(&self) -> Option<(&str, Pinned<'_>)> {
        if self.negated || self.if_exists || self.set == Set::All {
            return None;
        }
        let pinned = match &self.test {
            Test::Text { .. } | Test::Arn(_) => Pinned::Texts(&self.wanted),
            Test::Ip(networks) => Pinned::Networks(networks),
            Test::Number(..) | Test::Date(..) | Test::Bool(_) | Test::Binary(_) | Test::Absent { .. } => return None,
        };
        Some((&self.folded_key, pinned))
    }

    /// Whether the condition of a statement that allows, or denies, holds. An absent key: positive operators fail, negated ones hold,
    /// IfExists holds; ForAnyValue fails, with IfExists too, as AWS answers: a set without values has none that could hold.
    pub(crate) fn holds(&self, context: &Context, allow: bool) -> bool {
        let values = context.get(&self.folded_key);
        if let Test::Absent { absent, present } = self.test {
            return if values.is_none() { absent } else { present };
        }
        let Some(values) = values else {
            return match self.set {
                Set::All => true,
                Set::Any => false,
                Set::Single => self.negated || self.if_exists,
            };
        };
        match self.set {
            Set::All => values.iter().all(|value| self.value(value, context)),
            Set::Any => values.iter().any(|value| self.value(value, context)),
            // A key of many values asks for a set operator (IAM user guide, "Single-valued vs. multivalued context keys"). Without one
            // nothing is allowed by it; what is denied by it stays denied: a positive operator needs a value that matches, a negated
            // one that none does.
            Set::Single if allow && context.is_multivalued(&self.folded_key) => false,
            Set::Single if self.negated => values.iter().all(|value| self.value(value, context)),
            Set::Single => values.iter().any(|value| self.value(value, context)),
        }
    }

    /// One value against the list: any for a positive operator, none for a negated one.
    fn value(&self, value: &str, context: &Context) -> bool {
        let found = match &self.test {
            Test::Text { values, fold } => {
                values.iter().any(|pattern| pattern.matches(value, context, *fold) == Some(true))
            }
            Test::Number(values, compare) => match number(value) {
                Some(number) => values.iter().any(|wanted| compare.holds(number.partial_cmp(wanted))),
                None => return false,
            },
            Test::Date(values, compare) => match instant(value) {
                Some(at) => values.iter().any(|wanted| compare.holds(at.partial_cmp(wanted))),
                None => return false,
            },
            Test::Bool(values) => values.iter().any(|wanted| wanted.eq_ignore_ascii_case(value)),
            Test::Binary(values) => values.iter().any(|wanted| wanted == value),
            Test::Ip(networks) => match value.parse::<IpAddr>() {
                Ok(address) => networks.iter().any(|network| network.contains(&address)),
                Err(_) => return false,
            },
            Test::Arn(patterns) => patterns.iter().any(|pattern| pattern.matches(value, context) == Some(true)),
            Test::Absent { .. } => false,
        };
        found != self.negated
    }
}

/// What a positive condition holds a request to.
pub(crate) enum Pinned<'c> {
    Texts(&'c [String]),
    Networks(&'c [ipnet::IpNet]),
}

fn read_all<T>(operator: &str, texts: &[String], read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, MalformedPolicy> {
    let one = |text: &String| {
        read(text.trim()).ok_or_else(|| MalformedPolicy(format!("Invalid value for {operator} : {text}")))
    };
    texts.iter().map(one).collect()
}

fn boolean(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

/// An integer or a decimal.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    // `parse` would also take "inf" and "nan".
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if plain { text.parse().ok() } else { None }
}

/// Seconds since 1970: a number, or a date to the month, the day, the minute or the second and below.
/// Source: IAM user guide, "Date condition operators"; W3C, "Date and Time Formats". A year alone is a number.
fn instant(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Some(seconds) = number(text) {
        return Some(seconds);
    }
    let to_the_minute = text.split_at_checked(16).filter(|(_, zone)| zone.starts_with(['Z', '+', '-']));
    let whole = match (text.len(), to_the_minute) {
        (7, _) => format!("{text}-01T00:00:00Z"),
        (10, _) => format!("{text}T00:00:00Z"),
        (_, Some((minute, zone))) => format!("{minute}:00{zone}"),
        (_, None) => text.to_owned(),
    };
    Timestamp::parse_iso8601(&whole).map(|at| at.millis() as f64 / 1000.0)
}

fn canonical_base64(text: &str) -> Option<String> {
    STANDARD.decode(text).ok().map(|bytes| STANDARD.encode(bytes))
}

/// A CIDR, or an address for itself alone.
fn network(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(ipnet::IpNet::from))
}
