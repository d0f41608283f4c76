//! One file for each group of operations.

use crate::xml::Xml;
use tresor_identity::{IdentityRecord, Kind};

pub(crate) mod account;
pub(crate) mod attached;
pub(crate) mod inline;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod policies;
pub(crate) mod providers;
pub(crate) mod simulate;
pub(crate) mod sts;
pub(crate) mod tags;
pub(crate) mod web_identity;

/// `UserName`
pub(crate) const fn name_field(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "UserName",
        Kind::Group => "GroupName",
        Kind::Role => "RoleName",
    }
}

/// What lists show; a single answer adds boundary and tags.
fn member(xml: &mut Xml, record: &IdentityRecord) {
    let id = match record.kind {
        Kind::User => "UserId",
        Kind::Group => "GroupId",
        Kind::Role => "RoleId",
    };
    xml.text("Path", &record.path).text(name_field(record.kind), &record.name).text(id, &record.id);
    xml.text("Arn", record.arn()).time("CreateDate", record.created);
    if let Some(role) = &record.role {
        xml.document("AssumeRolePolicyDocument", &role.trust);
        xml.maybe("Description", role.description.as_ref());
        xml.text("MaxSessionDuration", role.max_session_seconds);
    }
}

fn whole_member(xml: &mut Xml, record: &IdentityRecord) {
    member(xml, record);
    if let Some(arn) = &record.boundary {
        xml.element("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "Policy").text("PermissionsBoundaryArn", arn);
        });
    }
    if !record.tags.is_empty() {
        xml.tags(&record.tags);
    }
    if record.kind == Kind::Role {
        xml.element("RoleLastUsed", |_| {});
    }
}
