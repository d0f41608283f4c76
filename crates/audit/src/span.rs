//! The event of one request while it is served.

use crate::{
    event::{Claimed, Event, Origin, Written},
    transfer::Transfer,
};
use serde_json::Value;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};
use tresor_model::{Caller, ChangeRecord, EventId, Principal, Timestamp};

/// Where events go.
pub trait AuditSink: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
    /// Never the same twice.
    fn event_id(&self) -> EventId;
    /// Whether such an event is recorded: which events of data are, the operator chooses.
    fn selects(&self, data: bool, read_only: bool, bucket: Option<&str>) -> bool;
    /// Takes the event of a request that has ended; `change` is what its commits carried.
    fn record(&self, event: &Event, change: Option<ChangeRecord>);
}

/// The event of one request.
#[derive(Debug)]
pub struct AuditSpan {
    sink: Arc<dyn AuditSink>,
    /// What the event will say, as far as it is known.
    event: Event,
    operation: Option<&'static str>,
    /// Nobody will read the event: it leaves figures only.
    untold: bool,
    /// The record that changes carry into their commits, once it was asked for.
    change: OnceLock<Option<ChangeRecord>>,
    started: Instant,
    sealed: bool,
}

impl AuditSpan {
    pub fn open(sink: Arc<dyn AuditSink>, request_id: Arc<str>, origin: Origin) -> Self {
        let event = Event {
            source: "s3.amazonaws.com",
            name: "Unknown",
            at: sink.now(),
            request_id,
            event_id: sink.event_id(),
            origin,
            ..Event::default()
        };
        Self {
            sink,
            event,
            operation: None,
            untold: false,
            change: OnceLock::new(),
            started: Instant::now(),
            sealed: false,
        }
    }
    /// By the name it signs with.
    pub fn service(&mut self, name: &'static str) {
        self.event.source = match name {
            "kms" => "kms.amazonaws.com",
            "cloudtrail" => "cloudtrail.amazonaws.com",
            "iam" => "iam.amazonaws.com",
            "sts" => "sts.amazonaws.com",
            _ => "s3.amazonaws.com",
        };
    }
    pub fn caller(&mut self, caller: &Caller) {
        self.event.caller = Some(caller.clone());
    }
    /// The access key that a caller who could not be told named; he is nobody, whatever was told before.
    pub fn claimed(&mut self, claimed: Claimed) {
        self.event.caller = None;
        self.event.claimed = Some(claimed);
    }
    pub fn operation(&mut self, name: &'static str, read_only: bool) {
        self.operation = Some(name);
        self.event.name = name;
        self.event.read_only = read_only;
    }
    /// An event about an object, not about the service's configuration. Told after the caller and the operation: whether such an
    /// event is recorded is decided here. One of a caller that was not told is counted with its like, and always recorded.
    pub fn data(&mut self, bucket: Option<&str>) {
        self.event.data = true;
        let known = self.event.caller.as_ref().is_some_and(|caller| caller.principal != Principal::Anonymous);
        self.untold = known && !self.sink.selects(true, self.event.read_only, bucket);
    }
    /// Whether what the request says is worth telling.
    pub fn is_told(&self) -> bool {
        !self.untold
    }
    /// What an S3 event says of its transfer, to be filled in.
    pub fn transfer(&mut self) -> &mut Transfer {
        self.event.transfer.get_or_insert_default()
    }
    /// A parameter of the request that may be shown.
    pub fn parameter(&mut self, name: &str, value: impl Into<Value>) {
        self.event.parameters.insert(name.to_owned(), value.into());
    }
    /// Something to know besides the parameters.
    pub fn additional(&mut self, name: &str, value: impl Into<Value>) {
        self.event.additional.insert(name.to_owned(), value.into());
    }
    /// What the request touched: CloudTrail's type, and the ARN.
    pub fn resource(&mut self, kind: &'static str, arn: String) {
        self.event.resources.push((kind, arn));
    }
    /// The encryption that the answer names.
    pub fn sse(&mut self, mode: &'static str) {
        self.event.sse = Some(mode);
    }
    pub fn error(&mut self, code: &'static str, message: &str) {
        self.event.error = Some((code.to_owned(), message.to_owned()));
    }
    /// Ends the event with the answer's status.
    pub fn seal(mut self, status: u16) {
        if !self.sealed {
            self.emit(status);
        }
    }
    /// The record for the commits of this request's changes, made once: the event as it will be if all goes well, with `resources`
    /// and `additional` that only the change knows. Nothing when such events are not recorded.
    pub fn change(
        &self,
        resources: &[(&'static str, String)],
        additional: &[(&'static str, Value)],
    ) -> Option<ChangeRecord> {
        let make = || {
            let bucket = self.event.parameters.get("bucketName").and_then(Value::as_str);
            if !self.sink.selects(self.event.data, self.event.read_only, bucket) {
                return None;
            }
            // Parts that are too long are left out, so what remains fits.
            let written = Written { event: &self.event, at: self.sink.now(), error: None, resources, additional };
            ChangeRecord::new(self.event.event_id, written.to_record()).ok()
        };
        self.change.get_or_init(make).clone()
    }
    /// Something that the answer says and that may be shown.
    pub fn response(&mut self, name: &str, value: impl Into<Value>) {
        self.event.response.insert(name.to_owned(), value.into());
    }
    /// The operation's name, empty while it is not known.
    pub fn name(&self) -> &'static str {
        self.operation.unwrap_or_default()
    }
    pub fn has_resources(&self) -> bool {
        !self.event.resources.is_empty()
    }
    pub fn is_data(&self) -> bool {
        self.event.data
    }
    pub fn is_read_only(&self) -> bool {
        self.event.read_only
    }

    fn emit(&mut self, status: u16) {
        self.sealed = true;
        if status == 0 && self.event.error.is_none() {
            let why = "The connection broke before the answer was sent.";
            self.event.error = Some(("ClientDisconnected".to_owned(), why.to_owned()));
        }
        // When it ends: an event that waits for a long upload would stand in the trail far from its time.
        self.event.at = self.sink.now();
        self.event.status = status;
        self.event.elapsed = self.started.elapsed();
        tracing::debug!(
            target: "tresor::audit",
            request_id = %self.event.request_id,
            service = self.event.source,
            operation = self.operation.unwrap_or("-"),
            principal = self.event.caller.as_ref().and_then(|caller| caller.principal.arn()).as_deref().unwrap_or("anonymous"),
            status,
            error = self.event.error.as_ref().map_or("", |(code, _)| code),
            "request"
        );
        self.sink.record(&self.event, self.change.take().flatten());
    }
}

impl Drop for AuditSpan {
    /// A request whose connection broke is an event too: status 0.
    fn drop(&mut self) {
        if !self.sealed {
            self.emit(0);
        }
    }
}
