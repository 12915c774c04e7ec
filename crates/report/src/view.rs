//! Sorts and groups the rows in the way in which the report shows them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::RunInfo;
pub use super::estimate::Estimate;
use super::text;
use crate::role::Role;
use crate::row::Row;

/// One way of measuring bias: a benchmark, a scorer and a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Lens {
    /// The name of the benchmark.
    pub benchmark: String,
    /// The rule that scores a sentence.
    pub scorer: String,
    /// The name of the model.
    pub model: String,
}

impl Lens {
    /// The same model, measured on text without pairs.
    fn of_cost(&self) -> Lens {
        Lens {
            model: self.model.clone(),
            ..Lens::default()
        }
    }
}

/// One way of editing the model: the method, the space, and all other axes that vary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant {
    /// The role of the edit.
    pub role: Role,
    /// The debiasing method, as the rows name it.
    pub method: String,
    /// The space of the edit.
    pub space: String,
    /// The values of the axes that take more than one value in this run, such as `replace, rank 4`.
    pub extra: String,
}

impl Variant {
    /// Returns the name of the edit for readers.
    pub fn title(&self) -> String {
        text::edit(self.role, &self.method)
    }

    /// Returns the name of the edit for readers, or a dash for the unedited model.
    pub fn place(&self) -> String {
        match self.role {
            Role::Unedited => "–".to_string(),
            _ => self.site(),
        }
    }

    /// Returns the space and the other axes that vary, without the method.
    pub fn site(&self) -> String {
        let space = if self.space.is_empty() {
            "no space"
        } else {
            &self.space
        };
        if self.extra.is_empty() {
            space.to_string()
        } else {
            format!("{space} ({})", self.extra)
        }
    }
}

/// The languages in which an edit is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judged {
    /// The language that it was fitted in.
    Own,
    /// All languages that it was not fitted in.
    Others,
    /// All languages.
    All,
}

/// Metrics that are means over the cells of a scope, with the interval of that mean.
const SCOPED: [&str; 8] = [
    "scope_gap",
    "scope_pair_gap",
    "gap_difference",
    "transfer_share",
    "specific_part",
    "perplexity_ratio",
    "operating_scope_gap",
    "operating_difference",
];

/// The metric of linear probes.
pub const PROBE: &str = "probe_accuracy_linear";

/// The metric of association tests.
pub const SEAT: &str = "seat_effect";

/// What an edit changes of the share of right choices.
pub const CHOICE: &str = "choice_accuracy_difference";

/// Spaces in the order of the story.
const SPACES: [&str; 11] = [
    "raw",
    "latent",
    "latent-shared",
    "latent-unaligned",
    "sae",
    "centred",
    "lir",
    "lsar",
    "joint-pca",
    "procrustes",
    "cca",
];

/// The comparisons of an edit, in the order of the forest plot: the value of `versus` in the rows, and the name in
/// sentences.
pub const VERSUS: [(&str, &str); 3] = [
    ("unedited", "the unedited model"),
    ("raw", "the same edit in the raw states"),
    ("control", "its matched control"),
];

/// Metric, way of measuring, edit, category, language of the fit, language of the judgement. Rows of [`SCOPED`] metrics
/// have what they are a difference from, and their scope, in place of the two languages.
type Key = (String, Lens, Variant, String, String, String);

/// A key that puts block 6 before block 12: each run of digits as a number, with the words before it.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let (mut words, mut digits) = (String::new(), String::new());
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            // A number that is too large for any count sorts last.
            let number = digits.parse().unwrap_or(u64::MAX);
            parts.push((std::mem::take(&mut words), number));
            digits.clear();
        }
        words.push(c);
    }
    parts.push((words, 0));
    parts
}

/// The rows of a run, sorted for display.
pub struct View<'a> {
    /// The facts about the run.
    pub info: &'a RunInfo,
    /// The rows as they were given.
    pub rows: &'a [Row],
    /// The languages in the order of display.
    pub languages: Vec<String>,
    /// The fits on several languages, such as `all` and `all-but-en`.
    pub joint_fits: Vec<String>,
    /// The categories in the order of display.
    pub categories: Vec<String>,
    /// The ways of measuring bias, with the main one first.
    pub lenses: Vec<Lens>,
    /// The edits in the order of display, without the unedited model.
    pub variants: Vec<Variant>,
    /// The number of rows that share every displayed axis with an earlier row and are left out.
    pub duplicates: usize,
    unedited: Variant,
    /// Edits that have a language of their fit.
    fitted: BTreeSet<Variant>,
    varying: Varying,
    cells: BTreeMap<Key, &'a Row>,
}

const BIAS_METRICS: [&str; 5] = [
    "mean_gap",
    "sign_score",
    "stereo_share",
    "antistereo_share",
    "gap_reduction",
];

/// What an edit costs: the perplexity of a causal model, the pseudo-perplexity of a masked one.
const COSTS: [&str; 2] = ["perplexity", "pseudo_perplexity"];

fn is_per_language(row: &Row) -> bool {
    let metric = row.metric.as_str();
    BIAS_METRICS.contains(&metric) || COSTS.contains(&metric) || metric.starts_with("calibration")
}

impl<'a> View<'a> {
    /// Sorts and indexes the rows.
    pub fn new(info: &'a RunInfo, rows: &'a [Row]) -> View<'a> {
        let of = |get: fn(&Row) -> Option<&String>| {
            let mut names: Vec<String> = rows.iter().filter_map(get).cloned().collect();
            names.sort();
            names.dedup();
            names
        };
        // Alignment rows carry a pair of languages where the others carry one.
        let mut languages = of(|r| r.eval_language.as_ref().filter(|_| is_per_language(r)));
        let (joint_fits, single): (Vec<String>, Vec<String>) = of(|r| r.fit_language.as_ref())
            .into_iter()
            .partition(|fit| is_joint(fit));
        languages.extend(single);
        languages.sort();
        languages.dedup();
        let methods = ordered(&info.methods, of(|r| r.method.as_ref()));
        let spaces = ordered(&SPACES.map(String::from), of(|r| r.space.as_ref()));
        let varying = Varying::of(rows);
        let unedited = Variant {
            role: Role::Unedited,
            method: Role::Unedited.in_rows(None),
            space: String::new(),
            extra: String::new(),
        };
        let mut view = View {
            info,
            rows,
            languages: ordered(&info.languages, languages),
            joint_fits,
            categories: ordered(&info.categories, of(|r| r.category.as_ref())),
            lenses: Vec::new(),
            variants: Vec::new(),
            duplicates: 0,
            unedited,
            fitted: BTreeSet::new(),
            varying,
            cells: BTreeMap::new(),
        };
        for row in rows {
            view.take(row);
        }
        view.lenses.sort_by_key(|lens| {
            let main = usize::from(lens.scorer != "lm-eval");
            (
                lens.model.clone(),
                lens.benchmark.clone(),
                main,
                lens.clone(),
            )
        });
        let place = |list: &[String], name: &String| list.iter().position(|m| m == name);
        view.variants.sort_by_key(|v| {
            let control = usize::from(v.role.is_comparison());
            (
                control,
                place(&methods, &v.method),
                place(&spaces, &v.space),
                natural(&v.extra),
                v.clone(),
            )
        });
        view
    }

    fn take(&mut self, row: &'a Row) {
        let metric = row.metric.as_str();
        let is_scoped = SCOPED.contains(&metric);
        let is_bias = BIAS_METRICS.contains(&metric) || is_scoped && metric != "perplexity_ratio";
        // A model without a head has edits that no pair judges, and choices judge edits where there is no pair.
        if [PROBE, SEAT, CHOICE].contains(&metric) {
            let variant = self.variant_of(row);
            if variant != self.unedited && !self.variants.contains(&variant) {
                self.variants.push(variant);
            }
        }
        // Rows about one kind of pairs have a table of their own.
        if !is_bias && !is_scoped && !COSTS.contains(&metric) || row.kind.is_some() {
            return;
        }
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let mut lens = Lens {
            benchmark: named(&row.benchmark),
            scorer: named(&row.scorer),
            model: row.model.clone(),
        };
        if !is_bias {
            lens = lens.of_cost();
        }
        let variant = self.variant_of(row);
        if is_bias && !self.lenses.contains(&lens) {
            self.lenses.push(lens.clone());
        }
        if variant != self.unedited && !self.variants.contains(&variant) {
            self.variants.push(variant.clone());
        }
        if row.fit_language.is_some() {
            self.fitted.insert(variant.clone());
        }
        let [from, to] = if is_scoped {
            [named(&row.versus), scope(row)]
        } else {
            [named(&row.fit_language), named(&row.eval_language)]
        };
        let key = (
            row.metric.clone(),
            lens,
            variant,
            named(&row.category),
            from,
            to,
        );
        match self.cells.entry(key) {
            Entry::Vacant(place) => {
                place.insert(row);
            }
            Entry::Occupied(_) => self.duplicates += 1,
        }
    }

    /// Returns the edit that a row is about; a row without a method is about the unedited model.
    pub fn variant_of(&self, row: &Row) -> Variant {
        match row.role {
            None | Some(Role::Unedited) => self.unedited.clone(),
            Some(role) => Variant {
                role,
                method: row.method.clone().unwrap_or_default(),
                space: row.space.clone().unwrap_or_default(),
                extra: self.varying.label(row),
            },
        }
    }

    /// Returns the rows of one metric grouped by edit, with the unedited model first and the edits in the order of
    /// display.
    pub fn by_variant(&self, metric: &str) -> Vec<(Variant, Vec<&'a Row>)> {
        let mut found: BTreeMap<Variant, Vec<&'a Row>> = BTreeMap::new();
        for row in self.metric(metric) {
            found.entry(self.variant_of(row)).or_default().push(row);
        }
        std::iter::once(&self.unedited)
            .chain(&self.variants)
            .filter_map(|v| found.remove_entry(v))
            .collect()
    }

    /// Returns the way of measuring bias that headline and summary use.
    pub fn main_lens(&self) -> Option<&Lens> {
        self.lenses.first()
    }

    /// Returns the methods as the rows name them, with those of controls last.
    pub fn methods(&self) -> Vec<String> {
        let mut methods: Vec<String> = Vec::new();
        for variant in &self.variants {
            if !methods.contains(&variant.method) {
                methods.push(variant.method.clone());
            }
        }
        methods
    }

    /// Returns one number of an edited model.
    pub fn cell(
        &self,
        metric: &str,
        lens: &Lens,
        variant: &Variant,
        category: &str,
        fit: &str,
        eval: &str,
    ) -> Option<Estimate> {
        let key = (
            metric.to_string(),
            lens.clone(),
            variant.clone(),
            category.to_string(),
            fit.to_string(),
            eval.to_string(),
        );
        self.cells.get(&key).map(|row| Estimate::of(row))
    }

    /// Returns one number of the unedited model.
    pub fn base(&self, metric: &str, lens: &Lens, category: &str, eval: &str) -> Option<Estimate> {
        self.cell(metric, lens, &self.unedited, category, "", eval)
    }

    /// Returns the languages that an edit was fitted in; one empty name if it was fitted in none.
    pub fn fits(
        &self,
        metric: &str,
        lens: &Lens,
        variant: &Variant,
        category: &str,
    ) -> Vec<String> {
        let mut candidates = vec![String::new()];
        candidates.extend(self.languages.iter().cloned());
        candidates.extend(self.joint_fits.iter().cloned());
        candidates.retain(|fit| {
            self.languages.iter().any(|eval| {
                self.cell(metric, lens, variant, category, fit, eval)
                    .is_some()
            })
        });
        candidates
    }

    /// Returns the mean |gap| of an edit over fit and evaluation languages, in one category or, for `None`, over all.
    /// An edit without a fit language is evaluated in all languages, whatever `judged` says.
    pub fn mean_abs_gap(
        &self,
        lens: &Lens,
        variant: &Variant,
        category: Option<&str>,
        judged: Judged,
    ) -> Option<Estimate> {
        let mean = Estimate::mean(&self.abs_gaps(lens, variant, category, judged))?;
        let scoped = self.scoped("scope_gap", lens, variant, category, "", judged);
        Some(mean.or_scoped(scoped))
    }

    /// The cells behind [`View::mean_abs_gap`].
    fn abs_gaps(
        &self,
        lens: &Lens,
        variant: &Variant,
        category: Option<&str>,
        judged: Judged,
    ) -> Vec<Estimate> {
        let mut found = Vec::new();
        for name in self.chosen(category) {
            for fit in self.fits("mean_gap", lens, variant, &name) {
                for eval in self.languages.iter().filter(|e| judged.takes(&fit, e)) {
                    found.extend(self.cell("mean_gap", lens, variant, &name, &fit, eval));
                }
            }
        }
        found.into_iter().map(Estimate::abs).collect()
    }

    /// Returns the mean |gap| of the unedited model.
    pub fn base_abs_gap(&self, lens: &Lens, category: Option<&str>) -> Option<Estimate> {
        let mut found = Vec::new();
        for name in self.chosen(category) {
            for eval in &self.languages {
                found.extend(self.base("mean_gap", lens, &name, eval));
            }
        }
        let found: Vec<Estimate> = found.into_iter().map(Estimate::abs).collect();
        let mean = Estimate::mean(&found)?;
        let all = self.scoped("scope_gap", lens, &self.unedited, category, "", Judged::All);
        Some(mean.or_scoped(all))
    }

    /// Returns a number of an edit over the cells of a scope, in one category or, for `None`, averaged over
    /// categories. Everything without a fit language is evaluated in all languages alike, so one of its scopes can
    /// stand for another.
    pub fn scoped(
        &self,
        metric: &str,
        lens: &Lens,
        variant: &Variant,
        category: Option<&str>,
        versus: &str,
        judged: Judged,
    ) -> Option<Estimate> {
        let category = category.unwrap_or_default();
        let lens = match metric {
            "perplexity_ratio" => &lens.of_cost(),
            _ => lens,
        };
        let get = |scope: &str| self.cell(metric, lens, variant, category, versus, scope);
        let all = || ["all", "others", "fit"].into_iter().find_map(get);
        get(judged.scope()).or_else(|| all().filter(|_| !self.fitted.contains(variant)))
    }

    /// Returns a number of an edit that was fitted on several languages: on all of them, or on all except the one it
    /// is evaluated in.
    pub fn joint(
        &self,
        metric: &str,
        lens: &Lens,
        variant: &Variant,
        left_out: bool,
    ) -> Option<Estimate> {
        let scope = if left_out { "left-out" } else { "all, fit all" };
        self.cell(metric, lens, variant, "", "", scope)
    }

    /// Returns the metric of the cost of an edit in these rows.
    pub fn cost(&self) -> &'static str {
        let there = |cost: &&str| self.rows.iter().any(|row| row.metric == **cost);
        COSTS.into_iter().find(there).unwrap_or(COSTS[0])
    }

    /// Returns the name of this metric in sentences.
    pub fn cost_name(&self) -> &'static str {
        match self.cost() {
            "pseudo_perplexity" => "pseudo-perplexity",
            _ => "perplexity",
        }
    }

    /// Returns the name of this metric in headings.
    pub fn cost_title(&self) -> &'static str {
        match self.cost() {
            "pseudo_perplexity" => "Pseudo-perplexity",
            _ => "Perplexity",
        }
    }

    /// Returns the mean (pseudo-)perplexity of an edit as a multiple of the unedited model's, over fit and evaluation
    /// languages. Rows without a category count in every category.
    pub fn perplexity_ratio(
        &self,
        lens: &Lens,
        variant: &Variant,
        category: Option<&str>,
    ) -> Option<Estimate> {
        let bias_lens = lens;
        let lens = lens.of_cost();
        let mut names = self.chosen(category);
        names.push(String::new());
        let mut found = Vec::new();
        let cost = self.cost();
        for name in names {
            for fit in self.fits(cost, &lens, variant, &name) {
                for eval in &self.languages {
                    let base = self
                        .base(cost, &lens, "", eval)
                        .or_else(|| self.base(cost, &lens, &name, eval));
                    let edited = self.cell(cost, &lens, variant, &name, &fit, eval);
                    if let (Some(base), Some(edited)) = (base, edited) {
                        found.push(edited.affine(0.0, 1.0 / base.value));
                    }
                }
            }
        }
        let mean = Estimate::mean(&found)?;
        let scoped = self.scoped(
            "perplexity_ratio",
            bias_lens,
            variant,
            category,
            "",
            Judged::All,
        );
        Some(mean.or_scoped(scoped))
    }

    /// Iterates over the rows of one metric.
    pub fn metric<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a Row> + 'b {
        self.rows.iter().filter(move |row| row.metric == name)
    }

    /// Returns the spaces that have rows of an alignment metric, in the order of display.
    pub fn alignment_spaces(&self, metric: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for row in self.metric(metric) {
            let space = row.space.clone().unwrap_or_default();
            if !found.contains(&space) {
                found.push(space);
            }
        }
        found.sort();
        ordered(&SPACES.map(String::from), found)
    }

    /// Returns the mean of an alignment metric over its language directions.
    pub fn alignment(&self, metric: &str, space: &str) -> Option<Estimate> {
        let found: Vec<Estimate> = self
            .metric(metric)
            .filter(|row| row.space.as_deref().unwrap_or_default() == space)
            .map(Estimate::of)
            .collect();
        Estimate::mean(&found)
    }

    fn chosen(&self, category: Option<&str>) -> Vec<String> {
        match category {
            Some(name) => vec![name.to_string()],
            None => self.categories.clone(),
        }
    }
}

impl Judged {
    /// Returns whether an edit that was fitted in `fit` is evaluated in `eval` under this choice. An edit without a
    /// fit language is evaluated everywhere.
    pub fn takes(self, fit: &str, eval: &str) -> bool {
        fit.is_empty()
            || match self {
                Judged::Own => fit == eval,
                Judged::Others => fit != eval && !is_joint(fit),
                Judged::All => true,
            }
    }

    /// Returns the name of the scope in rows.
    pub fn scope(self) -> &'static str {
        match self {
            Judged::Own => "fit",
            Judged::Others => "others",
            Judged::All => "all",
        }
    }
}

/// Whether a fit language is several: `all`, `all-but-en`.
fn is_joint(fit: &str) -> bool {
    fit.starts_with("all")
}

/// The scope of a row; fits on all languages together have one of their own beside the mean over single fits.
fn scope(row: &Row) -> String {
    match (row.scope.as_deref(), row.fit_language.as_deref()) {
        (Some(scope), Some(fit)) => format!("{scope}, fit {fit}"),
        (scope, _) => scope.unwrap_or_default().to_string(),
    }
}

/// The names in `first` that occur, then the remaining ones.
fn ordered(first: &[String], names: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = first
        .iter()
        .filter(|n| names.contains(n))
        .cloned()
        .collect();
    for name in names {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// Which axes take more than one value among the edited rows: only these need
/// to be named beside method and space.
struct Varying {
    params: bool,
    reinsert: bool,
    hook: bool,
    rank: bool,
    units: bool,
    strength: bool,
    seed: bool,
}

impl Varying {
    fn of(rows: &[Row]) -> Varying {
        let edited = |r: &&Row| {
            let metric = r.metric.as_str();
            (BIAS_METRICS.contains(&metric)
                || COSTS.contains(&metric)
                || [PROBE, SEAT].contains(&metric))
                && r.role.is_some_and(|role| role != Role::Unedited)
        };
        let several = |get: fn(&Row) -> Option<String>| {
            let mut values: Vec<String> = rows.iter().filter(edited).filter_map(get).collect();
            values.sort();
            values.dedup();
            values.len() > 1
        };
        Varying {
            // Parameters tell methods of one name apart; one that comes with a single set needs none.
            params: {
                let mut of: BTreeMap<&Option<String>, &Option<String>> = BTreeMap::new();
                let mut rows = rows.iter().filter(edited);
                rows.any(|r| *of.entry(&r.method).or_insert(&r.params) != &r.params)
            },
            reinsert: several(|r| r.reinsert.clone()),
            hook: several(|r| r.hook.clone()),
            rank: several(|r| r.rank.map(|v| v.to_string())),
            units: several(|r| r.units.map(|v| v.to_string())),
            strength: several(|r| r.strength.map(|v| v.to_string())),
            seed: several(|r| Some(r.seed.to_string())),
        }
    }

    fn label(&self, row: &Row) -> String {
        let mut parts = Vec::new();
        if self.params {
            parts.extend(row.params.clone());
        }
        if self.reinsert {
            parts.extend(row.reinsert.clone());
        }
        if self.hook {
            parts.extend(row.hook.clone());
        }
        if self.rank {
            parts.extend(row.rank.map(|v| format!("rank {v}")));
        }
        if self.units {
            parts.extend(row.units.map(|v| format!("{v} units")));
        }
        if self.strength {
            parts.extend(row.strength.map(|v| format!("strength {v}")));
        }
        if self.seed {
            parts.push(format!("seed {}", row.seed));
        }
        parts.join(", ")
    }
}
