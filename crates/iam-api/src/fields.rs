//! Parameters of a Query request: read by name, every one that was sent must be read.

use crate::fault::Fault;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, ops::RangeInclusive};
use zeroize::Zeroize;

/// Parameters of one request: AWS has fewer members than this everywhere.
const MAX_PARAMETERS: usize = 2000;

/// A request's parameters while they are read. Some are secret: they are zeroed, and do not print.
pub(crate) struct Fields(BTreeMap<String, String>);

impl Drop for Fields {
    fn drop(&mut self) {
        for value in self.0.values_mut() {
            value.zeroize();
        }
    }
}

/// As the texts name members: `UserName` is `userName`.
fn shown(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// Numbers and flags as what they are.
fn typed(name: &str, value: &str) -> Value {
    let number = || value.parse::<u64>().ok().map(Value::from);
    let flag = || value.parse::<bool>().ok().map(Value::from);
    let typed = match name {
        "DurationSeconds" | "MaxItems" | "MaxSessionDuration" => number(),
        "SetAsDefault" | "OnlyAttached" => flag(),
        _ => None,
    };
    typed.unwrap_or_else(|| value.into())
}

/// `{member: {1: .., 2: ..}}` as the list that it is.
fn listed(value: Value) -> Value {
    let Value::Object(mut members) = value else { return value };
    match members.remove("member") {
        Some(Value::Object(items)) if members.is_empty() => {
            let mut items: Vec<(u32, Value)> =
                items.into_iter().map(|(at, item)| (at.parse().unwrap_or(u32::MAX), listed(item))).collect();
            items.sort_by_key(|(at, _)| *at);
            items.into_iter().map(|(_, item)| item).collect()
        }
        other => {
            members.extend(other.map(|other| ("member".to_owned(), other)));
            members.into_iter().map(|(name, value)| (name, listed(value))).collect::<Map<_, _>>().into()
        }
    }
}

impl Fields {
    /// Reads a form. Errors: MalformedInput, for one that is too long, no UTF-8, or says something twice.
    pub(crate) fn parse(form: &[u8]) -> Result<Self, Fault> {
        let malformed = |text: &str| Fault::new("MalformedInput", text);
        let text = std::str::from_utf8(form).map_err(|_| malformed("The request is not UTF-8."))?;
        let decode = |part: &str| {
            let plain = part.replace('+', " ");
            percent_decode_str(&plain).decode_utf8().map(|text| text.into_owned())
        };
        let mut fields = Self(BTreeMap::new());
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Ok(name), Ok(value)) = (decode(name), decode(value)) else {
                return Err(malformed("The request is not UTF-8."));
            };
            fields.add(name, value)?;
        }
        Ok(fields)
    }
    /// Errors: MalformedInput.
    pub(crate) fn add(&mut self, name: String, value: String) -> Result<(), Fault> {
        // What presigning adds is no parameter of the operation.
        if name.starts_with("X-Amz-") {
            return Ok(());
        }
        if self.0.len() >= MAX_PARAMETERS || self.0.insert(name, value).is_some() {
            return Err(Fault::new("MalformedInput", "A parameter stands twice, or there are too many."));
        }
        Ok(())
    }

    /// What an audit event may show, in CloudTrail's shape: `Tags.member.1.Key=a` is `tags: [{key: a}]`. Never a token or a code.
    pub(crate) fn shown(&self) -> Map<String, Value> {
        const SECRET: &[&str] = &["Token", "Password", "PrivateKey", "AuthenticationCode", "SAMLAssertion"];
        const MAX_SHOWN: usize = 64;
        const MAX_DEPTH: usize = 8;
        let mut all = Value::Object(Map::new());
        let hidden = |name: &str| matches!(name, "Action" | "Version") || SECRET.iter().any(|word| name.contains(word));
        let known = self.0.iter().filter(|(name, _)| !hidden(name));
        for (name, value) in known.take(MAX_SHOWN).filter(|(name, _)| name.split('.').count() <= MAX_DEPTH) {
            let mut place = &mut all;
            for part in name.split('.') {
                let Value::Object(members) = place else { break };
                place = members.entry(shown(part)).or_insert_with(|| Value::Object(Map::new()));
            }
            if place.as_object().is_some_and(Map::is_empty) {
                *place = typed(name, value);
            }
        }
        match all {
            Value::Object(members) => members.into_iter().map(|(name, value)| (name, listed(value))).collect(),
            _ => Map::new(),
        }
    }
    /// The operation and the version of the protocol that a request names.
    pub(crate) fn asked(&self) -> (&str, &str) {
        let of = |name: &str| self.0.get(name).map(String::as_str).unwrap_or_default();
        (of("Action"), of("Version"))
    }

    /// Errors: ValidationError for a parameter that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        match self.0.keys().find(|name| !matches!(name.as_str(), "Action" | "Version")) {
            None => Ok(()),
            Some(name) => Err(Fault::validation(format!("The parameter {name} is not supported here."))),
        }
    }

    /// Errors: ValidationError for another length.
    pub(crate) fn text(&mut self, name: &str, length: RangeInclusive<usize>) -> Result<Option<String>, Fault> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let chars = value.chars().count();
        let bound = if chars < *length.start() {
            format!("greater than or equal to {}", length.start())
        } else if chars > *length.end() {
            format!("less than or equal to {}", length.end())
        } else {
            return Ok(Some(value));
        };
        let value: String = value.chars().take(256).collect();
        Err(Fault::validation(format!(
            "1 validation error detected: Value '{value}' at '{}' failed to satisfy constraint: Member must have length {bound}",
            shown(name)
        )))
    }
    /// Errors: ValidationError.
    pub(crate) fn required(&mut self, name: &str, length: RangeInclusive<usize>) -> Result<String, Fault> {
        self.text(name, length)?.ok_or_else(|| {
            Fault::validation(format!(
                "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
                shown(name)
            ))
        })
    }
    /// A name of IAM: its characters are checked where it is made.
    pub(crate) fn name(&mut self, name: &str) -> Result<String, Fault> {
        self.required(name, 1..=128)
    }
    pub(crate) fn arn(&mut self, name: &str) -> Result<String, Fault> {
        self.required(name, 20..=2048)
    }
    pub(crate) fn document(&mut self, name: &str) -> Result<String, Fault> {
        self.required(name, 1..=131_072)
    }
    /// Errors: ValidationError for no number, or one that is out of bounds.
    pub(crate) fn number(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let number: Option<u64> = value.parse().ok();
        let bound = match number {
            Some(number) if bounds.contains(&number) => return Ok(Some(number)),
            Some(number) if number > *bounds.end() => format!("less than or equal to {}", bounds.end()),
            _ => format!("greater than or equal to {}", bounds.start()),
        };
        let value: String = value.chars().take(64).collect();
        Err(Fault::validation(format!(
            "1 validation error detected: Value '{value}' at '{}' failed to satisfy constraint: Member must have value {bound}",
            shown(name)
        )))
    }
    /// Errors: ValidationError for neither.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Fault> {
        match self.0.remove(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Fault::new("MalformedInput", format!("{name} must be true or false"))),
        }
    }
    /// One of a list of words.
    pub(crate) fn choice(&mut self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, Fault> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        match words.iter().find(|word| **word == value) {
            Some(word) => Ok(Some(word)),
            None => Err(Fault::validation(format!(
                "1 validation error detected: Value '{}' at '{}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
                value.chars().take(256).collect::<String>(),
                shown(name),
                words.join(", ")
            ))),
        }
    }
    pub(crate) fn path(&mut self) -> Result<String, Fault> {
        Ok(self.text("Path", 1..=512)?.unwrap_or_else(|| "/".into()))
    }
    pub(crate) fn path_prefix(&mut self) -> Result<String, Fault> {
        Ok(self.text("PathPrefix", 1..=512)?.unwrap_or_else(|| "/".into()))
    }

    /// `NAME.member.1`, `NAME.member.2`, ...: as many as there are without a gap.
    pub(crate) fn texts(&mut self, name: &str) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(value) = self.0.remove(&format!("{name}.member.{}", all.len() + 1)) {
            all.push(value);
        }
        // An empty list is sent as its bare name.
        if self.0.get(name).is_some_and(String::is_empty) {
            self.0.remove(name);
        }
        all
    }
    /// `NAME.member.1.FIRST` and `.SECOND`. Errors: ValidationError for half of a pair.
    pub(crate) fn pairs(&mut self, name: &str, first: &str, second: &str) -> Result<Vec<(String, String)>, Fault> {
        let mut all = Vec::new();
        loop {
            let place = format!("{name}.member.{}", all.len() + 1);
            let key = self.0.remove(&format!("{place}.{first}"));
            let value = self.0.remove(&format!("{place}.{second}"));
            match (key, value) {
                (Some(key), Some(value)) => all.push((key, value)),
                (None, None) => break,
                (key, _) => {
                    let missing = if key.is_none() { first } else { second };
                    return Err(Fault::validation(format!(
                        "1 validation error detected: Value null at '{}.{}.member.{}' failed to satisfy constraint: Member must not be null",
                        shown(name),
                        all.len() + 1,
                        shown(missing)
                    )));
                }
            }
        }
        if self.0.get(name).is_some_and(String::is_empty) {
            self.0.remove(name);
        }
        Ok(all)
    }
    pub(crate) fn tags(&mut self) -> Result<Vec<(String, String)>, Fault> {
        self.pairs("Tags", "Key", "Value")
    }
    /// `PolicyArns.member.1.arn`
    pub(crate) fn policy_arns(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(value) = self.0.remove(&format!("PolicyArns.member.{}.arn", all.len() + 1)) {
            all.push(value);
        }
        all
    }
    /// `ContextEntries.member.1.ContextKeyName`, `.ContextKeyType` and `.ContextKeyValues.member.1`
    pub(crate) fn context_entries(&mut self) -> Vec<ContextEntry> {
        let mut all = Vec::new();
        loop {
            let place = format!("ContextEntries.member.{}", all.len() + 1);
            let Some(name) = self.0.remove(&format!("{place}.ContextKeyName")) else { return all };
            let of = self.0.remove(&format!("{place}.ContextKeyType"));
            let values = self.texts(&format!("{place}.ContextKeyValues"));
            let multivalued = values.len() > 1 || of.is_some_and(|of| of.ends_with("List"));
            all.push(ContextEntry { name, values, multivalued });
        }
    }
}

/// A condition key that a simulation is told.
pub(crate) struct ContextEntry {
    pub name: String,
    pub values: Vec<String>,
    /// `stringList` and its like, or more than one value.
    pub multivalued: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_order_and_nothing_is_left_over() {
        let form = b"Action=TagUser&Version=2010-05-08&UserName=a%2Bb&Tags.member.1.Key=k&Tags.member.1.Value=v+w&Tags.member.2.Key=l&Tags.member.2.Value=&TagKeys.member.1=x";
        let mut fields = Fields::parse(form).unwrap();
        assert_eq!(fields.name("UserName").unwrap(), "a+b");
        assert_eq!(fields.tags().unwrap(), [("k".into(), "v w".into()), ("l".into(), String::new())]);
        assert_eq!(fields.texts("TagKeys"), ["x"]);
        fields.finish().unwrap();
        assert!(Fields::parse(b"Action=a&Odd=1").unwrap().finish().is_err());
        assert!(Fields::parse(b"A=1&A=2").is_err());
        assert!(Fields::parse(b"A=%ff").is_err());
    }

    #[test]
    fn events_are_shown_parameters_in_their_own_shape_and_no_token() {
        let form = b"Action=A&Version=1&RoleArn=r&DurationSeconds=900&Tags.member.10.Key=z&Tags.member.2.Key=k&Tags.member.2.Value=v&TagKeys.member.1=x&WebIdentityToken=secret&E.member.1.V.member.1=a&P=1&P.member.1=2";
        let shown = Value::from(Fields::parse(form).unwrap().shown());
        let expected = serde_json::json!({
            "roleArn": "r",
            "durationSeconds": 900,
            "tags": [{ "key": "k", "value": "v" }, { "key": "z" }],
            "tagKeys": ["x"],
            "e": [{ "v": ["a"] }],
            "p": "1",
        });
        assert_eq!(shown, expected);
    }
}
