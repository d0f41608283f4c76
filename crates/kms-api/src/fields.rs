//! The members of a request: read by type, held against the service model's limits, with every violation named in one answer.

use crate::fault::Fault;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use tresor_model::Timestamp;
use zeroize::Zeroizing;

/// Lengths of names of keys: ids, ARNs, aliases.
const KEY_ID: RangeInclusive<usize> = 1..=2048;
/// Pairs of an encryption context, and bytes of all of them. Ours: AWS documents no number.
const MAX_CONTEXT: (usize, usize) = (128, 8192);

/// Violations that one answer names, and bytes of a value it shows: a short request must not make a long answer and audit record.
const MAX_VIOLATIONS: usize = 20;
const MAX_SHOWN_VALUE: usize = 2048;

/// A request's body while it is read.
pub(crate) struct Fields {
    members: Map<String, Value>,
    violations: Vec<String>,
    /// Violations beyond those whose texts are kept.
    unnamed: usize,
}

/// As the texts name members: `KeyId` is `keyId`.
fn shown(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

fn wrong_type(name: &str, wanted: &str) -> Fault {
    Fault::serialization(format!("{name} cannot be converted to {wanted}"))
}

impl Fields {
    /// Errors: SerializationException for what is not a JSON object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Fault> {
        let members = match serde_json::from_slice(if body.is_empty() { b"{}" } else { body }) {
            Ok(Value::Object(members)) => members,
            Ok(_) => return Err(Fault::serialization("Start of structure or map not found where expected.")),
            Err(_) => return Err(Fault::serialization("The request body is not valid JSON.")),
        };
        Ok(Self { members, violations: Vec::new(), unnamed: 0 })
    }

    /// What an audit event may show: names of keys, algorithms, contexts. Never a plaintext, ciphertext, message, token or material.
    pub(crate) fn shown(&self) -> Vec<(String, Value)> {
        const SHOWN: &[&str] = &[
            "KeyId",
            "SourceKeyId",
            "DestinationKeyId",
            "TargetKeyId",
            "AliasName",
            "KeySpec",
            "CustomerMasterKeySpec",
            "KeyUsage",
            "Origin",
            "Description",
            "MultiRegion",
            "BypassPolicyLockoutSafetyCheck",
            "NumberOfBytes",
            "EncryptionContext",
            "SourceEncryptionContext",
            "DestinationEncryptionContext",
            "EncryptionAlgorithm",
            "SourceEncryptionAlgorithm",
            "DestinationEncryptionAlgorithm",
            "SigningAlgorithm",
            "MessageType",
            "MacAlgorithm",
            "KeyAgreementAlgorithm",
            "EncapsulationAlgorithm",
            "KeyPairSpec",
            "PendingWindowInDays",
            "RotationPeriodInDays",
            "PolicyName",
            "Policy",
            "Tags",
            "TagKeys",
            "GrantId",
            "GranteePrincipal",
            "RetiringPrincipal",
            "Operations",
            "Constraints",
            "Name",
            "WrappingAlgorithm",
            "WrappingKeySpec",
            "ExpirationModel",
            "ValidTo",
            "ImportType",
            "KeyMaterialDescription",
            "KeyMaterialId",
            "DryRun",
            "Limit",
            "IncludeKeyMaterial",
        ];
        let known = SHOWN.iter().filter_map(|name| Some((shown(name), self.members.get(*name)?.clone())));
        known.collect()
    }
    /// The keys that the request names.
    pub(crate) fn keys_shown(&self) -> Vec<String> {
        let members = ["KeyId", "SourceKeyId", "DestinationKeyId", "TargetKeyId"];
        members.iter().filter_map(|name| self.members.get(*name)?.as_str().map(str::to_owned)).collect()
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }
    /// Whether the request is a dry run; the member is still to be taken.
    pub(crate) fn is_dry(&self) -> bool {
        self.members.get("DryRun").and_then(Value::as_bool).unwrap_or_default()
    }
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }
    fn violated(&mut self, value: Option<&str>, path: &str, constraint: &str) {
        let value = value.filter(|value| value.len() <= MAX_SHOWN_VALUE);
        let value = value.map(|value| format!("Value '{value}' at")).unwrap_or_else(|| "Value at".into());
        self.name(|| format!("{value} '{path}' failed to satisfy constraint: {constraint}"));
    }
    fn missing(&mut self, name: &str) {
        self.missing_at(&shown(name));
    }
    fn missing_at(&mut self, path: &str) {
        self.name(|| format!("Value null at '{path}' failed to satisfy constraint: Member must not be null"));
    }
    fn name(&mut self, text: impl FnOnce() -> String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(text());
        } else {
            self.unnamed += 1;
        }
    }
    fn length(&mut self, value: Option<&str>, length: usize, path: &str, limits: &RangeInclusive<usize>) {
        if length < *limits.start() {
            let least = format!("Member must have length greater than or equal to {}", limits.start());
            self.violated(value, path, &least);
        } else if length > *limits.end() {
            let most = format!("Member must have length less than or equal to {}", limits.end());
            self.violated(value, path, &most);
        }
    }

    /// Ends reading. Errors: ValidationException that names every violation.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        match self.violations.len() + self.unnamed {
            0 => Ok(()),
            n => {
                let errors = if n == 1 { "error" } else { "errors" };
                Err(Fault::validation(format!("{n} validation {errors} detected: {}", self.violations.join("; "))))
            }
        }
    }

    pub(crate) fn text(&mut self, name: &str, limits: RangeInclusive<usize>) -> Result<Option<String>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                self.length(Some(&text), text.chars().count(), &shown(name), &limits);
                Ok(Some(text))
            }
            Some(_) => Err(wrong_type(name, "String")),
        }
    }
    pub(crate) fn required(&mut self, name: &str, limits: RangeInclusive<usize>) -> Result<String, Fault> {
        let text = self.text(name, limits)?;
        if text.is_none() {
            self.missing(name);
        }
        Ok(text.unwrap_or_default())
    }
    pub(crate) fn key(&mut self) -> Result<String, Fault> {
        self.required("KeyId", KEY_ID)
    }
    pub(crate) fn key_named(&mut self, name: &str) -> Result<Option<String>, Fault> {
        self.text(name, KEY_ID)
    }
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Fault> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(wrong_type(name, "Boolean")),
        }
    }
    pub(crate) fn number(&mut self, name: &str, limits: RangeInclusive<u32>) -> Result<Option<u32>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_i64().ok_or_else(|| wrong_type(name, "Integer"))?;
        let text = number.to_string();
        if number < i64::from(*limits.start()) {
            let least = format!("Member must have value greater than or equal to {}", limits.start());
            self.violated(Some(&text), &shown(name), &least);
        } else if number > i64::from(*limits.end()) {
            let most = format!("Member must have value less than or equal to {}", limits.end());
            self.violated(Some(&text), &shown(name), &most);
        }
        Ok(u32::try_from(number).ok())
    }
    /// Seconds since 1970, whole or not.
    pub(crate) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let seconds = number.as_f64().filter(|s| (0.0..1e11).contains(s));
                let seconds = seconds.ok_or_else(|| wrong_type(name, "Date"))?;
                Ok(Some(Timestamp::from_millis((seconds * 1000.0) as u64)))
            }
            Some(_) => Err(wrong_type(name, "Date")),
        }
    }
    /// Base64, which the protocol gives blobs.
    pub(crate) fn blob(
        &mut self,
        name: &str,
        limits: RangeInclusive<usize>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                let text = Zeroizing::new(text);
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| wrong_type(name, "Blob"))?;
                let bytes = Zeroizing::new(bytes);
                self.length(None, bytes.len(), &shown(name), &limits);
                Ok(Some(bytes))
            }
            Some(_) => Err(wrong_type(name, "Blob")),
        }
    }
    pub(crate) fn required_blob(
        &mut self,
        name: &str,
        limits: RangeInclusive<usize>,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let blob = self.blob(name, limits)?;
        if blob.is_none() {
            self.missing(name);
        }
        Ok(blob.unwrap_or_default())
    }
    /// One of a list of names.
    pub(crate) fn choice(&mut self, name: &str, names: &[&str]) -> Result<Option<String>, Fault> {
        let text = self.text(name, 0..=usize::MAX)?;
        if let Some(text) = &text {
            self.among(text, &shown(name), names);
        }
        Ok(text)
    }
    fn among(&mut self, text: &str, path: &str, names: &[&str]) {
        if !names.contains(&text) {
            let constraint = format!("Member must satisfy enum value set: [{}]", names.join(", "));
            self.violated(Some(text), path, &constraint);
        }
    }
    pub(crate) fn required_choice(&mut self, name: &str, names: &[&str]) -> Result<String, Fault> {
        let text = self.choice(name, names)?;
        if text.is_none() {
            self.missing(name);
        }
        Ok(text.unwrap_or_default())
    }
    fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(wrong_type(name, "List")),
        }
    }
    /// A list of texts.
    pub(crate) fn texts(
        &mut self,
        name: &str,
        count: RangeInclusive<usize>,
        each: RangeInclusive<usize>,
    ) -> Result<Option<Vec<String>>, Fault> {
        let Some(items) = self.list(name)? else { return Ok(None) };
        self.length(None, items.len(), &shown(name), &count);
        let mut texts = Vec::with_capacity(items.len());
        for (n, item) in items.into_iter().enumerate() {
            let Value::String(text) = item else { return Err(wrong_type(name, "List of String")) };
            self.length(Some(&text), text.chars().count(), &format!("{}.{}.member", shown(name), n + 1), &each);
            texts.push(text);
        }
        Ok(Some(texts))
    }
    /// A list of names out of an enumeration.
    pub(crate) fn choices(&mut self, name: &str, names: &[&str]) -> Result<Option<Vec<String>>, Fault> {
        let texts = self.texts(name, 0..=usize::MAX, 0..=usize::MAX)?;
        for (n, text) in texts.iter().flatten().enumerate() {
            self.among(text, &format!("{}.{}.member", shown(name), n + 1), names);
        }
        Ok(texts)
    }
    pub(crate) fn missing_list<T>(&mut self, name: &str, list: Option<Vec<T>>) -> Vec<T> {
        if list.is_none() {
            self.missing(name);
        }
        list.unwrap_or_default()
    }
    /// `[{TagKey, TagValue}]`
    pub(crate) fn tags(&mut self) -> Result<Option<Vec<(String, String)>>, Fault> {
        let Some(items) = self.list("Tags")? else { return Ok(None) };
        let mut tags = Vec::with_capacity(items.len());
        for (n, item) in items.into_iter().enumerate() {
            let Value::Object(mut tag) = item else { return Err(wrong_type("Tags", "List of Tag")) };
            let mut member = |name: &str, limits: RangeInclusive<usize>| match tag.remove(name) {
                Some(Value::String(text)) => {
                    let path = format!("tags.{}.member.{}", n + 1, shown(name));
                    self.length(Some(&text), text.chars().count(), &path, &limits);
                    Ok(text)
                }
                None | Some(Value::Null) => {
                    let path = format!("tags.{}.member.{}", n + 1, shown(name));
                    self.missing_at(&path);
                    Ok(String::new())
                }
                Some(_) => Err(wrong_type(name, "String")),
            };
            tags.push((member("TagKey", 1..=128)?, member("TagValue", 0..=256)?));
        }
        Ok(Some(tags))
    }
    /// A map of texts, sorted by key; numbers and booleans count as their text.
    pub(crate) fn map(&mut self, name: &str) -> Result<Option<Vec<(String, String)>>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Object(members) = value else { return Err(wrong_type(name, "Map")) };
        let mut pairs = Vec::with_capacity(members.len());
        for (key, value) in members {
            let value = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                _ => return Err(wrong_type(name, "Map of String")),
            };
            pairs.push((key, value));
        }
        pairs.sort_unstable();
        let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        if pairs.len() > MAX_CONTEXT.0 || bytes > MAX_CONTEXT.1 {
            return Err(Fault::validation("Invalid EncryptionContext"));
        }
        Ok(Some(pairs))
    }
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self { members, violations: Vec::new(), unnamed: 0 })),
            Some(_) => Err(wrong_type(name, "Structure")),
        }
    }
    /// A member whose meaning we do not have. Errors: UnsupportedOperationException.
    pub(crate) fn refuse(&self, name: &str) -> Result<(), Fault> {
        if self.has(name) { Err(Fault::unsupported(format!("{name} is not supported."))) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_all_named_as_aws_words_them() {
        let body = br#"{"NumberOfBytes":0,"Tags":[{"TagKey":"","TagValue":"x"}],"KeySpec":"X"}"#;
        let mut fields = Fields::parse(body).unwrap();
        fields.number("NumberOfBytes", 1..=1024).unwrap();
        fields.choice("KeySpec", &["AES_256", "AES_128"]).unwrap();
        fields.tags().unwrap();
        fields.key().unwrap();
        assert_eq!(
            fields.finish().unwrap_err().message.unwrap(),
            "4 validation errors detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1; \
             Value 'X' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: [AES_256, AES_128]; \
             Value '' at 'tags.1.member.tagKey' failed to satisfy constraint: Member must have length greater than or equal to 1; \
             Value null at 'keyId' failed to satisfy constraint: Member must not be null"
        );
        for body in ["[]", "x", "{\"KeyId\":"] {
            assert_eq!(Fields::parse(body.as_bytes()).err().unwrap().code, "SerializationException");
        }
        let mut fields = Fields::parse(br#"{"KeyId":5,"Plaintext":"%"}"#).unwrap();
        assert!(fields.key().is_err() && fields.blob("Plaintext", 1..=4).is_err());
    }
}
