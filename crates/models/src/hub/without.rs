//! Replaces the HTTP client in a program that was built without it. Models in the cache are found; for all others the
//! error says which feature is missing.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::path::Path;

use super::{FileFacts, HubName, HubOptions};
use crate::ModelError;

/// A client that cannot exist.
pub(super) struct Client<'o>(Infallible, PhantomData<&'o ()>);

impl<'o> Client<'o> {
    pub fn new(options: &'o HubOptions, name: &'o HubName) -> Result<Client<'o>, ModelError> {
        Err(ModelError::HubNoDownload {
            repo: name.repo.clone(),
            revision: name.revision.clone(),
            cache: options.cache.clone(),
        })
    }

    pub fn text(&self, _url: &str) -> Result<String, ModelError> {
        match self.0 {}
    }

    pub fn facts(&self, _url: &str) -> Result<FileFacts, ModelError> {
        match self.0 {}
    }

    pub fn download(
        &self,
        _url: &str,
        _part: &Path,
        _facts: &FileFacts,
        _progress: &mut dyn FnMut(u64),
    ) -> Result<(), ModelError> {
        match self.0 {}
    }
}
