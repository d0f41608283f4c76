//! Changes of identity providers. Their keys stand in the server's configuration: nothing is fetched.

use crate::{
    directory::{Directory, Writing},
    error::IdentityError,
    limits,
    names::merge_tags,
    records::ProviderRecord,
};
use std::sync::Arc;

fn check_thumbprints(thumbprints: &[String]) -> Result<(), IdentityError> {
    if thumbprints.len() > limits::THUMBPRINTS_PER_PROVIDER {
        return Err(IdentityError::InvalidInput(format!(
            "Thumbprint list must contain fewer than {} entries.",
            limits::THUMBPRINTS_PER_PROVIDER
        )));
    }
    match thumbprints.iter().find(|text| text.len() != 40 || !text.bytes().all(|b| b.is_ascii_hexdigit())) {
        None => Ok(()),
        Some(text) => Err(IdentityError::Validation(format!(
            "1 validation error detected: Value '[{text}]' at 'thumbprintList' failed to satisfy constraint: Member must satisfy constraint: [Member must have length greater than or equal to 40, Member must have length less than or equal to 40]"
        ))),
    }
}

fn check_client_ids(ids: &[String]) -> Result<(), IdentityError> {
    if ids.len() > limits::CLIENT_IDS_PER_PROVIDER {
        return Err(IdentityError::LimitExceeded(format!(
            "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {}",
            limits::CLIENT_IDS_PER_PROVIDER
        )));
    }
    match ids.iter().find(|id| id.is_empty() || id.chars().count() > 255) {
        None => Ok(()),
        Some(_) => Err(IdentityError::Validation(
            "1 validation error detected: Value at 'clientIDList' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 255, Member must have length greater than or equal to 1]".into(),
        )),
    }
}

impl Directory {
    /// `url` starts with `https://`. Errors: EntityAlreadyExists, InvalidInput, LimitExceeded, Validation.
    pub async fn create_provider(
        self: &Arc<Self>,
        writing: &Writing,
        url: &str,
        client_ids: Vec<String>,
        thumbprints: Vec<String>,
        tags: Vec<(String, String)>,
    ) -> Result<Arc<ProviderRecord>, IdentityError> {
        let place = url.strip_prefix("https://").map(|place| place.trim_end_matches('/'));
        let place = place.filter(|place| !place.is_empty() && url.len() <= 255 && !place.contains(['?', ':', ' ']));
        let Some(place) = place else {
            return Err(IdentityError::Validation("Invalid Open ID Connect Provider URL".into()));
        };
        check_client_ids(&client_ids)?;
        check_thumbprints(&thumbprints)?;
        self.change(writing, |draft| {
            if draft.state.providers().any(|known| known.url == place) {
                return Err(IdentityError::EntityAlreadyExists(format!("Provider with url {url} already exists.")));
            }
            if draft.state.providers().count() >= limits::PROVIDERS_PER_ACCOUNT {
                return Err(IdentityError::LimitExceeded(format!(
                    "Cannot exceed quota for OpenIdConnectProvidersPerAccount: {}",
                    limits::PROVIDERS_PER_ACCOUNT
                )));
            }
            let mut record = ProviderRecord {
                account: draft.account.clone(),
                url: place.to_owned(),
                created: draft.now,
                client_ids,
                thumbprints,
                tags: Vec::new(),
            };
            merge_tags(&mut record.tags, tags, limits::TAGS)?;
            Ok(draft.put_provider(record))
        })
        .await
    }

    /// What is not there is no error, as on AWS.
    pub async fn delete_provider(self: &Arc<Self>, writing: &Writing, arn: &str) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            if let Ok(record) = draft.provider(arn) {
                draft.remove_provider(&record);
            }
            Ok(())
        })
        .await
    }

    /// Adds a client id, or takes it away; both succeed when nothing is to be done. Errors: NoSuchEntity, LimitExceeded, Validation.
    pub async fn set_client_id(
        self: &Arc<Self>,
        writing: &Writing,
        arn: &str,
        client_id: &str,
        within: bool,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.provider(arn)?;
            record.client_ids.retain(|known| known != client_id);
            if within {
                record.client_ids.push(client_id.to_owned());
            }
            check_client_ids(&record.client_ids)?;
            draft.put_provider(record);
            Ok(())
        })
        .await
    }

    /// Errors: NoSuchEntity, InvalidInput, Validation.
    pub async fn set_thumbprints(
        self: &Arc<Self>,
        writing: &Writing,
        arn: &str,
        thumbprints: Vec<String>,
    ) -> Result<(), IdentityError> {
        check_thumbprints(&thumbprints)?;
        self.change(writing, |draft| {
            let mut record = draft.provider(arn)?;
            record.thumbprints = thumbprints;
            draft.put_provider(record);
            Ok(())
        })
        .await
    }
}
