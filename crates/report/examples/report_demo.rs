//! Writes a full report from made-up numbers, to look at its design.
//!
//! `cargo run --example report_demo -- FOLDER`

use std::env;
use std::error::Error;
use std::path::Path;

use interlingua_report::role::{Control, Role};
use interlingua_report::row::{EditAxes, Item, Row};
use interlingua_report::{
    PairText, Projection, ProjectionPoint, RunInfo, StageTiming, terminal_summary, write_all,
};

const LANGUAGES: [&str; 4] = ["en", "fr", "de", "nl"];
const CATEGORIES: [&str; 3] = ["gender", "race-color", "religion"];
const STRENGTHS: [f64; 6] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args().nth(1).ok_or("name the folder to write to")?;
    let mut noise = Noise(7);
    let mut rows = bias(&mut noise);
    rows.extend(perplexity(&mut noise));
    rows.extend(alignment(&mut noise));
    rows.extend(calibration(&mut noise));
    rows.extend(differences(&mut noise));
    let info = info(&mut noise);
    write_all(Path::new(&folder), &info, &rows, &items(&mut noise), &[])?;
    print!("{}", terminal_summary(&info, &rows));
    Ok(())
}

/// Repeatable made-up noise: SplitMix64.
struct Noise(u64);

impl Noise {
    /// A number between −1 and 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn row(metric: &str, value: f64, half: f64, n: u64) -> Row {
    Row {
        metric: metric.to_string(),
        value,
        ci_low: Some(value - half),
        ci_high: Some(value + half),
        n,
        seed: 1,
        model: "demo-lm".to_string(),
        experiment: "demo".to_string(),
        ..Row::default()
    }
}

/// What an edit is there for.
fn role(method: &str) -> Role {
    match method {
        "none" => Role::Unedited,
        "autoencoder-only" => Role::AutoencoderOnly,
        "random" => Role::Control(Control::Random),
        name if name.ends_with(":shuffled") => Role::Control(Control::Shuffled),
        _ => Role::Method,
    }
}

/// Method, space and whether it has a fit language.
fn edits() -> Vec<(&'static str, &'static str, bool)> {
    let mut out = vec![("none", "", false)];
    for space in ["raw", "latent", "latent-unaligned"] {
        out.extend([
            ("sentdebias", space, true),
            ("inlp", space, true),
            ("random", space, false),
        ]);
    }
    out.extend([
        ("autoencoder-only", "latent", false),
        ("autoencoder-only", "latent-unaligned", false),
    ]);
    out
}

/// The share of the gap that the demo pretends is left.
fn left(method: &str, space: &str, is_own: bool) -> f64 {
    match (method, space, is_own) {
        ("none" | "random", _, _) => 1.0,
        ("autoencoder-only", "latent", _) => 0.97,
        ("autoencoder-only", _, _) => 0.95,
        (_, "latent", true) => 0.12,
        (_, "latent", false) => 0.27,
        (_, _, true) => 0.1,
        (_, "raw", false) => 0.93,
        (_, _, false) => 0.86,
    }
}

fn bias(noise: &mut Noise) -> Vec<Row> {
    let mut rows = Vec::new();
    for scorer in ["lm-eval", "bias-bench"] {
        for (c, category) in CATEGORIES.iter().enumerate() {
            for (method, space, is_fitted) in edits() {
                let fits: Vec<Option<&str>> = if is_fitted {
                    LANGUAGES.iter().map(|l| Some(*l)).collect()
                } else {
                    vec![None]
                };
                for fit in fits {
                    for (l, eval) in LANGUAGES.iter().enumerate() {
                        let full = [0.92, 0.55, 0.31][c] * (1.0 - 0.08 * l as f64);
                        let share = left(method, space, fit == Some(*eval));
                        let gap = full * share + 0.03 * noise.next();
                        let score =
                            50.0 + 38.0 * (gap / 0.92).clamp(-1.0, 1.0) + 1.5 * noise.next();
                        for (metric, value, half, ideal) in [
                            ("mean_gap", gap, 0.06, 0.0),
                            ("sign_score", score, 4.5, 50.0),
                        ] {
                            let is_tested = metric == "mean_gap" && space == "latent" && is_fitted;
                            let p =
                                is_tested.then(|| if fit == Some(*eval) { 0.4 } else { 0.0002 });
                            rows.push(Row {
                                ideal: Some(ideal),
                                p_value: p,
                                p_holm: p.map(|p| (p * 20.0).min(1.0)),
                                benchmark: Some("demo-pairs".to_string()),
                                scorer: Some(scorer.to_string()),
                                category: Some(category.to_string()),
                                eval_language: Some(eval.to_string()),
                                edit: EditAxes {
                                    role: Some(role(method)),
                                    method: Some(method.to_string()),
                                    fit_language: fit.map(String::from),
                                    space: (!space.is_empty()).then(|| space.to_string()),
                                    reinsert: space
                                        .starts_with("latent")
                                        .then(|| "residual".to_string()),
                                    hook: (!space.is_empty()).then(|| "final_norm".to_string()),
                                    rank: is_fitted.then_some(4),
                                    ..EditAxes::default()
                                },
                                ..row(metric, value, half, 480)
                            });
                        }
                    }
                }
            }
        }
    }
    rows
}

fn perplexity(noise: &mut Noise) -> Vec<Row> {
    let mut rows = Vec::new();
    for (method, space, is_fitted) in edits() {
        let factor = match (method, space) {
            ("none", _) => 1.0,
            (_, "raw") => 1.006,
            ("autoencoder-only", _) => 1.012,
            (_, "latent") => 1.016,
            _ => 1.034,
        };
        for category in CATEGORIES {
            for fit in LANGUAGES.iter().take(if is_fitted { 4 } else { 1 }) {
                for (l, eval) in LANGUAGES.iter().enumerate() {
                    let value = (21.0 + 2.0 * l as f64) * (factor + 0.002 * noise.next());
                    rows.push(Row {
                        category: (method != "none").then(|| category.to_string()),
                        eval_language: Some(eval.to_string()),
                        edit: EditAxes {
                            role: Some(role(method)),
                            method: Some(method.to_string()),
                            fit_language: is_fitted.then(|| fit.to_string()),
                            space: (!space.is_empty()).then(|| space.to_string()),
                            ..EditAxes::default()
                        },
                        ..row("perplexity", value, 0.06, 61_000)
                    });
                }
            }
            if method == "none" {
                break;
            }
        }
    }
    rows
}

fn in_space(space: &str) -> EditAxes {
    EditAxes {
        space: Some(space.to_string()),
        ..EditAxes::default()
    }
}

fn alignment(noise: &mut Noise) -> Vec<Row> {
    let spaces = [
        ("raw", 0.03, 0.05, 0.31),
        ("centred", 0.18, 0.11, 0.36),
        ("latent-unaligned", 0.05, 0.06, 0.33),
        ("latent", 0.64, 0.42, 0.88),
    ];
    let mut rows = Vec::new();
    for (space, top1, margin, cka) in spaces {
        for from in LANGUAGES {
            for to in LANGUAGES.into_iter().filter(|to| *to != from) {
                let numbers = [
                    ("retrieval_top1", top1, 0.028),
                    ("retrieval_top1_csls", top1 * 1.1, 0.028),
                    ("cosine_margin", margin, 0.01),
                    ("linear_cka", cka, 0.015),
                ];
                for (metric, value, half) in numbers {
                    rows.push(Row {
                        eval_language: Some(format!("{from}-{to}")),
                        edit: in_space(space),
                        ..row(
                            metric,
                            value * (1.0 + 0.08 * noise.next()),
                            half * value.sqrt() * 2.0,
                            1000,
                        )
                    });
                }
            }
        }
    }
    for (space, error) in [("latent", 0.041), ("latent-unaligned", 0.036)] {
        for eval in LANGUAGES {
            rows.push(Row {
                eval_language: Some(eval.to_string()),
                edit: in_space(space),
                ..row(
                    "reconstruction_error",
                    error * (1.0 + 0.1 * noise.next()),
                    0.002,
                    1000,
                )
            });
        }
    }
    rows
}

fn calibration(noise: &mut Noise) -> Vec<Row> {
    let mut rows = Vec::new();
    for category in CATEGORIES {
        for eval in LANGUAGES {
            let axes = |r: Row| Row {
                category: Some(category.to_string()),
                eval_language: Some(eval.to_string()),
                edit: EditAxes {
                    role: Some(Role::Unedited),
                    method: Some("none".to_string()),
                    ..r.edit
                },
                ..r
            };
            for s in STRENGTHS {
                let expected = (s / (1.0 - s)).ln();
                let value = 0.98 * expected + 0.07 * noise.next();
                rows.push(axes(Row {
                    planted: Some(s),
                    ideal: Some(expected),
                    ..row("calibration", value, 0.12, 80)
                }));
            }
            let slope = 0.98 + 0.04 * noise.next();
            rows.push(axes(Row {
                ideal: Some(1.0),
                ..row("calibration_slope", slope, 0.05, 480)
            }));
        }
    }
    rows
}

/// Differences of the mean |gap| in the other languages, as a joint bootstrap would give them.
fn differences(noise: &mut Noise) -> Vec<Row> {
    let mut rows = Vec::new();
    let spaces = [
        ("raw", 0.0),
        ("latent", 0.32),
        ("latent-shared", 0.05),
        ("centred", 0.02),
        ("procrustes", 0.08),
        ("cca", 0.05),
    ];
    for (method, effect) in [("sentdebias", 0.16), ("inlp", 0.1)] {
        for (space, ahead) in spaces {
            let ahead = ahead * effect / 0.16 + 0.02 * noise.next();
            let versus = [
                ("unedited", -effect - ahead),
                ("raw", -ahead),
                ("control", 0.04 - effect - ahead),
            ];
            for (versus, value) in versus.into_iter().filter(|(versus, _)| *versus != space) {
                rows.push(difference(method, space, versus, "others", value));
            }
        }
        rows.push(difference(
            &format!("{method}:shuffled"),
            "latent",
            "unedited",
            "others",
            0.03 * noise.next(),
        ));
    }
    rows.push(difference("random", "latent", "unedited", "all", -0.11));
    rows
}

fn difference(method: &str, space: &str, versus: &str, scope: &str, value: f64) -> Row {
    Row {
        benchmark: Some("demo-pairs".to_string()),
        scorer: Some("lm-eval".to_string()),
        edit: EditAxes {
            role: Some(role(method)),
            method: Some(method.to_string()),
            reinsert: space.starts_with("latent").then(|| "residual".to_string()),
            rank: Some(4),
            ..in_space(space)
        },
        versus: Some(versus.to_string()),
        scope: Some(scope.to_string()),
        ..row("gap_difference", value, 0.05, 1440)
    }
}

const SENTENCES: [[&str; 2]; 4] = [
    [
        "The nurse said that she was late.",
        "The nurse said that he was late.",
    ],
    [
        "L’infirmière est arrivée en retard hier.",
        "L’infirmier est arrivé en retard hier.",
    ],
    [
        "Die Köchin hat das Essen vergessen.",
        "Der Koch hat das Essen vergessen.",
    ],
    [
        "De verpleegster kwam gisteren te laat.",
        "De verpleger kwam gisteren te laat.",
    ],
];

fn texts() -> Vec<PairText> {
    (0..40)
        .map(|i| PairText {
            id: format!("demo-{i:04}"),
            category: CATEGORIES[i % 3].to_string(),
            language: LANGUAGES[i % 4].to_string(),
            more: SENTENCES[i % 4][0].to_string(),
            less: SENTENCES[i % 4][1].to_string(),
        })
        .collect()
}

fn items(noise: &mut Noise) -> Vec<Item> {
    let mut out = Vec::new();
    for pair in texts() {
        for (method, fit, left) in [("none", None, 1.0), ("sentdebias", Some("es"), 0.6)] {
            out.push(Item {
                pair: pair.id.clone(),
                score_more: -41.0 + left * (1.0 + noise.next()) + 0.4 * noise.next(),
                score_less: -41.5,
                tokens_more: 11,
                tokens_less: 11,
                direction: "stereo".to_string(),
                benchmark: "demo-pairs".to_string(),
                scorer: "lm-eval".to_string(),
                category: pair.category.clone(),
                eval_language: pair.language.clone(),
                edit: EditAxes {
                    role: Some(role(method)),
                    method: Some(method.to_string()),
                    fit_language: fit.map(String::from),
                    space: fit.map(|_| "latent".to_string()),
                    reinsert: fit.map(|_| "residual".to_string()),
                    hook: fit.map(|_| "final_norm".to_string()),
                    rank: fit.map(|_| 4),
                    ..EditAxes::default()
                },
                ..Item::default()
            });
        }
    }
    out
}

fn projection(space: &str, apart: f64, noise: &mut Noise) -> Projection {
    let mut points = Vec::new();
    for sentence in 0..40u64 {
        let (x, y) = (2.0 * noise.next(), 1.5 * noise.next());
        for (l, language) in LANGUAGES.iter().enumerate() {
            let angle = 0.8 + 1.57 * l as f64;
            points.push(ProjectionPoint {
                language: language.to_string(),
                sentence,
                x: x * (1.0 - 0.15 * apart) + 2.6 * apart * angle.cos() + 0.12 * noise.next(),
                y: y * (1.0 - 0.15 * apart) + 2.0 * apart * angle.sin() + 0.12 * noise.next(),
            });
        }
    }
    Projection {
        space: space.to_string(),
        points,
    }
}

fn info(noise: &mut Noise) -> RunInfo {
    let pairs = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .collect::<Vec<_>>()
    };
    let digest = |name: &str| {
        let hash = blake3::hash(name.as_bytes());
        (name.to_string(), hash.to_hex().to_string())
    };
    let stage = |name: &str, seconds, cached| StageTiming {
        name: name.to_string(),
        seconds,
        cached,
    };
    RunInfo {
        title: "Removing bias in the space that languages share".to_string(),
        experiment: "demo".to_string(),
        description: "Does an edit fitted in one language reduce bias in the others, and does it carry over better \
            in the latent space of a cross-lingual autoencoder than in the model's own hidden states?"
            .to_string(),
        synthetic: true,
        notice: "Synthetic demo: every number on this page is made up to show the design of the report. \
            Nothing was measured."
            .to_string(),
        model: "demo-lm, Cohere architecture, 4 layers, width 256, vocabulary 4096".to_string(),
        settings: pairs(&[
            ("version", "0.1.0"),
            ("commit", "0000000 (demo)"),
            ("device", "cpu (flex)"),
            ("threads", "2"),
            ("seed", "1"),
            ("burn", "0.21.0"),
            ("hook point", "final_norm"),
            ("rank", "4"),
        ]),
        digests: ["weights", "tokenizer", "parallel text", "pairs"].map(digest).to_vec(),
        timings: vec![
            stage("corpus", 1.8, true),
            stage("pretrain", 142.6, false),
            stage("autoencoder", 38.1, false),
            stage("fit and score", 61.4, false),
        ],
        caveats: vec![
            "Made-up numbers: no conclusion may be drawn from them.".to_string(),
            "On a small reference model the scores for race and religion mostly show how frequent a word is.".to_string(),
            "The parallel text is not the TED corpus of the paper.".to_string(),
        ],
        languages: LANGUAGES.map(String::from).to_vec(),
        categories: CATEGORIES.map(String::from).to_vec(),
        methods: ["none", "sentdebias", "inlp", "random", "autoencoder-only"].map(String::from).to_vec(),
        benchmarks: Vec::new(),
        projections: vec![projection("raw", 1.0, noise), projection("latent", 0.03, noise)],
        pairs: texts(),
    }
}
