//! The event of one request while it is served.

use crate::event::{Claimed, Event, Origin};
use serde_json::{Map, Value};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};
use tresor_model::{Caller, ChangeRecord, EventId, Timestamp};

/// Where events go.
pub trait AuditSink: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
    /// Never the same twice.
    fn event_id(&self) -> EventId;
    /// Whether such an event is recorded: which events of data are, the operator chooses.
    fn selects(&self, data: bool, read_only: bool, bucket: Option<&str>) -> bool;
    /// Takes the event of a request that has ended; `change` is what its commits carried.
    fn record(&self, event: Event, change: Option<ChangeRecord>);
}

/// The event of one request.
#[derive(Debug)]
pub struct AuditSpan {
    sink: Arc<dyn AuditSink>,
    request_id: String,
    service: &'static str,
    operation: Option<&'static str>,
    event_id: EventId,
    told: Told,
    read_only: bool,
    data: bool,
    /// The record that changes carry into their commits, once it was asked for.
    change: OnceLock<Option<ChangeRecord>>,
    error: Option<(&'static str, String)>,
    sse: Option<&'static str>,
    started: Instant,
    sealed: bool,
}

/// What the event will say, as far as it is known.
#[derive(Clone, Debug, Default)]
struct Told {
    origin: Origin,
    caller: Option<Caller>,
    claimed: Option<Claimed>,
    parameters: Map<String, Value>,
    response: Map<String, Value>,
    additional: Map<String, Value>,
    resources: Vec<(&'static str, String)>,
}

impl AuditSpan {
    pub fn open(sink: Arc<dyn AuditSink>, request_id: impl Into<String>, origin: Origin) -> Self {
        Self {
            event_id: sink.event_id(),
            sink,
            request_id: request_id.into(),
            service: "unknown",
            operation: None,
            told: Told { origin, ..Told::default() },
            read_only: false,
            data: false,
            change: OnceLock::new(),
            error: None,
            sse: None,
            started: Instant::now(),
            sealed: false,
        }
    }
    pub fn service(&mut self, name: &'static str) {
        self.service = name;
    }
    pub fn caller(&mut self, caller: &Caller) {
        self.told.caller = Some(caller.clone());
    }
    /// The access key that a caller who could not be told named.
    pub fn claimed(&mut self, claimed: Claimed) {
        self.told.claimed = Some(claimed);
    }
    pub fn operation(&mut self, name: &'static str, read_only: bool) {
        self.operation = Some(name);
        self.read_only = read_only;
    }
    /// An event about an object, not about the service's configuration.
    pub fn data(&mut self) {
        self.data = true;
    }
    /// A parameter of the request that may be shown.
    pub fn parameter(&mut self, name: &str, value: impl Into<Value>) {
        self.told.parameters.insert(name.to_owned(), value.into());
    }
    /// Something to know besides the parameters.
    pub fn additional(&mut self, name: &str, value: impl Into<Value>) {
        self.told.additional.insert(name.to_owned(), value.into());
    }
    /// What the request touched: CloudTrail's type, and the ARN.
    pub fn resource(&mut self, kind: &'static str, arn: String) {
        self.told.resources.push((kind, arn));
    }
    /// The encryption that the answer names.
    pub fn sse(&mut self, mode: &'static str) {
        self.sse = Some(mode);
    }
    pub fn error(&mut self, code: &'static str, message: &str) {
        self.error = Some((code, message.to_owned()));
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
            let bucket = self.told.parameters.get("bucketName").and_then(Value::as_str);
            if !self.sink.selects(self.data, self.read_only, bucket) {
                return None;
            }
            let mut told = self.told.clone();
            told.resources.extend_from_slice(resources);
            told.additional.extend(additional.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            let event = self.event(told, None, 0);
            // Parts that are too long are left out, so what remains fits.
            ChangeRecord::new(self.event_id, event.to_record()).ok()
        };
        self.change.get_or_init(make).clone()
    }
    /// Something that the answer says and that may be shown.
    pub fn response(&mut self, name: &str, value: impl Into<Value>) {
        self.told.response.insert(name.to_owned(), value.into());
    }
    /// The operation's name, empty while it is not known.
    pub fn name(&self) -> &'static str {
        self.operation.unwrap_or_default()
    }
    pub fn has_resources(&self) -> bool {
        !self.told.resources.is_empty()
    }
    pub fn is_data(&self) -> bool {
        self.data
    }
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn event(&self, told: Told, error: Option<(String, String)>, status: u16) -> Event {
        Event {
            source: match self.service {
                "kms" => "kms.amazonaws.com",
                "cloudtrail" => "cloudtrail.amazonaws.com",
                "iam" => "iam.amazonaws.com",
                "sts" => "sts.amazonaws.com",
                _ => "s3.amazonaws.com",
            },
            name: self.operation.unwrap_or("Unknown").to_owned(),
            at: self.sink.now(),
            request_id: self.request_id.clone(),
            event_id: self.event_id,
            origin: told.origin,
            caller: told.caller,
            claimed: told.claimed,
            invoked_by: None,
            service_account: None,
            details: Map::new(),
            read_only: self.read_only,
            data: self.data,
            parameters: told.parameters,
            response: told.response,
            additional: told.additional,
            resources: told.resources,
            status,
            elapsed: self.started.elapsed(),
            sse: self.sse,
            error,
        }
    }

    fn emit(&mut self, status: u16) {
        self.sealed = true;
        let principal = self.told.caller.as_ref().and_then(|caller| caller.principal.arn());
        tracing::info!(
            target: "tresor::audit",
            request_id = %self.request_id,
            service = self.service,
            operation = self.operation.unwrap_or("-"),
            principal = principal.as_deref().unwrap_or("anonymous"),
            status,
            error = self.error.as_ref().map_or("", |(code, _)| code),
            "request"
        );
        let broke = || ("ClientDisconnected".to_owned(), "The connection broke before the answer was sent.".to_owned());
        let error = self.error.take().map(|(code, message)| (code.to_owned(), message));
        let error = if status == 0 && error.is_none() { Some(broke()) } else { error };
        let told = std::mem::take(&mut self.told);
        let event = self.event(told, error, status);
        self.sink.record(event, self.change.take().flatten());
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
