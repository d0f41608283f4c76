//! The record of a call's change, made from the call's audit span.

use parking_lot::Mutex;
use serde_json::Value;
use std::fmt;
use tresor_audit::AuditSpan;
use tresor_kms::Recording;
use tresor_model::{ChangeRecord, KeyArn};

/// Lends a span to the key ring while a call is served.
pub struct SpanRecording<'a> {
    span: &'a AuditSpan,
    learnt: Mutex<Learnt>,
}

/// What a change told of itself, for the span's own event.
#[derive(Debug, Default)]
pub struct Learnt {
    key: Option<String>,
    notes: Vec<(&'static str, Value)>,
}

impl<'a> SpanRecording<'a> {
    pub fn new(span: &'a AuditSpan) -> Self {
        Self { span, learnt: Mutex::default() }
    }
    pub fn into_learnt(self) -> Learnt {
        self.learnt.into_inner()
    }
}

impl Learnt {
    pub fn tell(self, span: &mut AuditSpan) {
        if let Some(key) = self.key {
            span.resource(KEY, key);
        }
        for (name, value) in self.notes {
            span.additional(name, value);
        }
    }
}

const KEY: &str = "AWS::KMS::Key";

impl fmt::Debug for SpanRecording<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpanRecording")
    }
}

impl Recording for SpanRecording<'_> {
    fn note(&self, name: &'static str, count: Option<u64>) {
        self.learnt.lock().notes.push((name, count.map_or(Value::Null, Value::from)));
    }
    fn record(&self, key: &KeyArn) -> Option<ChangeRecord> {
        let mut learnt = self.learnt.lock();
        if !self.span.has_resources() {
            learnt.key = Some(key.to_string());
        }
        let resources: Vec<_> = learnt.key.iter().map(|key| (KEY, key.clone())).collect();
        self.span.change(&resources, &learnt.notes)
    }
}
