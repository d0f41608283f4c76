//! `tresor policy check FILE`: runs a file of cases, each a set of policies, a request and the decision that is expected.

use super::case::{Case, Known};
use serde_json::Value;
use std::path::Path;

/// What a file of cases came to.
#[derive(Debug, Default)]
pub struct Report {
    pub passed: usize,
    /// The case's id and what is wrong.
    pub failed: Vec<(String, String)>,
}

/// The largest file of cases, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Runs a file. Errors: a file that cannot be read or is no file of cases.
pub fn check(file: &Path) -> Result<Report, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    if std::fs::metadata(file).map_err(|error| unreadable(&error))?.len() > MAX_FILE {
        return Err(unreadable(&"the file is too large"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
    run(&text).map_err(|error| unreadable(&error))
}

fn run(text: &str) -> Result<Report, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let cases = document.get("cases").unwrap_or(&document).as_array().ok_or("there is no list of cases")?;
    let known = Known::of(cases);
    let mut report = Report::default();
    for (index, value) in cases.iter().enumerate() {
        let id = value["id"].as_str().map_or_else(|| format!("case {}", index + 1), ToOwned::to_owned);
        match Case::read(value).and_then(|case| case.run(&known)) {
            Ok(()) => report.passed += 1,
            Err(wrong) => report.failed.push((id, wrong)),
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_the_file_passes() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/policy_cases.json");
        let report = check(&file).unwrap();
        assert_eq!(report.failed, []);
        assert!(report.passed >= 121, "{}", report.passed);
    }

    #[test]
    fn what_is_not_known_fails_and_what_is_no_list_is_no_file_of_cases() {
        let failed = |case: &str| run(&format!("[{case}]")).unwrap().failed.pop().map(|(_, wrong)| wrong);
        let allow =
            r#"{"identity":[{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}]}"#;
        let case = |expect: &str, more: &str| {
            format!(
                r#"{{"expect":"{expect}","policies":{allow},"request":{{"principal":"arn:aws:iam::111122223333:user/a","action":"s3:GetObject","resource":"arn:aws:s3:::b/k","resource_account":"111122223333","context":{{}}}}{more}}}"#
            )
        };
        assert_eq!(failed(&case("allow", "")), None);
        for (case, wrong) in [
            (case("implicit_deny", ""), "expected implicit_deny, got allow"),
            (case("perhaps", ""), "perhaps"),
            (case("allow", r#","settings":{"gravity":"off"}"#), "gravity"),
            (case("allow", r#","operation":{"api":"PutFriday"}"#), "PutFriday"),
            (r#"{"kind":"ticket","policy":{},"expect":"reject"}"#.to_owned(), "ticket"),
            ("{}".to_owned(), "neither"),
            ("7".to_owned(), "object"),
        ] {
            let said = failed(&case).unwrap();
            assert!(said.contains(wrong), "{said} / {wrong}");
        }
        assert!(run("{").is_err() && run("{}").is_err() && run("7").is_err());
    }
}
