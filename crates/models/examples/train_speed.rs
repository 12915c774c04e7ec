//! scratch
use interlingua_backend::device::cpu;
use interlingua_backend::optim::AdamWConfig;
use interlingua_models::config::Config;
use interlingua_models::train::*;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|s| s.parse().unwrap()).collect();
    let (d, layers, vocab, batch) = (a[0], a[1], a[2], a[3]);
    let c = Config { hidden_size: d, intermediate_size: d*4, layers, heads: 4, kv_heads: 2, head_dim: d/4, vocab_size: vocab, max_positions: 128, norm_eps: 1e-5, rope_theta: 10000.0, logit_scale: 0.25, tied: true, bos: Some(2), eos: Some(3) };
    let corpus: Vec<Vec<u32>> = (0..5000u32).map(|i| (0..10 + i % 9).map(|j| if j == 0 { 2 } else { 4 + (i * 7 + j * j * 13) % (vocab as u32 - 4) }).collect()).collect();
    let mut t = Trainer::new(c, TrainConfig { batch, seed: 7, optimiser: AdamWConfig { steps: 100, ..Default::default() } }, &cpu());
    for _ in 0..3 { t.step(&corpus).unwrap(); }
    let s = std::time::Instant::now();
    let mut tok = 0;
    for _ in 0..20 { t.step(&corpus).unwrap(); tok += batch * 13; }
    let e = s.elapsed().as_secs_f64();
    println!("{:.1} ms/step, {:.0} tok/s", e / 20.0 * 1e3, tok as f64 / e);
}
