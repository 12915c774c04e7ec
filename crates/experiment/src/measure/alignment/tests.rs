//! Alignment of states that are made by hand, in the raw space and in one that keeps what is positive.

use std::path::Path;

use interlingua_backend::Tensor;
use interlingua_models::store::Store;
use interlingua_spaces::{Passage, SpaceError, StateSpace};

use super::super::tests::{blank, plan};
use super::*;
use crate::plan::Plan;
use crate::stages::made::{WIDTH, store};

/// A space of the positive parts of a state. What is negative is lost.
struct Positive;

impl StateSpace for Positive {
    fn dim(&self) -> usize {
        WIDTH
    }

    fn check(&self, _: Language) -> Result<(), SpaceError> {
        Ok(())
    }

    fn enter(&self, _: Language, h: Tensor<2>) -> Tensor<2> {
        h.clamp_min(0.0)
    }

    fn leave(&self, _: Language, _: Reinsert, passage: Passage) -> Tensor<2> {
        passage.changed
    }

    fn loses(&self) -> bool {
        true
    }
}

type Row4 = [f32; WIDTH];

/// English sentences of one token each, but for the last, whose negative token hides what the first is in the mean.
const EN: [&[Row4]; 4] = [
    &[[1.0, 0.0, 0.0, 0.0]],
    &[[0.0, 1.0, 0.0, 0.0]],
    &[[0.0, 0.0, 1.0, 0.0]],
    &[[0.0, 0.0, 0.0, 3.0], [0.0, 0.0, 0.0, -1.0]],
];
/// The first leans to the fourth English sentence, and the second to the first.
const FR: [&[Row4]; 4] = [
    &[[1.0, 1.0, 0.0, 4.0]],
    &[[3.0, 4.0, 0.0, 0.0]],
    &[[0.0, 0.0, 1.0, 0.0]],
    &[[0.0, 0.0, 1.0, 2.7], [0.0, 0.0, 1.0, 2.7]],
];

fn heldout(folder: &Path) -> Store {
    let sequences = EN.iter().chain(&FR).map(|tokens| tokens.concat());
    store(
        &folder.join("heldout"),
        WIDTH,
        &sequences.collect::<Vec<_>>(),
    )
}

fn spaces(plan: &Plan) -> Spaces {
    let mut spaces = Spaces::raw(WIDTH, &plan.device);
    spaces.add(Space::Latent, Positive, "positive".into());
    spaces
}

fn rows(plan: &Plan) -> (Vec<Row>, Vec<Projection>) {
    let folder = tempfile::tempdir().unwrap();
    let store = heldout(folder.path());
    let heldout = Rows::new(&store, &plan.spec.languages);
    let mut rows = Vec::new();
    let projections =
        alignment_rows(&blank(plan), "here", &spaces(plan), &heldout, &mut rows).unwrap();
    (rows, projections)
}

/// Mean of the tokens of a sentence after a map of each value.
fn mean(tokens: &[Row4], map: fn(f32) -> f32) -> Vec<f64> {
    let sum = |j: usize| tokens.iter().map(|t| f64::from(map(t[j]))).sum::<f64>();
    (0..WIDTH).map(|j| sum(j) / tokens.len() as f64).collect()
}

fn cosine(x: &[f64], y: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(p, q)| p * q).sum::<f64>();
    dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
}

fn centred(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mean = |j: usize| rows.iter().map(|row| row[j]).sum::<f64>() / rows.len() as f64;
    let row = |row: &Vec<f64>| (0..WIDTH).map(|j| row[j] - mean(j)).collect();
    rows.iter().map(row).collect()
}

/// ‖XᵀY‖²_F.
fn cross(x: &[Vec<f64>], y: &[Vec<f64>]) -> f64 {
    let entry = |i: usize, j: usize| x.iter().zip(y).map(|(p, q)| p[i] * q[j]).sum::<f64>();
    let all = (0..WIDTH).flat_map(|i| (0..WIDTH).map(move |j| (i, j)));
    all.map(|(i, j)| entry(i, j).powi(2)).sum()
}

#[test]
fn translations_are_found_as_their_states_say() {
    let plan = plan("");
    let (rows, _) = rows(&plan);
    for (space, map) in [
        ("raw", (|v| v) as fn(f32) -> f32),
        ("latent", |v| v.max(0.0)),
    ] {
        let sides =
            [EN, FR].map(|side| -> Vec<Vec<f64>> { side.iter().map(|t| mean(t, map)).collect() });
        let [en, fr] = &sides;
        let row = |metric: &str, languages: &str| {
            let is = |row: &&Row| {
                (
                    row.metric.as_str(),
                    row.eval_language.as_deref(),
                    row.space.as_deref(),
                ) == (metric, Some(languages), Some(space))
            };
            let found: Vec<&Row> = rows.iter().filter(is).collect();
            assert_eq!(found.len(), 1, "{metric} {languages} {space}");
            assert_eq!(found[0].hook.as_deref(), Some("here"));
            assert_eq!(found[0].benchmark.as_deref(), Some("held-out translations"));
            assert_eq!(found[0].n, 4);
            found[0]
        };
        let near = |metric: &str, languages: &str, expect: f64, ideal: Option<f64>| {
            let row = row(metric, languages);
            assert!((row.value - expect).abs() < 1e-6, "{row:?}, not {expect}");
            assert_eq!(row.ideal, ideal, "{metric}");
        };
        // The first English sentence is nearer to the second French one (3/5) than to its translation (1/√18). The
        // fourth is nearer to the first (4/√18 = 0.943) than to its own (2.7/√8.29 = 0.938), but the first is near to all:
        // CSLS takes its mean cosine away, and finds it. From French, the first alone is lost to the fourth.
        near("retrieval_top1", "en-fr", 0.5, Some(1.0));
        near("retrieval_top1", "fr-en", 0.75, Some(1.0));
        near("retrieval_top1_csls", "en-fr", 0.75, Some(1.0));
        near("retrieval_top1_csls", "fr-en", 0.75, Some(1.0));
        // The second and the third are the nearest both ways.
        near("mexa", "en-fr", 0.5, Some(1.0));
        let (mut own, mut others) = (0.0, 0.0);
        for (i, x) in en.iter().enumerate() {
            for (j, y) in fr.iter().enumerate() {
                match i == j {
                    true => own += cosine(x, y) / 4.0,
                    false => others += cosine(x, y) / 12.0,
                }
            }
        }
        near("cosine_margin", "en-fr", own - others, None);
        let (x, y) = (centred(en), centred(fr));
        let cka = cross(&x, &y) / (cross(&x, &x) * cross(&y, &y)).sqrt();
        near("linear_cka", "en-fr", cka, Some(1.0));
        // The raw mean of the last English sentence is (0, 0, 0, 1), and that of its positive parts (0, 0, 0, 1.5).
        let flat = |rows: &[Vec<f64>]| rows.concat().iter().map(|v| *v as f32).collect::<Vec<_>>();
        let (a, b) = (flat(en), flat(fr));
        let rbf = alignment::rbf_cka(&a, WIDTH, &b, WIDTH, &alignment::RbfCka::default());
        near("rbf_cka", "en-fr", rbf.unwrap().value, Some(1.0));
        let rotated = alignment::procrustes(&a, WIDTH, &b, WIDTH).unwrap();
        near(
            "procrustes_residual",
            "en-fr",
            rotated.scaled_residual,
            Some(0.0),
        );
    }
    let value = |space: &str| {
        let is = |row: &&Row| row.metric == "linear_cka" && row.space.as_deref() == Some(space);
        rows.iter().find(is).unwrap().value
    };
    assert!((value("raw") - value("latent")).abs() > 1e-3);
    assert_eq!(rows.len(), 2 * 9);
}

#[test]
fn projections_have_the_first_sentences_of_each_language() {
    let mut plan = plan("");
    plan.spec.score.projected = 3;
    let (_, projections) = rows(&plan);
    let names: Vec<&str> = projections.iter().map(|p| p.space.as_str()).collect();
    assert_eq!(names, ["raw", "latent"]);
    for projection in &projections {
        let who: Vec<(&str, u64)> = projection
            .points
            .iter()
            .map(|point| (point.language.as_str(), point.sentence))
            .collect();
        let expect = [
            ("en", 0),
            ("en", 1),
            ("en", 2),
            ("fr", 0),
            ("fr", 1),
            ("fr", 2),
        ];
        assert_eq!(who, expect);
        // Directions are projected: the third sentence is the same in both languages.
        let place = |at: usize| (projection.points[at].x, projection.points[at].y);
        let (x, y) = (place(2), place(5));
        assert!(
            (x.0 - y.0).abs() < 1e-5 && (x.1 - y.1).abs() < 1e-5,
            "{x:?} {y:?}"
        );
        assert_ne!(place(0), place(1));
    }
}

#[test]
fn only_what_loses_something_has_an_error() {
    let plan = plan("");
    let folder = tempfile::tempdir().unwrap();
    let sequences: Vec<Vec<f32>> = vec![
        // English: 2 and −1 in the first coordinate, −3 in the second, and a sentence of zeros.
        vec![2.0, -3.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0],
        vec![0.0; WIDTH],
        // In French nothing is negative.
        vec![4.0, 0.0, 0.0, 0.0],
        vec![0.0; WIDTH],
    ];
    let store = store(&folder.path().join("heldout"), WIDTH, &sequences);
    let heldout = Rows::new(&store, &plan.spec.languages);
    let mut rows = Vec::new();
    reconstruction_rows(&blank(&plan), "here", &spaces(&plan), &heldout, &mut rows).unwrap();
    // Of English 1² + 3² is lost. Its means are (1/3, −1), around which its coordinates have
    // (5/3)² + (4/3)² + (1/3)² = 14/3 and 2² + 1 + 1 = 6.
    let expect = [("en", 10.0 / (14.0 / 3.0 + 6.0)), ("fr", 0.0)];
    assert_eq!(rows.len(), expect.len());
    for (row, (language, value)) in rows.iter().zip(expect) {
        assert_eq!(row.metric, "reconstruction_error");
        assert_eq!(row.eval_language.as_deref(), Some(language));
        assert_eq!(
            (row.space.as_deref(), row.hook.as_deref()),
            (Some("latent"), Some("here"))
        );
        assert_eq!((row.n, row.ideal), (2, Some(0.0)));
        assert!((row.value - value).abs() < 1e-6, "{row:?}, not {value}");
    }
}
