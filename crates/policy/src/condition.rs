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
    Binary(Vec<Vec<u8>>),
    Ip(Vec<ipnet::IpNet>),
    Arn(Vec<ArnPattern>),
    /// `Null`: whether the key must be absent.
    Absent(bool),
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
    key: String,
    test: Test,
    negated: bool,
    if_exists: bool,
    set: Set,
}

impl Condition {
    /// Reads one `Condition` element. Errors: an unknown operator, a value of the wrong kind.
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
        let texts: Vec<String> = values
            .items()
            .iter()
            .map(|value| value.scalar().ok_or_else(MalformedPolicy::syntax))
            .collect::<Result<_, _>>()?;
        let text = |wildcards: bool, fold: bool| Test::Text {
            values: texts.iter().map(|text| Pattern::compile(text, Allows { wildcards, variables })).collect(),
            fold,
        };
        // A value that cannot be read matches nothing.
        let numbers = || texts.iter().filter_map(|text| text.trim().parse().ok()).collect();
        let dates = || texts.iter().filter_map(|text| instant(text)).collect();
        let (test, negated) = match name {
            "stringequals" => (text(false, false), false),
            "stringnotequals" => (text(false, false), true),
            "stringequalsignorecase" => (text(false, true), false),
            "stringnotequalsignorecase" => (text(false, true), true),
            "stringlike" => (text(true, false), false),
            "stringnotlike" => (text(true, false), true),
            "numericequals" => (Test::Number(numbers(), Compare::Equal), false),
            "numericnotequals" => (Test::Number(numbers(), Compare::Equal), true),
            "numericlessthan" => (Test::Number(numbers(), Compare::Less), false),
            "numericlessthanequals" => (Test::Number(numbers(), Compare::LessEqual), false),
            "numericgreaterthan" => (Test::Number(numbers(), Compare::Greater), false),
            "numericgreaterthanequals" => (Test::Number(numbers(), Compare::GreaterEqual), false),
            "dateequals" => (Test::Date(dates(), Compare::Equal), false),
            "datenotequals" => (Test::Date(dates(), Compare::Equal), true),
            "datelessthan" => (Test::Date(dates(), Compare::Less), false),
            "datelessthanequals" => (Test::Date(dates(), Compare::LessEqual), false),
            "dategreaterthan" => (Test::Date(dates(), Compare::Greater), false),
            "dategreaterthanequals" => (Test::Date(dates(), Compare::GreaterEqual), false),
            "bool" => (Test::Bool(texts.iter().map(|text| text.to_ascii_lowercase()).collect()), false),
            "binaryequals" => {
                (Test::Binary(texts.iter().filter_map(|text| STANDARD.decode(text).ok()).collect()), false)
            }
            "ipaddress" => (Test::Ip(networks(&texts)?), false),
            "notipaddress" => (Test::Ip(networks(&texts)?), true),
            "arnequals" | "arnlike" => (arns(&texts, variables), false),
            "arnnotequals" | "arnnotlike" => (arns(&texts, variables), true),
            "null" => match texts.as_slice() {
                [one] => (Test::Absent(one.eq_ignore_ascii_case("true")), false),
                _ => return Err(MalformedPolicy::syntax()),
            },
            _ => return Err(unknown()),
        };
        Ok(Self { key: folded(key), test, negated, if_exists, set })
    }

    /// Whether the condition holds. An absent key: positive operators fail, negated ones hold, IfExists holds.
    pub(crate) fn holds(&self, context: &Context) -> bool {
        let values = context.get(&self.key);
        if let Test::Absent(absent) = self.test {
            return values.is_none() == absent;
        }
        let Some(values) = values else {
            return self.if_exists
                || match self.set {
                    Set::All => true,
                    Set::Any => false,
                    Set::Single => self.negated,
                };
        };
        match self.set {
            Set::All => values.iter().all(|value| self.value(value, context)),
            Set::Any => values.iter().any(|value| self.value(value, context)),
            // Several values under an operator of one: a positive one needs a value that matches, a negated one that none does.
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
            Test::Number(values, compare) => match value.trim().parse::<f64>() {
                Ok(number) => values.iter().any(|wanted| compare.holds(number.partial_cmp(wanted))),
                Err(_) => return false,
            },
            Test::Date(values, compare) => match instant(value) {
                Some(at) => values.iter().any(|wanted| compare.holds(at.partial_cmp(wanted))),
                None => return false,
            },
            Test::Bool(values) => values.iter().any(|wanted| wanted.eq_ignore_ascii_case(value)),
            Test::Binary(values) => STANDARD.decode(value).is_ok_and(|bytes| values.contains(&bytes)),
            Test::Ip(networks) => match value.parse::<IpAddr>() {
                Ok(address) => networks.iter().any(|network| network.contains(&address)),
                Err(_) => return false,
            },
            Test::Arn(patterns) => patterns.iter().any(|pattern| pattern.matches(value, context) == Some(true)),
            Test::Absent(_) => false,
        };
        found != self.negated
    }
}

fn arns(texts: &[String], variables: bool) -> Test {
    Test::Arn(texts.iter().map(|text| ArnPattern::compile(text, variables)).collect())
}

/// Seconds since 1970: ISO 8601, a date alone, or a number.
fn instant(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    Timestamp::parse_iso8601(&whole).map(|at| at.millis() as f64 / 1000.0)
}

fn networks(texts: &[String]) -> Result<Vec<ipnet::IpNet>, MalformedPolicy> {
    let read = |text: &String| {
        let text = text.trim();
        text.parse::<ipnet::IpNet>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(ipnet::IpNet::from))
            .ok_or_else(|| MalformedPolicy(format!("Value in IpAddress condition is not an address range: {text}")))
    };
    texts.iter().map(read).collect()
}
