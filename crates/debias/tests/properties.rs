//! Properties that hold for every fit, and the errors of data that cannot be fitted.

use interlingua_debias::{
    Debiaser, Edit, EditError, Evidence, FitData, FitError, FitOptions, FittedSites, Given, Kind,
    Matrix, Moments, OracleEraser, Size, Span, by_name, registry, subspace_cosine,
};
use interlingua_edits::{Hook, Intervention, ModelShape, Provenance, Site, Tokens};
use proptest::prelude::*;

/// Rows with planted class differences and counterfactual sets.
fn planted(n: usize, d: usize, classes: usize, seed: u64) -> FitData {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let label: Vec<usize> = (0..n).map(|i| i % classes).collect();
    FitData {
        x: Matrix::from_fn(n, d, |i, j| {
            2.0 * uniform() + if j % classes == label[i] { 0.7 } else { 0.0 }
        }),
        tuple: (0..n).map(|i| Some(i / classes)).collect(),
        classes: (0..classes).map(|c| format!("class {c}")).collect(),
        label,
        ..FitData::default()
    }
}

fn fit(method: &str, data: &FitData, options: &FitOptions) -> Result<Edit, FitError> {
    by_name(method).unwrap().fit(data, options).map(|f| f.edit)
}

/// The defaults, with few enough steps for many small fits.
/// The methods that are fitted on states alone.
fn of_states() -> impl Iterator<Item = &'static &'static dyn Debiaser> {
    registry().iter().filter(|method| !method.needs().weights)
}

fn quick(method: &str) -> FitOptions {
    let own = FitOptions::default();
    match method {
        "rlace" => own.param("steps", 200.0).param("evaluate_every", 100.0),
        // A handful of units has none above a share of 95 %.
        "lape" | "language-arithmetics" => own.param("filter", 0.0).param("active", 0.0),
        _ => own,
    }
}

/// The edit alone in an intervention's file.
fn to_bytes(edit: &Edit) -> Vec<u8> {
    let model = ModelShape {
        architecture: "any".into(),
        layers: 1,
        hidden: edit.dim(),
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        intermediate: 1,
        gated: false,
    };
    let steps = vec![(Site::raw(Hook::output(0), Tokens::All), edit.clone())];
    let intervention = Intervention::new(model, steps, Provenance::default()).unwrap();
    intervention.to_bytes().unwrap()
}

fn from_bytes(bytes: &[u8]) -> Result<Edit, EditError> {
    let intervention = Intervention::from_bytes(bytes)?;
    Ok(intervention.steps()[0].1.clone())
}

fn projection(edit: &Edit) -> Matrix {
    assert_eq!(edit.kind(), Kind::Erase);
    edit.matrix()
}

fn dataset() -> impl Strategy<Value = FitData> {
    (2..=3usize, 3..=12usize, 8..=20usize, any::<u64>())
        .prop_map(|(classes, d, sets, seed)| planted(classes * sets, d, classes, seed))
}

/// Data with one fault or several: a class alone, more dimensions than rows,
/// constant, collinear, zero, equal or enormous rows, lists of unequal length, NaN.
fn hostile() -> impl Strategy<Value = FitData> {
    let faults = proptest::collection::vec((0..12usize, any::<prop::sample::Index>()), 0..4);
    let shape = (1..=3usize, 1..=9usize, 1..=6usize, any::<u64>());
    (shape, faults).prop_map(|((classes, d, sets, seed), faults)| {
        let mut data = planted(classes * sets, d, classes, seed);
        let n = data.x.rows();
        for (fault, at) in faults {
            let row = at.index(n);
            match fault {
                0 => data.label.fill(0),
                1 => data.x.row_mut(row).fill(0.0),
                2 => data.x = Matrix::from_fn(n, d, |i, _| data.x.at(i, 0)),
                3 => data.x = Matrix::from_fn(n, d, |_, j| data.x.at(0, j)),
                4 => (0..n).for_each(|i| data.x.row_mut(i)[0] = 3.0),
                5 => data.x.data_mut().iter_mut().for_each(|v| *v *= 1e300),
                6 => data.x.row_mut(row)[0] = 1e300,
                7 => data.x.row_mut(row)[0] = [f64::NAN, f64::INFINITY][row % 2],
                8 => data.x.data_mut().iter_mut().for_each(|v| *v *= 1e-300),
                9 => data.neutral = Some(row % classes),
                10 => data.tuple.iter_mut().take(row).for_each(|t| *t = None),
                _ => {
                    data.label.pop();
                }
            }
        }
        data
    })
}

/// Methods whose edit is an orthogonal projection of the rank asked for.
const ORTHOGONAL: &[&str] = &[
    "random",
    "sentdebias",
    "inlp",
    "densray",
    "rlace",
    "iterative-mean-projection",
    "sal",
    "imsae",
    "profs",
];

/// Groups that differ in each of several languages, around a mean of its own.
fn languages() -> impl Strategy<Value = (FitData, usize)> {
    let shape = (2..=3usize, 2..=4usize, 12..=20usize, any::<u64>());
    shape.prop_map(|(classes, languages, d, seed)| {
        let mut data = planted(24 * languages * classes, d, classes, seed);
        let means = planted(languages, d, 2, seed ^ 77).x;
        data.language = (0..data.x.rows())
            .map(|i| i / classes % languages)
            .collect();
        for i in 0..data.x.rows() {
            let language = data.language[i];
            for (x, m) in data.x.row_mut(i).iter_mut().zip(means.row(language)) {
                *x += 2.0 * m;
            }
        }
        (data, languages)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn orthogonal_projections(data in dataset(), rank in 1..=2usize, seed in any::<u64>()) {
        for method in ORTHOGONAL {
            // Two groups of one size give DensRay one direction, whatever the data.
            let rank = if *method == "densray" { 1 } else { rank };
            let mut options = quick(method).seed(seed);
            options.rank = Some(rank);
            let edit = fit(method, &data, &options).unwrap();
            prop_assert_eq!(edit.rank(), rank);
            let p = projection(&edit);
            prop_assert!(p.matmul(&p).max_abs_difference(&p) < 1e-10, "{method}: P² ≠ P");
            prop_assert!(p.transpose().max_abs_difference(&p) < 1e-12, "{method}: P ≠ Pᵀ");
        }
    }

    #[test]
    fn every_method_fits_and_applies(data in dataset(), seed in any::<u64>()) {
        for method in of_states() {
            let edit = method.fit(&data, &quick(method.name()).seed(seed)).unwrap().edit;
            prop_assert_eq!(edit.dim(), data.dim());
            let mut f32s: Vec<f32> = data.x.data().iter().map(|&v| v as f32).collect();
            let mut f64s = data.x.clone();
            edit.apply_rows(&mut f32s).unwrap();
            edit.apply_matrix(&mut f64s).unwrap();
            for (a, b) in f32s.iter().zip(f64s.data()) {
                prop_assert!((f64::from(*a) - b).abs() < 1e-4 * (1.0 + b.abs()), "{}: {a} {b}", method.name());
            }
            // Erasing twice is erasing once; a shift goes as far again, and so does what is multiplied.
            let once = f64s.clone();
            let goes_on = [Kind::Shift, Kind::Add].contains(&edit.kind())
                || ["aura", "damp", "linear-act"].contains(&method.name());
            if !goes_on {
                edit.apply_matrix(&mut f64s).unwrap();
            }
            prop_assert!(once.max_abs_difference(&f64s) < 1e-7, "{} is not idempotent", method.name());
            // The bytes come back as the same edit and as the same bytes.
            let bytes = to_bytes(&edit);
            let back = from_bytes(&bytes).unwrap();
            prop_assert_eq!(&back, &edit);
            prop_assert_eq!(to_bytes(&back), bytes);
        }
    }

    #[test]
    fn imsae_is_one_projection((data, languages) in languages(), rank in 1..=2usize) {
        let edit = fit("imsae", &data, &FitOptions::with_rank(rank)).unwrap();
        prop_assert_eq!(edit.rank(), (rank * languages).min(data.dim()));
        let p = projection(&edit);
        prop_assert!(p.matmul(&p).max_abs_difference(&p) < 1e-10);
        prop_assert!(p.transpose().max_abs_difference(&p) < 1e-10);
        let trace: f64 = (0..data.dim()).map(|i| p.at(i, i)).sum();
        prop_assert!((trace - (data.dim() - edit.rank()) as f64).abs() < 1e-10, "{trace}");
    }

    #[test]
    fn imsae_at_full_rank_does_not_know_the_order((mut data, languages) in languages()) {
        let one = fit("imsae", &data, &FitOptions::default()).unwrap();
        for l in &mut data.language {
            *l = languages - 1 - *l;
        }
        let other = fit("imsae", &data, &FitOptions::default()).unwrap();
        prop_assert!(projection(&one).max_abs_difference(&projection(&other)) < 1e-9);
        // Every group mean of every language is where all others are: nowhere.
        let mut x = data.x.clone();
        one.apply_matrix(&mut x).unwrap();
        for language in 0..languages {
            for class in 0..data.classes.len() {
                let of = |i: &usize| data.language[*i] == language && data.label[*i] == class;
                let rows: Vec<usize> = (0..x.rows()).filter(of).collect();
                for j in 0..x.cols() {
                    let mean = rows.iter().map(|&i| x.at(i, j)).sum::<f64>() / rows.len() as f64;
                    prop_assert!(mean.abs() < 1e-9, "{mean}");
                }
            }
        }
        // The same text as a second language adds nothing to remove: rank is capped.
        let half = FitData { language: vec![0; data.x.rows()], ..data.clone() };
        let n = half.x.rows();
        let twice = FitData {
            x: Matrix::from_fn(2 * n, half.dim(), |i, j| half.x.at(i % n, j)),
            label: [half.label.clone(), half.label.clone()].concat(),
            tuple: vec![None; 2 * n],
            language: (0..2 * n).map(|i| i / n).collect(),
            ..half.clone()
        };
        let (half, twice) = (
            fit("imsae", &half, &FitOptions::default()).unwrap(),
            fit("imsae", &twice, &FitOptions::default()).unwrap(),
        );
        prop_assert_eq!(half.rank(), twice.rank());
        prop_assert!(projection(&half).max_abs_difference(&projection(&twice)) < 1e-9);
    }

    #[test]
    fn imsae_in_one_language_is_sal(data in dataset(), rank in 1..=2usize) {
        let options = FitOptions::with_rank(rank);
        let (sal, imsae) = (fit("sal", &data, &options), fit("imsae", &data, &options));
        prop_assert_eq!(sal.unwrap(), imsae.unwrap());
    }

    #[test]
    fn inlp_leaves_nothing_of_its_weights(data in dataset()) {
        use interlingua_debias::svm::{SvmOptions, SvmProblem};
        let edit = fit("inlp", &data, &FitOptions::default().param("rounds", 1.0)).unwrap();
        let p = projection(&edit);
        let present = data.present();
        let w = SvmProblem::new(&data.x, SvmOptions::default())
            .one_vs_rest(&data.label, &present, &[], &|_| String::new())
            .unwrap();
        let scale = w.data().iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let rest = w.matmul(&p);
        prop_assert!(rest.max_abs_difference(&Matrix::zeros(w.rows(), w.cols())) < 1e-6 * (1.0 + scale));
    }

    /// What LEACE promises: P² = P, equal class means, an unmoved grand mean, no
    /// more variance than before; and of the same projections that the mean
    /// difference and the class means share for two classes.
    #[test]
    fn class_means_coincide(data in dataset()) {
        let d = data.dim();
        let means = |x: &Matrix| -> Vec<Vec<f64>> {
            data.present().iter().map(|&class| {
                let rows: Vec<usize> = (0..x.rows()).filter(|&i| data.label[i] == class).collect();
                (0..d).map(|j| rows.iter().map(|&i| x.at(i, j)).sum::<f64>() / rows.len() as f64).collect()
            }).collect()
        };
        let spread = |x: &Matrix| -> f64 {
            let m = means(x);
            m.iter().flat_map(|a| a.iter().zip(&m[0]).map(|(a, b)| (a - b).abs())).fold(0.0, f64::max)
        };
        let full = FitOptions::default;
        let leace = |f: fn(FitOptions) -> FitOptions| fit("leace", &data, &f(full().param("svd_tol", 1e-9))).unwrap();
        let edits = [
            leace(|o| o),
            leace(|o| o.param("shrinkage", false)),
            leace(|o| o.param("affine", false)),
            leace(|o| o.param("orthogonal", true)),
            fit("class-means-pca", &data, &full()).unwrap(),
            fit("mean-difference", &data, &full()).unwrap(),
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut x = data.x.clone();
            edit.apply_matrix(&mut x).unwrap();
            prop_assert!(spread(&x) < 1e-8, "edit {i}: {}", spread(&x));
            let p = projection(edit);
            prop_assert!(p.matmul(&p).max_abs_difference(&p) < 1e-8, "edit {i}: P² ≠ P");
            if i < 2 {
                let shift = |x: &Matrix| (0..d).map(|j| (0..x.rows()).map(|r| x.at(r, j)).sum::<f64>() / x.rows() as f64).collect::<Vec<_>>();
                for (a, b) in shift(&x).iter().zip(shift(&data.x)) {
                    prop_assert!((a - b).abs() < 1e-9);
                }
            }
        }
        if data.present().len() == 2 {
            let same = projection(&edits[4]).max_abs_difference(&projection(&edits[5]));
            prop_assert!(same < 1e-9);
        }
    }

    /// With the class known, the means coincide at less change than LEACE makes.
    #[test]
    fn the_oracle_moves_least(data in dataset()) {
        let moved = |x: &Matrix| x.data().iter().zip(data.x.data()).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let mut oracle = data.x.clone();
        OracleEraser::fit(&data, 1e-6).unwrap().apply(&mut oracle, &data.label).unwrap();
        let again = OracleEraser::fit(&FitData { x: oracle.clone(), ..data.clone() }, 1e-6).unwrap();
        let mut twice = oracle.clone();
        again.apply(&mut twice, &data.label).unwrap();
        prop_assert!(twice.max_abs_difference(&oracle) < 1e-9, "class means differ");
        let options = FitOptions::default().param("svd_tol", 1e-9).param("shrinkage", false);
        let mut leace = data.x.clone();
        fit("leace", &data, &options).unwrap().apply_matrix(&mut leace).unwrap();
        prop_assert!(moved(&oracle) <= moved(&leace) * (1.0 + 1e-9));
    }

    /// From a stream, in one part or in several merged ones, comes the edit of the
    /// whole.
    #[test]
    fn streams_fit_what_batches_fit(data in dataset(), cut in 1..15usize) {
        let mut streaming = Vec::new();
        for method in registry() {
            let mut variants = vec![FitOptions::default()];
            if method.name() == "leace" {
                variants.push(FitOptions::default().param("orthogonal", true));
                variants.push(FitOptions::default().param("shrinkage", false));
            }
            for options in variants {
                let Some(keep) = method.keeps(&options).unwrap() else {
                    let moments = Moments::new(data.dim(), data.classes.clone(), None, Default::default());
                    let refused = method.fit_moments(&moments, &options);
                    let not_streamable = matches!(refused, Err(FitError::NotStreamable { .. }));
                    prop_assert!(not_streamable, "{}", method.name());
                    continue;
                };
                streaming.push(method.name());
                let whole = method.fit(&data, &options).unwrap().edit;
                let mut parts = Moments::new(data.dim(), data.classes.clone(), None, keep);
                let mut one = parts.clone();
                for start in (0..data.x.rows()).step_by(cut) {
                    let rows = start..data.x.rows().min(start + cut);
                    let d = data.dim();
                    let x = data.x.data()[rows.start * d..rows.end * d].to_vec();
                    let x = Matrix::new(rows.len(), d, x).unwrap();
                    one.update(&x, &data.label[rows.clone()]).unwrap();
                    let mut part = Moments::new(d, data.classes.clone(), None, keep);
                    part.update(&x, &data.label[rows]).unwrap();
                    parts.merge(&part).unwrap();
                }
                for moments in [one, parts] {
                    let streamed = method.fit_moments(&moments, &options).unwrap().edit;
                    let difference = projection(&streamed).max_abs_difference(&projection(&whole));
                    prop_assert!(difference < 1e-10, "{}: {difference:e}", method.name());
                }
            }
        }
        streaming.dedup();
        prop_assert_eq!(streaming, ["densray", "leace", "mean-difference", "class-means-pca", "sal"]);
    }

    /// LEACE moves the data least of all erasers that make the means coincide.
    #[test]
    fn leace_is_the_smallest_change(data in dataset()) {
        let moved = |edit: &Edit| {
            let mut x = data.x.clone();
            edit.apply_matrix(&mut x).unwrap();
            x.data().iter().zip(data.x.data()).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
        };
        let options = FitOptions::default().param("svd_tol", 1e-9);
        let least = fit("leace", &data, &options.clone().param("shrinkage", false)).unwrap();
        let orthogonal = fit("leace", &data, &options.param("orthogonal", true)).unwrap();
        prop_assert!(moved(&least) <= moved(&orthogonal) * (1.0 + 1e-9));
    }

    #[test]
    fn composition_is_one_after_the_other(data in dataset(), seed in any::<u64>(), strength in 0.0..2.0f64) {
        let first = fit("random", &data, &FitOptions::with_rank(2).seed(seed)).unwrap().scaled(strength).unwrap();
        let second = fit("sentdebias", &data, &FitOptions::with_rank(1)).unwrap();
        let d = data.dim();
        let mean: Vec<f64> = (0..d).map(|j| j as f64 / 3.0).collect();
        let affine = second.around(&mean).unwrap();
        for (a, b) in [(&first, &affine), (&affine, &first)] {
            let both = a.then(b).unwrap();
            let mut one = data.x.clone();
            let mut two = data.x.clone();
            a.apply_matrix(&mut one).unwrap();
            b.apply_matrix(&mut one).unwrap();
            both.apply_matrix(&mut two).unwrap();
            prop_assert!(one.max_abs_difference(&two) < 1e-9);
        }
    }

    #[test]
    fn strength_interpolates(data in dataset(), strength in -1.0..2.0f64) {
        let d = data.dim();
        let erase = fit("sentdebias", &data, &FitOptions::default()).unwrap();
        let shift = Edit::shift(vec![0.5; d]).unwrap();
        let clamp = Edit::clamp(d, vec![0, 2], vec![1.0, -1.0]).unwrap();
        for edit in [Edit::identity(d), erase, shift, clamp] {
            let mut full = data.x.clone();
            let mut part = data.x.clone();
            edit.apply_matrix(&mut full).unwrap();
            let weaker = edit.scaled(strength).unwrap();
            prop_assert_eq!(&from_bytes(&to_bytes(&weaker)).unwrap(), &weaker);
            weaker.apply_matrix(&mut part).unwrap();
            for ((x, f), p) in data.x.data().iter().zip(full.data()).zip(part.data()) {
                prop_assert!((x + strength * (f - x) - p).abs() < 1e-9);
            }
        }
    }
}

/// Counterfactual pairs that differ along the first axis alone, on topics that vary along
/// all others, the second most.
fn planted_pairs(pairs: usize, d: usize) -> FitData {
    let topics = planted(pairs, d, 2, 3).x;
    FitData {
        x: Matrix::from_fn(2 * pairs, d, |i, j| match j {
            0 => [0.5, -0.5][i % 2],
            1 => 2.0 * topics.at(i / 2, j),
            _ => topics.at(i / 2, j),
        }),
        label: (0..2 * pairs).map(|i| i % 2).collect(),
        tuple: (0..2 * pairs).map(|i| Some(i / 2)).collect(),
        classes: vec!["first".into(), "second".into()],
        ..FitData::default()
    }
}

/// |cos| of what a method removes and the first axis.
fn along_the_first_axis(method: &str, data: &FitData) -> f64 {
    let edit = fit(method, data, &FitOptions::with_rank(1)).unwrap();
    let axis = Matrix::from_fn(1, data.dim(), |_, j| f64::from(u8::from(j == 0)));
    subspace_cosine(&edit.reads(), &axis).unwrap()
}

/// A method that reads sets and classes finds sets of different classes in the control, however many there are.
#[test]
fn members_of_a_shuffled_set_differ_in_class() {
    for sets in 4..20 {
        let rows = 2 * sets;
        let data = FitData {
            x: Matrix::from_fn(rows, 3, |i, j| ((i * 7 + j * 5) % 11) as f64),
            label: (0..rows).map(|row| row % 2).collect(),
            tuple: (0..rows).map(|row| Some(row / 2)).collect(),
            classes: vec!["male".into(), "female".into()],
            ..FitData::default()
        };
        let shuffled = data.shuffled(3).unwrap();
        let classes_of = |set: usize| {
            let rows = (0..rows).filter(|&row| shuffled.tuple[row] == Some(set));
            let mut classes: Vec<usize> = rows.map(|row| shuffled.label[row]).collect();
            classes.sort_unstable();
            classes.dedup();
            classes.len()
        };
        let found = |classes| (0..rows).filter(|&set| classes_of(set) == classes).count();
        assert_eq!(found(1), 0, "{sets} sets");
        assert!(found(2) >= sets - 2, "{sets} sets");
    }
}

/// What a method finds in shuffled data is not what it finds in the data, even where the
/// groups differ more than anything else.
#[test]
fn a_shuffled_control_knows_nothing_of_the_groups() {
    let data = planted_pairs(300, 16);
    let shuffled = data.shuffled(5).unwrap();
    for method in [
        "sentdebias",
        "mean-difference",
        "densray",
        "leace",
        "inlp",
        "class-means-pca",
    ] {
        let true_cosine = along_the_first_axis(method, &data);
        let control = along_the_first_axis(method, &shuffled);
        assert!(true_cosine > 0.9, "{method}: {true_cosine}");
        assert!(control < 0.05, "{method}: {control}");
    }
    // Sets dealt across groups hold the groups' difference still, where it is the largest.
    let mut across = data;
    for i in 0..600 {
        across.x.row_mut(i)[0] *= 2.0;
        across.x.row_mut(i)[1] *= 0.25;
        across.tuple[i] = Some((i / 2 + (i % 2) * 8) % 300);
    }
    let contaminated = along_the_first_axis("sentdebias", &across);
    assert!(contaminated > 0.9, "{contaminated}");
    let control = along_the_first_axis("sentdebias", &across.shuffled(5).unwrap());
    assert!(control < 0.05, "{control}");
}

#[test]
fn shuffling_keeps_counts_and_sizes() {
    let mut data = planted(600, 6, 3, 11);
    let counts = |data: &FitData, of: &dyn Fn(usize) -> bool| -> Vec<usize> {
        (0..3)
            .map(|c| (0..600).filter(|&i| of(i) && data.label[i] == c).count())
            .collect()
    };
    data.language = (0..600).map(|i| usize::from(i >= 240)).collect();
    // Within counterfactual sets, among rows outside all sets, and with both.
    for outside in [0, 600, 300] {
        data.tuple[..outside].fill(None);
        let shuffled = data.shuffled(5).unwrap();
        assert_eq!(shuffled, data.shuffled(5).unwrap());
        assert_ne!(shuffled.label, data.shuffled(6).unwrap().label);
        assert_eq!(shuffled.x, data.x);
        for language in 0..2 {
            let of = |i: usize| data.language[i] == language;
            assert_eq!(counts(&shuffled, &of), counts(&data, &of));
        }
        for class in 0..3 {
            // Every new class holds a third of every true one, in each language.
            for (language, third) in [(0, 80 / 3), (1, 120 / 3)] {
                let of = |i: usize| data.label[i] == class && data.language[i] == language;
                for count in counts(&shuffled, &of) {
                    assert!(count.abs_diff(third) <= 1, "{count} of {third}");
                }
            }
        }
        let mut sets: std::collections::BTreeMap<usize, Vec<usize>> = Default::default();
        for i in 0..600 {
            assert_eq!(shuffled.tuple[i].is_some(), data.tuple[i].is_some());
            if let Some(set) = shuffled.tuple[i] {
                sets.entry(set).or_default().push(i);
            }
        }
        for rows in sets.values() {
            assert!((3..=5).contains(&rows.len()), "{}", rows.len());
            for of in [&data.label, &data.language] {
                assert!(rows.iter().all(|&row| of[row] == of[rows[0]]));
            }
        }
        data.tuple = planted(600, 6, 3, 11).tuple;
    }
    data.label.pop();
    assert!(matches!(data.shuffled(0), Err(FitError::Length { .. })));
}

#[test]
fn one_member_of_a_group_cannot_be_shuffled() {
    let mut data = planted_pairs(4, 6);
    assert!(data.shuffled(1).is_ok());
    for i in 2..8 {
        data.tuple[i] = None;
    }
    let lonely = |data: &FitData| match data.shuffled(1) {
        Err(FitError::NothingToShuffle { class }) => class,
        other => panic!("{other:?}"),
    };
    assert_eq!(lonely(&data), "first");
    data.tuple.fill(None);
    data.label = vec![0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(lonely(&data), "second");
    // Two in all, but in different languages.
    data.label = vec![0, 0, 0, 1, 0, 0, 0, 1];
    assert!(data.shuffled(1).is_ok());
    data.language = vec![0, 0, 0, 0, 1, 1, 1, 1];
    assert_eq!(lonely(&data), "second");
    data.language.pop();
    assert!(matches!(data.shuffled(1), Err(FitError::Length { .. })));
}

#[test]
fn edits_say_what_they_read_and_write() {
    let axis = |j: usize| Matrix::from_fn(1, 3, |_, i| f64::from(u8::from(i == j)));
    let edit = Edit::erase(
        Matrix::new(3, 1, vec![2.0, 0.0, 0.0]).unwrap(),
        Matrix::new(1, 3, vec![3.0, 4.0, 0.0]).unwrap(),
        None,
    )
    .unwrap();
    assert_eq!(edit.writes(), axis(0));
    let cosine = subspace_cosine(&edit.reads(), &axis(0)).unwrap();
    assert!((cosine - 0.6).abs() < 1e-15);
    // Around a mean, the mean stays where it is.
    let mut mean = Matrix::new(1, 3, vec![1.0, -2.0, 5.0]).unwrap();
    let before = mean.clone();
    let around = edit.around(before.row(0)).unwrap();
    around.apply_matrix(&mut mean).unwrap();
    assert!(mean.max_abs_difference(&before) < 1e-12);
    assert!(matches!(edit.around(&[1.0]), Err(EditError::Shape { .. })));

    let shift = Edit::shift(vec![0.0, -2.0, 0.0]).unwrap();
    assert_eq!((shift.reads().rows(), shift.writes().rows()), (0, 1));
    assert_eq!(subspace_cosine(&shift.writes(), &axis(1)).unwrap(), 1.0);
    let clamp = Edit::clamp(3, vec![2], vec![1.0]).unwrap();
    assert_eq!((clamp.reads(), clamp.writes()), (axis(2), axis(2)));
    let none = Edit::identity(3);
    assert_eq!(subspace_cosine(&none.reads(), &axis(0)).unwrap(), 0.0);
    assert!(subspace_cosine(&axis(0), &Matrix::identity(2)).is_err());
}

#[test]
fn rlace_finds_planted_directions() {
    for (classes, rank) in [(2, 1), (3, 2)] {
        let data = planted(1200, 8, classes, 9);
        let options = FitOptions::with_rank(rank)
            .param("steps", 6000.0)
            .param("evaluate_every", 200.0);
        let fitted = by_name("rlace").unwrap().fit(&data, &options).unwrap();
        let note = |name: &str| fitted.notes.iter().find(|(n, _)| n == name).unwrap().1;
        // Class means are all that the classes differ in: their span is the answer.
        let best = fit(
            "leace",
            &data,
            &FitOptions::default()
                .param("orthogonal", true)
                .param("svd_tol", 1e-6),
        )
        .unwrap();
        let (found, best) = (projection(&fitted.edit), projection(&best));
        assert!(
            found.max_abs_difference(&best) < 0.1,
            "{}",
            found.max_abs_difference(&best)
        );
        assert!(
            note("accuracy") < note("majority") + 0.03,
            "{:?}",
            fitted.notes
        );
        assert!(note("steps") <= 6000.0);
        let again = by_name("rlace").unwrap().fit(&data, &options).unwrap();
        assert_eq!(again, fitted, "a seed decides the fit");
        let other = by_name("rlace")
            .unwrap()
            .fit(&data, &options.seed(1))
            .unwrap();
        assert_ne!(other, fitted);
    }
}

#[test]
fn mean_shift_leads_to_the_centre() {
    // Triples of members at 0, 3 and 9 on the first axis around a topic on the second.
    let x = Matrix::from_fn(6, 2, |i, j| {
        if j == 0 {
            [0.0, 3.0, 9.0][i % 3]
        } else {
            (i / 3) as f64
        }
    });
    let data = FitData {
        x,
        label: vec![0, 1, 2, 0, 1, 2],
        tuple: vec![Some(0), Some(0), Some(0), Some(1), Some(1), Some(1)],
        classes: vec!["a".into(), "b".into(), "c".into()],
        ..FitData::default()
    };
    for (from, expect) in [
        (None, 4.0),
        (Some("a"), 4.0),
        (Some("b"), 1.0),
        (Some("c"), -5.0),
    ] {
        let options = FitOptions::with_rank(1);
        let options = match from {
            Some(from) => options.param("from", from),
            None => options,
        };
        let fitted = by_name("mean-shift").unwrap().fit(&data, &options).unwrap();
        let shift = fitted.edit.constant().expect("a shift");
        assert!((shift[0] - expect).abs() < 1e-12 && shift[1].abs() < 1e-12);
        assert!(
            (fitted.notes[2].1 - 1.0).abs() < 1e-12,
            "all sets agree: {:?}",
            fitted.notes
        );
    }
    let refused = fit(
        "mean-shift",
        &data,
        &FitOptions::default().param("from", "d"),
    );
    assert!(matches!(refused, Err(FitError::UnknownGroup { groups, .. }) if groups.len() == 3));
    let refused = fit("mean-shift", &data, &FitOptions::with_rank(2));
    assert!(matches!(
        refused,
        Err(FitError::RankOutOfRange { max: 1, .. })
    ));
    let mut alone = data.clone();
    alone.label = vec![0, 0, 0, 1, 1, 1];
    let refused = fit("mean-shift", &alone, &FitOptions::default());
    assert!(matches!(refused, Err(FitError::NoContrast { group, .. }) if group == "a"));
}

#[test]
fn iterated_means_go_beyond_the_first_difference() {
    let mut data = planted(300, 8, 2, 21);
    for i in 0..300 {
        let length = data.x.row(i).iter().map(|v| v * v).sum::<f64>().sqrt();
        data.x.row_mut(i).iter_mut().for_each(|v| *v /= length);
    }
    let method = by_name("iterative-mean-projection").unwrap();
    // On vectors of length 1 the first round is the mean difference.
    let one = method.fit(&data, &FitOptions::default()).unwrap().edit;
    let single = fit("mean-difference", &data, &FitOptions::default()).unwrap();
    assert!(projection(&one).max_abs_difference(&projection(&single)) < 1e-10);
    // Later rounds remove more, and each finds less than the one before.
    let fitted = method.fit(&data, &FitOptions::with_rank(4)).unwrap();
    assert_eq!(fitted.edit.rank(), 4);
    let distances: Vec<f64> = fitted.notes[..4].iter().map(|(_, v)| *v).collect();
    assert!(
        distances[1] < 0.5 * distances[0] && distances[1] > 1e-6,
        "{distances:?}"
    );
    // As the rounds of a fit with a lower rank.
    let two = method
        .fit(&data, &FitOptions::default().param("rounds", 2.0))
        .unwrap();
    assert_eq!(two.edit.rank(), 2);
    assert_eq!(two.notes[..2], fitted.notes[..2]);
    // Two rows that point the same way have no difference to remove.
    let same = FitData {
        x: Matrix::from_fn(2, 3, |i, j| (i + 1) as f64 * (j + 1) as f64),
        label: vec![0, 1],
        tuple: vec![None; 2],
        ..data
    };
    assert!(matches!(
        method.fit(&same, &FitOptions::default()),
        Err(FitError::Degenerate { found: 0, .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the data, a method says why it cannot fit, or gives a finite edit.
    #[test]
    fn hostile_data(data in hostile(), rank in proptest::option::of(0..6usize)) {
        for method in of_states() {
            let name = method.name();
            let mut options = quick(name);
            if name == "rlace" {
                options = options.param("steps", 20.0);
            }
            options.rank = rank;
            let Ok(fitted) = method.fit(&data, &options) else {
                continue;
            };
            let finite = fitted.notes.iter().all(|(_, v)| v.is_finite());
            prop_assert!(finite, "{name}: {:?}", fitted.notes);
            let mut origin = Matrix::zeros(1, data.dim());
            fitted.edit.apply_matrix(&mut origin).unwrap();
            prop_assert!(origin.data().iter().all(|v| v.is_finite()), "{name}");
            // An oblique eraser of data at the limits of its precision may be only
            // nearly one.
            if fitted.edit.kind() == Kind::Erase && name != "leace" {
                let p = fitted.edit.matrix();
                prop_assert!(p.matmul(&p).max_abs_difference(&p) < 1e-8, "{name}: P² ≠ P");
            }
        }
        let _ = OracleEraser::fit(&data, 0.01);
        let shuffled = data.shuffled(0);
        let lonely = matches!(shuffled, Err(FitError::NothingToShuffle { .. }));
        prop_assert_eq!(shuffled.is_ok() || lonely, data.check().is_ok());
    }
}

/// Three hook points of different widths, over which the classes differ in the first unit alone.
fn sites() -> Vec<FitData> {
    let site = |(at, dim): (usize, usize)| {
        let mut data = planted(24, dim, 2, 5 + at as u64);
        for row in 0..24 {
            let high = data.label[row] == 0;
            data.x.row_mut(row)[0] = if high { 5.0 + row as f64 } else { -1.0 };
        }
        data
    };
    [3, 7, 4].into_iter().enumerate().map(site).collect()
}

fn fit_sites(
    method: &str,
    sites: &[FitData],
    options: &FitOptions,
) -> Result<FittedSites, FitError> {
    by_name(method)
        .unwrap()
        .fit_sites(&mut Given::new(sites), options)
}

#[test]
fn what_looks_at_one_hook_point_fits_each_by_itself() {
    let sites = sites();
    for method in of_states() {
        let options = quick(method.name());
        let fitted = match method.fit_sites(&mut Given::new(&sites), &options) {
            // A chain takes passes of a model.
            Err(FitError::NoModel { site: 1 }) if method.span(&options) == Ok(Span::Chain) => {
                continue;
            }
            fitted => fitted.unwrap_or_else(|e| panic!("{}: {e}", method.name())),
        };
        assert_eq!(fitted.edits.len(), 3, "{}", method.name());
        for (edit, data) in fitted.edits.iter().zip(&sites) {
            assert_eq!(edit.dim(), data.dim());
            if method.span(&options) == Ok(Span::Site) {
                assert_eq!(
                    *edit,
                    method.fit(data, &options).unwrap().edit,
                    "{}",
                    method.name()
                );
            }
        }
        let control = method
            .control_sites(&mut Given::new(&sites), &options, &fitted.edits)
            .unwrap();
        for (control, edit) in control.iter().zip(&fitted.edits) {
            assert_eq!((control.dim(), control.rank()), (edit.dim(), edit.rank()));
        }
        let empty = method.fit_sites(&mut Given::new(&[]), &options);
        assert!(empty.is_ok_and(|all| all.edits.is_empty()) || method.size() == Size::Units);
    }
}

#[test]
fn units_that_tie_across_the_cut_are_counted() {
    let sites = sites();
    let options = || FitOptions::with_units(2).param("scope", "all");
    let note = |fitted: &FittedSites, name: &str| {
        let found = fitted.notes.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| *value)
    };
    // Three units separate the classes perfectly, one of each hook point; the first two are taken.
    let experts = fit_sites("clamp-units", &sites, &options()).unwrap();
    let counts: Vec<usize> = experts.edits.iter().map(Edit::rank).collect();
    assert_eq!((counts, note(&experts, "tied")), (vec![1, 1, 0], Some(1.0)));
    // Damp takes what is above the cut alone, so there it is none.
    let damped = fit_sites("damp", &sites, &options());
    assert!(
        matches!(damped, Err(FitError::NoUnits { .. })),
        "{damped:?}"
    );
    let all = FitOptions::with_units(3).param("factor", 0.0);
    let damped = fit_sites("damp", &sites, &all).unwrap();
    assert_eq!(note(&damped, "taken"), Some(3.0));
    assert!(damped.edits.iter().all(|edit| edit.kind() == Kind::Scale));
    // A constant unit tells nothing: its precision is the share of the positives, its area one half.
    let mut constant = sites;
    for data in &mut constant {
        data.x = Matrix::from_fn(24, data.dim(), |_, j| j as f64);
    }
    let experts = fit_sites("clamp-units", &constant, &options()).unwrap();
    assert_eq!(note(&experts, "ap_first"), Some(0.5));
    assert_eq!(note(&experts, "tied"), Some(12.0));
    let aura = fit_sites("aura", &constant, &FitOptions::default()).unwrap();
    assert!(aura.edits.iter().all(|edit| edit.kind() == Kind::Identity));
    assert_eq!(note(&aura, "damped"), Some(0.0));
    let carried = fit("linear-act", &constant[0], &FitOptions::default()).unwrap();
    assert_eq!(carried.kind(), Kind::Identity);
}

#[test]
fn evidence_without_positives_or_others_is_refused() {
    for method in ["clamp-units", "aura", "damp", "lape"] {
        for class in 0..2 {
            check_error(
                method,
                quick(method),
                |d| d.label.fill(class),
                |e| matches!(e, FitError::TooFewClasses { .. }),
            );
        }
        check_error(
            method,
            quick(method).param("group", "nobody"),
            |_| {},
            |e| matches!(e, FitError::UnknownGroup { .. }),
        );
    }
    for units in [0, 7] {
        for method in ["clamp-units", "damp", "lape"] {
            let mut options = quick(method);
            options.units = Some(units);
            let refused = |e: &FitError| matches!(e, FitError::UnitsOutOfRange { max: 6, .. });
            check_error(method, options, |_| {}, refused);
        }
    }
    check_error(
        "linear-act",
        FitOptions::default()
            .param("to", "class 0")
            .param("from", "class 0"),
        |_| {},
        |e| matches!(e, FitError::BadParam { name: "to", .. }),
    );
    check_error(
        "linear-act",
        FitOptions::default(),
        |d| {
            d.label.fill(1);
            d.label[0] = 0;
        },
        |e| matches!(e, FitError::TooFewExamples { examples: 1, .. }),
    );
}

/// A model of three hook points that adds what it got to what each hook point has.
struct Adds {
    sites: Vec<FitData>,
    dims: Vec<usize>,
    asked: Vec<usize>,
}

impl Evidence for Adds {
    fn dims(&self) -> &[usize] {
        &self.dims
    }
    fn at(&mut self, site: usize) -> Result<FitData, FitError> {
        Ok(self.sites[site].clone())
    }
    fn under(&mut self, site: usize, earlier: &[Edit]) -> Result<FitData, FitError> {
        self.asked.push(earlier.len());
        let mut data = self.sites[site].clone();
        for (before, edit) in self.sites[..site].iter().zip(earlier) {
            let mut x = before.x.clone();
            edit.apply_matrix(&mut x).unwrap();
            x.subtract(&before.x);
            let sum = |i: usize, j: usize| data.x.at(i, j) + x.at(i, j);
            data.x = Matrix::from_fn(x.rows(), x.cols(), sum);
        }
        Ok(data)
    }
}

/// What a hook point is carried by follows what the maps in front of it have done already.
#[test]
fn a_chain_is_fitted_layer_after_layer() {
    // The groups differ by 3 in the first unit, and a hook point passes on what was added in front of it.
    let site = |at: usize| FitData {
        x: Matrix::from_fn(8, 2, |i, j| {
            (i / 2) as f64 * 0.5
                + if i % 2 == 1 && j == 0 {
                    3.0
                } else {
                    at as f64 * 0.1
                }
        }),
        label: (0..8).map(|i| i % 2).collect(),
        tuple: vec![None; 8],
        classes: vec!["a".into(), "b".into()],
        ..FitData::default()
    };
    let mut evidence = Adds {
        sites: (0..3).map(site).collect(),
        dims: vec![2; 3],
        asked: Vec::new(),
    };
    let method = by_name("linear-act").unwrap();
    let options = || FitOptions::default().param("map", "mean");
    let chain = method.fit_sites(&mut evidence, &options()).unwrap();
    assert_eq!(evidence.asked, [0, 1, 2]);
    let first = |edit: &Edit| {
        let mut zero = Matrix::zeros(1, 2);
        edit.apply_matrix(&mut zero).unwrap();
        zero.at(0, 0)
    };
    // The first map carries all the way; the others find that nothing is left but what the hook points differ in.
    let found: Vec<f64> = chain.edits.iter().map(first).collect();
    assert!((found[0] - 3.0).abs() < 1e-12, "{found:?}");
    assert!(found[1].abs() < 0.2 && found[2].abs() < 0.2, "{found:?}");
    let once = options().param("fit", "once");
    let once = method.fit_sites(&mut evidence, &once).unwrap();
    assert!(once.edits.iter().all(|edit| first(edit) > 2.5));
    let edited = options().param("target", "edited");
    let edited = method.fit_sites(&mut evidence, &edited).unwrap();
    assert!(
        first(&edited.edits[1]) > 2.5,
        "both sides were carried alike"
    );
}

#[test]
fn none_changes_nothing() {
    let data = planted(10, 4, 2, 0);
    let edit = fit("none", &data, &FitOptions::default()).unwrap();
    let mut states = vec![1.5_f32; 12];
    edit.apply_rows(&mut states).unwrap();
    assert_eq!(states, vec![1.5; 12]);
    assert_eq!(edit.rank(), 0);
}

#[test]
fn inlp_reaches_chance() {
    // All of the class information is linear, so that some rounds take it away.
    let data = planted(600, 12, 3, 5);
    let fitted = by_name("inlp")
        .unwrap()
        .fit(&data, &FitOptions::default().param("rounds", 3.0))
        .unwrap();
    let note = |name: &str| fitted.notes.iter().find(|(n, _)| n == name).unwrap().1;
    assert!(note("accuracy_round_1") > 0.6);
    assert!(note("accuracy_round_3") < 0.45, "{:?}", fitted.notes);
    assert!((note("majority") - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(fitted.edit.rank(), 9);
}

#[test]
fn registry_entries_are_complete() {
    let mut names = Vec::new();
    for method in registry() {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(!method.name().is_empty() && method.name().chars().all(legal));
        for text in [method.title(), method.citation(), method.summary()] {
            assert!(!text.is_empty(), "{}", method.name());
        }
        assert_eq!(method.docs(), format!("methods/{}.md", method.name()));
        names.push(method.name());
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "names are unique");
    let error = by_name("sent-debias").err().unwrap();
    assert!(error.known.contains(&"sentdebias") && error.to_string().contains("sentdebias"));
}

/// Fits `method` on the planted data after `spoil`, and expects an error.
fn check_error(
    method: &str,
    options: FitOptions,
    spoil: impl Fn(&mut FitData),
    expect: impl Fn(&FitError) -> bool,
) {
    let mut data = planted(24, 6, 2, 7);
    spoil(&mut data);
    match fit(method, &data, &options) {
        Err(error) => assert!(expect(&error), "{method}: unexpected error {error}"),
        Ok(_) => panic!("{method} accepted spoilt data"),
    }
}

#[test]
fn data_that_cannot_be_fitted() {
    use FitError as E;
    let plain = FitOptions::default;
    for method in of_states().map(|m| m.name()) {
        check_error(
            method,
            plain(),
            |d| d.x.row_mut(3)[2] = f64::NAN,
            |e| {
                matches!(
                    e,
                    E::NotFinite {
                        row: 3,
                        column: 2,
                        ..
                    }
                )
            },
        );
        check_error(
            method,
            plain(),
            |d| d.x.row_mut(0)[0] = f64::INFINITY,
            |e| matches!(e, E::NotFinite { row: 0, .. }),
        );
        check_error(
            method,
            plain(),
            |d| {
                d.label.pop();
            },
            |e| {
                matches!(
                    e,
                    E::Length {
                        expected: 24,
                        found: 23,
                        ..
                    }
                )
            },
        );
        check_error(
            method,
            plain(),
            |d| d.tuple.push(None),
            |e| matches!(e, E::Length { found: 25, .. }),
        );
        check_error(
            method,
            plain(),
            |d| d.label[4] = 9,
            |e| {
                matches!(
                    e,
                    E::UnknownClass {
                        row: 4,
                        label: 9,
                        ..
                    }
                )
            },
        );
        check_error(
            method,
            plain(),
            |d| *d = FitData::default(),
            |e| matches!(e, E::Empty { .. }),
        );
        check_error(
            method,
            plain().param("colour", 1.0),
            |_| {},
            |e| matches!(e, E::UnknownParam { name, .. } if name == "colour"),
        );
    }
    for method in ["random", "sentdebias", "inlp"] {
        check_error(
            method,
            FitOptions::with_rank(7),
            |_| {},
            |e| {
                matches!(
                    e,
                    E::RankOutOfRange {
                        rank: 7,
                        max: 6,
                        ..
                    }
                )
            },
        );
        check_error(
            method,
            FitOptions::with_rank(0),
            |_| {},
            |e| matches!(e, E::RankOutOfRange { .. }),
        );
    }
    check_error(
        "inlp",
        plain(),
        |d| d.label.fill(1),
        |e| matches!(e, E::TooFewClasses { present, .. } if present == &["class 1"]),
    );
    check_error(
        "inlp",
        plain().param("rounds", 0.5),
        |_| {},
        |e| matches!(e, E::BadParam { name: "rounds", .. }),
    );
    check_error(
        "inlp",
        plain().param("c", "big"),
        |_| {},
        |e| matches!(e, E::BadParam { name: "c", .. }),
    );
    check_error(
        "sentdebias",
        plain(),
        |d| d.x.row_mut(5).fill(0.0),
        |e| matches!(e, E::ZeroVector { row: 5, .. }),
    );
    check_error(
        "sentdebias",
        plain(),
        |d| d.tuple.fill(None),
        |e| matches!(e, E::NoTuples { .. }),
    );
    check_error(
        "sentdebias",
        plain(),
        |d| d.tuple[8] = None,
        |e| matches!(e, E::LonelyTuple { tuple: 4, row: 9 }),
    );
    check_error(
        "sentdebias",
        FitOptions::with_rank(2),
        |d| d.tuple[2..].fill(None),
        |e| {
            matches!(
                e,
                E::TooFewExamples {
                    rank: 2,
                    examples: 1,
                    ..
                }
            )
        },
    );
    check_error(
        "sentdebias",
        plain(),
        |d| d.x = Matrix::from_fn(24, 6, |_, j| j as f64),
        |e| matches!(e, E::Degenerate { found: 0, .. }),
    );
}

#[test]
fn states_that_cannot_be_edited() {
    let edit = fit("sentdebias", &planted(20, 6, 2, 1), &FitOptions::default()).unwrap();
    assert_eq!(
        edit.apply_rows(&mut [0.0; 13]),
        Err(EditError::PartialRow { len: 13, dim: 6 })
    );
    assert!(matches!(
        edit.apply_matrix(&mut Matrix::zeros(2, 5)),
        Err(EditError::Shape {
            expected: 6,
            found: 5,
            ..
        })
    ));
    assert!(matches!(
        edit.then(&Edit::identity(5)),
        Err(EditError::Shape { .. })
    ));
    assert!(matches!(
        edit.scaled(f64::NAN),
        Err(EditError::NotFinite { .. })
    ));
}

#[test]
fn debiasers_are_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Edit>();
    fn shared<T: Sync + ?Sized>() {}
    shared::<dyn Debiaser>();
}
