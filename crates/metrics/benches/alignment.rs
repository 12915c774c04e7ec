//! Alignment of sentence vectors, and the bootstrap, at the sizes of real runs.

use criterion::{Criterion, criterion_group, criterion_main};
use interlingua_metrics::alignment::{cosine_margin, linear_cka, retrieval_hits};
use interlingua_metrics::bootstrap::{Bootstrap, mean};

fn vectors(n: usize, d: usize, mut state: u64) -> Vec<f32> {
    (0..n * d)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        })
        .collect()
}

fn alignment(c: &mut Criterion) {
    let mut group = c.benchmark_group("alignment");
    group.sample_size(10);
    for (n, d) in [(1000, 256), (4000, 1024)] {
        let (a, b) = (vectors(n, d, 1), vectors(n, d, 2));
        group.bench_function(format!("retrieval n={n} d={d}"), |bench| {
            bench.iter(|| retrieval_hits(&a, &b, d, 10).expect("finite rows"));
        });
        group.bench_function(format!("linear CKA n={n} d={d}"), |bench| {
            bench.iter(|| linear_cka(&a, d, &b, d).expect("rows that vary"));
        });
        group.bench_function(format!("cosine margin n={n} d={d}"), |bench| {
            bench.iter(|| cosine_margin(&a, &b, d, &Bootstrap::default()).expect("finite rows"));
        });
    }
    group.finish();
}

fn intervals(c: &mut Criterion) {
    let values: Vec<f64> = vectors(2000, 1, 3).iter().map(|&v| f64::from(v)).collect();
    c.bench_function("bootstrap mean n=2000, 2000 resamples", |bench| {
        bench.iter(|| mean(&values, &Bootstrap::default()).expect("finite values"));
    });
}

criterion_group!(benches, alignment, intervals);
criterion_main!(benches);
