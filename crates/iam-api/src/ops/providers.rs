//! Identity providers of OpenID Connect.

use crate::{
    authorize::{request_tags, resource_tags},
    fault::Fault,
    fields::Fields,
    table::Input,
    xml::Xml,
};
use std::sync::Arc;
use tresor_identity::{IdentityError, ProviderRecord};
use tresor_policy::Context;

const ARN: &str = "OpenIDConnectProviderArn";

fn permit(input: &Input<'_>, arn: &str) -> Result<(), Fault> {
    let mut keys = Context::default();
    if let Some(provider) = input.state()?.provider(arn) {
        resource_tags(&mut keys, &provider.tags);
    }
    input.permit(arn, keys)
}

/// Errors: NoSuchEntity.
pub(super) fn found(input: &Input<'_>, arn: &str) -> Result<Arc<ProviderRecord>, Fault> {
    input
        .state()?
        .provider(arn)
        .cloned()
        .ok_or_else(|| IdentityError::NoSuchEntity(format!("OpenIDConnect Provider not found for arn {arn}")).into())
}

pub(crate) async fn create(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let url = fields.required("Url", 1..=255)?;
    let client_ids = fields.texts("ClientIDList");
    let thumbprints = fields.texts("ThumbprintList");
    let tags = fields.tags()?;
    fields.finish()?;
    let mut keys = Context::default();
    request_tags(&mut keys, &tags);
    let place = url.strip_prefix("https://").unwrap_or(&url);
    input.permit(&input.arn("oidc-provider", "/", place)?, keys)?;
    let made = input.api.directory.create_provider(&input.writing()?, &url, client_ids, thumbprints, tags).await?;
    let mut xml = Xml::default();
    xml.text(ARN, made.arn());
    if !made.tags.is_empty() {
        xml.tags(&made.tags);
    }
    Ok(xml)
}

pub(crate) async fn get(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn(ARN)?;
    fields.finish()?;
    permit(&input, &arn)?;
    let provider = found(&input, &arn)?;
    let mut xml = Xml::default();
    xml.text("Url", &provider.url).texts("ClientIDList", &provider.client_ids);
    xml.texts("ThumbprintList", &provider.thumbprints).time("CreateDate", provider.created).tags(&provider.tags);
    Ok(xml)
}

pub(crate) async fn list(input: Input<'_>, fields: Fields) -> Result<Xml, Fault> {
    fields.finish()?;
    input.permit("*", Context::default())?;
    let state = input.state()?;
    let mut xml = Xml::default();
    xml.list("OpenIDConnectProviderList", state.providers(), |xml, provider| {
        xml.text("Arn", provider.arn());
    });
    Ok(xml)
}

pub(crate) async fn delete(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn(ARN)?;
    fields.finish()?;
    permit(&input, &arn)?;
    input.api.directory.delete_provider(&input.writing()?, &arn).await?;
    Ok(Xml::default())
}

async fn set_client(input: Input<'_>, mut fields: Fields, within: bool) -> Result<Xml, Fault> {
    let arn = fields.arn(ARN)?;
    let client_id = fields.required("ClientID", 1..=255)?;
    fields.finish()?;
    permit(&input, &arn)?;
    input.api.directory.set_client_id(&input.writing()?, &arn, &client_id, within).await?;
    Ok(Xml::default())
}

pub(crate) async fn add_client(input: Input<'_>, fields: Fields) -> Result<Xml, Fault> {
    set_client(input, fields, true).await
}

pub(crate) async fn remove_client(input: Input<'_>, fields: Fields) -> Result<Xml, Fault> {
    set_client(input, fields, false).await
}

pub(crate) async fn update_thumbprints(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn(ARN)?;
    let thumbprints = fields.texts("ThumbprintList");
    fields.finish()?;
    permit(&input, &arn)?;
    input.api.directory.set_thumbprints(&input.writing()?, &arn, thumbprints).await?;
    Ok(Xml::default())
}
