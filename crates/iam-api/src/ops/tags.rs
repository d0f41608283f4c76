//! Tags of users, roles, policies and identity providers.

use super::{members, name_field, policies, providers};
use crate::{authorize::request_tags, fault::Fault, fields::Fields, page::Page, table::Input, xml::Xml};
use tresor_identity::{Kind, TagTarget};
use tresor_policy::Context;

/// What is tagged, as the request names it.
enum Named {
    Member(Kind, String),
    Policy(String),
    Provider(String),
}

impl Named {
    fn permit(&self, input: &Input<'_>, keys: Context) -> Result<(), Fault> {
        match self {
            Self::Member(kind, name) => input.permit_member(*kind, name, keys),
            Self::Policy(arn) | Self::Provider(arn) => input.permit(arn, keys),
        }
    }
    fn target(&self) -> TagTarget<'_> {
        match self {
            Self::Member(kind, name) => TagTarget::Member(*kind, name),
            Self::Policy(arn) => TagTarget::Policy(arn),
            Self::Provider(arn) => TagTarget::Provider(arn),
        }
    }
    fn tags(&self, input: &Input<'_>) -> Result<Vec<(String, String)>, Fault> {
        Ok(match self {
            Self::Member(kind, name) => members::found(input, *kind, name)?.record.tags.clone(),
            Self::Policy(arn) => policies::found(input, arn)?.record.tags.clone(),
            Self::Provider(arn) => providers::found(input, arn)?.tags.clone(),
        })
    }
}

async fn tag(input: Input<'_>, mut fields: Fields, named: Named) -> Result<Xml, Fault> {
    let tags = fields.tags()?;
    fields.finish()?;
    let mut keys = Context::default();
    request_tags(&mut keys, &tags);
    named.permit(&input, keys)?;
    input.api.directory.tag(&input.writing()?, named.target(), tags).await?;
    Ok(Xml::default())
}

async fn untag(input: Input<'_>, mut fields: Fields, named: Named) -> Result<Xml, Fault> {
    let gone = fields.texts("TagKeys");
    fields.finish()?;
    let mut keys = Context::default();
    keys.set_all("aws:TagKeys", gone.iter().cloned());
    named.permit(&input, keys)?;
    input.api.directory.untag(&input.writing()?, named.target(), &gone).await?;
    Ok(Xml::default())
}

async fn list(input: Input<'_>, mut fields: Fields, named: Named) -> Result<Xml, Fault> {
    let page = Page::read(&mut fields)?;
    fields.finish()?;
    named.permit(&input, Context::default())?;
    let mut tags = named.tags(&input)?;
    tags.sort();
    let mut xml = Xml::default();
    page.write(
        &mut xml,
        "Tags",
        &tags,
        |(key, _)| key.clone(),
        |xml, (key, value)| {
            xml.text("Key", key).text("Value", value);
        },
    );
    Ok(xml)
}

fn named_member(fields: &mut Fields, kind: Kind) -> Result<Named, Fault> {
    Ok(Named::Member(kind, fields.name(name_field(kind))?))
}
fn named_policy(fields: &mut Fields) -> Result<Named, Fault> {
    Ok(Named::Policy(fields.arn("PolicyArn")?))
}
fn named_provider(fields: &mut Fields) -> Result<Named, Fault> {
    Ok(Named::Provider(fields.arn("OpenIDConnectProviderArn")?))
}

pub(crate) async fn tag_member(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let named = named_member(&mut fields, kind)?;
    tag(input, fields, named).await
}
pub(crate) async fn untag_member(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let named = named_member(&mut fields, kind)?;
    untag(input, fields, named).await
}
pub(crate) async fn list_member(input: Input<'_>, mut fields: Fields, kind: Kind) -> Result<Xml, Fault> {
    let named = named_member(&mut fields, kind)?;
    list(input, fields, named).await
}
pub(crate) async fn tag_policy(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = named_policy(&mut fields)?;
    tag(input, fields, named).await
}
pub(crate) async fn untag_policy(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = named_policy(&mut fields)?;
    untag(input, fields, named).await
}
pub(crate) async fn list_policy(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = named_policy(&mut fields)?;
    list(input, fields, named).await
}
pub(crate) async fn tag_provider(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = named_provider(&mut fields)?;
    tag(input, fields, named).await
}
pub(crate) async fn untag_provider(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = named_provider(&mut fields)?;
    untag(input, fields, named).await
}
pub(crate) async fn list_provider(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let named = named_provider(&mut fields)?;
    list(input, fields, named).await
}
