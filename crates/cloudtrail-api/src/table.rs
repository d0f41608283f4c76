//! Every operation of the CloudTrail service model; LookupEvents answers. The one list that the service, the documents and the tests
//! read.

use serde::Serialize;

/// What `X-Amz-Target` begins with: as the service model has it, and the short form of older clients.
pub(crate) const TARGETS: [&str; 2] =
    ["com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.", "CloudTrail_20131101."];
pub(crate) const LOOKUP_EVENTS: &str = "LookupEvents";

const NAMES: &[&str] = &[
    "AddTags",
    "CancelQuery",
    "CreateChannel",
    "CreateDashboard",
    "CreateEventDataStore",
    "CreateTrail",
    "DeleteChannel",
    "DeleteDashboard",
    "DeleteEventDataStore",
    "DeleteResourcePolicy",
    "DeleteTrail",
    "DeregisterOrganizationDelegatedAdmin",
    "DescribeQuery",
    "DescribeTrails",
    "DisableFederation",
    "EnableFederation",
    "GenerateQuery",
    "GetChannel",
    "GetDashboard",
    "GetEventConfiguration",
    "GetEventDataStore",
    "GetEventSelectors",
    "GetImport",
    "GetInsightSelectors",
    "GetQueryResults",
    "GetResourcePolicy",
    "GetTrail",
    "GetTrailStatus",
    "ListChannels",
    "ListDashboards",
    "ListEventDataStores",
    "ListImportFailures",
    "ListImports",
    "ListInsightsData",
    "ListInsightsMetricData",
    "ListPublicKeys",
    "ListQueries",
    "ListTags",
    "ListTrails",
    LOOKUP_EVENTS,
    "PutEventConfiguration",
    "PutEventSelectors",
    "PutInsightSelectors",
    "PutResourcePolicy",
    "RegisterOrganizationDelegatedAdmin",
    "RemoveTags",
    "RestoreEventDataStore",
    "SearchSampleQueries",
    "StartDashboardRefresh",
    "StartEventDataStoreIngestion",
    "StartImport",
    "StartLogging",
    "StartQuery",
    "StopEventDataStoreIngestion",
    "StopImport",
    "StopLogging",
    "UpdateChannel",
    "UpdateDashboard",
    "UpdateEventDataStore",
    "UpdateTrail",
];

/// The operation that a target names.
pub(crate) fn find(target: &str) -> Option<&'static str> {
    let name = TARGETS.iter().find_map(|prefix| target.strip_prefix(prefix))?;
    NAMES.iter().find(|known| **known == name).copied()
}

pub(crate) fn is_read_only(name: &str) -> bool {
    ["Describe", "Get", "List", "Lookup", "Search"].iter().any(|verb| name.starts_with(verb))
}

/// One row for people and for tests.
#[derive(Clone, Debug, Serialize)]
pub struct OperationRow {
    pub service: &'static str,
    pub name: &'static str,
    /// Every other one answers UnsupportedOperationException.
    pub implemented: bool,
    pub action: String,
    pub method: &'static str,
    /// The `X-Amz-Target` of a request.
    pub target: String,
    pub read_only: bool,
}

pub fn operations() -> Vec<OperationRow> {
    let row = |name: &&'static str| OperationRow {
        service: "cloudtrail",
        name,
        implemented: *name == LOOKUP_EVENTS,
        action: format!("cloudtrail:{name}"),
        method: "POST",
        target: format!("{}{name}", TARGETS[0]),
        read_only: is_read_only(name),
    };
    NAMES.iter().map(row).collect()
}
