//! Tests the fused kernels against the plain operations, and both against references.

use burn::tensor::bf16;
use proptest::prelude::*;

use super::*;
use crate::device::cpu;
use crate::kernels::{Factor, Panels, products};
use crate::{Precision, from_bf16_rows, from_rows, to_host};

fn noise(rows: usize, cols: usize, seed: u64) -> Tensor<2> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values = (0..rows * cols)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    from_rows(values, rows, cols, &cpu())
}

fn close(a: Tensor<2>, b: Tensor<2>) {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (to_host(a), to_host(b));
    let scale = a.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    for (x, y) in a.iter().zip(&b) {
        assert!(
            (x - y).abs() <= 2e-5 * scale,
            "{x} against {y} at scale {scale}"
        );
    }
}

/// A random forest of nodes.
fn tree() -> impl Strategy<Value = Tree> {
    prop::collection::vec(
        (1usize..7, any::<prop::sample::Index>(), any::<bool>()),
        1..9,
    )
    .prop_map(|parts| {
        let mut tree = Tree::default();
        for (len, pick, root) in parts {
            let parent = (!root && !tree.nodes.is_empty()).then(|| pick.index(tree.nodes.len()));
            let prefix = parent.map_or(0, |p| {
                let node: Node = tree.nodes[p];
                1 + pick.index(node.prefix + node.len)
            });
            tree.nodes.push(Node {
                start: tree.positions.len(),
                len,
                parent,
                prefix,
            });
            tree.positions.extend(prefix as u32..(prefix + len) as u32);
        }
        tree
    })
}

fn mask() -> impl Strategy<Value = Mask> {
    prop_oneof![Just(Mask::Causal), (1usize..9).prop_map(Mask::Window)]
}

fn vector(len: usize, seed: u64) -> Tensor<1> {
    noise(1, len, seed).reshape([len])
}

const ACTIVATIONS: [Activation; 4] = [
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
];

/// Attention of one head and one query at a time, in `f64`, from its definition.
fn reference_attention([q, k, v]: [&Tensor<2>; 3], tree: &Tree, spec: &Attention) -> Vec<f64> {
    let [q, k, v] = [q, k, v].map(|x| to_host(x.clone()));
    let d = spec.head_dim;
    let mut out = vec![0.0; q.len()];
    for (at, node) in tree.nodes.iter().enumerate() {
        let mut path = Vec::new();
        path_rows(&tree.nodes, at, &mut path);
        for row in node.start..node.start + node.len {
            let i = tree.positions[row] as usize;
            for head in 0..spec.heads {
                let shared = head / (spec.heads / spec.kv_heads);
                let of = |x: &[f32], row: usize, heads: usize, head: usize, l: usize| {
                    f64::from(x[(row * heads + head) * d + l])
                };
                let seen = |j: usize| match spec.mask {
                    Mask::Causal => j <= i,
                    Mask::Window(window) => j <= i && i - j < window,
                    Mask::Full => true,
                };
                let keys: Vec<usize> = (0..path.len()).filter(|&j| seen(j)).collect();
                let weights: Vec<f64> = keys
                    .iter()
                    .map(|&j| {
                        let key = path[j] as usize;
                        let product: f64 = (0..d)
                            .map(|l| {
                                of(&q, row, spec.heads, head, l)
                                    * of(&k, key, spec.kv_heads, shared, l)
                            })
                            .sum();
                        let mut score = product * f64::from(spec.scale);
                        if let Some(cap) = spec.softcap {
                            score = f64::from(cap) * (score / f64::from(cap)).tanh();
                        }
                        if let Some(slopes) = &spec.alibi {
                            score += f64::from(slopes[head]) * j as f64;
                        }
                        score.exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for (j, weight) in keys.iter().zip(weights) {
                    for l in 0..d {
                        out[(row * spec.heads + head) * d + l] +=
                            weight / sum * of(&v, path[*j] as usize, spec.kv_heads, shared, l);
                    }
                }
            }
        }
    }
    out
}

fn check_attention(tree: &Tree, spec: &Attention, seed: u64) {
    let (rows, kv) = (tree.rows(), spec.kv_heads * spec.head_dim);
    let q = noise(rows, spec.heads * spec.head_dim, seed) * 3.0;
    let (k, v) = (noise(rows, kv, seed + 1), noise(rows, kv, seed + 2));
    let fused = attention(q.clone(), k.clone(), v.clone(), tree, spec);
    let reference = reference_attention([&q, &k, &v], tree, spec);
    for (x, y) in to_host(fused.clone()).iter().zip(&reference) {
        assert!((f64::from(*x) - y).abs() < 1e-5, "{x} against {y}");
    }
    close(
        fused.clone(),
        plain::attention(q.clone(), k.clone(), v.clone(), tree, spec),
    );
    // Some queries only, among them whole nodes without any.
    let some = (0..rows as u32).filter(|row| *row == 0 || (row * 7 + seed as u32) % 5 < 2);
    let tree = Tree {
        asked: Some(some.collect()),
        ..tree.clone()
    };
    let (q, expect) = (tree.keep(q), tree.keep(fused));
    close(
        attention(q.clone(), k.clone(), v.clone(), &tree, spec),
        expect.clone(),
    );
    close(plain::attention(q, k, v, &tree, spec), expect);
}

/// `a · b` by its definition.
fn exact_product(a: &[f32], b: &[f32], [rows, depth, columns]: [usize; 3]) -> Vec<f64> {
    let term =
        |r: usize, d: usize, c: usize| f64::from(a[r * depth + d]) * f64::from(b[d * columns + c]);
    (0..rows * columns)
        .map(|at| {
            (0..depth)
                .map(|d| term(at / columns, d, at % columns))
                .sum()
        })
        .collect()
}

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap().install(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of every shape, laid out ahead or not, with parts of the columns, on any number of threads.
    #[test]
    fn products_are_those_of_their_definition(
        rows in prop_oneof![0usize..20, 90usize..400],
        depth in prop_oneof![0usize..40, 500usize..1100],
        columns in prop_oneof![1 => Just(0), 9 => 1usize..90],
        across in any::<[bool; 2]>(),
        biased in any::<bool>(),
        cut in 0.0f64..1.0,
        seed in 1u64..1000,
    ) {
        let (a, b) = (to_host(noise(rows, depth, seed)), to_host(noise(depth, columns, seed + 1)));
        let bias = biased.then(|| to_host(noise(1, columns, seed + 2)));
        let mut exact = exact_product(&a, &b, [rows, depth, columns]);
        if let Some(bias) = &bias {
            for (at, x) in exact.iter_mut().enumerate() {
                *x += f64::from(bias[at % columns]);
            }
        }
        let turned = |values: &[f32], rows: usize, cols: usize| -> Vec<f32> {
            (0..rows * cols).map(|at| values[at % rows * cols + at / rows]).collect()
        };
        let (a_turned, b_turned) = (turned(&a, rows, depth), turned(&b, depth, columns));
        let a = match across[0] {
            true => View::new(&a_turned, depth, rows).transpose(),
            false => View::new(&a, rows, depth),
        };
        let view = match across[1] {
            true => View::new(&b_turned, columns, depth).transpose(),
            false => View::new(&b, depth, columns),
        };
        prop_assert_eq!(view.dims(), [depth, columns]);
        let once = product(a, view, bias.as_deref());
        for (x, y) in once.iter().zip(&exact) {
            prop_assert!((f64::from(*x) - y).abs() < 2e-6 * (depth as f64).max(4.0), "{x} {y}");
        }
        let panels = Panels::new(view);
        for c in 0..columns {
            let mut column = Vec::new();
            panels.push_column(c, &mut column);
            prop_assert_eq!(column, turned(&b, depth, columns)[c * depth..][..depth].to_vec());
        }
        let split = (cut * columns as f64) as usize;
        let parts = [0..split, split..columns];
        let factors = parts.clone().map(|part| Factor {
            panels: &panels,
            bias: bias.as_ref().map(|b| &b[part.clone()]),
            columns: part,
        });
        for threads in [1, 3] {
            let found = on_threads(threads, || products(a, &factors));
            for (part, found) in parts.iter().zip(found) {
                let of_row = |r: usize| once[r * columns..][part.clone()].to_vec();
                let expected: Vec<f32> = (0..rows).flat_map(of_row).collect();
                prop_assert_eq!(found, expected, "on {} threads", threads);
            }
        }
    }

    /// A row's products are the same numbers whichever rows are beside it, and so whatever tile it falls into.
    #[test]
    fn rows_are_the_same_alone_and_among_others(
        rows in 1usize..30,
        depth in prop_oneof![1usize..40, 1020usize..1100],
        columns in 1usize..100,
        seed in 1u64..1000,
    ) {
        let (a, b) = (to_host(noise(rows, depth, seed)), to_host(noise(depth, columns, seed + 1)));
        let panels = Panels::new(View::new(&b, depth, columns));
        let factor = [Factor::whole(&panels, None)];
        let together = products(View::new(&a, rows, depth), &factor).remove(0);
        for taken in 1..=rows {
            for first in [0, rows - taken] {
                let some = View::new(&a[first * depth..][..taken * depth], taken, depth);
                let found = products(some, &factor).remove(0);
                prop_assert_eq!(&found, &together[first * columns..][..taken * columns], "{} rows", taken);
            }
        }
    }

    /// What is widened as it is multiplied gives the same numbers as what was widened before.
    #[test]
    fn products_with_codes_are_those_with_what_they_stand_for(
        rows in prop_oneof![1usize..14, 40usize..60],
        runs in prop_oneof![0usize..4, 30usize..36],
        columns in 1usize..600,
        group in prop_oneof![Just(16usize), Just(32)],
        of_sixteen in prop::option::of(prop_oneof![Just(0i8), Just(-8)]),
        mins in any::<bool>(),
        seed in 1u64..1000,
    ) {
        // Codes begin at 0 where groups have a least value.
        let of_sixteen = of_sixteen.map(|least| if mins { 0 } else { least });
        let (depth, coding) = (32 * runs, Coding { group, of_sixteen, mins });
        let least = of_sixteen.map_or(-128.0, f32::from);
        let count = if of_sixteen.is_some() { 16.0 } else { 256.0 };
        let from = |values: Vec<f32>| -> Vec<i8> {
            values.iter().map(|x| (least + (x * 0.5 + 0.5) * count).min(least + count - 1.0) as i8).collect()
        };
        // Of few digits, as those of files are.
        let scales = |seed| -> Vec<f32> {
            let values = to_host(noise(columns, depth / group, seed));
            values.iter().map(|x| (x * 65536.0).round() / (1 << 22) as f32).collect()
        };
        let all = Codes {
            codes: from(to_host(noise(columns, depth, seed))),
            scales: scales(seed + 1),
            mins: if mins { scales(seed + 2) } else { Vec::new() },
        };
        let values = all.values(coding);
        prop_assert_eq!(values.len(), columns * depth);
        prop_assert!(all.is_finite());
        let some = |values: &[f32], rows: &std::ops::Range<usize>| {
            values[(rows.start * depth / group).min(values.len())..(rows.end * depth / group).min(values.len())].to_vec()
        };
        let read = |rows: std::ops::Range<usize>| -> Result<Codes, ()> {
            Ok(Codes {
                codes: all.codes[rows.start * depth..rows.end * depth].to_vec(),
                scales: some(&all.scales, &rows),
                mins: some(&all.mins, &rows),
            })
        };
        let coded = Panels::read([columns, depth], coding, read).unwrap();
        prop_assert_eq!(coded.dims(), [depth, columns]);
        let whole = Panels::new(View::new(&values, columns, depth).transpose());
        for column in [0, columns / 2, columns - 1] {
            let mut found = Vec::new();
            coded.push_column(column, &mut found);
            prop_assert_eq!(&found, &values[column * depth..][..depth]);
        }
        let x = to_host(noise(rows, depth, seed + 3));
        let x = View::new(&x, rows, depth);
        let of = |panels: &Panels, columns: std::ops::Range<usize>| {
            products(x, &[Factor { panels, columns, bias: None }]).remove(0)
        };
        for part in [0..columns, columns / 3..columns, 0..columns / 2] {
            let expected = of(&whole, part.clone());
            for threads in [1, 3] {
                prop_assert_eq!(&on_threads(threads, || of(&coded, part.clone())), &expected);
            }
        }
    }

    #[test]
    fn matrices_give_back_their_rows_and_the_products_of_tensors(
        rows in 1usize..9,
        out in 1usize..70,
        input in 1usize..12,
        seed in 1u64..1000,
    ) {
        let (x, w, bias) = (noise(rows, input, seed), noise(out, input, seed + 1), vector(out, seed + 2));
        let values = to_host(w.clone());
        let read = |range: std::ops::Range<usize>| -> Result<Vec<f32>, ()> {
            Ok(values[range.start * input..range.end * input].to_vec())
        };
        let laid_out = Matrix::read(out, input, (&cpu(), Precision::F32), read).unwrap();
        prop_assert_eq!(laid_out.dims(), [out, input]);
        for w in [&laid_out, &Matrix::new(w.clone())] {
            let asked = [out as u32 - 1, 0, out as u32 / 2];
            let expected: Vec<f32> = asked.iter().flat_map(|&r| &values[r as usize * input..][..input]).copied().collect();
            prop_assert_eq!(to_host(w.rows(&asked, &cpu())), expected);
            let [one, other] = Matrix::affines(x.clone(), [(w, None), (w, Some(&bias))]);
            close(one.clone(), linear(x.clone(), w));
            close(one + bias.clone().unsqueeze(), other);
        }
        close(linear(x.clone(), &laid_out), linear(x.clone(), &w));
        close(affine(x.clone(), &laid_out, Some(&bias)), affine(x.clone(), &w, Some(&bias)));
        // Of bfloat16: factors are rounded, sums are not before they are whole.
        let read = |range: std::ops::Range<usize>| -> Result<Vec<f32>, ()> {
            Ok(values[range.start * input..range.end * input].to_vec())
        };
        let rounded = |t: Tensor<2>| Precision::F32.cast(Precision::Bf16.cast(t));
        let narrow = Matrix::read(out, input, (&cpu(), Precision::Bf16), read).unwrap();
        let bits = to_host(w.clone()).iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
        let stored = Matrix::new(from_bf16_rows(bits, out, input, &cpu()));
        let all: Vec<u32> = (0..out as u32).collect();
        let expected = to_host(rounded(linear(rounded(x.clone()), &rounded(w.clone()))));
        for narrow in [&narrow, &stored] {
            // burn's cast on the CPU goes through f64 and may miss the nearest by one, as sums in
            // another order do.
            for (x, y) in to_host(narrow.rows(&all, &cpu())).iter().zip(to_host(w.clone())) {
                prop_assert!((x - y).abs() <= 0.0041 * y.abs(), "{x} {y}");
            }
            for (x, y) in to_host(linear(x.clone(), narrow)).iter().zip(&expected) {
                prop_assert!((x - y).abs() <= 0.01 * (y.abs() + input as f32), "{x} {y}");
            }
            close(
                linear(x.clone(), narrow) + bias.clone().unsqueeze(),
                affine(x.clone(), narrow, Some(&bias)),
            );
        }
    }
}

#[test]
fn a_scale_that_is_not_finite_is_seen() {
    let codes = |scale, min| Codes {
        codes: vec![0; 32],
        scales: vec![scale],
        mins: vec![min],
    };
    assert!(codes(1.0, 0.0).is_finite());
    assert!(!codes(f32::INFINITY, 0.0).is_finite());
    assert!(!codes(1.0, f32::NAN).is_finite());
    let read = |_: std::ops::Range<usize>| Err::<Codes, _>("a disk that is full");
    let coding = Coding {
        group: 32,
        of_sixteen: None,
        mins: true,
    };
    assert_eq!(
        Matrix::read_codes(3, 32, coding, read).unwrap_err(),
        "a disk that is full"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fused_attention_equals_plain_and_its_definition(
        tree in tree(),
        seed in 1u64..1000,
        kv_heads in 1usize..4,
        group in 1usize..4,
        head_dim in 1usize..10,
        mask in mask(),
        softcap in prop::option::of(0.5f32..30.0),
        alibi in any::<bool>(),
        scale in 0.1f32..1.0,
    ) {
        let heads = kv_heads * group;
        let alibi = alibi.then(|| alibi_slopes(heads));
        let spec = Attention { heads, kv_heads, head_dim, scale, mask, softcap, alibi };
        check_attention(&tree, &spec, seed);
    }

    #[test]
    fn bidirectional_attention_sees_its_whole_sequence_only(
        lengths in prop::collection::vec(1usize..20, 1..6),
        seed in 1u64..1000,
        group in 1usize..4,
    ) {
        let spec = Attention { mask: Mask::Full, ..Attention::causal(2 * group, 2, 3) };
        check_attention(&Tree::sequences(&lengths), &spec, seed);
    }

    #[test]
    fn fused_rows_equal_plain(rows in 1usize..40, cols in 1usize..40, seed in 1u64..1000) {
        let x = noise(rows, cols, seed) * 3.0;
        let (gain, bias) = (vector(cols, seed + 9), vector(cols, seed + 10));
        for bias in [None, Some(&bias)] {
            close(
                layer_norm(x.clone(), &gain, bias, 1e-5),
                plain::layer_norm(x.clone(), &gain, bias, 1e-5),
            );
        }
        close(rms_norm(x.clone(), &gain, 1e-6), plain::rms_norm(x.clone(), &gain, 1e-6));
        let up = noise(rows, cols, seed + 3);
        for activation in ACTIVATIONS {
            close(activate(x.clone(), activation), plain::activate(x.clone(), activation));
            close(
                gate(x.clone(), up.clone(), activation),
                plain::gate(x.clone(), up.clone(), activation),
            );
        }
        let w = noise(7, cols, seed + 4);
        let bias = vector(7, seed + 5);
        close(
            affine(x.clone(), &w, Some(&bias)),
            linear(x.clone(), &w) + bias.clone().unsqueeze(),
        );
        close(affine(x.clone(), &w, None), linear(x, &w));
    }

    #[test]
    fn fused_rotary_equals_plain_and_turns_back(
        rows in 1usize..20,
        heads in 1usize..4,
        half in 1usize..9,
        seed in 1u64..1000,
        halves in any::<bool>(),
    ) {
        let style = if halves { RotaryStyle::HalfSplit } else { RotaryStyle::Interleaved };
        let table = Rotary::new(half * 2, 10_000.0, style, RotaryScaling::None);
        let positions: Vec<u32> = (0..rows as u32).map(|i| (i * 7) % 64).collect();
        let x = noise(rows, heads * half * 2, seed);
        let turned = rotary(x.clone(), &positions, &table);
        close(turned.clone(), plain::rotary(x.clone(), &positions, &table));
        close(backward::rotary(turned, &positions, &table), x);
    }

    #[test]
    fn log_probs_do_not_depend_on_the_slices(
        rows in 1usize..9,
        cuts in prop::collection::btree_set(1usize..40, 0..6),
        seed in 1u64..1000,
        scale in prop_oneof![Just(1.0f32), -2.0f32..3.0],
        softcap in prop::option::of(0.5f32..30.0),
        biased in any::<bool>(),
    ) {
        let (d, vocabulary) = (5, 40);
        let (h, head) = (noise(rows, d, seed) * 4.0, noise(vocabulary, d, seed + 1) * 4.0);
        let bias = biased.then(|| to_host(vector(vocabulary, seed + 2)));
        let targets: Vec<u32> = (0..rows as u32).map(|i| (i * 17) % vocabulary as u32).collect();
        let how = Logits { scale, softcap };
        let mut ends: Vec<usize> = cuts.into_iter().chain([vocabulary]).collect();
        ends.dedup();
        let states = [Change::States(h.clone())];
        let mut sliced = Scores::log_probs_of(targets.clone(), 1);
        let mut first = 0;
        for end in ends {
            let slice = Matrix::new(head.clone().narrow(0, first, end - first));
            let bias = bias.as_ref().map(|b| &b[first..end]);
            sliced.add(0..rows, None, &states, Slice { head: &slice, bias, first, how });
            first = end;
        }
        let mut whole = Scores::log_probs_of(targets.clone(), 1);
        let laid_out = Matrix::new(head.clone());
        whole.add(0..rows, None, &states, Slice { head: &laid_out, bias: bias.as_deref(), first: 0, how });
        let (sliced, whole) = (&sliced.log_probs()[0], &whole.log_probs()[0]);
        let values = logits(h.clone(), &head, bias.as_deref(), how);
        close(values.clone(), plain::shape_logits(linear(h.clone(), &head), bias.as_deref(), how));
        let products = to_host(linear(h, &head));
        let values = to_host(values);
        for (row, &target) in targets.iter().enumerate() {
            let exact: Vec<f64> = (0..vocabulary)
                .map(|t| {
                    let mut x = f64::from(products[row * vocabulary + t]) * f64::from(scale);
                    x += bias.as_ref().map_or(0.0, |b| f64::from(b[t]));
                    match softcap {
                        Some(cap) => f64::from(cap) * (x / f64::from(cap)).tanh(),
                        None => x,
                    }
                })
                .collect();
            for (x, y) in values[row * vocabulary..].iter().zip(&exact) {
                prop_assert!((f64::from(*x) - y).abs() < 1e-6 * y.abs().max(1.0) * 8.0);
            }
            let sum: f64 = exact.iter().map(|x| x.exp()).sum();
            let expected = exact[target as usize] - sum.ln();
            for log_prob in [sliced[row], whole[row]] {
                prop_assert!((f64::from(log_prob) - expected).abs() < 2e-5, "{log_prob} against {expected}");
            }
        }
    }

    /// Fused and plain, in slices and whole, against the definition in `f64`.
    #[test]
    fn comparisons_are_those_of_their_definition(
        rows in 1usize..9,
        cuts in prop::collection::btree_set(1usize..40, 0..6),
        seed in 1u64..1000,
        rank in 1usize..4,
        size in prop_oneof![Just(1e-3f32), Just(1.0), Just(8.0)],
        scale in prop_oneof![Just(1.0f32), -2.0f32..3.0],
        softcap in prop::option::of(0.5f32..30.0),
        biased in any::<bool>(),
    ) {
        let (d, vocabulary) = (5, 40);
        let how = Logits { scale, softcap };
        let (h, head) = (noise(rows, d, seed) * 2.0, noise(vocabulary, d, seed + 1) * 2.0);
        let bias = biased.then(|| to_host(vector(vocabulary, seed + 2)));
        let coefficients = noise(rows, rank, seed + 3) * size;
        let vectors = noise(rank, d, seed + 4);
        let edited = h.clone() - coefficients.clone().matmul(vectors.clone());
        let targets: Vec<u32> = (0..rows as u32).map(|i| (i * 17) % vocabulary as u32).collect();
        let ends: Vec<usize> = cuts.into_iter().chain([vocabulary]).collect();
        let mut scores = Scores::comparisons_of(targets.clone(), 3);
        let mut first = 0;
        for end in ends {
            let part = head.clone().narrow(0, first, end - first);
            let laid_out = Matrix::new(part.clone());
            let bias = bias.as_ref().map(|b| &b[first..end]);
            let slice = Slice { head: &laid_out, bias, first, how };
            let directions = Directions::new(vectors.clone(), &laid_out);
            let changes = [
                Change::Nothing,
                Change::LowRank { coefficients: coefficients.clone(), directions: &directions },
                Change::States(edited.clone()),
            ];
            scores.add(0..rows, Some(&h), &changes, slice);
            let columns: Vec<Option<usize>> = (0..rows).map(|i| (i % 2 == 0).then_some(0)).collect();
            // The first tile of the slice, whose directions lie first.
            let tile = part.clone().narrow(0, 0, head::TILE.min(end - first));
            let laid_out = Matrix::new(tile.clone());
            let bias = bias.map(|b| &b[..tile.dims()[0]]);
            let slice = Slice { head: &laid_out, bias, first, how };
            let directions = Directions::new(vectors.clone(), &laid_out);
            let changes = [
                Change::Nothing,
                Change::LowRank { coefficients: coefficients.clone(), directions: &directions },
                Change::States(edited.clone()),
            ];
            let states = head::OnHost::new(Some(h.clone()), &changes);
            let whole = (0, 0..tile.dims()[0]);
            let fused = head::fused_parts(&states, &changes, &columns, whole, slice, true);
            let products = linear(h.clone(), &tile);
            let plain = head::plain_parts(Some(products), &changes, &columns, slice, true);
            let all = |parts: &head::Parts| [std::slice::from_ref(&parts.unedited), &parts.branches[..]].concat();
            for (a, b) in all(&fused).iter().flatten().zip(all(&plain).iter().flatten()) {
                let near = |a: f64, b: f64| (a - b).abs() <= 2e-5 * a.abs().max(30.0);
                prop_assert!(near(a.max.into(), b.max.into()) && near(a.sum, b.sum), "{a:?} {b:?}");
                prop_assert!(near(a.gap, b.gap), "{a:?} {b:?}");
                prop_assert_eq!(a.target.is_some(), b.target.is_some());
            }
            first = end;
        }
        let exact = |h: &Tensor<2>| -> Vec<Vec<f64>> {
            let values = to_host(logits(h.clone(), &head, bias.as_deref(), how));
            values
                .chunks_exact(vocabulary)
                .map(|row| {
                    let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                    row.iter().map(|&x| f64::from(x) - sum.ln()).collect()
                })
                .collect()
        };
        let (p, q) = (exact(&h), exact(&edited));
        let found = scores.comparisons();
        for row in 0..rows {
            prop_assert_eq!(found[0][row].kl, 0.0);
            prop_assert!(found[0][row].agree);
            let kl: f64 = p[row].iter().zip(&q[row]).map(|(p, q)| p.exp() * (p - q)).sum();
            for branch in &found[1..] {
                let Comparison { log_prob, kl: found, .. } = branch[row];
                let expected = q[row][targets[row] as usize];
                prop_assert!((f64::from(log_prob) - expected).abs() < 2e-5 * expected.abs().max(1.0));
                prop_assert!((f64::from(found) - kl).abs() < 1e-6 + 2e-5 * kl, "{found} against {kl}");
                prop_assert!(found >= 0.0);
            }
        }
    }

    #[test]
    fn cross_entropy_matches_log_probs_and_its_own_differences(rows in 1usize..9, seed in 1u64..1000) {
        let (d, vocabulary) = (5, 17);
        let (h, head) = (noise(rows, d, seed), noise(vocabulary, d, seed + 1));
        let targets: Vec<u32> = (0..rows as u32).map(|i| (i * 5) % vocabulary as u32).collect();
        let values = to_host(head.clone());
        let (loss, grad_h, grad_head) = cross_entropy(h.clone(), &values, &targets, 0.7);
        let how = Logits { scale: 0.7, softcap: None };
        let mut scores = Scores::log_probs_of(targets.clone(), 1);
        let laid_out = Matrix::new(head.clone());
        let slice = Slice { head: &laid_out, bias: None, first: 0, how };
        scores.add(0..rows, None, &[Change::States(h.clone())], slice);
        let log_probs = scores.log_probs().remove(0);
        let mean = -log_probs.iter().map(|&x| f64::from(x)).sum::<f64>() / rows as f64;
        prop_assert!((loss - mean).abs() < 1e-5);
        let logits = to_host(linear(h.clone(), &head) * 0.7);
        for (row, &target) in targets.iter().enumerate() {
            let row_logits = &logits[row * vocabulary..][..vocabulary];
            let sum: f64 = row_logits.iter().map(|&x| f64::from(x).exp()).sum();
            let exact = f64::from(row_logits[target as usize]) - sum.ln();
            prop_assert!((exact - f64::from(log_probs[row])).abs() < 1e-5);
        }
        let step = 1e-2;
        let direction = noise(rows, d, seed + 2);
        let (up, _, _) = cross_entropy(h.clone() + direction.clone() * step, &values, &targets, 0.7);
        let (down, _, _) = cross_entropy(h.clone() - direction.clone() * step, &values, &targets, 0.7);
        let slope = f64::from(to_host((grad_h * direction).sum())[0]);
        prop_assert!(((up - down) / (2.0 * step) - slope).abs() < 2e-3, "{} {}", (up - down) / 0.02, slope);
        let direction = noise(vocabulary, d, seed + 4);
        let (up, _, _) = cross_entropy(h.clone(), &to_host(head.clone() + direction.clone() * step), &targets, 0.7);
        let (down, _, _) = cross_entropy(h, &to_host(head - direction.clone() * step), &targets, 0.7);
        let slope = f64::from(to_host((from_rows(grad_head, vocabulary, d, &crate::device::cpu()) * direction).sum())[0]);
        prop_assert!(((up - down) / (2.0 * step) - slope).abs() < 2e-3);
    }
}

#[test]
fn activations_are_accurate() {
    // Φ by its series around 0 and by Mills' ratio as a continued fraction beyond.
    fn normal_distribution(x: f64) -> f64 {
        let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let a = x.abs();
        let tail = if a < 3.0 {
            let (mut term, mut sum) = (a, a);
            for k in 1..80 {
                term *= a * a / f64::from(2 * k + 1);
                sum += term;
            }
            0.5 - density * sum
        } else {
            density / (1..200).rev().fold(a, |f, k| a + f64::from(k) / f)
        };
        if x < 0.0 { tail } else { 1.0 - tail }
    }
    assert!((normal_distribution(1.959_963_984_540_054) - 0.975).abs() < 1e-14);
    assert!((normal_distribution(-4.0) / 3.167_124_183_311_992e-5 - 1.0).abs() < 1e-12);
    let x: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 / 4000.0).collect();
    for activation in ACTIVATIONS {
        let y = to_host(activate(
            from_rows(x.clone(), 1, x.len(), &cpu()),
            activation,
        ));
        let mut worst = (0.0, 0.0);
        for (&x, y) in x.iter().zip(y) {
            let x = f64::from(x);
            let exact = match activation {
                Activation::Silu => x / (1.0 + (-x).exp()),
                Activation::Gelu => x * normal_distribution(x),
                Activation::GeluTanh => {
                    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                    0.5 * x * (1.0 + u.tanh())
                }
                Activation::Relu => x.max(0.0),
            };
            let error = (f64::from(y) - exact).abs() / x.abs().max(1.0);
            if error > worst.0 {
                worst = (error, x);
            }
        }
        assert!(worst.0 < 2e-7, "{activation:?}: {worst:?}");
    }
}

#[test]
fn every_activation_keeps_what_is_not_a_number() {
    for activation in ACTIVATIONS {
        let x = from_rows(vec![f32::NAN; 3], 1, 3, &cpu());
        assert!(
            to_host(activate(x, activation)).iter().all(|x| x.is_nan()),
            "{activation:?}"
        );
    }
}

#[test]
fn every_name_of_an_activation_is_known() {
    for name in Activation::NAMES {
        assert!(Activation::parse(name).is_some(), "{name}");
    }
    assert_eq!(Activation::parse("gelu_new"), Some(Activation::GeluTanh));
    assert_eq!(Activation::parse("gelu"), Some(Activation::Gelu));
    assert_eq!(Activation::parse("quick_gelu"), None);
}

#[test]
fn a_window_of_one_returns_the_value_itself() {
    let tree = Tree::sequences(&[5, 1]);
    let spec = Attention {
        mask: Mask::Window(1),
        ..Attention::causal(1, 1, 4)
    };
    let v = noise(6, 4, 3);
    let out = attention(noise(6, 4, 1), noise(6, 4, 2), v.clone(), &tree, &spec);
    assert_eq!(to_host(out), to_host(v));
}

#[test]
#[should_panic(expected = "cannot share a prefix")]
fn bidirectional_attention_refuses_shared_prefixes() {
    let mut tree = Tree::sequences(&[2]);
    tree.nodes.push(Node {
        start: 2,
        len: 1,
        parent: Some(0),
        prefix: 1,
    });
    tree.positions.push(1);
    let spec = Attention {
        mask: Mask::Full,
        ..Attention::causal(1, 1, 2)
    };
    let x = noise(3, 2, 1);
    attention(x.clone(), x.clone(), x, &tree, &spec);
}

#[test]
#[should_panic(expected = "in no slice")]
fn a_target_that_never_came_is_not_passed_over() {
    let mut scores = Scores::log_probs_of(vec![9], 1);
    let slice = Slice {
        head: &Matrix::new(noise(4, 2, 2)),
        bias: None,
        first: 0,
        how: Logits::default(),
    };
    scores.add(0..1, None, &[Change::States(noise(1, 2, 1))], slice);
    scores.log_probs();
}

/// Of equally likely tokens the first counts, in whatever order the slices come.
#[test]
fn ties_go_to_the_lowest_token() {
    let head = from_rows(vec![1.0, 3.0, 2.0, 3.0, 3.0, 0.0], 6, 1, &cpu());
    let h = from_rows(vec![1.0], 1, 1, &cpu());
    let part = |first, len| Matrix::new(head.clone().narrow(0, first, len));
    for order in [[0usize, 2, 4], [4, 2, 0], [2, 0, 4]] {
        let mut scores = Scores::comparisons_of(vec![0], 2);
        for first in order {
            let slice = Slice {
                head: &part(first, 2),
                bias: None,
                first,
                how: Logits::default(),
            };
            // Negated, token 5 is the only best one.
            let changes = [
                Change::States(h.clone() * 2.0),
                Change::States(h.clone() * -1.0),
            ];
            scores.add(0..1, Some(&h), &changes, slice);
            let plain = head::plain_parts(
                Some(linear(h.clone(), slice.head)),
                &changes,
                &[None],
                slice,
                true,
            );
            let expected = usize::from(first != 4);
            assert_eq!(
                plain.unedited[0].best as usize, expected,
                "slice from {first}"
            );
        }
        let found = scores.comparisons();
        assert!(found[0][0].agree && !found[1][0].agree, "{order:?}");
    }
}

#[test]
fn alibi_slopes_are_those_of_the_paper() {
    assert_eq!(alibi_slopes(4), [0.25, 0.0625, 0.015_625, 0.003_906_25]);
    assert_eq!(alibi_slopes(1), [1.0 / 256.0]);
    // 6 heads: the four of 4 heads, then the first and third of 8.
    assert_eq!(
        alibi_slopes(6),
        [0.25, 0.0625, 0.015_625, 0.003_906_25, 0.5, 0.125]
    );
    assert!(alibi_slopes(0).is_empty());
}

#[test]
fn rotary_turns_the_pairs_of_its_style() {
    // One radian per position for the first pair, 1/10 of one for the second.
    let x = from_rows(vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 1, 8, &cpu());
    let turned = |style| {
        let rotary_ = Rotary::new(4, 100.0, style, RotaryScaling::None);
        to_host(rotary(x.clone(), &[2], &rotary_))
    };
    let (c, s) = (|a: f32| a.cos(), |a: f32| a.sin());
    let near = |got: Vec<f32>, expected: [f32; 8]| {
        for (x, y) in got.iter().zip(expected) {
            assert!((x - y).abs() < 1e-6, "{got:?} against {expected:?}");
        }
    };
    near(
        turned(RotaryStyle::Interleaved),
        [c(2.0), s(2.0), 0.0, 0.0, 0.0, 0.0, -s(0.2), c(0.2)],
    );
    near(
        turned(RotaryStyle::HalfSplit),
        [c(2.0), 0.0, s(2.0), 0.0, 0.0, -s(0.2), 0.0, c(0.2)],
    );
}

#[test]
fn the_rotary_table_grows_without_changing() {
    let short = Rotary::new(6, 10_000.0, RotaryStyle::HalfSplit, RotaryScaling::None);
    let long = short.clone();
    let before = short.table(&[3]);
    let after = long.table(&[1000, 2]);
    assert_eq!(before.len(), 4 * 6);
    assert!(after.len() >= 1001 * 6);
    assert_eq!(before[..], after[..before.len()]);
    // Clones share what has been computed.
    assert_eq!(short.table(&[0]).len(), after.len());
}

#[test]
fn scaled_frequencies_are_those_of_transformers() {
    let check = |head_dim: usize, scaling, expected: &[f32]| {
        let rotary = Rotary::new(head_dim, 10_000.0, RotaryStyle::Interleaved, scaling);
        // The angle of position 1 is the frequency.
        let table = rotary.table(&[1]);
        for (pair, &frequency) in table[head_dim..].chunks_exact(2).zip(expected) {
            let angle = pair[1].atan2(pair[0]);
            assert!(
                (angle - frequency).abs() <= 3e-7 * frequency,
                "{angle} against {frequency}"
            );
        }
    };
    check(
        8,
        RotaryScaling::Linear { factor: 8.0 },
        &[0.125, 0.0125, 0.00125, 0.000_125],
    );
    // The first wave is short, the second between, the others long.
    check(
        16,
        RotaryScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: 64,
        },
        &[
            1.0,
            0.236_687_1,
            0.003_725_355,
            0.000_988_211_8,
            0.000_312_5,
            9.882_118e-5,
            3.125e-5,
            9.882_118e-6,
        ],
    );
}

#[test]
fn what_is_done_once_for_equal_rows_is_what_is_done_for_each() {
    let tokens = [7, 3, 7, 7, 4, 3];
    let repeats = Repeats::new(tokens.iter());
    assert_eq!(repeats.first, [0, 1, 4]);
    assert_eq!(repeats.kind, [0, 1, 0, 0, 2, 1]);
    let values = tokens.iter().flat_map(|&t| [t as f32, 0.5 * t as f32]);
    let x = from_rows(values.collect(), 6, 2, &cpu());
    let each = Tree::sequences(&[6]);
    let once = Tree {
        repeats: Some(repeats),
        ..each.clone()
    };
    let mut rows = Vec::new();
    let mut twice = |tree: &Tree| {
        let [a, b] = tree.once(x.clone(), |x| {
            rows.push(x.dims()[0]);
            [x.clone() * 2.0, x + 1.0]
        });
        [to_host(a), to_host(b)]
    };
    assert_eq!(twice(&each), twice(&once));
    assert_eq!(rows, [6, 3]);
}

/// Where logits move far, and together but for little, the divergence keeps its digits.
#[test]
fn a_small_divergence_of_large_logits_keeps_its_digits() {
    let (d, vocabulary, how) = (
        2,
        3,
        Logits {
            scale: 2.8129454,
            softcap: None,
        },
    );
    // The edit moves the likeliest logit from some 23 to some 126; the others have next to no weight.
    let head = from_rows(vec![8.0, 0.0, 3.9, 0.1, -2.0, 0.3], vocabulary, d, &cpu());
    let h = from_rows(vec![1.03663, 0.2], 1, d, &cpu());
    let edited = from_rows(vec![5.61697, 0.2], 1, d, &cpu());
    let laid_out = Matrix::new(head.clone());
    let slice = Slice {
        head: &laid_out,
        bias: None,
        first: 0,
        how,
    };
    let mut scores = Scores::comparisons_of(vec![0], 1);
    scores.add(0..1, Some(&h), &[Change::States(edited.clone())], slice);
    let found = f64::from(scores.comparisons()[0][0].kl);
    let log_probs = |h: &Tensor<2>| -> Vec<f64> {
        let logits: Vec<f64> = to_host(logits(h.clone(), &head, None, how))
            .into_iter()
            .map(f64::from)
            .collect();
        let max = logits.iter().fold(f64::MIN, |m, &x| m.max(x));
        let sum = logits.iter().map(|x| (x - max).exp()).sum::<f64>();
        logits.iter().map(|x| x - max - sum.ln()).collect()
    };
    let (p, q) = (log_probs(&h), log_probs(&edited));
    let expected: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
    assert!(expected > 1e-4 && q[0] > -1e-12, "{expected}");
    assert!(
        (found - expected).abs() < 1e-4 * expected,
        "{found} against {expected}"
    );
}
