//! The event of one request while it is served.

use crate::event::{Event, Origin};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc, time::Instant};
use tresor_model::{Caller, Timestamp};

/// Where events go.
pub trait AuditSink: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
    /// 32 hex digits, never the same twice.
    fn event_id(&self) -> String;
    fn record(&self, event: Event);
    /// Makes what was recorded durable. It blocks: call it where blocking is allowed.
    fn sync(&self) -> std::io::Result<()>;
}

/// The event of one request.
#[derive(Debug)]
pub struct AuditSpan {
    sink: Arc<dyn AuditSink>,
    request_id: String,
    service: &'static str,
    operation: Option<&'static str>,
    origin: Origin,
    caller: Option<Caller>,
    read_only: bool,
    data: bool,
    parameters: Map<String, Value>,
    additional: Map<String, Value>,
    resources: Vec<(&'static str, String)>,
    error: Option<(&'static str, String)>,
    sse: Option<&'static str>,
    started: Instant,
    sealed: bool,
}

impl AuditSpan {
    pub fn open(sink: Arc<dyn AuditSink>, request_id: impl Into<String>, origin: Origin) -> Self {
        Self {
            sink,
            request_id: request_id.into(),
            service: "unknown",
            operation: None,
            origin,
            caller: None,
            read_only: false,
            data: false,
            parameters: Map::new(),
            additional: Map::new(),
            resources: Vec::new(),
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
        self.caller = Some(caller.clone());
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
        self.parameters.insert(name.to_owned(), value.into());
    }
    /// Something to know besides the parameters.
    pub fn additional(&mut self, name: &str, value: impl Into<Value>) {
        self.additional.insert(name.to_owned(), value.into());
    }
    /// What the request touched: CloudTrail's type, and the ARN.
    pub fn resource(&mut self, kind: &'static str, arn: String) {
        self.resources.push((kind, arn));
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
    /// Ends the event before the answer is sent, and gives what makes it durable: for changes that must not be acknowledged without
    /// their record.
    pub fn seal_before_answer(&mut self, status: u16) -> Arc<dyn AuditSink> {
        if !self.sealed {
            self.emit(status);
        }
        Arc::clone(&self.sink)
    }
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn emit(&mut self, status: u16) {
        self.sealed = true;
        let principal = self.caller.as_ref().and_then(|caller| caller.principal.arn());
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
        self.sink.record(Event {
            source: match self.service {
                "kms" => "kms.amazonaws.com",
                _ => "s3.amazonaws.com",
            },
            name: self.operation.unwrap_or("Unknown").to_owned(),
            at: self.sink.now(),
            request_id: std::mem::take(&mut self.request_id),
            event_id: self.sink.event_id(),
            origin: std::mem::take(&mut self.origin),
            caller: self.caller.take(),
            invoked_by: None,
            read_only: self.read_only,
            data: self.data,
            parameters: std::mem::take(&mut self.parameters),
            additional: std::mem::take(&mut self.additional),
            resources: std::mem::take(&mut self.resources),
            status,
            elapsed: self.started.elapsed(),
            sse: self.sse,
            error: if status == 0 && error.is_none() { Some(broke()) } else { error },
        });
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
