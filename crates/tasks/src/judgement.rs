//! The results of a task.

use interlingua_metrics::bootstrap::Estimate;
use serde::{Deserialize, Serialize};

/// One number that a task computed. It does not say under which edit it was computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// The name of the metric, as in [`interlingua_metrics::info::METRICS`].
    pub metric: String,
    /// The scoring rule or the test that the number belongs to.
    pub scorer: String,
    /// The number with its interval.
    pub estimate: Estimate,
    /// The p value of the task's own test, if it has one.
    pub p_value: Option<f64>,
    /// Of a number between two languages, whether it leads from the second to the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reversed: bool,
}

impl Number {
    /// Makes a number without a test.
    pub fn new(metric: &str, scorer: &str, estimate: Estimate) -> Number {
        Number {
            metric: metric.to_owned(),
            scorer: scorer.to_owned(),
            estimate,
            p_value: None,
            reversed: false,
        }
    }

    /// The same number of the way from the second language to the first.
    pub fn reversed(self) -> Number {
        Number {
            reversed: true,
            ..self
        }
    }
}

/// The results of a task under one branch.
///
/// If nothing is kept of the items, the serialised form is the list of numbers alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stored", from = "Stored")]
pub struct Judgement {
    /// The numbers of the task.
    pub numbers: Vec<Number>,
    /// For each item, the values from which the model's answer is computed; empty for a task that keeps nothing of
    /// its items.
    pub said: Vec<Vec<f64>>,
    /// For each item, the text that the model wrote; empty for a task without written text.
    pub texts: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Numbers(Vec<Number>),
    WithAnswers {
        numbers: Vec<Number>,
        said: Vec<Vec<f64>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        texts: Vec<String>,
    },
}

impl From<Judgement> for Stored {
    fn from(judgement: Judgement) -> Stored {
        let Judgement {
            numbers,
            said,
            texts,
        } = judgement;
        match said.is_empty() {
            true => Stored::Numbers(numbers),
            false => Stored::WithAnswers {
                numbers,
                said,
                texts,
            },
        }
    }
}

impl From<Stored> for Judgement {
    fn from(stored: Stored) -> Judgement {
        match stored {
            Stored::Numbers(numbers) => Judgement::from(numbers),
            Stored::WithAnswers {
                numbers,
                said,
                texts,
            } => Judgement {
                numbers,
                said,
                texts,
            },
        }
    }
}

impl From<Vec<Number>> for Judgement {
    fn from(numbers: Vec<Number>) -> Judgement {
        Judgement {
            numbers,
            said: Vec::new(),
            texts: Vec::new(),
        }
    }
}

/// The answer of a model to one item under one scoring rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The identifier of the item.
    pub item: String,
    /// The scoring rule.
    pub scorer: &'static str,
    /// The candidate that the model chooses, counted from 0; `None` where there are no candidates.
    pub answer: Option<usize>,
    /// The right candidate, counted from 0; `None` where there is none.
    pub gold: Option<usize>,
    /// The score of every candidate under the rule, or what the task counted in the text.
    pub scores: Vec<f64>,
    /// The text that the model wrote, if the task has it write.
    pub text: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_alone_are_a_list() {
        let number = Number::new("seat_effect", "weat6", Estimate::point(0.5, 4));
        let judgement = Judgement::from(vec![number]);
        let json = serde_json::to_value(&judgement).unwrap();
        assert!(json.is_array(), "{json}");
        assert_eq!(
            serde_json::from_value::<Judgement>(json).unwrap(),
            judgement
        );
        for texts in [Vec::new(), vec!["so it was".to_owned()]] {
            let with = Judgement {
                said: vec![vec![-1.5, -2.0]],
                texts,
                ..judgement.clone()
            };
            let json = serde_json::to_string(&with).unwrap();
            assert_eq!(serde_json::from_str::<Judgement>(&json).unwrap(), with);
        }
    }
}
