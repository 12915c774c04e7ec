//! Trains the autoencoder on made-up parallel states and shows retrieval before and after.
//!
//! `cargo run --example align`

use interlingua_autoencoder::{Autoencoder, AutoencoderError, Config, States, train};
use interlingua_backend::device::cpu;
use interlingua_backend::{from_rows, to_host};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WIDTH: usize = 16;

/// Two languages that say the same in different directions: a sentence is six factors, which
/// language 0 writes into the dimensions as they are and language 1 reversed and with a shift.
struct Synthetic {
    first: usize,
    rows: usize,
    languages: [String; 2],
}

impl Synthetic {
    fn new(first: usize, rows: usize) -> Synthetic {
        Synthetic {
            first,
            rows,
            languages: ["one", "other"].map(String::from),
        }
    }
}

impl States for Synthetic {
    fn languages(&self) -> &[String] {
        &self.languages
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn width(&self) -> usize {
        WIDTH
    }

    fn read(
        &self,
        language: usize,
        row: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let mut rng = ChaCha8Rng::seed_from_u64((self.first + row) as u64);
        let factors: Vec<f32> = (0..6).map(|_| rng.random::<f32>() - 0.5).collect();
        let tokens = 3;
        for token in 0..tokens {
            for i in 0..WIDTH {
                out.push(
                    match language {
                        0 => factors[i % 6],
                        _ => 0.5 - factors[(WIDTH - i) % 6],
                    } + 0.02 * token as f32,
                );
            }
        }
        Ok(tokens)
    }
}

/// Mean state of every sentence of one language, row-major.
fn means(states: &Synthetic, language: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for row in 0..states.rows {
        let mut tokens = Vec::new();
        let n = states
            .read(language, row, &mut tokens)
            .expect("states are made up, not read");
        out.extend(
            (0..WIDTH).map(|i| (0..n).map(|t| tokens[t * WIDTH + i]).sum::<f32>() / n as f32),
        );
    }
    out
}

/// Share of the rows of `a` whose nearest row of `b` by cosine is the one of the same number.
fn retrieval(a: &[f32], b: &[f32], width: usize) -> f64 {
    let cosine = |x: &[f32], y: &[f32]| {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
        dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
    };
    let rows = a.len() / width;
    let hits = a.chunks_exact(width).enumerate().filter(|(i, x)| {
        let found = b.chunks_exact(width).map(|y| cosine(x, y));
        let best = found.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        best.is_some_and(|(j, _)| j == *i)
    });
    hits.count() as f64 / rows as f64
}

fn in_latent_space(autoencoder: &Autoencoder, states: &Synthetic) -> Result<f64, AutoencoderError> {
    let latents = |at: usize| {
        let h = from_rows(means(states, at), states.rows, WIDTH, &cpu());
        Ok(to_host(autoencoder.encode(&states.languages[at], h)?))
    };
    let width = autoencoder.config.latent;
    Ok(retrieval(&latents(0)?, &latents(1)?, width))
}

fn main() -> Result<(), AutoencoderError> {
    let training = Synthetic::new(0, 256);
    // The loss on validation rows decides which step is kept, so they are neither those of training nor those of the result.
    let validation = Synthetic::new(256, 64);
    let held_out = Synthetic::new(320, 64);
    let config = Config {
        latent: 8,
        hidden: 64,
        batch: 32,
        steps: 200,
        eval_every: 50,
        learning_rate: 5e-3,
        alignment_weight: 1.0,
        ..Config::default()
    };
    println!(
        "retrieval of held-out translations, raw states: {:.2}",
        retrieval(&means(&held_out, 0), &means(&held_out, 1), WIDTH)
    );
    let trained = train(&config, 1, &training, &validation, &cpu(), &mut |p| {
        println!(
            "step {:>3} of {}: loss {:.3}, on validation rows {:.3}",
            p.step, p.steps, p.loss, p.held_out.loss
        );
    })?;
    println!(
        "retrieval of held-out translations, latent space of step {}: {:.2}",
        trained.best_step,
        in_latent_space(&trained.autoencoder, &held_out)?
    );
    Ok(())
}
