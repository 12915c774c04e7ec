//! Selects the rows that a step trains on and reads their normalised states.

use interlingua_backend::ops::{View, product};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::batch::{Batch, pool};
use crate::{AutoencoderError, Config, Sees};

/// A source of the hidden states of parallel sentences, which are read on demand.
pub trait States {
    /// Returns the names of the languages.
    fn languages(&self) -> &[String];
    /// Returns the number of parallel rows.
    fn rows(&self) -> usize;
    /// Returns the width of a state.
    fn width(&self) -> usize;
    /// Appends the token states of one sentence to `out` and returns the number of tokens.
    ///
    /// # Errors
    /// States that cannot be read.
    fn read(
        &self,
        language: usize,
        row: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>>;
    /// Returns the rows that belong into every batch that contains `row`, such as its counterfactuals. With InfoNCE
    /// they are negatives of each other. By default no row has any.
    fn twins(&self, row: usize) -> &[usize] {
        let _ = row;
        &[]
    }
}

/// The normalisation x = (h − μ) / σ.
pub(crate) struct Normal {
    /// One mean for each language, or a single one for all.
    pub means: Vec<Vec<f32>>,
    /// One standard deviation for all dimensions and languages.
    pub deviation: f32,
    /// The mean of each language.
    places: Vec<usize>,
}

impl Normal {
    /// Computes the normalisation from the token states of up to 2000 random rows.
    ///
    /// # Errors
    /// States that cannot be read.
    pub fn of(
        config: &Config,
        states: &dyn States,
        rng: &mut ChaCha8Rng,
    ) -> Result<Normal, AutoencoderError> {
        let width = states.width();
        let languages = states.languages().len();
        let places: Vec<usize> = (0..languages).map(|l| config.sharing.mean(l)).collect();
        let mut rows: Vec<usize> = (0..states.rows()).collect();
        rows.shuffle(rng);
        rows.truncate(2000);
        let mut sums = vec![vec![0.0f64; width]; places[languages - 1] + 1];
        let (mut counts, mut squares) = (vec![0usize; sums.len()], 0.0f64);
        let mut buffer = Vec::new();
        for &row in &rows {
            for (language, &place) in places.iter().enumerate() {
                buffer.clear();
                counts[place] += states
                    .read(language, row, &mut buffer)
                    .map_err(AutoencoderError::States)?;
                for state in buffer.chunks_exact(width) {
                    for (s, &x) in sums[place].iter_mut().zip(state) {
                        *s += f64::from(x);
                        squares += f64::from(x) * f64::from(x);
                    }
                }
            }
        }
        for (sum, &count) in sums.iter_mut().zip(&counts) {
            let n = count.max(1) as f64;
            sum.iter_mut().for_each(|s| *s /= n);
            squares -= n * sum.iter().map(|m| m * m).sum::<f64>();
        }
        let values = counts.iter().sum::<usize>().max(1) * width;
        let mean = |mean: &Vec<f64>| mean.iter().map(|&m| m as f32).collect();
        Ok(Normal {
            means: sums.iter().map(mean).collect(),
            deviation: (squares / values as f64).max(1e-12).sqrt() as f32,
            places,
        })
    }

    /// Appends the normalised token states of one sentence to `out` and returns the number of tokens.
    ///
    /// # Errors
    /// States that cannot be read.
    pub fn read(
        &self,
        states: &dyn States,
        language: usize,
        row: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, AutoencoderError> {
        let from = out.len();
        let tokens = states
            .read(language, row, out)
            .map_err(AutoencoderError::States)?;
        let mean = &self.means[self.places[language]];
        for state in out[from..].chunks_exact_mut(mean.len()) {
            let values = state.iter_mut().zip(mean);
            values.for_each(|(x, m)| *x = (*x - m) / self.deviation);
        }
        Ok(tokens)
    }

    /// Returns the normalised mean states of all rows, one matrix `[rows, width]` per language.
    ///
    /// # Errors
    /// States that cannot be read.
    pub fn sentence_means(&self, states: &dyn States) -> Result<Vec<Vec<f32>>, AutoencoderError> {
        let (rows, width) = (states.rows(), states.width());
        let mut means = Vec::with_capacity(states.languages().len());
        let mut buffer = Vec::new();
        for language in 0..states.languages().len() {
            let mut all = Vec::with_capacity(rows * width);
            for row in 0..rows {
                buffer.clear();
                let tokens = self.read(states, language, row, &mut buffer)?;
                all.extend(pool(&buffer, &[tokens], width));
            }
            means.push(all);
        }
        Ok(means)
    }

    /// Reads a batch of parallel rows into the memory of `values`.
    ///
    /// # Errors
    /// States that cannot be read.
    pub fn batch(
        &self,
        config: &Config,
        states: &dyn States,
        rows: &[usize],
        mut values: Vec<f32>,
    ) -> Result<Batch, AutoencoderError> {
        let width = states.width();
        let languages = states.languages().len();
        values.clear();
        let mut lengths = Vec::with_capacity(rows.len() * languages);
        for language in 0..languages {
            for &row in rows {
                let from = values.len();
                let tokens = self.read(states, language, row, &mut values)?;
                match config.sees {
                    Sees::Tokens => lengths.push(tokens),
                    Sees::Means => {
                        let pooled = pool(&values[from..], &[tokens], width);
                        values.truncate(from);
                        values.extend(pooled);
                        lengths.push(1);
                    }
                }
            }
        }
        Ok(Batch {
            values,
            lengths,
            width,
            languages,
        })
    }
}

/// Draws the rows of one batch after another.
pub(crate) struct Draw<'a> {
    states: &'a dyn States,
    order: Vec<usize>,
    next: usize,
    /// For each row the rows most like it, nearest first; empty where rows are drawn alone.
    near: Vec<Vec<u32>>,
    neighbours: usize,
}

impl<'a> Draw<'a> {
    /// Prepares the drawing. `means` holds the normalised mean states of all rows in each language, which are needed
    /// only if the config asks for neighbours.
    pub fn new(
        config: &Config,
        states: &'a dyn States,
        means: &[Vec<f32>],
        rng: &mut ChaCha8Rng,
    ) -> Draw<'a> {
        let near = match config.neighbours {
            0 => Vec::new(),
            // Some may be in the batch already.
            count => nearest(means, states.width(), 2 * count),
        };
        let mut order: Vec<usize> = (0..states.rows()).collect();
        order.shuffle(rng);
        Draw {
            states,
            order,
            next: 0,
            near,
            neighbours: config.neighbours,
        }
    }

    /// Draws `batch` different rows.
    pub fn rows(&mut self, batch: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        // What is left of an order and less than a batch is not used.
        if self.next + batch > self.order.len() {
            self.order.shuffle(rng);
            self.next = 0;
        }
        let mut rows = Vec::with_capacity(batch);
        while rows.len() < batch {
            // At most `batch` seeds are taken, since all of them end up among the rows.
            let seed = self.order[self.next];
            self.next += 1;
            if rows.contains(&seed) {
                continue;
            }
            rows.push(seed);
            let twins = self.states.twins(seed).iter().copied();
            let room = batch - rows.len();
            let new: Vec<usize> = twins.filter(|row| !rows.contains(row)).take(room).collect();
            rows.extend(new);
            let near = self.near.get(seed).into_iter().flatten();
            let new = near.map(|&row| row as usize);
            let room = self.neighbours.min(batch - rows.len());
            let new: Vec<usize> = new.filter(|row| !rows.contains(row)).take(room).collect();
            rows.extend(new);
        }
        rows
    }
}

/// For each row the `count` rows most like it, by the mean over languages of the cosines of their mean
/// states; the row itself is left out.
fn nearest(means: &[Vec<f32>], width: usize, count: usize) -> Vec<Vec<u32>> {
    let rows = means[0].len() / width;
    let count = count.min(rows - 1);
    let all = width * means.len();
    let mut joined = Vec::with_capacity(rows * all);
    for row in 0..rows {
        for own in means {
            let state = &own[row * width..][..width];
            let length = state.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
            joined.extend(state.iter().map(|x| x / length));
        }
    }
    let view = View::new(&joined, rows, all).transpose();
    let mut out = Vec::with_capacity(rows);
    // A block of the matrix of cosines at a time.
    for block in joined.chunks(256 * all) {
        let cosines = product(View::new(block, block.len() / all, all), view, None);
        for cosines in cosines.chunks_exact(rows) {
            let own = out.len() as u32;
            let mut others: Vec<u32> = (0..rows as u32).filter(|&row| row != own).collect();
            let order = |a: &u32, b: &u32| {
                let (a, b) = (*a as usize, *b as usize);
                cosines[b].total_cmp(&cosines[a]).then(a.cmp(&b))
            };
            if count < others.len() {
                others.select_nth_unstable_by(count, order);
                others.truncate(count);
            }
            others.sort_unstable_by(order);
            out.push(others);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Rows on a circle: the nearest ones of a row are those beside it.
    fn circle(rows: usize) -> Vec<Vec<f32>> {
        let at = |row: usize| (row as f32 / rows as f32 * std::f32::consts::TAU).sin_cos();
        let own = (0..rows).flat_map(|row| [at(row).0, at(row).1]).collect();
        let turned = (0..rows).flat_map(|row| [at(row).1, -at(row).0]).collect();
        vec![own, turned]
    }

    /// 64 rows that are asked only how many they are, and which lie opposite: every fourth has a twin there.
    struct Circle;

    impl States for Circle {
        fn languages(&self) -> &[String] {
            unreachable!("nothing is named")
        }
        fn rows(&self) -> usize {
            64
        }
        fn width(&self) -> usize {
            2
        }
        fn read(
            &self,
            _: usize,
            _: usize,
            _: &mut Vec<f32>,
        ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
            unreachable!("nothing is read")
        }
        fn twins(&self, row: usize) -> &[usize] {
            const TWINS: [[usize; 1]; 64] = {
                let mut twins = [[0]; 64];
                let mut row = 0;
                while row < 64 {
                    twins[row][0] = (row + 32) % 64;
                    row += 1;
                }
                twins
            };
            if row.is_multiple_of(4) {
                &TWINS[row]
            } else {
                &[]
            }
        }
    }

    #[test]
    fn twins_are_in_one_batch() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let config = Config {
            batch: 12,
            ..Config::default()
        };
        let mut draw = Draw::new(&config, &Circle, &[], &mut rng);
        let (mut met, mut alone) = (0, 0);
        for _ in 0..50 {
            let rows = draw.rows(12, &mut rng);
            // A twin for which there was no room left is the only one that is missing.
            for row in rows.iter().filter(|row| row.is_multiple_of(4)) {
                let twin = (row + 32) % 64;
                *if rows.contains(&twin) {
                    &mut met
                } else {
                    &mut alone
                } += 1;
            }
        }
        assert!(met > 100 && alone <= 50, "{met} met, {alone} did not");
    }

    #[test]
    fn the_nearest_rows_lie_beside_a_row() {
        for (row, near) in nearest(&circle(600), 2, 4).into_iter().enumerate() {
            let distance = |other: u32| {
                let apart = row.abs_diff(other as usize);
                apart.min(600 - apart)
            };
            let found: Vec<usize> = near.into_iter().map(distance).collect();
            assert_eq!(found, [1, 1, 2, 2], "row {row}");
        }
    }

    #[test]
    fn batches_hold_different_rows_and_neighbours_where_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let means = circle(64);
        for (batch, neighbours) in [(12, 0), (12, 3), (64, 7), (63, 0)] {
            let config = Config {
                batch,
                neighbours,
                ..Config::default()
            };
            let mut draw = Draw::new(&config, &Circle, &means, &mut rng);
            let mut counts = [0; 64];
            for _ in 0..50 {
                let rows = draw.rows(batch, &mut rng);
                let mut different = rows.clone();
                different.sort_unstable();
                different.dedup();
                assert_eq!(different.len(), batch);
                rows.iter().for_each(|&row| counts[row] += 1);
                if (batch, neighbours) == (12, 3) {
                    let beside = |row: &usize| {
                        rows.contains(&((row + 1) % 64)) || rows.contains(&((row + 63) % 64))
                    };
                    assert!(
                        rows.iter().filter(|row| beside(row)).count() >= 9,
                        "{rows:?}"
                    );
                }
            }
            assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
        }
    }
}
