//! The experiment spec: what a user writes in `experiments/*.toml`.
//!
//! Every field has a default, which is written to `plan.json`. An unknown key is an error that names the key and
//! those that exist.

mod measures;
mod methods;
mod model;

use std::path::{Path, PathBuf};

use interlingua_data::Language;
use interlingua_training::merge;
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
pub use measures::{ChooseSpec, ProbeSpec, RetrievalSpec, ScoreSpec};
pub use methods::{Extent, FitOver, MethodSpec};
pub use model::{Geometry, ModelSpec, TrainSpec};

/// An experiment as a user writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The short name, which is a part of the run folder's name.
    pub name: String,
    /// The heading of the report.
    pub title: String,
    /// The subject of the experiment, in a few sentences.
    #[serde(default)]
    pub description: String,
    /// Reservations that a reader of the report must know.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// The seed of everything random.
    #[serde(default = "one")]
    pub seed: u64,
    /// The languages to fit in and to evaluate in.
    #[serde(default = "four_languages")]
    pub languages: Vec<Language>,
    /// The bias categories.
    #[serde(default = "three_categories")]
    pub categories: Vec<String>,
    /// The source of the text.
    pub data: DataSpec,
    /// The language model.
    pub model: ModelSpec,
    /// The hooks at which edits act, one or several. `block.*.output` means the output of every block, one after
    /// another in separate settings, and `blocks.*.output` means the outputs of all blocks in one pass.
    #[serde(default = "final_norm")]
    pub hook: OneOrMany<String>,
    /// Whether special tokens are edited, and whether methods are fitted on them.
    #[serde(default, skip_serializing_if = "SpecialTokens::is_default")]
    pub special_tokens: SpecialTokens,
    /// The settings of the autoencoder.
    #[serde(default)]
    pub autoencoder: interlingua_autoencoder::Config,
    /// The sparse autoencoder of the space `sae`.
    #[serde(default, skip_serializing_if = "SaeSpec::is_default")]
    pub sae: SaeSpec,
    /// The spaces to fit and edit in.
    #[serde(default = "all_spaces")]
    pub spaces: Vec<Space>,
    /// The ways in which edited latents return to hidden states, for autoencoder spaces.
    #[serde(default = "residual_only")]
    pub reinsert: Vec<Reinsert>,
    /// The debiasing methods.
    #[serde(default = "two_methods")]
    pub methods: Vec<MethodSpec>,
    /// The strengths of the edits: `x + strength · (edit(x) − x)`, where 1 is the method's own.
    #[serde(default = "full_strength")]
    pub strengths: OneOrMany<f64>,
    /// The number of random subspaces of each rank, space and strength that methods are compared beside. The first of
    /// them is the matched control, the others show how far chance moves.
    #[serde(default = "one_draw", skip_serializing_if = "is_one")]
    pub random_draws: usize,
    /// The settings of the fits.
    #[serde(default)]
    pub fit: FitSpec,
    /// The settings of the scores.
    #[serde(default)]
    pub score: ScoreSpec,
    /// The settings of the probes, which measure what a classifier still finds of the groups after an edit.
    #[serde(default)]
    pub probe: ProbeSpec,
    /// The settings of the retrieval of translations between states of the edited model.
    #[serde(default, skip_serializing_if = "RetrievalSpec::is_default")]
    pub retrieval: RetrievalSpec,
    /// The rule by which one operating point is chosen from several hooks, ranks and strengths.
    #[serde(default)]
    pub choose: ChooseSpec,
    /// Further tasks on which every edit is evaluated.
    #[serde(default)]
    pub benchmarks: Vec<interlingua_tasks::TaskSpec>,
    /// The changes that `--quick` makes, which are merged over everything above.
    #[serde(default)]
    pub quick: Option<toml::Table>,
    /// Variations of this experiment, which are run one after another. Each is merged over everything above.
    #[serde(default)]
    pub vary: Vec<toml::Table>,
}

/// One value of an axis, or several values to go through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One value.
    One(T),
    /// Several values.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// Returns the values, in order.
    pub fn values(&self) -> &[T] {
        match self {
            OneOrMany::One(value) => std::slice::from_ref(value),
            OneOrMany::Many(values) => values,
        }
    }
}

/// The source of parallel text, pairs and attribute words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum DataSpec {
    /// The synthetic grammar.
    Testbed {
        /// The planted strengths.
        #[serde(default = "strengths")]
        strengths: Vec<f64>,
        /// The words that the autoencoder's rows may use: with `fit` they share no attribute and no context word with
        /// the pairs, and with `all` they are any sentences of the grammar.
        #[serde(default = "fit_split")]
        autoencoder_split: interlingua_data::testbed::Split,
        /// The number of parallel rows on which the autoencoder is trained.
        #[serde(default = "n3000")]
        train_rows: usize,
        /// Whether training rows are added in which the groups are swapped in all languages at once. A row and its
        /// swapped forms are put into one batch, so that they are negatives of each other. The word lists of all
        /// languages determine what is swapped, so this supervises the other languages too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counterfactual_rows: bool,
        /// The number of parallel rows for early stopping.
        #[serde(default = "n300")]
        validation_rows: usize,
        /// The number of parallel rows for alignment and perplexity.
        #[serde(default = "n500")]
        heldout_rows: usize,
        /// The number of minimal pairs per category.
        #[serde(default = "n240")]
        pairs: usize,
        /// The number of sentences per language on which debiasing methods are fitted.
        #[serde(default = "n6000")]
        fit_sentences: usize,
    },
    /// Files under `--data-dir`.
    Files {
        /// The file or folder of parallel text.
        parallel: String,
        /// The format of the parallel text, if name and content do not show it.
        #[serde(default)]
        parallel_format: Option<interlingua_data::Format>,
        /// The file or folder of bias pairs.
        pairs: String,
        /// The format of the pairs, if name and content do not show it.
        #[serde(default)]
        pairs_format: Option<interlingua_data::Format>,
        /// The most pairs to use per category and language, from the first on; all of them if it is absent.
        #[serde(default)]
        limit: Option<usize>,
        /// The file of attribute words. `{_lang}` in the name is replaced by nothing for English, and by for example
        /// `_fr` for French.
        attributes: String,
        /// The length of the shortest English sentence that is used, in words.
        #[serde(default = "n4")]
        min_words: usize,
        /// The number of parallel rows on which the autoencoder is trained.
        #[serde(default = "n6000")]
        train_rows: usize,
        /// Whether training rows with swapped groups are added, as for the testbed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counterfactual_rows: bool,
        /// The number of parallel rows for early stopping.
        #[serde(default = "n500")]
        validation_rows: usize,
        /// The number of parallel rows for alignment and perplexity.
        #[serde(default = "n1000")]
        heldout_rows: usize,
        /// How to treat rows that cannot be read.
        #[serde(default = "skip")]
        on_bad_row: interlingua_data::OnBadRow,
    },
}

/// Returns the path of a file that a spec names. A name that begins with `datasets/` is a file of this project; any
/// other is in the data folder.
pub fn data_file(data_dir: &Path, name: &str) -> PathBuf {
    interlingua_data::own::file(name).unwrap_or_else(|| data_dir.join(name))
}

/// Returns the file of attribute words of a language, from the pattern in the spec.
pub fn attribute_file(pattern: &str, language: Language) -> String {
    let suffix = if language == Language::EN {
        String::new()
    } else {
        format!("_{language}")
    };
    pattern.replace("{_lang}", &suffix)
}

pub use interlingua_edits::Reinsert;
use interlingua_edits::Tokens;
pub use interlingua_spaces::Space;

/// Where the sparse autoencoder comes from, and how far a change of its features reaches.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaeSpec {
    /// A folder or file under `--model-dir`, of SAELens or Gemma Scope; without one it is trained in the run.
    pub file: Option<String>,
    /// Where a change reaches.
    pub tier: interlingua_spaces::sparse::Tier,
    /// Training, where there is no file.
    pub train: interlingua_autoencoder::sparse::Config,
}

impl SaeSpec {
    fn is_default(&self) -> bool {
        *self == SaeSpec::default()
    }
}

/// The treatment of the special tokens of a text: the start token of a causal model, or the opening and closing
/// tokens of an encoder. It is the same for fits and for edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialTokens {
    /// They are edited, but the sentence vectors are means without them.
    #[default]
    Edited,
    /// They are edited, and they are a part of the sentence vectors on which methods are fitted.
    Fitted,
    /// They are neither edited nor fitted on.
    Left,
}

impl SpecialTokens {
    /// Returns the name in rows.
    pub fn name(self) -> &'static str {
        match self {
            SpecialTokens::Edited => "edited",
            SpecialTokens::Fitted => "fitted",
            SpecialTokens::Left => "left",
        }
    }

    /// Returns the tokens that are edited.
    pub fn edited(self) -> Tokens {
        match self {
            SpecialTokens::Edited | SpecialTokens::Fitted => Tokens::All,
            SpecialTokens::Left => Tokens::Text,
        }
    }

    fn is_default(&self) -> bool {
        *self == SpecialTokens::default()
    }
}

/// The settings of the fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitSpec {
    /// The languages in which methods are fitted: each alone, all together, all except one.
    pub languages: Vec<FitOver>,
    /// The largest number of counterfactual sets per language and category.
    pub max_tuples: usize,
    /// The largest number of sentences per class, for methods that learn from classes.
    pub max_per_class: usize,
}

impl Default for FitSpec {
    fn default() -> Self {
        FitSpec {
            languages: vec![FitOver::Each],
            max_tuples: 2000,
            max_per_class: 1500,
        }
    }
}

impl Spec {
    /// Reads an experiment; with `quick`, its `[quick]` table is merged in.
    ///
    /// The result is one spec, or several if the file has `[[vary]]` tables.
    ///
    /// # Errors
    /// A missing file, or TOML errors with line and key.
    pub fn read(path: &Path, quick: bool) -> Result<Vec<Spec>, ExperimentError> {
        let text = std::fs::read_to_string(path).map_err(ExperimentError::io(path))?;
        Spec::parse(&text, path, quick)
    }

    /// Parses an experiment from a text; `path` is only for messages.
    ///
    /// # Errors
    /// TOML errors with line and key.
    pub fn parse(text: &str, path: &Path, quick: bool) -> Result<Vec<Spec>, ExperimentError> {
        let bad = |problem: String| ExperimentError::Spec {
            path: path.to_owned(),
            problem: problem.trim_end().to_owned(),
        };
        // The text itself is checked first, because only there does an error know its line.
        let typed: Spec = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        table.remove("quick");
        table.remove("vary");
        if quick {
            merge(&mut table, typed.quick.clone().unwrap_or_default());
        }
        let mut variants: Vec<toml::Table> = Vec::new();
        for variation in &typed.vary {
            let mut variant = table.clone();
            merge(&mut variant, variation.clone());
            variants.push(variant);
        }
        if variants.is_empty() {
            variants.push(table);
        }
        variants
            .into_iter()
            .map(|t| {
                t.try_into().map_err(|e: toml::de::Error| {
                    bad(format!("after [quick] and [[vary]] are merged in: {e}"))
                })
            })
            .collect()
    }
}

fn one_draw() -> usize {
    1
}

fn is_one(draws: &usize) -> bool {
    *draws == 1
}

fn one() -> u64 {
    1
}
fn four_languages() -> Vec<Language> {
    vec![Language::EN, Language::FR, Language::DE, Language::NL]
}
fn three_categories() -> Vec<String> {
    ["gender", "race-color", "religion"]
        .map(String::from)
        .to_vec()
}
fn final_norm() -> OneOrMany<String> {
    OneOrMany::One("final_norm".into())
}
fn full_strength() -> OneOrMany<f64> {
    OneOrMany::One(1.0)
}
fn all_spaces() -> Vec<Space> {
    // A sparse autoencoder is asked for by name.
    Space::all().filter(|space| *space != Space::Sae).collect()
}
fn residual_only() -> Vec<Reinsert> {
    vec![Reinsert::Residual]
}
fn two_methods() -> Vec<MethodSpec> {
    [("sentdebias", 1), ("inlp", 6)]
        .map(|(name, rank)| MethodSpec {
            name: name.into(),
            rank: Some(OneOrMany::One(rank)),
            units: None,
            strength: None,
            spaces: None,
            languages: None,
            params: Default::default(),
        })
        .to_vec()
}
fn strengths() -> Vec<f64> {
    vec![0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
}
fn fit_split() -> interlingua_data::testbed::Split {
    interlingua_data::testbed::Split::Fit
}
fn skip() -> interlingua_data::OnBadRow {
    interlingua_data::OnBadRow::Skip
}
fn n4() -> usize {
    4
}
fn n240() -> usize {
    240
}
fn n300() -> usize {
    300
}
fn n500() -> usize {
    500
}
fn n1000() -> usize {
    1000
}
fn n3000() -> usize {
    3000
}
fn n6000() -> usize {
    6000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"x\"\ntitle = \"X\"\n[data]\nkind = \"testbed\"\n[model]\nkind = \"train\"\nsteps = 9\n";

    fn parse(text: &str, quick: bool) -> Result<Vec<Spec>, ExperimentError> {
        Spec::parse(text, Path::new("e.toml"), quick)
    }

    #[test]
    fn quick_and_vary_are_merged_over_the_rest() {
        let text = format!(
            "{SMALL}[quick.model]\nsteps = 3\n[[vary]]\nname = \"a\"\n[[vary]]\nname = \"b\"\ndata.pairs = 24\n"
        );
        let specs = parse(&text, true).unwrap();
        assert_eq!(
            specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        let ModelSpec::Train(train) = &specs[1].model else {
            panic!()
        };
        assert_eq!(train.steps, 3);
        assert!(matches!(specs[1].data, DataSpec::Testbed { pairs: 24, .. }));
        assert_eq!(parse(&text, false).unwrap().len(), 2);
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        for (text, key) in [
            (SMALL.replace("steps", "setps"), "setps"),
            (format!("colour = 1\n{SMALL}"), "colour"),
            (SMALL.replace("testbed", "testbad"), "testbad"),
        ] {
            let message = parse(&text, false).unwrap_err().to_string();
            assert!(
                message.contains(key) && message.contains("e.toml"),
                "{message}"
            );
        }
        let message = parse(&format!("colour = 1\n{SMALL}"), false)
            .unwrap_err()
            .to_string();
        assert!(message.contains("line 1"), "{message}");
    }
}
