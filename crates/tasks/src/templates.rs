//! Templates: which of two groups a model finds more likely beside an attribute.

use interlingua_data::{TemplateItem, TemplateOptions, load_templates};
use interlingua_metrics::templates::{Probe, scores};
use interlingua_models::Model;
use serde::{Deserialize, Serialize};

use crate::{
    About, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task, TaskError,
    numbered,
};

/// The templates of this project.
const OWN: &str = "datasets/templates/templates.toml";

/// The task of sentence templates that are filled with groups and attributes.
pub struct Templates;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file of the templates; `None` uses the templates of this project.
    #[serde(default)]
    pub path: Option<String>,
}

impl Task for Templates {
    type Options = Options;
    type Item = TemplateItem;

    const ABOUT: About = About {
        name: "templates",
        title: "Templates",
        summary: "Measures which of two groups a model finds more likely beside an attribute, and beside a neutral word in its place.",
        citation: "Kurita et al. 2019, arXiv 1906.07337",
        asks: "the probability of a sentence",
        needs: Needs::Head,
        metrics: &["template_gap", "template_gap_corrected"],
        page: "metrics/templates.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        options.path.iter().collect()
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<TemplateItem>>>, TaskError> {
        let file = source.file(options.path.as_deref().unwrap_or(OWN));
        let wanted = TemplateOptions::new(source.languages, source.on_bad_row);
        let (items, report) = load_templates(&file, &wanted)?;
        source.note(&file.display().to_string(), &report);
        let mut sets = Vec::new();
        for category in source.categories {
            for &language in source.languages {
                let of = |i: &&TemplateItem| &i.category == category && i.language == language;
                let items = items.iter().filter(of).cloned().collect();
                sets.push(ItemSet::of(category, language, items));
            }
        }
        Ok(sets)
    }

    fn texts(items: &[TemplateItem]) -> Vec<String> {
        sentences(items).map(str::to_owned).collect()
    }

    fn ask(items: &[TemplateItem], model: &Model) -> Result<Ask, TaskError> {
        Ask::texts(model, sentences(items))
    }

    fn judge(
        items: &[TemplateItem],
        answers: &Answers,
        to: &Judging,
    ) -> Result<Judgement, TaskError> {
        let templates = numbered(items.iter().map(|i| i.template.as_str()));
        let probe = |(at, &template): (usize, &usize)| {
            let [first, second, prior_first, prior_second] =
                [0, 1, 2, 3].map(|of: usize| answers.total(4 * at + of));
            Probe {
                first,
                second,
                prior_first,
                prior_second,
                template,
            }
        };
        let probes: Vec<Probe> = templates.iter().enumerate().map(probe).collect();
        let found = scores(&probes, &to.bootstrap)?;
        // What a sentence's probability is, in one word.
        let kind = match to.causal {
            true => "causal",
            false => "masked",
        };
        Ok(Judgement::from(vec![
            Number::new("template_gap", kind, found.gap),
            Number::new("template_gap_corrected", kind, found.corrected),
        ]))
    }
}

fn sentences(items: &[TemplateItem]) -> impl Iterator<Item = &str> {
    items
        .iter()
        .flat_map(|i| [&i.a, &i.b, &i.neutral_a, &i.neutral_b])
        .map(String::as_str)
}
