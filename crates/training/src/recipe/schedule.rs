//! Determines which sentences a step trains on, from the seed and the number of the step alone.

use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// One pass over the text: the order of the sentences, and where steps end in it.
struct Epoch {
    number: usize,
    order: Vec<u32>,
    steps: Vec<Range<usize>>,
}

/// The steps of a whole run. A step consists of whole sentences and does not cross epochs.
pub struct Schedule {
    /// Predicted tokens of every sentence.
    lengths: Vec<u32>,
    batch_tokens: usize,
    seed: u64,
    /// Steps of every epoch; of the last one, those that are taken.
    steps: Vec<usize>,
    current: Option<Epoch>,
}

impl Schedule {
    /// Divides `epochs` passes over sentences of these lengths into steps.
    pub fn new(lengths: Vec<u32>, epochs: f64, batch_tokens: usize, seed: u64) -> Schedule {
        let mut schedule = Schedule {
            lengths,
            batch_tokens,
            seed,
            steps: Vec::new(),
            current: None,
        };
        let whole = epochs.floor() as usize;
        for number in 0..whole {
            let steps = schedule.epoch(number).steps.len();
            schedule.steps.push(steps);
        }
        let rest = epochs.fract() * schedule.epoch_tokens() as f64;
        if rest >= 1.0 {
            let epoch = schedule.epoch(whole);
            let mut tokens = 0.0;
            let taken = epoch.steps.iter().take_while(|range| {
                let before = tokens;
                tokens += schedule.tokens(&epoch.order[(*range).clone()]) as f64;
                before < rest
            });
            let taken = taken.count();
            schedule.steps.push(taken);
        }
        schedule
    }

    /// Returns the number of steps of the run.
    pub fn steps(&self) -> usize {
        self.steps.iter().sum()
    }

    /// Returns the number of predicted tokens of one pass.
    pub fn epoch_tokens(&self) -> usize {
        self.lengths.iter().map(|&n| n as usize).sum()
    }

    /// Returns the indices of the sentences of a step, which is counted from 0.
    pub fn step(&mut self, step: usize) -> &[u32] {
        let (mut number, mut at) = (0, step);
        while at >= self.steps[number] {
            at -= self.steps[number];
            number += 1;
        }
        if self.current.as_ref().is_none_or(|e| e.number != number) {
            self.current = Some(self.epoch(number));
        }
        let epoch = self.current.as_ref().expect("set just above");
        &epoch.order[epoch.steps[at].clone()]
    }

    /// Returns the number of predicted tokens of some sentences.
    pub fn tokens(&self, sentences: &[u32]) -> usize {
        sentences
            .iter()
            .map(|&s| self.lengths[s as usize] as usize)
            .sum()
    }

    fn epoch(&self, number: usize) -> Epoch {
        let mut order: Vec<u32> = (0..self.lengths.len() as u32).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(number as u64 + 1);
        order.shuffle(&mut rng);
        let mut steps: Vec<Range<usize>> = Vec::new();
        let (mut start, mut tokens) = (0, 0);
        for (at, &sentence) in order.iter().enumerate() {
            tokens += self.lengths[sentence as usize] as usize;
            if tokens >= self.batch_tokens {
                steps.push(start..at + 1);
                (start, tokens) = (at + 1, 0);
            }
        }
        // A step of a few words would be as large as any other, so a small rest joins the last one.
        match steps.last_mut() {
            Some(last) if tokens < self.batch_tokens / 2 => last.end = order.len(),
            _ if start < order.len() => steps.push(start..order.len()),
            _ => {}
        }
        Epoch {
            number,
            order,
            steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_every_sentence_once_and_any_step_can_be_asked_for() {
        let lengths: Vec<u32> = (0..500).map(|i| 3 + i % 11).collect();
        let mut schedule = Schedule::new(lengths, 2.5, 100, 7);
        let steps = schedule.steps();
        let all: Vec<Vec<u32>> = (0..steps).map(|s| schedule.step(s).to_vec()).collect();
        let first = schedule.steps[0];
        for (from, to) in [(0, first), (first, first + schedule.steps[1])] {
            let mut seen: Vec<u32> = all[from..to].concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..500).collect::<Vec<_>>());
        }
        assert_ne!(all[0], all[first]);
        let tokens = schedule.tokens(&all.concat()) as f64;
        let expect = 2.5 * schedule.epoch_tokens() as f64;
        assert!((tokens - expect).abs() < 200.0, "{tokens} for {expect}");
        assert!(all.iter().all(|s| (50..=163).contains(&schedule.tokens(s))));
        // From the end to the beginning, as after a resume.
        for step in (0..steps).rev() {
            assert_eq!(schedule.step(step), all[step]);
        }
    }

    #[test]
    fn text_smaller_than_a_step_is_one_step() {
        let mut schedule = Schedule::new(vec![4, 5], 3.0, 1000, 1);
        assert_eq!(schedule.steps(), 3);
        assert_eq!(schedule.step(2).len(), 2);
    }
}
