//! Reads texts token by token and keeps the keys and values that attention needs again.

use interlingua_backend::ops::{self, Past, Tree};
use interlingua_backend::{Tensor, device};
use interlingua_edits::{Hook, Role};

use super::{Branch, RowInfo, check_length, edited, run};
use crate::model::Model;
use crate::{ModelError, Residency};

/// The tokens that come next in a text, with their roles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Next {
    /// The token ids.
    pub tokens: Vec<u32>,
    /// The roles of the tokens; they may be empty if no edit reads them.
    pub roles: Vec<Role>,
}

/// Several texts under one branch, as far as they have been read.
pub struct Session<'m, 'b> {
    model: &'m Model,
    branch: &'b Branch<'b>,
    /// Of every block.
    pasts: Vec<Past>,
    /// How many tokens of each text have been read.
    lengths: Vec<usize>,
}

impl<'m, 'b> Session<'m, 'b> {
    /// Makes a session of texts of which nothing has been read.
    ///
    /// # Errors
    /// A model that is not causal, has no LM head, or streams its weights (every token would read all of them from
    /// the disk), or an edit at a hook that the model lacks.
    pub fn new(
        model: &'m Model,
        branch: &'b Branch<'b>,
        texts: usize,
    ) -> Result<Session<'m, 'b>, ModelError> {
        if !model.geometry.causal {
            return Err(ModelError::NotCausal {
                architecture: model.geometry.architecture.clone(),
            });
        }
        if model.residency == Residency::Stream {
            return Err(ModelError::StreamedGeneration {
                bytes: model.weights().bytes(),
            });
        }
        model.head()?;
        let shape = model.geometry.shape();
        for hook in edited(std::slice::from_ref(branch)) {
            shape.width(hook).map_err(ModelError::Hook)?;
        }
        Ok(Session {
            model,
            branch,
            pasts: (0..model.geometry.layers)
                .map(|_| Past::new(texts))
                .collect(),
            lengths: vec![0; texts],
        })
    }

    /// Returns how many tokens of each text have been read.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Drops the texts for which `keep` is false; the others stay in the same order.
    pub fn retain(&mut self, keep: &[bool]) {
        for past in &self.pasts {
            past.retain(keep);
        }
        let mut keep = keep.iter();
        self.lengths
            .retain(|_| keep.next().copied().unwrap_or(false));
    }

    /// Reads at least one more token of every text, and returns the logits after the last token of each.
    ///
    /// # Shapes
    /// `next` has one entry for each text; the result is `[texts, vocabulary]`.
    ///
    /// # Errors
    /// A text that becomes longer than the model can take, a token id that is out of range, or weights that cannot be
    /// read.
    pub fn read(&mut self, next: &[Next]) -> Result<Tensor<2>, ModelError> {
        device::among_threads(|| self.read_here(next))
    }

    fn read_here(&mut self, next: &[Next]) -> Result<Tensor<2>, ModelError> {
        let tree = self.tree(next)?;
        let tokens: Vec<u32> = next.iter().flat_map(|n| n.tokens.iter().copied()).collect();
        let roles: Vec<Role> = next.iter().flat_map(|n| n.roles.iter().copied()).collect();
        let lasts: Vec<u32> = tree
            .nodes
            .iter()
            .map(|n| (n.start + n.len - 1) as u32)
            .collect();
        let positions = tree.positions.clone();
        let all = RowInfo::new(&positions, &roles);
        let asked = all.some(lasts.iter().copied());
        let h = self.model.embed(&tokens, &positions)?;
        let mut h = self.branch.apply(Hook::EMBEDDING, h, &all);
        let layers = self.model.geometry.layers;
        for (layer, past) in self.pasts.iter().enumerate() {
            let block = self.model.block(layer)?;
            // Of the last block, only what follows the last tokens is of use.
            let few = layer + 1 == layers && lasts.len() < tokens.len();
            let tree = Tree {
                past: Some(past.clone()),
                asked: few.then(|| lasts.clone()),
                ..tree.clone()
            };
            h = run(block.as_ref(), layer, h, &tree, &mut |hook, h| {
                let rows = match h.dims()[0] == tokens.len() {
                    true => &all,
                    false => &asked,
                };
                self.branch.apply(hook, h, rows)
            });
        }
        for (length, next) in self.lengths.iter_mut().zip(next) {
            *length += next.tokens.len();
        }
        let h = self.model.normalise(h)?;
        let h = self.branch.apply(Hook::FINAL_NORM, h, &asked);
        self.logits(h)
    }

    /// One node for each text, of its next tokens at their places.
    fn tree(&self, next: &[Next]) -> Result<Tree, ModelError> {
        assert_eq!(next.len(), self.lengths.len(), "one for each text");
        let lengths: Vec<usize> = next.iter().map(|n| n.tokens.len()).collect();
        let mut tree = Tree::sequences(&lengths);
        let vocabulary = self.model.geometry.vocab_size;
        for (index, (next, (node, &before))) in next
            .iter()
            .zip(tree.nodes.iter().zip(&self.lengths))
            .enumerate()
        {
            if next.tokens.is_empty() {
                let problem = "has no token to be read".to_owned();
                return Err(ModelError::Sequence { index, problem });
            }
            check_length(self.model, index, before + node.len)?;
            if let Some(id) = next.tokens.iter().find(|&&id| id as usize >= vocabulary) {
                let problem = format!("has token id {id}, the embedding has {vocabulary} rows");
                return Err(ModelError::Sequence { index, problem });
            }
            for place in &mut tree.positions[node.start..node.start + node.len] {
                *place += before as u32;
            }
        }
        Ok(tree)
    }

    /// Logits of the whole vocabulary.
    fn logits(&self, h: Tensor<2>) -> Result<Tensor<2>, ModelError> {
        let (head, table) = self.model.head()?;
        let h = head.transform(h);
        let mut parts = Vec::new();
        table.slices(
            self.model.weights(),
            &self.model.device,
            &mut |first, slice| {
                let [tokens, _] = slice.dims();
                let bias = head.bias.as_ref().map(|b| &b[first..first + tokens]);
                parts.push(ops::logits(h.clone(), slice, bias, head.logits));
                Ok(())
            },
        )?;
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Tensor::cat(parts, 1),
        })
    }
}
