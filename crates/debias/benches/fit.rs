//! How long fits and edits take at the sizes of the testbed and of real runs.

use criterion::{Criterion, criterion_group, criterion_main};
use interlingua_debias::{FitData, FitOptions, Matrix, by_name};

/// Gaussian-like vectors with the class planted on the first axes, from a small
/// generator of its own, so that the data never changes with a dependency.
fn planted(n: usize, d: usize, classes: usize) -> FitData {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let label: Vec<usize> = (0..n).map(|i| i % classes).collect();
    let x = Matrix::from_fn(n, d, |i, j| {
        let noise = uniform() + uniform() + uniform();
        noise + if j == label[i] { 0.8 } else { 0.0 }
    });
    FitData {
        x,
        tuple: (0..n).map(|i| Some(i / classes)).collect(),
        label,
        classes: ["male", "female", "neutral"][..classes]
            .iter()
            .map(|c| (*c).to_owned())
            .collect(),
        ..FitData::default()
    }
}

fn fits(c: &mut Criterion) {
    let mut group = c.benchmark_group("fit");
    group.sample_size(10);
    let data = planted(20_000, 256, 3);
    for (method, options) in [
        ("sentdebias", FitOptions::with_rank(4)),
        ("inlp", FitOptions::default().param("rounds", 10.0)),
    ] {
        let debiaser = by_name(method).expect("a registered method");
        group.bench_function(format!("{method} n=20000 d=256"), |b| {
            b.iter(|| debiaser.fit(&data, &options).expect("planted data fits"));
        });
    }
    group.finish();
}

fn edits(c: &mut Criterion) {
    let data = planted(64, 256, 2);
    let edit = by_name("random")
        .expect("a registered method")
        .fit(&data, &FitOptions::with_rank(12))
        .expect("planted data fits")
        .edit;
    let mut states = vec![0.25_f32; 100_000 * 256];
    c.bench_function("apply rank 12 to 100000 states of 256", |b| {
        b.iter(|| edit.apply_rows(&mut states).expect("whole rows"));
    });
}

criterion_group!(benches, fits, edits);
criterion_main!(benches);
