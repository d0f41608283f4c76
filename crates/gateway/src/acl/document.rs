//! The `AccessControlPolicy` document, read and written.

use super::requested::{Written, group, resolve};
use crate::{
    error::S3Error,
    xml::{Element, XmlWriter},
};
use tresor_identity::Directory;
use tresor_model::{AccountId, Acl, Grantee, Permission};

/// The canonical id of Amazon EC2, as S3 shows it for `aws-exec-read`.
pub(super) const EC2: &str = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c";
const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// A document that was read and not yet resolved.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    owner: String,
    grants: Vec<(Written, Permission)>,
}

impl Document {
    /// Errors: MalformedACLError, InvalidArgument for a group that S3 does not know.
    pub(crate) fn from_xml(document: &[u8]) -> Result<Self, S3Error> {
        // Whatever is wrong with the shape has this one code.
        let malformed = |_| malformed();
        let root = Element::parse(document, "AccessControlPolicy").map_err(malformed)?;
        root.expect_only(&["Owner", "AccessControlList"]).map_err(malformed)?;
        let owner = root.only("Owner").and_then(|owner| owner.text_of("ID")).map_err(malformed)?.to_owned();
        let list = root.only("AccessControlList").map_err(malformed)?;
        list.expect_only(&["Grant"]).map_err(malformed)?;
        if list.children.len() > Acl::MAX_GRANTS {
            return Err(self::malformed());
        }
        let mut grants = Vec::with_capacity(list.children.len());
        for grant in &list.children {
            grant.expect_only(&["Grantee", "Permission"]).map_err(malformed)?;
            let name = grant.text_of("Permission").map_err(malformed)?;
            let permission = Permission::ALL.into_iter().find(|known| known.name() == name);
            let grantee = grant.only("Grantee").map_err(malformed)?;
            let text = |name: &str| grantee.text_of(name).map_err(malformed);
            let written = match grantee.attribute("type") {
                Some("CanonicalUser") => Written::Id(text("ID")?.to_owned(), "CanonicalUser/ID"),
                Some("AmazonCustomerByEmail") => Written::Email(text("EmailAddress")?.to_owned()),
                Some("Group") => Written::Group(group(text("URI")?, "Group/URI")?),
                Some(_) | None => return Err(self::malformed()),
            };
            grants.push((written, permission.ok_or_else(self::malformed)?));
        }
        Ok(Self { owner, grants })
    }

    /// The list, if the document names the owner that the bucket or object has. Errors: AccessDenied, InvalidArgument,
    /// UnresolvableGrantByEmailAddress.
    pub(super) fn resolve(&self, directory: &Directory, owner: &AccountId) -> Result<Acl, S3Error> {
        let acl = resolve(directory, &self.grants)?;
        // Ownership is not given away by a list.
        if self.owner == directory.owner(owner).0 { Ok(acl) } else { Err(S3Error::access_denied()) }
    }
}

fn malformed() -> S3Error {
    S3Error::new(
        http::StatusCode::BAD_REQUEST,
        "MalformedACLError",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

/// The document of a list and its owner.
pub(crate) fn write(directory: &Directory, owner: &AccountId, acl: &Acl) -> XmlWriter {
    let named = |xml: &mut XmlWriter, account: &AccountId| {
        let (id, name) = directory.owner(account);
        xml.text("ID", &id);
        xml.text("DisplayName", &name);
    };
    let mut xml = XmlWriter::document("AccessControlPolicy");
    xml.within("Owner", |xml| named(xml, owner));
    xml.within("AccessControlList", |xml| {
        for grant in acl.grants() {
            xml.within("Grant", |xml| {
                let kind = match &grant.grantee {
                    Grantee::Account(_) | Grantee::Ec2 => "CanonicalUser",
                    Grantee::Group(_) => "Group",
                };
                xml.within_with("Grantee", &[("xmlns:xsi", SCHEMA), ("xsi:type", kind)], |xml| match &grant.grantee {
                    Grantee::Account(account) => named(xml, account),
                    Grantee::Group(group) => xml.text("URI", group.uri()),
                    Grantee::Ec2 => xml.text("ID", EC2),
                });
                xml.text("Permission", grant.permission.name());
            });
        }
    });
    xml
}

#[cfg(test)]
mod tests {
    use super::*;
    use tresor_identity::Account;
    use tresor_model::{Grant, Group};

    fn directory() -> (Directory, AccountId, AccountId) {
        let mut directory = Directory::default();
        let mut add = |id: &str, digit: &str| -> AccountId {
            let id: AccountId = id.parse().unwrap();
            directory
                .add_account(Account {
                    id: id.clone(),
                    name: digit.into(),
                    canonical_id: digit.repeat(64),
                    email: Some(format!("{digit}@example.com")),
                })
                .unwrap();
            id
        };
        let (owner, other) = (add("111122223333", "1"), add("444455556666", "4"));
        (directory, owner, other)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (directory, owner, other) = directory();
        let grant = |grantee, permission| Grant { grantee, permission };
        let acl = Acl::new(vec![
            grant(Grantee::Account(owner.clone()), Permission::FullControl),
            grant(Grantee::Account(other), Permission::Read),
            grant(Grantee::Group(Group::AllUsers), Permission::ReadAcp),
            grant(Grantee::Ec2, Permission::Read),
        ])
        .unwrap();
        let text = write(&directory, &owner, &acl).finish();
        assert_eq!(Document::from_xml(text.as_bytes()).unwrap().resolve(&directory, &owner).unwrap(), acl);
    }

    #[test]
    fn documents_that_are_refused() {
        let (directory, owner, _) = directory();
        let check = |owner_id: &str, grant: &str, expected: Result<usize, &str>| {
            let text = format!(
                "<AccessControlPolicy xmlns:xsi=\"{SCHEMA}\"><Owner><ID>{owner_id}</ID></Owner><AccessControlList>{grant}</AccessControlList></AccessControlPolicy>"
            );
            let read = Document::from_xml(text.as_bytes()).and_then(|document| document.resolve(&directory, &owner));
            assert_eq!(read.map(|acl| acl.grants().len()).map_err(|error| error.code), expected, "{grant}");
        };
        let grant = |kind: &str, inside: &str, permission: &str| {
            format!(
                "<Grant><Grantee xsi:type=\"{kind}\">{inside}</Grantee><Permission>{permission}</Permission></Grant>"
            )
        };
        let one = "1".repeat(64);
        check(&one, "", Ok(0));
        check(&one, &grant("AmazonCustomerByEmail", "<EmailAddress>4@EXAMPLE.com</EmailAddress>", "READ"), Ok(1));
        check(&"4".repeat(64), "", Err("AccessDenied"));
        check(&one, &grant("CanonicalUser", "<ID>nobody</ID>", "READ"), Err("InvalidArgument"));
        check(&one, &grant("Group", "<URI>http://example.com</URI>", "READ"), Err("InvalidArgument"));
        let nobody = grant("AmazonCustomerByEmail", "<EmailAddress>x@y.z</EmailAddress>", "READ");
        check(&one, &nobody, Err("UnresolvableGrantByEmailAddress"));
        for bad in [
            grant("Nobody", &format!("<ID>{one}</ID>"), "READ"),
            grant("CanonicalUser", &format!("<ID>{one}</ID>"), "read"),
            grant("CanonicalUser", "", "READ"),
            format!("<Grant><Grantee><ID>{one}</ID></Grantee><Permission>READ</Permission></Grant>"),
            grant("CanonicalUser", &format!("<ID>{one}</ID>"), "READ").repeat(101),
            "<Other/>".to_owned(),
        ] {
            check(&one, &bad, Err("MalformedACLError"));
        }
        assert_eq!(Document::from_xml(b"<AccessControlPolicy/>").unwrap_err().code, "MalformedACLError");
    }
}
