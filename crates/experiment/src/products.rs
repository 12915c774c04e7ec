//! What the parts of a run give to each other.

use std::sync::Arc;

use interlingua_data::Language;
use interlingua_models::Model;
use interlingua_models::hub::Source;
use interlingua_spaces::Spaces;

use crate::benchmarks::Benchmark;
use crate::prepare::Prepared;
use crate::report::Projection;
use crate::row::Row;
use crate::stages::{Captured, Judged, Probed, Retrieved, Scores};

/// The text, the model and its states: all that edits are fitted on.
pub(crate) struct Opened {
    pub text: Prepared,
    pub text_key: String,
    pub model: Model,
    pub digest: String,
    /// Where the model came from, if the run did not train it.
    pub source: Option<Source>,
    pub captured: Captured,
    /// The spaces at each hook.
    pub sites: Vec<Arc<Spaces>>,
    /// The digests of the autoencoders, by name.
    pub autoencoders: Vec<(String, String)>,
}

/// What the model answers under every setting.
#[derive(Default)]
pub(crate) struct Answers<'a> {
    /// By category and language.
    pub scored: Vec<(String, Language, Scores)>,
    pub probed: Vec<(Language, Vec<Probed>)>,
    pub retrieved: Vec<Retrieved>,
    pub judged: Vec<(&'a Benchmark, Vec<Judged>)>,
}

/// The numbers of a run: its rows, the planes of the pages, and the sentences on how operating points were chosen.
pub(crate) type Numbers = (Vec<Row>, Vec<Projection>, Vec<String>);
