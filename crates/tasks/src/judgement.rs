//! What comes out of a task.

use interlingua_metrics::bootstrap::Estimate;
use serde::{Deserialize, Serialize};

/// One number of a task, before it knows under which edit it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// Metric, as in [`interlingua_metrics::info::METRICS`].
    pub metric: String,
    /// Rule or test that the number belongs to.
    pub scorer: String,
    /// The number.
    pub estimate: Estimate,
    /// p value of the task's own test, where it has one.
    pub p_value: Option<f64>,
}

impl Number {
    /// A number without a test of its own.
    pub fn new(metric: &str, scorer: &str, estimate: Estimate) -> Number {
        Number {
            metric: metric.to_owned(),
            scorer: scorer.to_owned(),
            estimate,
            p_value: None,
        }
    }
}

/// What a task finds under one branch.
///
/// Where nothing is kept of the items, its serialised form is the list of numbers alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stored", from = "Stored")]
pub struct Judgement {
    /// Its numbers.
    pub numbers: Vec<Number>,
    /// What is kept of each item, if anything is: the numbers that the model's answer is made of.
    pub said: Vec<Vec<f64>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Numbers(Vec<Number>),
    WithAnswers {
        numbers: Vec<Number>,
        said: Vec<Vec<f64>>,
    },
}

impl From<Judgement> for Stored {
    fn from(judgement: Judgement) -> Stored {
        let Judgement { numbers, said } = judgement;
        match said.is_empty() {
            true => Stored::Numbers(numbers),
            false => Stored::WithAnswers { numbers, said },
        }
    }
}

impl From<Stored> for Judgement {
    fn from(stored: Stored) -> Judgement {
        match stored {
            Stored::Numbers(numbers) => Judgement::from(numbers),
            Stored::WithAnswers { numbers, said } => Judgement { numbers, said },
        }
    }
}

impl From<Vec<Number>> for Judgement {
    fn from(numbers: Vec<Number>) -> Judgement {
        Judgement {
            numbers,
            said: Vec::new(),
        }
    }
}

/// A model's answer to one item, by one rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The item.
    pub item: String,
    /// The rule that the answer is found by.
    pub scorer: &'static str,
    /// The candidate that the model chooses, counted from 0.
    pub answer: usize,
    /// The right one.
    pub gold: usize,
    /// Score of every candidate by the rule.
    pub scores: Vec<f64>,
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
        let with = Judgement {
            said: vec![vec![-1.5, -2.0]],
            ..judgement
        };
        let json = serde_json::to_string(&with).unwrap();
        assert_eq!(serde_json::from_str::<Judgement>(&json).unwrap(), with);
    }
}
