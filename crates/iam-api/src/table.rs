//! Every operation of the IAM and STS service models, and which of them answer. The one list that the router, the documents and the
//! tests read.

use crate::{fault::Fault, fields::Fields, ops, service::Api, telling::Telling, xml::Xml};
use futures_util::future::BoxFuture;
use serde::Serialize;
use tresor_identity::Kind::{Group, Role, User};
use tresor_model::Caller;

/// What an operation may use besides its parameters.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub api: &'a Api,
    pub caller: &'a Caller,
    /// `iam:CreateUser`
    pub action: &'static str,
    /// What the call's event is told.
    pub telling: &'a Telling<'a>,
    pub user_agent: Option<&'a str>,
    pub referer: Option<&'a str>,
}

pub(crate) type Handler = for<'a> fn(Input<'a>, Fields) -> BoxFuture<'a, Result<Xml, Fault>>;

pub(crate) struct Row {
    pub service: &'static str,
    pub name: &'static str,
    pub action: &'static str,
    pub handler: Option<Handler>,
}

impl Row {
    /// Changes nothing that is kept; making a session counts as such, as in CloudTrail.
    pub(crate) fn is_read_only(&self) -> bool {
        const READS: &[&str] = &["Get", "List", "Simulate", "Generate", "Assume", "Decode"];
        READS.iter().any(|verb| self.name.starts_with(verb))
    }
    /// It carries its own proof of who calls.
    pub(crate) fn is_unsigned(&self) -> bool {
        self.service == "sts" && matches!(self.name, "AssumeRoleWithWebIdentity" | "AssumeRoleWithSAML")
    }
}

macro_rules! rows {
    ($($const:ident $service:literal { $($name:literal => $module:ident :: $handler:ident $(($kind:expr))?,)* ; $($missing:literal,)* })*) => {
        $(const $const: &[Row] = &[
            $(Row {
                service: $service,
                name: $name,
                action: concat!($service, ":", $name),
                handler: Some(|input, fields| Box::pin(ops::$module::$handler(input, fields $(, $kind)?))),
            },)*
            $(Row { service: $service, name: $missing, action: concat!($service, ":", $missing), handler: None },)*
        ];)*
    };
}

rows! {
IAM "iam" {
    "CreateUser" => members::create(User),
    "GetUser" => members::get_user,
    "ListUsers" => members::list(User),
    "UpdateUser" => members::rename(User),
    "DeleteUser" => members::delete(User),
    "CreateGroup" => members::create(Group),
    "GetGroup" => members::get_group,
    "ListGroups" => members::list(Group),
    "UpdateGroup" => members::rename(Group),
    "DeleteGroup" => members::delete(Group),
    "AddUserToGroup" => members::add_to_group,
    "RemoveUserFromGroup" => members::remove_from_group,
    "ListGroupsForUser" => members::groups_of_user,
    "CreateRole" => members::create(Role),
    "GetRole" => members::get_role,
    "ListRoles" => members::list(Role),
    "UpdateRole" => members::update_role,
    "UpdateRoleDescription" => members::update_role_description,
    "UpdateAssumeRolePolicy" => members::update_trust,
    "DeleteRole" => members::delete(Role),
    "CreateAccessKey" => keys::create,
    "ListAccessKeys" => keys::list,
    "UpdateAccessKey" => keys::update,
    "DeleteAccessKey" => keys::delete,
    "PutUserPolicy" => inline::put(User),
    "GetUserPolicy" => inline::get(User),
    "ListUserPolicies" => inline::list(User),
    "DeleteUserPolicy" => inline::delete(User),
    "PutGroupPolicy" => inline::put(Group),
    "GetGroupPolicy" => inline::get(Group),
    "ListGroupPolicies" => inline::list(Group),
    "DeleteGroupPolicy" => inline::delete(Group),
    "PutRolePolicy" => inline::put(Role),
    "GetRolePolicy" => inline::get(Role),
    "ListRolePolicies" => inline::list(Role),
    "DeleteRolePolicy" => inline::delete(Role),
    "AttachUserPolicy" => attached::attach(User),
    "DetachUserPolicy" => attached::detach(User),
    "ListAttachedUserPolicies" => attached::list(User),
    "AttachGroupPolicy" => attached::attach(Group),
    "DetachGroupPolicy" => attached::detach(Group),
    "ListAttachedGroupPolicies" => attached::list(Group),
    "AttachRolePolicy" => attached::attach(Role),
    "DetachRolePolicy" => attached::detach(Role),
    "ListAttachedRolePolicies" => attached::list(Role),
    "PutUserPermissionsBoundary" => attached::put_boundary(User),
    "DeleteUserPermissionsBoundary" => attached::delete_boundary(User),
    "PutRolePermissionsBoundary" => attached::put_boundary(Role),
    "DeleteRolePermissionsBoundary" => attached::delete_boundary(Role),
    "CreatePolicy" => policies::create,
    "GetPolicy" => policies::get,
    "ListPolicies" => policies::list,
    "DeletePolicy" => policies::delete,
    "CreatePolicyVersion" => policies::create_version,
    "GetPolicyVersion" => policies::get_version,
    "ListPolicyVersions" => policies::list_versions,
    "SetDefaultPolicyVersion" => policies::set_default_version,
    "DeletePolicyVersion" => policies::delete_version,
    "ListEntitiesForPolicy" => policies::entities,
    "TagUser" => tags::tag_member(User),
    "UntagUser" => tags::untag_member(User),
    "ListUserTags" => tags::list_member(User),
    "TagRole" => tags::tag_member(Role),
    "UntagRole" => tags::untag_member(Role),
    "ListRoleTags" => tags::list_member(Role),
    "TagPolicy" => tags::tag_policy,
    "UntagPolicy" => tags::untag_policy,
    "ListPolicyTags" => tags::list_policy,
    "TagOpenIDConnectProvider" => tags::tag_provider,
    "UntagOpenIDConnectProvider" => tags::untag_provider,
    "ListOpenIDConnectProviderTags" => tags::list_provider,
    "CreateOpenIDConnectProvider" => providers::create,
    "GetOpenIDConnectProvider" => providers::get,
    "ListOpenIDConnectProviders" => providers::list,
    "DeleteOpenIDConnectProvider" => providers::delete,
    "AddClientIDToOpenIDConnectProvider" => providers::add_client,
    "RemoveClientIDFromOpenIDConnectProvider" => providers::remove_client,
    "UpdateOpenIDConnectProviderThumbprint" => providers::update_thumbprints,
    "GetAccountSummary" => account::summary,
    "ListAccountAliases" => account::aliases,
    "GetAccountAuthorizationDetails" => account::details,
    "SimulatePrincipalPolicy" => simulate::principal_policy,
    "SimulateCustomPolicy" => simulate::custom,
    "GetContextKeysForPrincipalPolicy" => simulate::principal_keys,
    "GetContextKeysForCustomPolicy" => simulate::custom_keys,
    ;
    "AcceptDelegationRequest", "AcquireRole", "AddRoleToInstanceProfile", "AssociateDelegationRequest", "ChangePassword",
    "CreateAccountAlias", "CreateDelegationRequest", "CreateInstanceProfile", "CreateLoginProfile", "CreateSAMLProvider",
    "CreateServiceLinkedRole", "CreateServiceSpecificCredential", "CreateVirtualMFADevice", "DeactivateMFADevice",
    "DeleteAccountAlias", "DeleteAccountPasswordPolicy", "DeleteInstanceProfile", "DeleteLoginProfile", "DeleteSAMLProvider",
    "DeleteSSHPublicKey", "DeleteServerCertificate", "DeleteServiceLinkedRole", "DeleteServiceSpecificCredential",
    "DeleteSigningCertificate", "DeleteVirtualMFADevice", "DisableOrganizationsRootCredentialsManagement",
    "DisableOrganizationsRootSessions", "DisableOutboundWebIdentityFederation", "EnableMFADevice",
    "EnableOrganizationsRootCredentialsManagement", "EnableOrganizationsRootSessions", "EnableOutboundWebIdentityFederation",
    "GenerateCredentialReport", "GenerateOrganizationsAccessReport", "GenerateServiceLastAccessedDetails",
    "GetAccessKeyLastUsed", "GetAccountPasswordPolicy", "GetAccountProperties", "GetCredentialReport", "GetDelegationRequest",
    "GetHumanReadableSummary", "GetInstanceProfile", "GetLoginProfile", "GetMFADevice", "GetOrganizationsAccessReport",
    "GetOutboundWebIdentityFederationInfo", "GetRoleTemplateVersion", "GetSAMLProvider", "GetSSHPublicKey",
    "GetServerCertificate", "GetServiceLastAccessedDetails", "GetServiceLastAccessedDetailsWithEntities",
    "GetServiceLinkedRoleDeletionStatus", "ListDelegationRequests", "ListInstanceProfileTags", "ListInstanceProfiles",
    "ListInstanceProfilesForRole", "ListMFADeviceTags", "ListMFADevices", "ListOrganizationsFeatures",
    "ListPoliciesGrantingServiceAccess", "ListSAMLProviderTags", "ListSAMLProviders", "ListSSHPublicKeys",
    "ListServerCertificateTags", "ListServerCertificates", "ListServiceSpecificCredentials", "ListSigningCertificates",
    "ListVirtualMFADevices", "PutAccountProperties", "RejectDelegationRequest", "RemoveRoleFromInstanceProfile",
    "ResetServiceSpecificCredential", "ResyncMFADevice", "SendDelegationToken", "SetSecurityTokenServicePreferences",
    "TagInstanceProfile", "TagMFADevice", "TagSAMLProvider", "TagServerCertificate", "UntagInstanceProfile", "UntagMFADevice",
    "UntagSAMLProvider", "UntagServerCertificate", "UpdateAccountPasswordPolicy", "UpdateDelegationRequest",
    "UpdateLoginProfile", "UpdateOpenIDConnectProvider", "UpdateSAMLProvider", "UpdateSSHPublicKey",
    "UpdateServerCertificate", "UpdateServiceSpecificCredential", "UpdateSigningCertificate", "UploadSSHPublicKey",
    "UploadServerCertificate", "UploadSigningCertificate",
}
STS "sts" {
    "GetCallerIdentity" => sts::caller_identity,
    "AssumeRole" => sts::assume_role,
    "AssumeRoleWithWebIdentity" => web_identity::assume_role,
    "GetSessionToken" => sts::session_token,
    "GetFederationToken" => sts::federation_token,
    "GetAccessKeyInfo" => sts::access_key_info,
    ;
    "AssumeRoleWithSAML", "AssumeRoot", "DecodeAuthorizationMessage", "GetDelegatedAccessToken", "GetScopedCredentials",
    "GetWebIdentityToken",
}
}

/// The one version of each service's protocol.
pub(crate) const fn version(service: &str) -> &'static str {
    match service.as_bytes() {
        b"iam" => "2010-05-08",
        _ => "2011-06-15",
    }
}

pub(crate) fn find(service: &str, name: &str) -> Option<&'static Row> {
    IAM.iter().chain(STS).find(|row| row.service == service && row.name == name)
}

/// One row for people and for tests.
#[derive(Clone, Debug, Serialize)]
pub struct OperationRow {
    pub service: &'static str,
    pub name: &'static str,
    /// Every other one answers InvalidAction by its name.
    pub implemented: bool,
    pub action: &'static str,
    pub method: &'static str,
    /// The `Version` of a request.
    pub version: &'static str,
    pub read_only: bool,
    /// It comes without a signature: it carries its own proof of who calls.
    pub unsigned: bool,
}

/// All operations of both services.
pub fn operations() -> Vec<OperationRow> {
    let row = |row: &Row| OperationRow {
        service: row.service,
        name: row.name,
        implemented: row.handler.is_some(),
        action: row.action,
        method: "POST",
        version: version(row.service),
        read_only: row.is_read_only(),
        unsigned: row.is_unsigned(),
    };
    IAM.iter().chain(STS).map(row).collect()
}
