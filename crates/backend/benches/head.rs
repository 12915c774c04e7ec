//! Scoring branches at the head: states of their own against updates of low rank.
//!
//! Times are those of all threads on a processor, added up, as Linux tells them: unlike the time on
//! the clock they mean something on a machine that does other work too.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use interlingua_backend::device::cpu;
use interlingua_backend::ops::{Change, Directions, Logits, Matrix, Scores, Slice};
use interlingua_backend::{Tensor, from_rows};

fn noise(rows: usize, cols: usize, seed: u64) -> Tensor<2> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    from_rows(
        (0..rows * cols).map(|_| next()).collect(),
        rows,
        cols,
        &cpu(),
    )
}

/// Time that all threads of this process have had on a processor.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanoseconds = threads.filter_map(|thread| {
        let path = thread.ok()?.path().join("schedstat");
        let text = std::fs::read_to_string(path).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// What a branch is.
#[derive(Clone, Copy)]
enum Way {
    States,
    Rank(usize),
}

/// One pass over the whole vocabulary, for `branches` branches.
fn score(h: &Tensor<2>, head: &Matrix, branches: usize, way: Way, compared: bool) {
    let ([rows, d], [tokens, _]) = (h.dims(), head.dims());
    let targets: Vec<u32> = (0..rows).map(|i| (i * 7 % tokens) as u32).collect();
    let mut scores = match compared {
        true => Scores::comparisons_of(targets, branches),
        false => Scores::log_probs_of(targets, branches),
    };
    let how = Logits {
        scale: 0.25,
        softcap: None,
    };
    let slice = Slice {
        head,
        bias: None,
        first: 0,
        how,
    };
    let directions: Vec<Directions> = match way {
        Way::States => Vec::new(),
        Way::Rank(k) => (0..branches)
            .map(|b| Directions::new(noise(k, d, b as u64), head))
            .collect(),
    };
    for rows in scores.chunks(slice) {
        let part = h.clone().narrow(0, rows.start, rows.len());
        let changes: Vec<Change<'_>> = (0..branches)
            .map(|b| match way {
                Way::States => Change::States(part.clone() * 0.5),
                Way::Rank(k) => Change::LowRank {
                    coefficients: part.clone().narrow(1, 0, k),
                    directions: &directions[b],
                },
            })
            .collect();
        scores.add(rows, Some(&part), &changes, slice);
    }
    std::hint::black_box(scores.log_probs());
}

fn head(c: &mut Criterion) {
    for (d, vocabulary) in [(256, 8192), (768, 32_768)] {
        let (h, head) = (noise(512, d, 1), Matrix::new(noise(vocabulary, d, 2)));
        let mut group = c.benchmark_group(format!("512 rows, width {d}, vocabulary {vocabulary}"));
        group.sample_size(10);
        for (name, branches, way, compared) in [
            ("1 branch, own states", 1, Way::States, false),
            ("1 branch, rank 1", 1, Way::Rank(1), false),
            ("16 branches, own states", 16, Way::States, false),
            ("16 branches, rank 1", 16, Way::Rank(1), false),
            ("16 branches, rank 8", 16, Way::Rank(8), false),
            ("16 branches, rank 32", 16, Way::Rank(32), false),
            ("16 branches, rank 1, compared", 16, Way::Rank(1), true),
            ("16 branches, own states, compared", 16, Way::States, true),
        ] {
            group.bench_function(name, |b| {
                b.iter_custom(|times| {
                    let start = cpu_time();
                    for _ in 0..times {
                        score(&h, &head, branches, way, compared);
                    }
                    cpu_time() - start
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, head);
criterion_main!(benches);
