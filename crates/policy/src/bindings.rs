//! What binds a caller besides the policies of what he asks for.

use crate::{decide::Sources, document::Policy};
use std::sync::Arc;

type Policies = Arc<[Arc<Policy>]>;

/// The policies and tags of one caller, as they are now. Cheap to clone: everything is shared with the directory that made it.
#[derive(Clone, Debug)]
pub struct Bindings {
    /// Inline and managed policies of the user, of its groups, or of the role; empty for an account's root.
    pub identity: Policies,
    /// The permission boundary of the user or role.
    pub boundary: Option<Arc<Policy>>,
    /// Policies passed when the session was made; their union caps it. `None` where none was passed.
    pub session: Option<Policies>,
    /// Tags of the user or role; a session's own tags stand in the caller and win over these.
    pub principal_tags: Arc<[(String, String)]>,
}

impl Bindings {
    /// Every policy of it.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        let session = self.session.iter().flat_map(|policies| policies.iter());
        self.identity.iter().chain(&self.boundary).chain(session).map(Arc::as_ref)
    }

    /// As sides of a decision, for a resource without a policy.
    pub fn sources(&self) -> Sources<'_> {
        Sources {
            identity: &self.identity,
            boundary: self.boundary.as_ref().map(std::slice::from_ref),
            session: self.session.as_deref(),
            ..Sources::default()
        }
    }
}

impl Default for Bindings {
    fn default() -> Self {
        Self { identity: Arc::from([]), boundary: None, session: None, principal_tags: Arc::from([]) }
    }
}
