//! The account as a whole.

use super::member;
use crate::{fault::Fault, fields::Fields, page::Page, table::Input, xml::Xml};
use std::sync::Arc;
use tresor_identity::{AccountState, IdentityRecord, Kind, Managed, Member, limits};
use tresor_policy::{Context, size};

pub(crate) async fn aliases(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    input.permit("*", Context::default())?;
    let mut xml = Xml::default();
    // Accounts are named in the configuration, by their ids.
    page.write_texts(&mut xml, "AccountAliases", &[]);
    Ok(xml)
}

pub(crate) async fn summary(input: Input<'_>, fields: Fields) -> Result<Xml, Fault> {
    fields.finish()?;
    input.permit("*", Context::default())?;
    let account = input.account()?;
    let state = input.state()?;
    let count = |kind| state.members(kind).count();
    let versions: usize = state.policies().map(|policy| policy.record.versions.len()).sum();
    let root_keys = usize::from(!input.api.directory.root_keys(account).is_empty());
    let entries = [
        ("Users", count(Kind::User)),
        ("UsersQuota", limits::USERS_PER_ACCOUNT),
        ("Groups", count(Kind::Group)),
        ("GroupsQuota", limits::GROUPS_PER_ACCOUNT),
        ("Roles", count(Kind::Role)),
        ("RolesQuota", limits::ROLES_PER_ACCOUNT),
        ("Policies", state.policies().count()),
        ("PoliciesQuota", limits::POLICIES_PER_ACCOUNT),
        ("Providers", state.providers().count()),
        ("PolicyVersionsInUse", versions),
        ("PolicyVersionsInUseQuota", limits::POLICIES_PER_ACCOUNT * limits::VERSIONS_PER_POLICY),
        ("VersionsPerPolicyQuota", limits::VERSIONS_PER_POLICY),
        ("PolicySizeQuota", size::MANAGED),
        ("UserPolicySizeQuota", Kind::User.inline_size()),
        ("GroupPolicySizeQuota", Kind::Group.inline_size()),
        ("RolePolicySizeQuota", Kind::Role.inline_size()),
        ("AssumeRolePolicySizeQuota", size::TRUST),
        ("GroupsPerUserQuota", limits::GROUPS_PER_USER),
        ("AccessKeysPerUserQuota", limits::ACCESS_KEYS_PER_USER),
        ("AttachedPoliciesPerUserQuota", limits::ATTACHED_POLICIES),
        ("AttachedPoliciesPerGroupQuota", limits::ATTACHED_POLICIES),
        ("AttachedPoliciesPerRoleQuota", limits::ATTACHED_POLICIES),
        ("AccountAccessKeysPresent", root_keys),
        ("AccountMFAEnabled", 0),
        ("AccountPasswordPresent", 0),
        ("AccountSigningCertificatesPresent", 0),
        ("MFADevices", 0),
        ("MFADevicesInUse", 0),
        ("ServerCertificates", 0),
        ("InstanceProfiles", 0),
    ];
    let mut xml = Xml::default();
    xml.element("SummaryMap", |xml| {
        for (key, value) in entries {
            xml.element("entry", |xml| {
                xml.text("key", key).text("value", value);
            });
        }
    });
    Ok(xml)
}

/// One thing of the details, with its place in the pages.
enum Detail<'a> {
    Member(&'a Member),
    Policy(Arc<Managed>),
}

impl Detail<'_> {
    fn key(&self) -> String {
        match self {
            Self::Member(one) => format!("{}/{}", one.record.kind.name(), one.record.name),
            Self::Policy(policy) => format!("zpolicy/{}", policy.arn()),
        }
    }
}

pub(crate) async fn details(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let filter = fields.texts("Filter");
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    const KINDS: [&str; 5] = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"];
    if let Some(other) = filter.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(Fault::validation(format!(
            "1 validation error detected: Value '[{}]' at 'filter' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [{}]]",
            other.chars().take(64).collect::<String>(),
            KINDS.join(", ")
        )));
    }
    input.permit("*", Context::default())?;
    let state = input.state()?;
    let asked = |kind: &str| filter.is_empty() || filter.iter().any(|asked| asked == kind);
    let mut all: Vec<Detail<'_>> = Vec::new();
    for kind in [Kind::User, Kind::Group, Kind::Role] {
        if asked(kind.title()) {
            all.extend(state.members(kind).map(|one| Detail::Member(one)));
        }
    }
    if asked("LocalManagedPolicy") {
        all.extend(state.policies().cloned().map(Detail::Policy));
    }
    if asked("AWSManagedPolicy") {
        let used = |policy: &&Arc<Managed>| state.attached_to(&policy.arn()).next().is_some();
        all.extend(tresor_identity::aws_policies().iter().filter(used).cloned().map(Detail::Policy));
    }
    all.sort_by_key(Detail::key);
    let (shown, rest) = page.split(&all, Detail::key);
    let members = |kind: Kind| {
        shown.iter().filter_map(move |detail| match detail {
            Detail::Member(one) if one.record.kind == kind => Some(*one),
            _ => None,
        })
    };
    let mut xml = Xml::default();
    for (kind, list) in
        [(Kind::User, "UserDetailList"), (Kind::Group, "GroupDetailList"), (Kind::Role, "RoleDetailList")]
    {
        xml.list(list, members(kind), |xml, one| member_detail(xml, &state, &one.record));
    }
    let policies = shown.iter().filter_map(|detail| match detail {
        Detail::Policy(policy) => Some(policy),
        Detail::Member(_) => None,
    });
    xml.list("Policies", policies, |xml, policy| {
        let (record, arn) = (&policy.record, policy.arn());
        xml.text("PolicyName", &record.name).text("PolicyId", &record.id).text("Arn", &arn).text("Path", &record.path);
        xml.text("DefaultVersionId", format_args!("v{}", record.default));
        xml.text("AttachmentCount", state.attached_to(&arn).count()).text("IsAttachable", true);
        xml.time("CreateDate", record.created).time("UpdateDate", record.updated);
        xml.list("PolicyVersionList", record.versions.iter().rev(), |xml, version| {
            xml.document("Document", &version.text).text("VersionId", format_args!("v{}", version.number));
            xml.text("IsDefaultVersion", version.number == record.default).time("CreateDate", version.created);
        });
    });
    rest.write(&mut xml);
    Ok(xml)
}

fn member_detail(xml: &mut Xml, state: &AccountState, record: &IdentityRecord) {
    member(xml, record);
    let list = match record.kind {
        Kind::User => "UserPolicyList",
        Kind::Group => "GroupPolicyList",
        Kind::Role => "RolePolicyList",
    };
    xml.list(list, &record.inline, |xml, (name, text)| {
        xml.text("PolicyName", name).document("PolicyDocument", text);
    });
    xml.list("AttachedManagedPolicies", record.attached.iter().filter_map(|arn| state.policy(arn)), |xml, policy| {
        xml.text("PolicyName", &policy.record.name).text("PolicyArn", policy.arn());
    });
    if let Some(arn) = &record.boundary {
        xml.element("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "Policy").text("PermissionsBoundaryArn", arn);
        });
    }
    match record.kind {
        Kind::User => {
            xml.texts("GroupList", &record.groups).tags(&record.tags);
        }
        Kind::Role => {
            xml.element("InstanceProfileList", |_| {}).tags(&record.tags).element("RoleLastUsed", |_| {});
        }
        Kind::Group => {}
    }
}
