//! The fused CPU kernels against the plain burn operations they replace.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use interlingua_backend::device::cpu;
use interlingua_backend::ops::{
    self, Activation, Attention, Change, Logits, Matrix, Scores, Slice, Tree, plain,
};
use interlingua_backend::{Tensor, from_rows};

fn noise(rows: usize, cols: usize) -> Tensor<2> {
    let mut state = 1u64;
    let values = (0..rows * cols)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    from_rows(values, rows, cols, &cpu())
}

fn kernels(c: &mut Criterion) {
    let (rows, d, vocabulary) = (1024, 256, 8192);
    let x = noise(rows, d);
    let gamma = noise(1, d).reshape([d]);
    let mut group = c.benchmark_group("layer_norm 1024x256");
    group.bench_function("fused", |b| {
        b.iter_batched(
            || x.clone() * 1.0,
            |x| ops::layer_norm(x, &gamma, None, 1e-5),
            BatchSize::SmallInput,
        )
    });
    group.bench_function("plain", |b| {
        b.iter_batched(
            || x.clone() * 1.0,
            |x| plain::layer_norm(x, &gamma, None, 1e-5),
            BatchSize::SmallInput,
        )
    });
    group.finish();

    let (gate, up) = (noise(rows, 4 * d), noise(rows, 4 * d));
    let both = || (gate.clone() * 1.0, up.clone() * 1.0);
    for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
        let mut group = c.benchmark_group(format!("gate 1024x1024, {activation:?}"));
        group.bench_function("fused", |b| {
            b.iter_batched(
                both,
                |(g, u)| ops::gate(g, u, activation),
                BatchSize::SmallInput,
            )
        });
        group.bench_function("plain", |b| {
            b.iter_batched(
                both,
                |(g, u)| plain::gate(g, u, activation),
                BatchSize::SmallInput,
            )
        });
        group.finish();
    }

    let tree = Tree::sequences(&[32; 32]);
    let spec = Attention::causal(4, 2, d / 4);
    let (q, kv) = (noise(rows, d), noise(rows, d / 2));
    let mut group = c.benchmark_group("attention 32 x 32 tokens, 4 heads");
    let inputs = || (q.clone() * 1.0, kv.clone() * 1.0, kv.clone() * 2.0);
    group.bench_function("fused", |b| {
        b.iter_batched(
            inputs,
            |(q, k, v)| ops::attention(q, k, v, &tree, &spec),
            BatchSize::SmallInput,
        )
    });
    group.bench_function("plain", |b| {
        b.iter_batched(
            inputs,
            |(q, k, v)| plain::attention(q, k, v, &tree, &spec),
            BatchSize::SmallInput,
        )
    });
    group.finish();

    let head = noise(vocabulary, d);
    let laid_out = Matrix::new(head.clone());
    let targets: Vec<u32> = (0..rows as u32)
        .map(|i| i * 7 % vocabulary as u32)
        .collect();
    let mut group = c.benchmark_group("log-probabilities of targets 1024x8192");
    group.sample_size(20);
    group.bench_function("fused", |b| {
        b.iter(|| {
            let how = Logits {
                scale: 0.25,
                softcap: None,
            };
            let slice = Slice {
                head: &laid_out,
                bias: None,
                first: 0,
                how,
            };
            let mut scores = Scores::log_probs_of(targets.clone(), 1);
            for chunk in scores.chunks(slice) {
                let h = x.clone().narrow(0, chunk.start, chunk.len());
                scores.add(chunk, None, &[Change::States(h)], slice);
            }
            scores.log_probs()
        })
    });
    group.bench_function("plain", |b| {
        b.iter(|| {
            let logits = ops::linear(x.clone(), &head) * 0.25;
            let at = ops::index(targets.iter().map(|&t| t as i32).collect(), &cpu());
            burn::tensor::activation::log_softmax(logits, 1).gather(1, at.unsqueeze_dim(1))
        });
    });
    group.finish();
}

/// Products of the shapes that a pack of sentences meets, on one thread, as packs are run.
fn products(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.expect("one more thread");
    for (rows, input, output) in [(512, 256, 1024), (512, 1024, 256), (256, 768, 3072)] {
        let (x, w) = (noise(rows, input), noise(output, input));
        let laid_out = Matrix::new(w.clone());
        let mut group = c.benchmark_group(format!("product {rows}x{input}x{output}, one thread"));
        let operations = 2 * rows * input * output;
        group.throughput(criterion::Throughput::Elements(operations as u64));
        group.bench_function("laid out", |b| {
            pool.install(|| b.iter(|| ops::linear(x.clone(), &laid_out)))
        });
        group.bench_function("plain", |b| {
            pool.install(|| b.iter(|| ops::linear(x.clone(), &w)))
        });
        group.finish();
    }
}

/// Products of the few rows that generation meets, with matrices that no cache holds, on all threads.
fn few_rows(c: &mut Criterion) {
    let (input, output) = (640, 49152);
    let laid_out = Matrix::new(noise(output, input));
    let mut group = c.benchmark_group(format!("product of few rows with {input}x{output}"));
    group.sample_size(20);
    for rows in [1, 2, 4, 8, 12, 16] {
        let x = noise(rows, input);
        group.bench_function(format!("{rows}, f32"), |b| {
            b.iter(|| ops::linear(x.clone(), &laid_out))
        });
    }
    group.finish();
}

criterion_group!(benches, kernels, products, few_rows);
criterion_main!(benches);
