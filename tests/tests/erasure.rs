//! What an eraser leaves for a probe to find: after LEACE no linear probe beats
//! the majority class on held-out states by more than a point, while a perceptron
//! may (Belrose et al. 2023, arXiv 2306.03819).

use interlingua_backend::device::cpu;
use interlingua_debias::{Edit, FitData, FitOptions, Matrix, by_name};
use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_metrics::probe::{Probe, ProbeAccuracy, Rows, accuracy, codelength};
use interlingua_models::engine::{Capture, Pooling, capture};
use interlingua_models::{Hook, Model, Residency};
use interlingua_tests::shared;

/// Labelled states, the first `train` of which an eraser and the probes learn from.
struct States {
    x: Vec<f32>,
    y: Vec<usize>,
    dim: usize,
    classes: usize,
    train: usize,
}

impl States {
    fn halves(&self) -> [Rows<'_>; 2] {
        let at = self.train * self.dim;
        let rows = |x, y| Rows {
            x,
            y,
            dim: self.dim,
            classes: self.classes,
        };
        [
            rows(&self.x[..at], &self.y[..self.train]),
            rows(&self.x[at..], &self.y[self.train..]),
        ]
    }

    /// LEACE, fitted to the training rows.
    fn leace(&self) -> Edit {
        let [train, _] = self.halves();
        let data = FitData {
            x: Matrix::from_f32(self.train, self.dim, train.x).unwrap(),
            label: train.y.to_vec(),
            tuple: vec![None; self.train],
            classes: (0..self.classes).map(|c| format!("class {c}")).collect(),
            ..FitData::default()
        };
        let leace = by_name("leace").unwrap();
        leace.fit(&data, &FitOptions::default()).unwrap().edit
    }

    fn probed(&self, probe: &Probe) -> ProbeAccuracy {
        let [train, test] = self.halves();
        let found = accuracy(&train, &test, probe, &Bootstrap::default()).unwrap();
        assert!(found.converged, "{probe:?}");
        found
    }
}

/// Accuracies before and after LEACE, in the order linear, perceptron.
fn before_and_after(mut states: States, what: &str) -> [[ProbeAccuracy; 2]; 2] {
    let edit = states.leace();
    let probes = [Probe::linear(0), Probe::mlp(0)];
    let before = probes.map(|probe| states.probed(&probe));
    edit.apply_rows(&mut states.x).unwrap();
    let after = probes.map(|probe| states.probed(&probe));
    for (name, found) in [("before", &before), ("after", &after)] {
        println!(
            "{what}, {name} LEACE: linear {:.3}, perceptron {:.3}, majority {:.3}",
            found[0].accuracy.value, found[1].accuracy.value, found[0].majority
        );
    }
    [before, after]
}

/// Random numbers of a splitmix generator: standard normal, and below n.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Three classes of shares 0.5, 0.3, 0.2: their means lie apart, which a linear
/// probe sees, and so do the variances of four features, which only a perceptron
/// sees.
fn planted(n: usize, seed: u64) -> States {
    let dim = 16;
    let mut random = Random(seed);
    let centres: Vec<f64> = (0..3 * dim).map(|_| 0.7 * random.normal()).collect();
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let share = random.unit();
        let class = usize::from(share > 0.5) + usize::from(share > 0.8);
        for j in 0..dim {
            let spread = if j < 4 { 1.0 + class as f64 } else { 1.0 };
            x.push((centres[class * dim + j] + spread * random.normal()) as f32);
        }
        y.push(class);
    }
    States {
        x,
        y,
        dim,
        classes: 3,
        train: n / 2,
    }
}

#[test]
fn planted_classes_are_erased_for_linear_probes() {
    let [before, after] = before_and_after(planted(8000, 1), "planted classes");
    let [linear, mlp] = &before;
    assert!(linear.accuracy.value > linear.majority + 0.2);
    assert!(mlp.accuracy.value > mlp.majority + 0.2);
    let [linear, mlp] = &after;
    assert!(linear.accuracy.value <= linear.majority + 0.01);
    assert!(linear.balanced_accuracy <= 1.0 / 3.0 + 0.01);
    // What is left is in the variances.
    assert!(mlp.accuracy.value > mlp.majority + 0.1);
}

/// A probe that learns from rows the eraser has not seen finds only what the
/// means of a sample miss of the true ones.
#[test]
fn a_probe_trained_on_other_rows_finds_no_more() {
    let mut states = planted(16_000, 2);
    states.train = 8000;
    let edit = states.leace();
    edit.apply_rows(&mut states.x).unwrap();
    let seen = states.train * states.dim;
    let unseen = States {
        x: states.x.split_off(seen),
        y: states.y.split_off(states.train),
        train: 4000,
        ..states
    };
    let linear = unseen.probed(&Probe::linear(0));
    assert!(linear.accuracy.value <= linear.majority + 0.01);
}

/// The codelength says the same: near that of the labels alone for the linear
/// probe, shorter for the perceptron.
#[test]
fn codelengths_after_erasure() {
    let mut states = planted(4000, 3);
    states.train = 4000;
    let bits = |states: &States, probe: Probe| codelength(&states.halves()[0], &probe).unwrap();
    let before = bits(&states, Probe::linear(0));
    let edit = states.leace();
    edit.apply_rows(&mut states.x).unwrap();
    let (linear, mlp) = (
        bits(&states, Probe::linear(0)),
        bits(&states, Probe::mlp(0)),
    );
    assert!(linear.converged() && before.converged());
    let entropy = 4000.0
        * [0.5, 0.3, 0.2_f64]
            .map(|p| -p * p.log2())
            .iter()
            .sum::<f64>();
    println!(
        "bits: labels alone {entropy:.0}; linear {:.0} → {:.0}; perceptron after {:.0}",
        before.bits, linear.bits, mlp.bits
    );
    assert!(before.bits < 0.75 * entropy);
    assert!(linear.bits > 0.97 * entropy && linear.bits < 1.1 * entropy);
    assert!(mlp.bits < 0.95 * linear.bits);
}

/// The language of a sentence, read from mean states of a real model.
#[test]
fn languages_are_erased_from_real_states() {
    let test = "languages_are_erased_from_real_states";
    let Some(folder) = shared(test) else {
        return;
    };
    let checkpoint = folder.join("models/reference-lm-4l");
    let sentences = folder.join("data/derived/tatoeba4_en_fr_de_nl.tsv");
    let (true, Ok(sentences)) = (checkpoint.is_dir(), std::fs::read_to_string(&sentences)) else {
        eprintln!("skipped: {test} needs reference-lm-4l and the tatoeba4 sentences");
        return;
    };
    let model = Model::open(&checkpoint, &cpu(), Residency::Resident).unwrap();
    // English twice as often as French and Dutch: without unequal classes, no majority.
    // Each row gives one sentence only, so that no translation of a training
    // sentence is tested.
    let (mut sequences, mut y) = (Vec::new(), Vec::new());
    for (i, row) in sentences.lines().skip(1).step_by(2).enumerate().take(4000) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (column, class) = [(0, 0), (1, 1), (0, 0), (3, 2)][i % 4];
        sequences.push(model.sequence(columns[column]).unwrap());
        y.push(class);
    }
    let dim = model.geometry.hidden_size;
    let mut x = vec![0.0; sequences.len() * dim];
    let request = Capture {
        hook: Hook::FINAL_NORM,
        pooling: Pooling::Mean,
    };
    capture(
        &model,
        &sequences,
        &[request],
        &mut |_, sequence, row| {
            x[sequence * dim..(sequence + 1) * dim].copy_from_slice(row);
            Ok(())
        },
        &mut |_, _| {},
    )
    .unwrap();
    let states = States {
        x,
        y,
        dim,
        classes: 3,
        train: 2500,
    };
    let [[before, _], [linear, mlp]] = before_and_after(states, "language, reference-lm-4l");
    assert!(before.accuracy.value > before.majority + 0.2);
    assert!(linear.accuracy.value <= linear.majority + 0.01);
    assert!(mlp.accuracy.value >= linear.accuracy.value - 0.05);
}
