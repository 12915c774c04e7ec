//! Computes probabilities of a masked language model, which predicts a token from all others of its sequence.
//!
//! For every token that is asked for, a copy of its sequence is made in which it alone is masked. All copies of all
//! requests go through the model in one pass, and their states fork at the edits like those of any other sequence.

use crate::engine::{Branch, Comparisons, LogProbs, compare_queries, query_log_probs};
use crate::pack::Query;
use crate::{Model, ModelError, Sequence};

/// A sequence with the positions of the tokens that are masked, one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskRequest {
    /// The sequence.
    pub sequence: Sequence,
    /// The positions in its tokens.
    pub places: Vec<usize>,
}

impl MaskRequest {
    /// Asks for every token of the text, without the special tokens around it.
    pub fn text(sequence: Sequence) -> MaskRequest {
        MaskRequest {
            places: sequence.text().collect(),
            sequence,
        }
    }
}

/// Returns the id of the mask token: `mask_token` of `tokenizer_config.json` or of `special_tokens_map.json`, or else
/// the tokenizer's own `[MASK]` or `<mask>`.
///
/// # Errors
/// A causal model, a checkpoint without a mask token, or files that cannot be read.
pub fn mask_token(model: &Model) -> Result<u32, ModelError> {
    if model.geometry.causal {
        return Err(ModelError::WrongHead {
            folder: model.folder.clone(),
            architecture: model.geometry.architecture.clone(),
            kind: "causal",
            wanted: "masked",
        });
    }
    if let Some(named) = &model.tokenizer.special().mask
        && named.id.is_none()
    {
        return Err(ModelError::Tokenizer {
            path: model.folder.join("tokenizer_config.json"),
            problem: format!(
                "mask_token `{}` (here or in special_tokens_map.json) is not in tokenizer.json",
                named.text
            ),
        });
    }
    model
        .tokenizer
        .mask()
        .ok_or_else(|| ModelError::NoMaskToken {
            folder: model.folder.clone(),
        })
}

/// Computes, for each branch, the log-probability in nats of the token at each position of every request, given its
/// sequence with that token alone masked.
///
/// The result is indexed `[branch][request][place]`. `progress` is called with the amount of work that is done and
/// the total amount.
///
/// # Errors
/// The errors of [`mask_token`], a position beyond its sequence, weights that cannot be read, a sequence that the
/// model cannot take, or results that are not finite.
pub fn masked_log_probs(
    model: &Model,
    requests: &[MaskRequest],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<LogProbs>, ModelError> {
    let copies = Copies::new(model, requests)?;
    let found = query_log_probs(model, &copies.queries, branches, progress);
    copies.by_request(found)
}

/// Compares each branch with the unedited model at the positions of every request, with each token masked alone; see
/// [`crate::engine::compare`].
///
/// The result is indexed `[branch][request][place]`.
///
/// # Errors
/// The errors of [`masked_log_probs`].
pub fn masked_compare(
    model: &Model,
    requests: &[MaskRequest],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Comparisons>, ModelError> {
    let copies = Copies::new(model, requests)?;
    let found = compare_queries(model, &copies.queries, branches, progress);
    copies.by_request(found)
}

/// One query per masked token.
struct Copies {
    queries: Vec<Query>,
    /// The request of each.
    owners: Vec<usize>,
    requests: usize,
}

impl Copies {
    fn new(model: &Model, requests: &[MaskRequest]) -> Result<Copies, ModelError> {
        let mask = mask_token(model)?;
        let mut copies = Copies {
            queries: Vec::new(),
            owners: Vec::new(),
            requests: requests.len(),
        };
        for (index, MaskRequest { sequence, places }) in requests.iter().enumerate() {
            for &place in places {
                let Some(&token) = sequence.tokens.get(place) else {
                    return Err(ModelError::Sequence {
                        index,
                        problem: format!(
                            "has {} tokens, so none to mask at place {place}",
                            sequence.tokens.len()
                        ),
                    });
                };
                let mut tokens = sequence.tokens.clone();
                tokens[place] = mask;
                copies.queries.push(Query {
                    tokens,
                    predictions: vec![(place, token)],
                    roles: model.roles(sequence),
                });
                copies.owners.push(index);
            }
        }
        Ok(copies)
    }

    /// Results and errors of the copies as those of the requests, which the caller knows.
    fn by_request<T>(
        &self,
        found: Result<Vec<Vec<Vec<T>>>, ModelError>,
    ) -> Result<Vec<Vec<Vec<T>>>, ModelError> {
        let found = found.map_err(|e| match e {
            ModelError::Sequence { index, problem } => ModelError::Sequence {
                index: self.owners[index],
                problem,
            },
            ModelError::NotFiniteOutput { index } => ModelError::NotFiniteOutput {
                index: self.owners[index],
            },
            other => other,
        })?;
        let regroup = |of_copies: Vec<Vec<T>>| {
            let mut out: Vec<Vec<T>> = (0..self.requests).map(|_| Vec::new()).collect();
            for (&owner, results) in self.owners.iter().zip(of_copies) {
                out[owner].extend(results);
            }
            out
        };
        Ok(found.into_iter().map(regroup).collect())
    }
}
