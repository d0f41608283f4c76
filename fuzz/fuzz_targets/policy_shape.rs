//! A policy built from the input, so that most inputs are read and judged: operators, patterns, variables and values of all forms.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tresor_policy::{Context, Kind, Policy, PolicyKind, Question, Requester, Sources, decide_key, decide_resource};

const OPERATORS: &[&str] = &[
    "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike",
    "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericGreaterThanEquals", "DateEquals", "DateNotEquals",
    "DateLessThanEquals", "DateGreaterThan", "Bool", "BinaryEquals", "IpAddress", "NotIpAddress", "ArnLike", "ArnNotEquals", "Null",
];
const SETS: &[&str] = &["", "ForAllValues:", "ForAnyValue:"];
const PIECES: &[&str] = &[
    "*", "?", "a", "é", ":", "/", "${aws:username}", "${none, 'd'}", "${*}", "${", "}", "arn:aws:s3:::b/", "1", "true", "2020-01-01",
    "10.0.0.0/8", "::1", "YQ==", "b", "'", "arn:aws:iam::111122223333:user/a",
];

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> usize {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first)
            }
            None => 0,
        }
    }
    fn one<'t>(&mut self, list: &[&'t str]) -> &'t str {
        list[self.byte() % list.len()]
    }
    fn text(&mut self) -> String {
        (0..self.byte() % 7).map(|_| self.one(PIECES)).collect()
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut statements = String::new();
    for n in 0..1 + input.byte() % 3 {
        let effect = input.one(&["Allow", "Deny"]);
        let condition = format!(
            "{{\"{}{}{}\":{{\"{}\":[\"{}\",\"{}\"]}}}}",
            input.one(SETS), input.one(OPERATORS), input.one(&["", "IfExists"]), input.one(&["aws:username", "k", "many", "gone"]),
            input.text(), input.text(),
        );
        if n > 0 {
            statements.push(',');
        }
        statements.push_str(&format!(
            "{{\"Effect\":\"{effect}\",\"Principal\":{},\"{}\":\"s3:{}\",\"{}\":\"{}\",\"Condition\":{condition}}}",
            input.one(&["\"*\"", "{\"AWS\":\"111122223333\"}", "{\"AWS\":\"arn:aws:iam::111122223333:user/a\"}"]),
            input.one(&["Action", "NotAction"]), input.text(), input.one(&["Resource", "NotResource"]), input.text(),
        ));
    }
    let version = input.one(&["2012-10-17", "2008-10-17"]);
    let text = format!("{{\"Version\":\"{version}\",\"Statement\":[{statements}]}}");
    let Ok(policy) = Policy::of_resource(&text) else { return };
    let mut context = Context::default();
    context.set("aws:username", input.text()).set("k", input.text()).set_all("many", [input.text(), input.text()]);
    let resource = format!("arn:aws:s3:::b/{}", input.text());
    let who = Requester::of(Kind::User, "arn:aws:iam::111122223333:user/a", "111122223333");
    let question = Question { who, action: "s3:GetObject", resource: &resource, context: &context };
    let sources = Sources { resource: Some(&policy), resource_account: "111122223333", ..Sources::default() };
    let judged = policy.judge(&question);
    for decision in [decide_resource(&question, &sources), decide_key(&question, &sources)] {
        // A statement that denies is never overruled, and nothing is allowed that no statement allows.
        let denied = decision.statement.is_some_and(|(kind, statement)| kind == PolicyKind::Resource && !statement.allows());
        assert_eq!(denied, judged.deny.is_some());
        assert!(!decision.allowed() || judged.allow.is_some());
    }
});
