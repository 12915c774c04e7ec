//! The states of one batch.

use std::ops::Range;

use interlingua_backend::Tensor;

use crate::Config;

/// The normalised token states of parallel rows: all rows of the first language, then all rows of the next.
pub(crate) struct Batch {
    /// The states, `tokens × width`.
    pub values: Vec<f32>,
    /// The number of tokens of each sentence.
    pub lengths: Vec<usize>,
    /// The width of a state.
    pub width: usize,
    /// The number of languages.
    pub languages: usize,
}

impl Batch {
    pub fn tokens(&self) -> usize {
        self.values.len() / self.width
    }

    /// Sentences of a language.
    pub fn rows(&self) -> usize {
        self.lengths.len() / self.languages
    }

    /// The tokens of some languages.
    pub fn tokens_of(&self, languages: Range<usize>) -> Range<usize> {
        let rows = self.rows();
        let before = |language: usize| self.lengths[..language * rows].iter().sum::<usize>();
        before(languages.start)..before(languages.end)
    }

    /// Returns the normalised states of some languages.
    pub fn states_of(&self, languages: Range<usize>) -> &[f32] {
        let tokens = self.tokens_of(languages);
        &self.values[tokens.start * self.width..tokens.end * self.width]
    }

    /// Returns every pair of languages once.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        (0..self.languages)
            .flat_map(|a| (a + 1..self.languages).map(move |b| (a, b)))
            .collect()
    }

    /// Returns the rows of one language.
    ///
    /// # Shapes
    /// `all` is (languages·sentences)×k, and the result is sentences×k.
    pub fn of(&self, all: &Tensor<2>, language: usize) -> Tensor<2> {
        let rows = self.rows();
        all.clone().narrow(0, language * rows, rows)
    }

    /// Returns the mean distance between the sentence latents of all pairs of languages.
    ///
    /// # Shapes
    /// `latents` is (languages·sentences)×k, and the result has one value.
    pub fn alignment(&self, config: &Config, latents: &Tensor<2>) -> Tensor<1> {
        let pairs = self.pairs();
        let share = 1.0 / pairs.len() as f64;
        let prepare = |language| config.alignment.prepare(self.of(latents, language));
        let prepared: Vec<Tensor<2>> = (0..self.languages).map(prepare).collect();
        let distance = |(a, b): (usize, usize)| {
            let (a, b) = (prepared[a].clone(), prepared[b].clone());
            config.alignment.distance(a, b) * share
        };
        let sum = pairs.into_iter().map(distance).reduce(|sum, d| sum + d);
        sum.expect("training has at least two languages")
    }
}

/// Computes the mean of the rows of each sentence.
pub(crate) fn pool(values: &[f32], lengths: &[usize], width: usize) -> Vec<f32> {
    let mut means = vec![0.0; lengths.len() * width];
    let mut rows = values.chunks_exact(width);
    for (mean, &len) in means.chunks_exact_mut(width).zip(lengths) {
        let share = 1.0 / len.max(1) as f32;
        for row in rows.by_ref().take(len) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x * share);
        }
    }
    means
}
