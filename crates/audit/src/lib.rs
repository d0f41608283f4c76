//! One audit event for every request: opened before anything is judged, sealed when the answer has been sent. Until audit files
//! come it is one line of the log. Must never hold a body, a header's value or a secret.

use tresor_model::Caller;

/// The event of one request.
#[derive(Debug)]
pub struct AuditSpan {
    request_id: String,
    service: &'static str,
    operation: Option<&'static str>,
    principal: Option<String>,
    error: Option<(&'static str, String)>,
    sealed: bool,
}

impl AuditSpan {
    pub fn open(request_id: impl Into<String>) -> Self {
        Self {
            request_id: request_id.into(),
            service: "unknown",
            operation: None,
            principal: None,
            error: None,
            sealed: false,
        }
    }
    pub fn service(&mut self, name: &'static str) {
        self.service = name;
    }
    pub fn caller(&mut self, caller: &Caller) {
        self.principal = caller.principal.arn();
    }
    pub fn operation(&mut self, name: &'static str) {
        self.operation = Some(name);
    }
    pub fn error(&mut self, code: &'static str, message: &str) {
        self.error = Some((code, message.to_owned()));
    }
    /// Ends the event with the answer's status.
    pub fn seal(mut self, status: u16) {
        self.emit(status);
    }

    fn emit(&mut self, status: u16) {
        self.sealed = true;
        let error = self.error.as_ref().map_or("", |(code, _)| code);
        tracing::info!(
            target: "tresor::audit",
            request_id = %self.request_id,
            service = self.service,
            operation = self.operation.unwrap_or("-"),
            principal = self.principal.as_deref().unwrap_or("anonymous"),
            status,
            error,
            "request"
        );
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
