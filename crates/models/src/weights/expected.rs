//! The tensors that an architecture needs, with the names that files may give them.

use std::collections::BTreeMap;

/// The name of the vocabulary matrix of a causal model whose LM head is not tied to the embedding.
pub(crate) const LM_HEAD: &str = "lm_head.weight";

/// The tensors that an architecture needs, with their shapes, and those that it ignores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensors {
    prefix: &'static str,
    pub(super) needed: BTreeMap<String, Vec<usize>>,
    ignored: Vec<&'static str>,
    /// A tensor that a file may hold a second time, and its original.
    pub(super) copies: Vec<(String, String)>,
}

impl Tensors {
    /// Makes an empty list. All names in a checkpoint may have the prefix or not: transformers writes them with it
    /// from a model with an LM head, and without it from a model without one.
    pub fn new(prefix: &'static str) -> Tensors {
        Tensors {
            prefix,
            needed: BTreeMap::new(),
            ignored: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Adds one tensor.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.needed.insert(name.into(), shape.to_vec());
    }

    /// Adds `NAME.weight` of shape `[out, in]`, and `NAME.bias` if `bias` is true.
    pub fn linear(&mut self, name: &str, out: usize, input: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[out, input]);
        if bias {
            self.add(format!("{name}.bias"), &[out]);
        }
    }

    /// Adds `NAME.weight` of shape `[in, out]`, which is the reverse of the usual order, and `NAME.bias` (GPT-2).
    pub fn transposed_linear(&mut self, name: &str, out: usize, input: usize) {
        self.add(format!("{name}.weight"), &[input, out]);
        self.add(format!("{name}.bias"), &[out]);
    }

    /// Adds `NAME.weight` of shape `[d]`, and `NAME.bias` if `bias` is true.
    pub fn norm(&mut self, name: &str, d: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[d]);
        if bias {
            self.add(format!("{name}.bias"), &[d]);
        }
    }

    /// Names tensors that some checkpoints hold and that are not needed; `*` at one end of the pattern stands for
    /// anything.
    pub fn ignore(&mut self, pattern: &'static str) {
        self.ignored.push(pattern);
    }

    /// Names a tied tensor that some checkpoints also hold under a name of its own.
    pub fn copy(&mut self, copy: impl Into<String>, original: impl Into<String>) {
        self.copies.push((copy.into(), original.into()));
    }

    /// Adds the vocabulary matrix of a causal model, which has the shape of the embedding and may be tied to it.
    pub fn lm_head(&mut self, tied: bool, embedding: &str) {
        if tied {
            // Some checkpoints carry it once more.
            self.copy(LM_HEAD, embedding);
        } else {
            let shape = self.needed[embedding].clone();
            self.add(LM_HEAD, &shape);
        }
    }

    /// Returns the needed tensors by name.
    pub fn needed(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.needed
    }

    pub(super) fn ignores(&self, name: &str) -> bool {
        let bare = name.strip_prefix(self.prefix).unwrap_or(name);
        self.ignored.iter().any(|pattern| {
            [name, bare].iter().any(|name| {
                if let Some(end) = pattern.strip_prefix('*') {
                    name.ends_with(end)
                } else if let Some(start) = pattern.strip_suffix('*') {
                    name.starts_with(start)
                } else {
                    name == pattern
                }
            })
        })
    }

    /// How a file may call a tensor, the usual name first.
    pub(super) fn spellings(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        if !self.prefix.is_empty() {
            names.push(match name.strip_prefix(self.prefix) {
                Some(bare) => bare.to_owned(),
                None => format!("{}{name}", self.prefix),
            });
        }
        // Converted from TensorFlow: norms have gamma and beta.
        for at in 0..names.len() {
            for (today, then) in [(".weight", ".gamma"), (".bias", ".beta")] {
                if let Some(stem) = names[at].strip_suffix(today) {
                    let old = format!("{stem}{then}");
                    names.push(old);
                }
            }
        }
        names
    }
}
