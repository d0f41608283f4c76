//! LookupEvents: the management events of one account, newest first. Source: the CloudTrail API reference.

use crate::fault::Fault;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use std::io;
use tresor_audit::{AuditSpan, Newest, ORDER_SLACK_MS};
use tresor_model::{AccountId, Timestamp};

/// Events of one page: the service model's limit and default.
const MAX_RESULTS: usize = 50;
/// The longest value of an attribute, in characters: the service model's.
const MAX_VALUE: usize = 2000;
/// How far back events are found.
const HISTORY_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Events that one call looks at; a page that is not full then comes with a token to go on.
const MAX_LINES: usize = 50_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    EventId,
    EventName,
    ReadOnly,
    Username,
    ResourceType,
    ResourceName,
    EventSource,
    AccessKeyId,
}

impl Attribute {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "EventId" => Self::EventId,
            "EventName" => Self::EventName,
            "ReadOnly" => Self::ReadOnly,
            "Username" => Self::Username,
            "ResourceType" => Self::ResourceType,
            "ResourceName" => Self::ResourceName,
            "EventSource" => Self::EventSource,
            "AccessKeyId" => Self::AccessKeyId,
            _ => return None,
        })
    }

    fn holds(self, event: &Value, value: &str) -> bool {
        let resources = || event["resources"].as_array().into_iter().flatten();
        match self {
            Self::EventId => event["eventID"] == value,
            Self::EventName => event["eventName"] == value,
            Self::ReadOnly => {
                event["readOnly"].as_bool().is_some_and(|read| value == if read { "true" } else { "false" })
            }
            Self::Username => username(event) == Some(value),
            Self::ResourceType => resources().any(|resource| resource["type"] == value),
            Self::ResourceName => resources().filter_map(|resource| resource["ARN"].as_str()).any(|arn| {
                arn == value || resource_name(arn) == value || arn.rsplit_once('/').is_some_and(|(_, id)| id == value)
            }),
            Self::EventSource => event["eventSource"] == value,
            Self::AccessKeyId => event["userIdentity"]["accessKeyId"] == value,
        }
    }
}

/// A request that can be answered.
#[derive(Debug)]
pub(crate) struct Query {
    account: AccountId,
    attribute: Option<(Attribute, String)>,
    start: Timestamp,
    end: Option<Timestamp>,
    /// Insights events were asked for, of which there are none.
    insights: bool,
    limit: usize,
    /// The number of the event that the last page ended with.
    below: Option<u64>,
    /// What a token must have been made for.
    text: String,
    /// The request's parameters, as its own event shows them.
    parameters: Vec<(&'static str, Value)>,
}

fn wrong_type(name: &str) -> Fault {
    Fault::serialization(format!("{name} has a value of another type"))
}

fn time(members: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Fault> {
    let invalid =
        || Fault::new("InvalidTimeRangeException", format!("{name} is outside the range of possible values."));
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(seconds)) => match seconds.as_f64() {
            Some(seconds) if (0.0..1e12).contains(&seconds) => {
                Ok(Some(Timestamp::from_millis((seconds * 1000.0).round() as u64)))
            }
            _ => Err(invalid()),
        },
        Some(_) => Err(wrong_type(name)),
    }
}

impl Query {
    /// Errors: SerializationException for a body or a member of another type, and the exceptions of LookupEvents.
    pub(crate) fn parse(body: &[u8], account: &AccountId, now: Timestamp) -> Result<Self, Fault> {
        let members = match serde_json::from_slice(if body.is_empty() { b"{}" } else { body }) {
            Ok(Value::Object(members)) => members,
            Ok(_) => return Err(Fault::serialization("Start of structure or map not found where expected.")),
            Err(_) => return Err(Fault::serialization("The request body is not valid JSON.")),
        };
        let attribute = attribute(&members)?;
        let (start, end) = (time(&members, "StartTime")?, time(&members, "EndTime")?);
        if let (Some(start), Some(end)) = (start, end)
            && start > end
        {
            return Err(Fault::new("InvalidTimeRangeException", "The start time is after the end time."));
        }
        let limit = match members.get("MaxResults") {
            None | Some(Value::Null) => MAX_RESULTS,
            Some(Value::Number(number)) => number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (1..=MAX_RESULTS).contains(number))
                .ok_or_else(|| {
                    Fault::new("InvalidMaxResultsException", format!("MaxResults must be between 1 and {MAX_RESULTS}."))
                })?,
            Some(_) => return Err(wrong_type("MaxResults")),
        };
        let insights = match members.get("EventCategory") {
            None | Some(Value::Null) => false,
            Some(Value::String(category)) if category == "insight" => true,
            Some(Value::String(category)) => {
                return Err(Fault::new("InvalidEventCategoryException", format!("{category} is no event category.")));
            }
            Some(_) => return Err(wrong_type("EventCategory")),
        };
        let oldest = Timestamp::from_millis(now.millis().saturating_sub(HISTORY_MS));
        // The page's size may differ from page to page.
        let text = format!("{account}\n{attribute:?}\n{start:?}\n{end:?}\n{insights}");
        let start = start.unwrap_or(oldest).max(oldest);
        let shown = [
            ("LookupAttributes", "lookupAttributes"),
            ("StartTime", "startTime"),
            ("EndTime", "endTime"),
            ("MaxResults", "maxResults"),
            ("EventCategory", "eventCategory"),
        ];
        let parameters =
            shown.into_iter().filter_map(|(name, shown)| Some((shown, members.get(name)?.clone()))).collect();
        let (account, below) = (account.clone(), None);
        let mut query = Self { account, attribute, start, end, insights, limit, below, text, parameters };
        match members.get("NextToken") {
            None | Some(Value::Null) => {}
            Some(Value::String(token)) => query.below = Some(query.read_token(token)?),
            Some(_) => return Err(wrong_type("NextToken")),
        }
        Ok(query)
    }

    /// Tells the request's own event.
    pub(crate) fn tell(&self, span: &mut AuditSpan) {
        for (name, value) in &self.parameters {
            span.parameter(name, value.clone());
        }
    }

    fn token(&self, number: u64) -> String {
        let number = number.to_be_bytes();
        let hash = tresor_digest::sha256(&[self.text.as_bytes(), &number[..]].concat());
        URL_SAFE_NO_PAD.encode([&number[..], &hash[..16]].concat())
    }

    /// A token names the event behind which its page begins, so new events do not move the pages; it is good for its request only.
    fn read_token(&self, token: &str) -> Result<u64, Fault> {
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        let number = bytes.first_chunk().map(|number| u64::from_be_bytes(*number));
        number.filter(|number| self.token(*number) == token).ok_or_else(|| {
            Fault::new(
                "InvalidNextTokenException",
                "The token is not valid, or was used in a request with other parameters.",
            )
        })
    }

    fn wants(&self, event: &Value) -> bool {
        let within = |at: Timestamp| at >= self.start && self.end.is_none_or(|end| at <= end);
        event["managementEvent"] == true
            && event["recipientAccountId"] == self.account.as_str()
            && event_time(event).is_some_and(within)
            && self.attribute.as_ref().is_none_or(|(attribute, value)| attribute.holds(event, value))
    }

    /// The answer. It reads files: call it where blocking is allowed.
    pub(crate) fn answer(&self, open: impl FnOnce(Option<u64>) -> io::Result<Newest>) -> io::Result<Value> {
        let (mut found, mut next) = (Vec::new(), None);
        if !self.insights {
            for (line, read) in open(self.below)?.enumerate() {
                let (number, event) = read?;
                if event_time(&event).is_some_and(|at| self.start.since(at) > ORDER_SLACK_MS) {
                    break;
                }
                if self.wants(&event) {
                    found.push(shown(event));
                }
                if found.len() == self.limit || line + 1 == MAX_LINES {
                    next = Some(self.token(number));
                    break;
                }
            }
        }
        let mut answer = json!({ "Events": found });
        if let Some(token) = next {
            answer["NextToken"] = token.into();
        }
        Ok(answer)
    }
}

fn attribute(members: &Map<String, Value>) -> Result<Option<(Attribute, String)>, Fault> {
    let invalid = |why: String| Fault::new("InvalidLookupAttributesException", why);
    let list = match members.get("LookupAttributes") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong_type("LookupAttributes")),
    };
    let one = match list.as_slice() {
        [] => return Ok(None),
        [one] => one.as_object().ok_or_else(|| wrong_type("LookupAttributes"))?,
        _ => return Err(invalid("Only one lookup attribute can be given.".into())),
    };
    let text = |name: &str| match one.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        None | Some(Value::Null) => Err(invalid(format!("A lookup attribute has no {name}."))),
        Some(_) => Err(wrong_type(name)),
    };
    let (key, value) = (text("AttributeKey")?, text("AttributeValue")?);
    let attribute = Attribute::of(key).ok_or_else(|| invalid(format!("{key} is no lookup attribute.")))?;
    if value.is_empty() || value.chars().count() > MAX_VALUE {
        return Err(invalid(format!("The value of {key} must have 1 to {MAX_VALUE} characters.")));
    }
    Ok(Some((attribute, value.to_owned())))
}

fn event_time(event: &Value) -> Option<Timestamp> {
    Timestamp::parse_iso8601(event["eventTime"].as_str()?)
}

/// The user's name, a session's name, or `root`.
fn username(event: &Value) -> Option<&str> {
    let identity = &event["userIdentity"];
    match identity["type"].as_str()? {
        "Root" => Some("root"),
        "IAMUser" => identity["userName"].as_str(),
        "AssumedRole" | "FederatedUser" => identity["arn"].as_str()?.rsplit_once('/').map(|(_, name)| name),
        _ => None,
    }
}

/// A bucket by its name, everything else by its ARN.
fn resource_name(arn: &str) -> &str {
    arn.strip_prefix("arn:aws:s3:::").unwrap_or(arn)
}

fn shown(event: Value) -> Value {
    let resources: Vec<Value> = event["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|resource| {
            let name = resource["ARN"].as_str().map(resource_name);
            json!({ "ResourceType": resource["type"], "ResourceName": name })
        })
        .collect();
    let mut shown = json!({
        "EventId": event["eventID"],
        "EventName": event["eventName"],
        "ReadOnly": event["readOnly"].to_string(),
        "EventSource": event["eventSource"],
        "Resources": resources,
        "CloudTrailEvent": event.to_string(),
    });
    if let Some(at) = event_time(&event) {
        shown["EventTime"] = json!(at.millis() as f64 / 1000.0);
    }
    if let Some(name) = username(&event) {
        shown["Username"] = name.into();
    }
    if let Some(key) = event["userIdentity"]["accessKeyId"].as_str() {
        shown["AccessKeyId"] = key.into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(body: &str) -> Result<Query, Fault> {
        let account = "111122223333".parse().unwrap();
        Query::parse(body.as_bytes(), &account, Timestamp::from_millis(200 * 24 * 3_600_000))
    }

    #[test]
    fn what_is_wrong_is_named_by_its_exception() {
        let check = |body: &str, code: &str| assert_eq!(query(body).unwrap_err().code, code, "{body}");
        check("[]", "SerializationException");
        check("{", "SerializationException");
        check(r#"{"MaxResults":"5"}"#, "SerializationException");
        check(r#"{"MaxResults":0}"#, "InvalidMaxResultsException");
        check(r#"{"MaxResults":51}"#, "InvalidMaxResultsException");
        check(r#"{"StartTime":2,"EndTime":1}"#, "InvalidTimeRangeException");
        check(r#"{"StartTime":-1}"#, "InvalidTimeRangeException");
        check(r#"{"EventCategory":"data"}"#, "InvalidEventCategoryException");
        check(r#"{"NextToken":"AAAA"}"#, "InvalidNextTokenException");
        let attribute = |key: &str, value: &str| {
            format!(r#"{{"LookupAttributes":[{{"AttributeKey":"{key}","AttributeValue":"{value}"}}]}}"#)
        };
        check(&attribute("Nothing", "x"), "InvalidLookupAttributesException");
        check(&attribute("EventName", ""), "InvalidLookupAttributesException");
        let two = r#"{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"a"},{"AttributeKey":"EventName","AttributeValue":"b"}]}"#;
        check(two, "InvalidLookupAttributesException");
        assert_eq!(query("").unwrap().limit, 50);
        query(&attribute("EventName", "CreateKey")).unwrap();
    }

    #[test]
    fn a_token_is_good_for_its_request_only() {
        let first = query(r#"{"MaxResults":3}"#).unwrap();
        let token = first.token(77);
        let again = |extra: &str| query(&format!(r#"{{"NextToken":"{token}"{extra}}}"#));
        assert_eq!(again("").unwrap().below, Some(77));
        assert_eq!(again(r#","MaxResults":7"#).unwrap().below, Some(77));
        assert_eq!(again(r#","EndTime":5"#).unwrap_err().code, "InvalidNextTokenException");
    }
}
