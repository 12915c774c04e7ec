//! What a user writes in `experiments/*.toml`.
//!
//! Every field has a default that is printed into `plan.json`; an unknown key
//! is an error that names it and those that exist.

use std::path::{Path, PathBuf};

use interlingua_data::Language;
use interlingua_debias::{Contrast, Span};
use interlingua_training::merge;
use serde::{Deserialize, Serialize};

use crate::ExperimentError;

/// An experiment as typed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Short name; part of the run folder's name.
    pub name: String,
    /// Heading of the report.
    pub title: String,
    /// What the experiment is about, in a few sentences.
    #[serde(default)]
    pub description: String,
    /// Things a reader of the report must know.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// Seed of everything random.
    #[serde(default = "one")]
    pub seed: u64,
    /// Languages to fit in and to judge in.
    #[serde(default = "four_languages")]
    pub languages: Vec<Language>,
    /// Bias categories.
    #[serde(default = "three_categories")]
    pub categories: Vec<String>,
    /// Where the text comes from.
    pub data: DataSpec,
    /// The language model.
    pub model: ModelSpec,
    /// Hook points the edits act at, one or several; `block.*.output` is that of every block, and `blocks.*.output` those of
    /// all blocks in one pass.
    #[serde(default = "final_norm")]
    pub hook: OneOrMany<String>,
    /// Whether special tokens are edited, and fitted on.
    #[serde(default, skip_serializing_if = "SpecialTokens::is_default")]
    pub special_tokens: SpecialTokens,
    /// The autoencoder.
    #[serde(default)]
    pub autoencoder: interlingua_autoencoder::Config,
    /// Spaces to fit and edit in.
    #[serde(default = "all_spaces")]
    pub spaces: Vec<Space>,
    /// How edited latents return to hidden states; for autoencoder spaces.
    #[serde(default = "residual_only")]
    pub reinsert: Vec<Reinsert>,
    /// Debiasing methods.
    #[serde(default = "two_methods")]
    pub methods: Vec<MethodSpec>,
    /// Strengths of the edits: `x + strength · (edit(x) − x)`, 1 is the method's own.
    #[serde(default = "full_strength")]
    pub strengths: OneOrMany<f64>,
    /// Fitting.
    #[serde(default)]
    pub fit: FitSpec,
    /// Scoring.
    #[serde(default)]
    pub score: ScoreSpec,
    /// Probes: what a classifier still finds of the groups after an edit.
    #[serde(default)]
    pub probe: ProbeSpec,
    /// Retrieval of translations between states of the edited model.
    #[serde(default, skip_serializing_if = "RetrievalSpec::is_default")]
    pub retrieval: RetrievalSpec,
    /// How one operating point is chosen out of several hook points, ranks and strengths.
    #[serde(default)]
    pub choose: ChooseSpec,
    /// Further tasks that every edit is judged by.
    #[serde(default)]
    pub benchmarks: Vec<interlingua_tasks::TaskSpec>,
    /// Changes that `--quick` makes; merged over everything above.
    #[serde(default)]
    pub quick: Option<toml::Table>,
    /// Variations of this experiment, run one after the other; each is merged over everything above.
    #[serde(default)]
    pub vary: Vec<toml::Table>,
}

/// A value of an axis, or several to go through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values, in order.
    pub fn values(&self) -> &[T] {
        match self {
            OneOrMany::One(value) => std::slice::from_ref(value),
            OneOrMany::Many(values) => values,
        }
    }
}

/// Source of parallel text, pairs and attribute words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum DataSpec {
    /// The synthetic grammar.
    Testbed {
        /// Planted strengths.
        #[serde(default = "strengths")]
        strengths: Vec<f64>,
        /// Which words the autoencoder's rows may use: `fit` shares no attribute and no context
        /// word with the pairs, `all` is any sentence of the grammar.
        #[serde(default = "fit_split")]
        autoencoder_split: interlingua_data::testbed::Split,
        /// Parallel rows the autoencoder learns from.
        #[serde(default = "n3000")]
        train_rows: usize,
        /// Adds the training rows in which the groups are swapped in all languages at once, and puts a row and its
        /// swapped forms in one batch, so that they are negatives of each other. The words of all languages say
        /// what is swapped, so this supervises the other languages too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counterfactual_rows: bool,
        /// Parallel rows for early stopping.
        #[serde(default = "n300")]
        validation_rows: usize,
        /// Parallel rows for alignment and perplexity.
        #[serde(default = "n500")]
        heldout_rows: usize,
        /// Minimal pairs per category.
        #[serde(default = "n240")]
        pairs: usize,
        /// Sentences per language to fit debiasers on.
        #[serde(default = "n6000")]
        fit_sentences: usize,
    },
    /// Files under `--data-dir`.
    Files {
        /// Parallel text.
        parallel: String,
        /// Its format, where name and content do not tell it.
        #[serde(default)]
        parallel_format: Option<interlingua_data::Format>,
        /// Bias pairs.
        pairs: String,
        /// Their format, where name and content do not tell it.
        #[serde(default)]
        pairs_format: Option<interlingua_data::Format>,
        /// Most pairs per category and language, from the first; all of them if there is no bound.
        #[serde(default)]
        limit: Option<usize>,
        /// Attribute words; `{_lang}` becomes nothing for English and `_fr` for French.
        attributes: String,
        /// Shortest English sentence that is used, in words.
        #[serde(default = "n4")]
        min_words: usize,
        /// As for the testbed.
        #[serde(default = "n6000")]
        train_rows: usize,
        /// As for the testbed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counterfactual_rows: bool,
        /// As for the testbed.
        #[serde(default = "n500")]
        validation_rows: usize,
        /// As for the testbed.
        #[serde(default = "n1000")]
        heldout_rows: usize,
        /// What to do with rows that cannot be read.
        #[serde(default = "skip")]
        on_bad_row: interlingua_data::OnBadRow,
    },
}

/// Where a file that a spec names is: in the folder of data, or, where its name begins with `datasets/`, among the
/// files of this project.
pub fn data_file(data_dir: &Path, name: &str) -> PathBuf {
    interlingua_data::own::file(name).unwrap_or_else(|| data_dir.join(name))
}

/// File of attribute words of a language, from the pattern in the spec.
pub fn attribute_file(pattern: &str, language: Language) -> String {
    let suffix = if language == Language::EN {
        String::new()
    } else {
        format!("_{language}")
    };
    pattern.replace("{_lang}", &suffix)
}

/// The language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ModelSpec {
    /// A small Cohere-architecture model, trained in the run on the testbed's text.
    Train(TrainSpec),
    /// A checkpoint folder under `--model-dir`, or a model of the Hugging Face hub.
    Folder {
        /// Folder name, a GGUF file, or `owner/name` or `owner/name@revision`.
        path: String,
        /// Words before every text, as some encoders were trained with: `query: `.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    /// As `folder`, with the geometry, for a model that `--dry-run` should describe before it is there.
    Hub {
        /// `owner/name` or `owner/name@revision`.
        name: String,
        /// Geometry, so that a plan can be made before anything is fetched.
        geometry: Geometry,
        /// As for `folder`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
}

impl ModelSpec {
    /// Words before every text.
    pub fn prefix(&self) -> &str {
        match self {
            ModelSpec::Train(_) => "",
            ModelSpec::Folder { prefix, .. } | ModelSpec::Hub { prefix, .. } => prefix,
        }
    }
}

/// Size of a model that is not here yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the MLP.
    pub intermediate_size: u64,
    /// Blocks.
    pub layers: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Rows of the embedding.
    pub vocab_size: u64,
    /// Matrices of an MLP: 3 with a gate, 2 without.
    #[serde(default = "gated")]
    pub mlp_matrices: u64,
    /// Bytes per weight at rest.
    pub bytes_per_weight: u64,
}

/// Geometry and training of the testbed's language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Largest vocabulary of the byte-level BPE.
    pub vocab_size: usize,
    /// Factor on the logits.
    pub logit_scale: f64,
    /// Sentences of training text, all languages together.
    pub sentences: usize,
    /// Sentences per step.
    pub batch: usize,
    /// Steps.
    pub steps: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps between checkpoints a killed run can continue from.
    pub checkpoint_every: usize,
}

impl Default for TrainSpec {
    fn default() -> Self {
        TrainSpec {
            hidden_size: 128,
            intermediate_size: 256,
            layers: 1,
            heads: 4,
            kv_heads: 4,
            vocab_size: 4096,
            logit_scale: 1.0,
            sentences: 480_000,
            batch: 64,
            steps: 12_000,
            learning_rate: 8e-3,
            checkpoint_every: 500,
        }
    }
}

pub use interlingua_edits::Reinsert;
use interlingua_edits::Tokens;
pub use interlingua_spaces::Space;

/// What is done with the special tokens of a text: the start token of a causal model, the opening and closing tokens
/// of an encoder. Fits and edits follow the same choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialTokens {
    /// They are edited, but sentence vectors are means without them.
    #[default]
    Edited,
    /// They are edited, and they are part of the sentence vectors that methods are fitted on.
    Fitted,
    /// They are neither edited nor fitted on.
    Left,
}

impl SpecialTokens {
    /// Name in rows.
    pub fn name(self) -> &'static str {
        match self {
            SpecialTokens::Edited => "edited",
            SpecialTokens::Fitted => "fitted",
            SpecialTokens::Left => "left",
        }
    }

    /// Which tokens are edited.
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

/// One debiasing method and how large its edits are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodSpec {
    /// Name in the registry.
    pub name: String,
    /// Directions to remove, one number or several to compare; for methods whose size that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<OneOrMany<usize>>,
    /// Units to change, one number or several; for methods whose size that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<OneOrMany<usize>>,
    /// Strengths, where they are not what [`Spec::strengths`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<OneOrMany<f64>>,
    /// Spaces that it is fitted in, where they are not all of [`Spec::spaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spaces: Option<Vec<Space>>,
    /// Which languages it is fitted in, where it is not what [`FitSpec::languages`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<FitOver>>,
    /// Further parameters of the method.
    #[serde(default)]
    pub params: std::collections::BTreeMap<String, interlingua_debias::Param>,
}

/// Which languages a method is fitted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FitOver {
    /// Each language alone.
    Each,
    /// All languages together.
    All,
    /// All languages but one, each left out in turn.
    AllButOne,
}

impl FitOver {
    /// Name in specs.
    pub fn name(self) -> &'static str {
        match self {
            FitOver::Each => "each",
            FitOver::All => "all",
            FitOver::AllButOne => "all-but-one",
        }
    }
}

/// How large an edit is, besides its strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// So many directions are removed.
    Rank(usize),
    /// So many units are changed.
    Units(usize),
    /// It is one vector.
    Vector,
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Extent::Rank(rank) => write!(f, "rank {rank}"),
            Extent::Units(1) => f.write_str("1 unit"),
            Extent::Units(units) => write!(f, "{units} units"),
            Extent::Vector => f.write_str("one vector"),
        }
    }
}

impl MethodSpec {
    /// The method, if there is one of this name.
    pub fn known(&self) -> Option<&'static dyn interlingua_debias::Debiaser> {
        interlingua_debias::by_name(&self.name).ok()
    }

    /// The sizes of its edits.
    pub fn extents(&self) -> Vec<Extent> {
        let all = |values: &Option<OneOrMany<usize>>, of: fn(usize) -> Extent| -> Vec<Extent> {
            let values = values.iter().flat_map(OneOrMany::values);
            values.map(|&n| of(n)).collect()
        };
        match self.known().map(|method| method.size()) {
            Some(interlingua_debias::Size::Units) => all(&self.units, Extent::Units),
            Some(interlingua_debias::Size::Strength) => vec![Extent::Vector],
            _ => all(&self.rank, Extent::Rank),
        }
    }

    /// What its fits are told besides size and seed.
    pub fn options(&self) -> interlingua_debias::FitOptions {
        interlingua_debias::FitOptions {
            params: self.params.clone(),
            ..Default::default()
        }
    }

    /// How states become the vectors that it learns from.
    pub fn reduce(&self) -> interlingua_debias::Reduce {
        self.demand().map(|d| d.reduce).unwrap_or_default()
    }

    /// All that it demands, if there is such a method and its parameters can be meant.
    pub fn demand(&self) -> Option<interlingua_debias::Demand> {
        self.known()?.demand(&self.options()).ok()
    }

    /// What tells its examples apart.
    pub fn contrast(&self) -> Contrast {
        self.demand().map(|d| d.contrast).unwrap_or_default()
    }

    /// How many of its sites it looks at to fit the edit of one.
    pub fn span(&self) -> Span {
        self.demand().map(|d| d.span).unwrap_or_default()
    }

    /// The parameters in one word, such as `c=0.1,rounds=5`: the axis that tells the rows of this
    /// method from those of the same method with others. `None` where every one is the method's own
    /// default.
    pub fn params_name(&self) -> Option<String> {
        let defaults = interlingua_debias::by_name(&self.name).map_or(&[][..], |m| m.params());
        let set = self.params.iter().filter_map(|(name, value)| {
            let value = match value {
                interlingua_debias::Param::Text(text) => text.clone(),
                value => value.to_string(),
            };
            let number = |text: &str| text.parse::<f64>().ok();
            let is_own = defaults.iter().any(|own| {
                let same = own.default == value
                    || number(own.default).is_some_and(|own| number(&value) == Some(own));
                own.name == name && same
            });
            (!is_own).then(|| format!("{name}={value}"))
        });
        let set: Vec<String> = set.collect();
        (!set.is_empty()).then(|| set.join(","))
    }
}

/// Fitting of debiasers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitSpec {
    /// Which languages methods are fitted in: each alone, all together, all but one.
    pub languages: Vec<FitOver>,
    /// Largest number of counterfactual sets per language and category.
    pub max_tuples: usize,
    /// Largest number of sentences per class, for methods that learn from classes.
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

/// Scoring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreSpec {
    /// Scorers, by name; none, with no `perplexity_sentences`, where a model without an LM head is judged by
    /// associations, probes and alignment.
    pub scorers: Vec<String>,
    /// Bootstrap resamples behind every interval.
    pub resamples: usize,
    /// Held-out sentences per language that perplexity, or a masked model's pseudo-perplexity, is
    /// measured on.
    pub perplexity_sentences: usize,
    /// Sentences of the 2-D projection.
    pub projected: usize,
}

impl Default for ScoreSpec {
    fn default() -> Self {
        ScoreSpec {
            scorers: vec!["lm-eval".into(), "bias-bench-generative".into()],
            resamples: 2000,
            perplexity_sentences: 300,
            projected: 60,
        }
    }
}

/// Probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSpec {
    /// Kinds of probe: `linear`, `mlp`; none leaves probes out.
    pub kinds: Vec<String>,
    /// Largest number of sentences per group and language; half of them teach, half judge.
    pub per_class: usize,
    /// Whether the online codelength is measured too, which takes about eight times as long.
    pub codelength: bool,
}

impl Default for ProbeSpec {
    fn default() -> Self {
        ProbeSpec {
            kinds: vec!["linear".into()],
            per_class: 500,
            codelength: false,
        }
    }
}

/// Retrieval of translations between states of the edited model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalSpec {
    /// Hook points whose states are looked at; none leaves it out.
    pub hooks: Vec<String>,
    /// Most held-out rows.
    pub rows: usize,
}

impl Default for RetrievalSpec {
    fn default() -> Self {
        RetrievalSpec {
            hooks: Vec::new(),
            rows: 200,
        }
    }
}

impl RetrievalSpec {
    fn is_default(&self) -> bool {
        *self == RetrievalSpec::default()
    }
}

/// Choice of an operating point.
///
/// The rule: of all hook points, ranks and strengths of a method in a space, take the one with the
/// smallest mean |gap| over categories, fit and evaluation languages among those that cost no more
/// than `max_cost`, judged on one share of the pairs; what is reported is its gap on the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChooseSpec {
    /// Share of the pairs and of the held-out sentences that the choice looks at.
    pub share: f64,
    /// Largest perplexity, as a multiple of the unedited model's, in any language.
    pub max_cost: f64,
}

impl Default for ChooseSpec {
    fn default() -> Self {
        ChooseSpec {
            share: 0.5,
            max_cost: 1.05,
        }
    }
}

impl Spec {
    /// Reads an experiment; with `quick`, its `[quick]` table is merged in.
    ///
    /// Returns one spec, or several where the file has `[[vary]]` tables.
    ///
    /// # Errors
    /// Missing file, TOML errors with line and key.
    pub fn read(path: &Path, quick: bool) -> Result<Vec<Spec>, ExperimentError> {
        let text = std::fs::read_to_string(path).map_err(ExperimentError::io(path))?;
        Spec::parse(&text, path, quick)
    }

    /// The same from a text; `path` is only for messages.
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
    Space::all().collect()
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
fn gated() -> u64 {
    3
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
