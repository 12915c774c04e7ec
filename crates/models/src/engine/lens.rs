//! The logit lens: what the head would say of the states on the way.

use interlingua_backend::ops;
use interlingua_backend::{from_rows, to_host};
use interlingua_edits::{Hook, HookError, Part};

use super::{Branch, Capture, Pooling, capture_branches};
use crate::ModelError;
use crate::model::Model;
use crate::pack::Sequence;

/// Logits held at once.
const LOGITS: usize = 1 << 24;
/// Values of states held at once.
const STATES: usize = 1 << 26;

/// What the head says at one place about the token that comes next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Log-probability of the token that does come, in nats.
    pub log_prob: f32,
    /// 1 and how many tokens are likelier; equally likely ones do not count.
    pub rank: u32,
    /// The likeliest token, the first of equal ones.
    pub likeliest: u32,
}

/// What is read off the states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lens {
    /// Hook points of the residual stream.
    pub hooks: Vec<Hook>,
    /// Whether the final norm is applied before the head, at every hook point but its own.
    pub normalise: bool,
}

impl Lens {
    /// Looks at hook points by name.
    ///
    /// # Errors
    /// A name that the model has no hook point for, one that is not of the residual stream.
    pub fn parse(names: &[String], normalise: bool, model: &Model) -> Result<Lens, ModelError> {
        let layers = model.geometry.layers;
        let mut hooks = Vec::with_capacity(names.len());
        for name in names {
            let hook = Hook::parse(name, layers).map_err(ModelError::Hook)?;
            let stream = [Part::Embedding, Part::Input, Part::Output, Part::FinalNorm];
            if !stream.contains(&hook.part) {
                return Err(ModelError::Hook(HookError::Unknown {
                    name: format!("{name} of the residual stream"),
                    layers,
                    nearest: hook.block().map(|block| Hook::output(block).to_string()),
                }));
            }
            hooks.push(hook);
        }
        Ok(Lens { hooks, normalise })
    }

    /// Reads every token of every sequence after what is given off the states before it, for each branch.
    ///
    /// Edits act where they stand: one at the final norm is seen at that hook point alone. Result: `[branch][hook][sequence][token]`.
    ///
    /// # Errors
    /// A model without a head or one that is not causal, a sequence without context, and whatever stops a pass.
    pub fn read(
        &self,
        model: &Model,
        sequences: &[Sequence],
        branches: &[Branch<'_>],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Vec<Vec<Vec<Seen>>>>, ModelError> {
        model.head()?;
        if !model.geometry.causal {
            return Err(ModelError::WrongHead {
                folder: model.folder.clone(),
                architecture: model.geometry.architecture.clone(),
                kind: "masked",
                wanted: "causal",
            });
        }
        if let Some(index) = sequences.iter().position(|s| s.text().start == 0) {
            return Err(ModelError::Sequence {
                index,
                problem: "has no token before the first that is asked for".into(),
            });
        }
        let places: usize = sequences.iter().map(|s| s.text().len()).sum();
        let of_branch = (places * self.hooks.len() * model.geometry.hidden_size).max(1);
        let together = (STATES / of_branch).max(1);
        let mut all = Vec::with_capacity(branches.len());
        for chunk in branches.chunks(together) {
            for states in self.states(model, sequences, chunk)? {
                let mut of_hooks = Vec::with_capacity(self.hooks.len());
                for (hook, states) in self.hooks.iter().zip(states) {
                    of_hooks.push(self.seen(model, *hook, sequences, states)?);
                }
                all.push(of_hooks);
                progress(all.len(), branches.len());
            }
        }
        Ok(all)
    }

    /// The states that tokens are asked for at: `[branch][hook]`, rows of all sequences one after the other.
    fn states(
        &self,
        model: &Model,
        sequences: &[Sequence],
        branches: &[Branch<'_>],
    ) -> Result<Vec<Vec<Vec<f32>>>, ModelError> {
        let width = model.geometry.hidden_size;
        let mut first = Vec::with_capacity(sequences.len());
        let mut places = 0;
        for sequence in sequences {
            first.push(places);
            places += sequence.text().len();
        }
        let captures: Vec<Capture> = self
            .hooks
            .iter()
            .map(|&hook| Capture {
                hook,
                pooling: Pooling::All,
            })
            .collect();
        let mut states = vec![vec![vec![0.0; places * width]; captures.len()]; branches.len()];
        capture_branches(
            model,
            sequences,
            branches,
            &captures,
            &mut |branch, hook, sequence, rows| {
                let text = sequences[sequence].text();
                let rows =
                    &rows[(text.start - 1) * width..(text.end - 1).max(text.start - 1) * width];
                let at = first[sequence] * width;
                states[branch][hook][at..at + rows.len()].copy_from_slice(rows);
                Ok(())
            },
            &mut |_, _| {},
        )?;
        Ok(states)
    }

    /// What the head says of states, by sequence.
    fn seen(
        &self,
        model: &Model,
        hook: Hook,
        sequences: &[Sequence],
        states: Vec<f32>,
    ) -> Result<Vec<Vec<Seen>>, ModelError> {
        let (width, vocabulary) = (model.geometry.hidden_size, model.geometry.vocab_size);
        let targets: Vec<u32> = sequences
            .iter()
            .flat_map(|s| s.tokens[s.text()].iter().copied())
            .collect();
        let rows = (LOGITS / vocabulary).max(1);
        let mut seen = Vec::with_capacity(targets.len());
        for (states, targets) in states.chunks(rows * width).zip(targets.chunks(rows)) {
            let logits = self.logits(model, hook, states)?;
            for (logits, &target) in logits.chunks(vocabulary).zip(targets) {
                seen.push(
                    one(logits, target).ok_or(ModelError::NotFiniteOutput { index: seen.len() })?,
                );
            }
        }
        let mut seen = seen.into_iter();
        let of = |s: &Sequence| seen.by_ref().take(s.text().len()).collect();
        Ok(sequences.iter().map(of).collect())
    }

    /// Logits of some states, a row of the whole vocabulary for each.
    fn logits(&self, model: &Model, hook: Hook, states: &[f32]) -> Result<Vec<f32>, ModelError> {
        let (width, vocabulary) = (model.geometry.hidden_size, model.geometry.vocab_size);
        let (head, table) = model.head()?;
        let rows = states.len() / width;
        let mut h = from_rows(states.to_vec(), rows, width, &model.device);
        if self.normalise && hook != Hook::FINAL_NORM {
            h = model.normalise(h)?;
        }
        let h = head.transform(h);
        let mut logits = vec![0.0; rows * vocabulary];
        table.slices(model.weights(), &model.device, &mut |first, slice| {
            let [cols, _] = slice.dims();
            let bias = head.bias.as_ref().map(|b| &b[first..first + cols]);
            let part = to_host(ops::logits(h.clone(), slice, bias, head.logits));
            for (row, part) in logits.chunks_mut(vocabulary).zip(part.chunks(cols)) {
                row[first..first + cols].copy_from_slice(part);
            }
            Ok(())
        })?;
        Ok(logits)
    }
}

/// What one row of logits says of a token; nothing where they are not finite.
fn one(logits: &[f32], target: u32) -> Option<Seen> {
    let of_target = logits[target as usize];
    let mut likeliest = 0;
    let mut rank = 1;
    for (at, &logit) in logits.iter().enumerate() {
        if logit > logits[likeliest] {
            likeliest = at;
        }
        rank += u32::from(logit > of_target);
    }
    let most = f64::from(logits[likeliest]);
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - most).exp()).sum();
    let log_prob = f64::from(of_target) - most - sum.ln();
    log_prob.is_finite().then_some(Seen {
        log_prob: log_prob as f32,
        rank,
        likeliest: likeliest as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_ranks_by_hand() {
        let logits = [1.0, 3.0, 3.0, 2.0];
        let seen = |target| one(&logits, target).unwrap();
        assert_eq!([0, 1, 2, 3].map(|t| seen(t).rank), [4, 1, 1, 3]);
        assert!([0, 1, 2, 3].iter().all(|&t| seen(t).likeliest == 1));
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        assert!((f64::from(seen(3).log_prob) - (2.0 - sum.ln())).abs() < 1e-6);
        assert!(one(&[1.0, f32::NAN], 1).is_none() && one(&[f32::INFINITY, 0.0], 0).is_none());
    }
}
