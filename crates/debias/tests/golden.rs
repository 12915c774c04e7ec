//! Every method against its reference implementation, on data and values made by
//! `tests/generators/debias_golden.py`.

use interlingua_debias::svm::{SvmOptions, SvmProblem};
use interlingua_debias::{Edit, Erase, FitData, FitOptions, Matrix, by_name};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    rows: usize,
    dim: usize,
    classes: Vec<String>,
    x: Vec<f64>,
    label: Vec<usize>,
    tuple: Vec<Option<usize>>,
    sentdebias: SentDebias,
    inlp: Inlp,
    leace: Vec<Leace>,
    densray: DensRay,
}

#[derive(Deserialize)]
struct SentDebias {
    rank: usize,
    vectors: Vec<f64>,
    explained: Vec<f64>,
}

#[derive(Deserialize)]
struct Inlp {
    rounds: usize,
    first_weights: Vec<f64>,
    projection: Vec<f64>,
}

#[derive(Deserialize)]
struct Leace {
    orthogonal: bool,
    affine: bool,
    shrinkage: bool,
    projection: Vec<f64>,
    constant: Vec<f64>,
}

#[derive(Deserialize)]
struct DensRay {
    vector: Vec<f64>,
    eigenvalue: f64,
}

fn cases() -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/debias/golden.json"
    );
    let text = std::fs::read_to_string(path).expect("the golden values are in the repository");
    let golden: Golden = serde_json::from_str(&text).expect("the generator writes this format");
    assert_eq!(golden.cases.len(), 3);
    golden.cases
}

fn data(case: &Case) -> FitData {
    FitData {
        x: Matrix::new(case.rows, case.dim, case.x.clone()).unwrap(),
        label: case.label.clone(),
        tuple: case.tuple.clone(),
        classes: case.classes.clone(),
        neutral: None,
    }
}

fn erase(method: &str, case: &Case, options: &FitOptions) -> (Erase, Vec<(String, f64)>) {
    let fitted = by_name(method)
        .unwrap()
        .fit(&data(case), options)
        .unwrap_or_else(|e| panic!("{method} on {}: {e}", case.name));
    match fitted.edit {
        Edit::Erase(e) => (e, fitted.notes),
        other => panic!("{method} gave a {}", other.kind()),
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Fails when two square matrices are further apart than `tolerance` in the
/// Frobenius norm. For projections that bounds the sine of every principal angle.
fn check_near(what: &str, found: &Matrix, expect: &[f64], tolerance: f64) {
    let distance = found
        .data()
        .iter()
        .zip(expect)
        .map(|(a, b)| (a - b).powi(2))
        .sum::<f64>()
        .sqrt();
    assert_eq!(found.data().len(), expect.len(), "{what}");
    assert!(distance < tolerance, "{what}: distance {distance:e}");
}

#[test]
fn sentdebias() {
    for case in cases() {
        let expect = &case.sentdebias;
        let options = FitOptions::with_rank(expect.rank);
        let (erase, notes) = erase("sentdebias", &case, &options);
        for i in 0..expect.rank {
            let reference = &expect.vectors[i * case.dim..(i + 1) * case.dim];
            let same = cosine(erase.right().row(i), reference).abs();
            assert!(same > 1.0 - 1e-10, "{} direction {i}: {same}", case.name);
            let explained = notes[i + 1].1;
            assert!((explained - expect.explained[i]).abs() < 1e-10);
        }
    }
}

#[test]
fn inlp() {
    for case in cases() {
        let rounds = case.inlp.rounds as f64;
        let options = FitOptions::default().param("rounds", rounds);
        let (erase, _) = erase("inlp", &case, &options);
        check_near(&case.name, &erase.matrix(), &case.inlp.projection, 1e-6);

        let data = data(&case);
        let weights = SvmProblem::new(&data.x)
            .one_vs_rest(
                &data.label,
                &data.present(),
                &[],
                &SvmOptions::default(),
                &|_| String::new(),
            )
            .unwrap();
        for i in 0..weights.rows() {
            let reference = &case.inlp.first_weights[i * case.dim..(i + 1) * case.dim];
            let same = cosine(weights.row(i), reference);
            assert!(same > 1.0 - 1e-10, "{} classifier {i}: {same}", case.name);
        }
        check_near(&case.name, &weights, &case.inlp.first_weights, 1e-6);
    }
}

#[test]
fn leace() {
    for case in cases() {
        for expect in &case.leace {
            let options = FitOptions::default()
                .param("orthogonal", expect.orthogonal)
                .param("affine", expect.affine)
                .param("shrinkage", expect.shrinkage);
            let (erase, _) = erase("leace", &case, &options);
            let what = format!(
                "{}, orthogonal {}, affine {}, shrinkage {}",
                case.name, expect.orthogonal, expect.affine, expect.shrinkage
            );
            check_near(&what, &erase.matrix(), &expect.projection, 1e-6);
            let mut origin = Matrix::zeros(1, case.dim);
            Edit::Erase(erase).apply_matrix(&mut origin).unwrap();
            check_near(&what, &origin, &expect.constant, 1e-6);
        }
    }
}

#[test]
fn densray() {
    for case in cases() {
        let (erase, notes) = erase("densray", &case, &FitOptions::default());
        let same = cosine(erase.right().row(0), &case.densray.vector).abs();
        assert!(same > 1.0 - 1e-10, "{}: {same}", case.name);
        assert!((notes[0].1 - case.densray.eigenvalue).abs() < 1e-10);
    }
}
