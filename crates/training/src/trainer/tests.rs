use interlingua_backend::device::cpu;

use super::*;

fn tiny() -> Config {
    Config {
        hidden_size: 16,
        intermediate_size: 24,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        vocab_size: 24,
        max_positions: 32,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        logit_scale: 0.5,
        tied: true,
        qk_norm: false,
        attention_bias: false,
        bos: Some(2),
        eos: Some(3),
    }
}

fn corpus() -> Vec<Vec<u32>> {
    (0..40u32)
        .map(|i| {
            (0..5 + i % 4)
                .map(|j| if j == 0 { 2 } else { 4 + (i * 3 + j * j) % 20 })
                .collect()
        })
        .collect()
}

fn trainer() -> Trainer {
    let optimiser = AdamWConfig {
        learning_rate: 3e-2,
        warmup: 5,
        steps: 60,
        ..Default::default()
    };
    Trainer::new(
        tiny(),
        TrainConfig {
            batch: 8,
            seed: 7,
            optimiser,
        },
        &cpu(),
    )
}

#[test]
fn gradients_agree_with_finite_differences() {
    let mut trainer = trainer();
    let corpus = corpus();
    // Larger weights than at the start, so that every path carries gradient.
    for p in &mut trainer.optimiser.parameters {
        p.values.iter_mut().for_each(|v| *v *= 8.0);
    }
    let batch: Vec<&[u32]> = corpus[..6].iter().map(Vec::as_slice).collect();
    let (_, gradients) = trainer.gradients(&batch);
    for (at, gradient) in gradients.iter().enumerate() {
        let norm: f32 = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        let step = 2e-3f32;
        let direction: Vec<f32> = gradient.iter().map(|g| g / norm.max(1e-12)).collect();
        let mut loss = [0.0; 2];
        for (side, sign) in [(0, 1.0f32), (1, -1.0)] {
            let backup = trainer.optimiser.parameters[at].values.clone();
            for (v, d) in trainer.optimiser.parameters[at]
                .values
                .iter_mut()
                .zip(&direction)
            {
                *v += sign * step * d;
            }
            loss[side] = trainer.gradients(&batch).0;
            trainer.optimiser.parameters[at].values = backup;
        }
        let slope = (loss[0] - loss[1]) / (2.0 * f64::from(step));
        let expected = f64::from(norm);
        assert!(
            (slope - expected).abs() < 0.03 * expected + 2e-4,
            "{}: {slope} against {expected}",
            trainer.optimiser.parameters[at].name
        );
    }
}

#[test]
fn the_fused_backward_equals_autodiff() {
    let mut trainer = trainer();
    for p in &mut trainer.optimiser.parameters {
        p.values.iter_mut().for_each(|v| *v *= 8.0);
    }
    let corpus = corpus();
    let batch: Vec<&[u32]> = corpus[..7].iter().map(Vec::as_slice).collect();
    let (loss, fused) = trainer.gradients_with(&batch, &trainer.blocks(&cpu()), Trainer::fused);
    let (expected, recorded) = trainer.gradients_with(
        &batch,
        &trainer.blocks(&Device::autodiff(cpu())),
        Trainer::recorded,
    );
    assert!((loss - expected).abs() < 1e-5);
    for ((p, a), b) in trainer
        .optimiser
        .parameters
        .iter()
        .zip(&fused)
        .zip(&recorded)
    {
        let scale = b.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
        assert_eq!(a.len(), b.len(), "{}", p.name);
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() < 1e-4 * scale, "{}: {x} against {y}", p.name);
        }
    }
}

/// Parts of a batch give what the batch gives, whatever the number of threads.
#[test]
fn shards_add_up_to_the_batch() {
    let mut trainer = trainer();
    for p in &mut trainer.optimiser.parameters {
        p.values.iter_mut().for_each(|v| *v *= 8.0);
    }
    let corpus = corpus();
    for sentences in [1, 3, 7, 16] {
        let batch: Vec<&[u32]> = corpus[..sentences].iter().map(Vec::as_slice).collect();
        let (expected, whole) =
            trainer.gradients_with(&batch, &trainer.blocks(&cpu()), Trainer::fused);
        let (loss, sum) = trainer.sharded(&batch);
        assert!((loss - expected).abs() < 1e-5, "{loss} against {expected}");
        for ((p, a), b) in trainer.optimiser.parameters.iter().zip(&sum).zip(&whole) {
            let scale = b.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
            assert_eq!(a.len(), b.len(), "{}", p.name);
            for (x, y) in a.iter().zip(b) {
                assert!((x - y).abs() < 1e-5 * scale, "{}: {x} against {y}", p.name);
            }
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let again = pool.build().unwrap().install(|| trainer.sharded(&batch));
            assert_eq!(again, (loss, sum.clone()), "{threads} threads");
        }
    }
}

#[test]
fn training_lowers_the_loss_and_resuming_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let corpus = corpus();
    let mut straight = trainer();
    let mut losses = Vec::new();
    for step in 0..60 {
        losses.push(straight.step(&corpus).unwrap());
        if step == 29 {
            straight.save_checkpoint(&path).unwrap();
        }
    }
    assert!(losses[59] < 0.7 * losses[0], "{losses:?}");
    let mut resumed = trainer();
    resumed.resume(&path).unwrap();
    for loss in &losses[30..] {
        assert_eq!(resumed.step(&corpus).unwrap(), *loss);
    }
    assert_eq!(straight.optimiser, resumed.optimiser);
}
