//! Training on made-up states, saving and loading, and what is refused.

use interlingua_backend::device::cpu;
use interlingua_backend::{Tensor, from_rows, to_host};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::batch::pool;
use crate::{
    Activation, Alignment, Autoencoder, AutoencoderError, Config, Sees, Sharing, States, Trained,
    train,
};

const WIDTH: usize = 8;

/// Two "languages": the same hidden factors seen through different rotations.
struct Twisted {
    first: usize,
    rows: usize,
    languages: Vec<String>,
}

impl Twisted {
    fn new(first: usize, rows: usize) -> Twisted {
        Twisted {
            first,
            rows,
            languages: ["en", "fr"].map(String::from).to_vec(),
        }
    }

    /// Mean states of all rows of a language.
    fn means(&self, language: usize) -> Tensor<2> {
        let mut values = Vec::new();
        for row in 0..self.rows {
            let mut tokens = Vec::new();
            let count = self.read(language, row, &mut tokens).unwrap();
            values.extend(pool(&tokens, &[count], WIDTH));
        }
        from_rows(values, self.rows, WIDTH, &cpu())
    }
}

impl States for Twisted {
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
        let factors: Vec<f32> = (0..4).map(|_| rng.random::<f32>() - 0.5).collect();
        let tokens = 2 + row % 3;
        for token in 0..tokens {
            for i in 0..WIDTH {
                let factor = factors[if language == 0 { i % 4 } else { (i + 1) % 4 }];
                let sign = if language == 1 && i >= 4 { -1.0 } else { 1.0 };
                out.push(sign * factor + 0.01 * (token as f32) + language as f32);
            }
        }
        Ok(tokens)
    }
}

/// Share of the rows whose nearest latent in the other language is their translation's.
fn retrieval(autoencoder: &Autoencoder, states: &Twisted) -> f64 {
    let latents = [0, 1].map(|at| {
        let language = &states.languages[at];
        to_host(autoencoder.encode(language, states.means(at)).unwrap())
    });
    let d = autoencoder.config.latent;
    let unit = |v: &[f32]| {
        let n = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.iter().map(|x| x / n).collect::<Vec<_>>()
    };
    let right = (0..states.rows)
        .filter(|&i| {
            let a = unit(&latents[0][i * d..][..d]);
            let cosine = |j: usize| {
                let b = unit(&latents[1][j * d..][..d]);
                b.iter().zip(&a).map(|(x, y)| x * y).sum::<f32>()
            };
            (0..states.rows).all(|j| j == i || cosine(j) < cosine(i))
        })
        .count();
    right as f64 / states.rows as f64
}

fn config() -> Config {
    Config {
        latent: 6,
        hidden: 24,
        linear: false,
        activation: Activation::Gelu,
        batch: 32,
        steps: 400,
        eval_every: 100,
        learning_rate: 5e-3,
        ..Config::default()
    }
}

fn try_on(config: &Config, states: &Twisted) -> Result<Trained, AutoencoderError> {
    let validation = Twisted {
        languages: states.languages.clone(),
        ..Twisted::new(1000, 40)
    };
    train(config, 3, states, &validation, &cpu(), &mut |_| {})
}

fn run(config: &Config) -> (Trained, f64) {
    let states = Twisted::new(0, 96);
    let trained = try_on(config, &states).unwrap();
    let score = retrieval(&trained.autoencoder, &states);
    (trained, score)
}

#[test]
fn alignment_makes_translations_meet_and_its_absence_does_not() {
    for sharing in [
        Sharing::PerLanguage,
        Sharing::Encoder,
        Sharing::Decoder,
        Sharing::Shared,
    ] {
        let config = Config {
            sharing,
            ..config()
        };
        let (_, aligned) = run(&config);
        let (_, unaligned) = run(&Config {
            alignment_weight: 0.0,
            ..config
        });
        assert!(aligned > 0.9, "{sharing:?}: {aligned}");
        assert!(unaligned < 0.5, "{sharing:?}: {unaligned}");
    }
}

#[test]
fn every_kind_trains_and_saves_and_loads() {
    let folder = tempfile::tempdir().unwrap();
    let base = Config {
        steps: 20,
        eval_every: 10,
        ..config()
    };
    let changes: [fn(&mut Config); 8] = [
        |c| c.alignment = Alignment::Mse,
        |c| {
            c.alignment = Alignment::Cosine;
            c.activation = Activation::Tanh;
        },
        |c| {
            c.hidden = 0;
            c.cross_reconstruction_weight = 0.5;
        },
        |c| {
            c.sees = Sees::Means;
            c.activation = Activation::Relu;
        },
        |c| c.sharing = Sharing::Encoder,
        |c| c.sharing = Sharing::Decoder,
        |c| c.sharing = Sharing::Shared,
        |c| {
            c.linear = true;
            c.neighbours = 3;
            // It starts from a solution that a few steps hardly better.
            c.steps = 200;
            c.eval_every = 100;
        },
    ];
    for change in changes {
        let mut config = base.clone();
        change(&mut config);
        let (trained, _) = run(&config);
        let losses: Vec<f64> = trained.history.iter().map(|p| p.held_out.loss).collect();
        assert!(losses[1] < losses[0], "{config:?}: {losses:?}");
        let path = folder.path().join("a.safetensors");
        trained.autoencoder.save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for _ in 0..8 {
            trained.autoencoder.save(&path).unwrap();
            assert!(
                std::fs::read(&path).unwrap() == bytes,
                "one content, one file"
            );
        }
        let loaded = Autoencoder::load(&path, &cpu()).unwrap();
        assert_eq!(loaded.config, config);
        assert_eq!(loaded.languages, ["en", "fr"]);
        let h = from_rows((0..24).map(|i| i as f32 / 24.0).collect(), 3, 8, &cpu());
        for language in ["en", "fr"] {
            let there = |a: &Autoencoder| {
                let z = a.encode(language, h.clone()).unwrap();
                to_host(a.decode(language, z).unwrap())
            };
            assert_eq!(there(&loaded), there(&trained.autoencoder), "{config:?}");
        }
    }
}

/// With a linear path, the first step starts from a solution that needs no training.
#[test]
fn the_linear_path_starts_at_rotations_and_axes() {
    let one_step = |linear| Config {
        linear,
        latent: 5,
        steps: 1,
        learning_rate: 1e-9,
        ..config()
    };
    let (linear, found) = run(&one_step(true));
    let (_, at_random) = run(&one_step(false));
    let error = linear.history[0].held_out.reconstruction;
    assert!(
        error < 0.01,
        "four factors and the place of the token fit into five axes: {error}"
    );
    assert!(found > 0.9, "rotated states meet: {found}");
    assert!(at_random < 0.5, "{at_random}");
}

/// The step that is kept is the one of the lowest loss on validation rows.
#[test]
fn validation_rows_decide_which_step_is_kept() {
    // Twelve rows are soon learned by heart.
    let config = Config {
        batch: 12,
        steps: 600,
        eval_every: 20,
        patience: 3,
        hidden: 128,
        learning_rate: 2e-2,
        ..config()
    };
    let trained = try_on(&config, &Twisted::new(0, 12)).unwrap();
    let losses: Vec<f64> = trained.history.iter().map(|p| p.held_out.loss).collect();
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let kept = trained.history.iter().find(|p| p.step == trained.best_step);
    assert_eq!(kept.unwrap().held_out.loss, lowest);
    assert!(
        trained.history.len() < 30,
        "patience ends training: {losses:?}"
    );
    assert_eq!(losses[losses.len() - 4], lowest, "{losses:?}");
}

#[test]
fn what_cannot_work_is_refused() {
    let refused = |change: fn(&mut Config), rows: usize, languages: &[&str]| {
        let mut config = config();
        change(&mut config);
        let states = Twisted {
            languages: languages.iter().map(|l| (*l).to_owned()).collect(),
            ..Twisted::new(0, rows)
        };
        try_on(&config, &states).unwrap_err().to_string()
    };
    let both: &[&str] = &["en", "fr"];
    for (message, parts) in [
        (refused(|c| c.latent = 9, 40, both), ["latent", "9"]),
        (refused(|_| {}, 31, both), ["autoencoder.batch", "31"]),
        (refused(|_| {}, 40, &["en"]), ["2 languages", "en"]),
        (
            refused(|c| c.learning_rate = f64::NAN, 40, both),
            ["learning_rate", "NaN"],
        ),
        (
            refused(
                |c| c.alignment = Alignment::InfoNce { temperature: 0.0 },
                40,
                both,
            ),
            ["temperature", "0"],
        ),
        (
            refused(|c| c.neighbours = 32, 40, both),
            ["neighbours", "32"],
        ),
        (
            refused(
                |c| {
                    c.linear = true;
                    c.hidden = 0;
                },
                40,
                both,
            ),
            ["linear", "hidden"],
        ),
    ] {
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }
    let states = Twisted::new(0, 40);
    let other = Twisted {
        languages: vec!["en".into(), "de".into()],
        ..Twisted::new(0, 40)
    };
    let message = train(&config(), 1, &states, &other, &cpu(), &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("en, de") && message.contains("en, fr"),
        "{message}"
    );
}

#[test]
fn a_language_it_does_not_know_is_named() {
    let short = Config {
        steps: 2,
        ..config()
    };
    let (own, _) = run(&short);
    let h = || from_rows(vec![0.5; WIDTH], 1, WIDTH, &cpu());
    let message = own.autoencoder.encode("nl", h()).unwrap_err().to_string();
    assert!(
        message.contains("`nl`") && message.contains("en, fr"),
        "{message}"
    );
    let z = own.autoencoder.encode("fr", h()).unwrap();
    assert!(own.autoencoder.decode("nl", z).is_err());
    let (shared, _) = run(&Config {
        sharing: Sharing::Shared,
        ..short
    });
    assert!(shared.autoencoder.encode("nl", h()).is_ok());
}
