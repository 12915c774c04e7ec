//! Progress is counted in floating-point operations: blocks and head in one measure, never backwards.

use std::path::Path;

use interlingua_models::engine::token_log_probs;
use interlingua_models::{Branch, Model, Residency, Sequence};

/// The head was one unit beside one for each block, so a run stood at 95 % for most of its time.
#[test]
fn the_head_counts_for_what_it_costs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/cohere-f32");
    let device = interlingua_backend::device::cpu();
    let model = Model::open(&folder, &device, Residency::Resident).expect("a fixture");
    // Different from the first token on: nothing is shared.
    let sequences: Vec<Sequence> = (4..12u32)
        .map(|first| Sequence::new((first..first + 9).collect(), 1))
        .collect();
    let mut seen: Vec<(usize, usize)> = Vec::new();
    token_log_probs(
        &model,
        &sequences,
        &[Branch::unedited()],
        &mut |done, total| seen.push((done, total)),
    )
    .expect("scores");
    let total = seen[0].1;
    assert!(seen.iter().all(|s| s.1 == total), "{seen:?}");
    assert!(seen.is_sorted_by_key(|s| s.0), "{seen:?}");
    assert_eq!(seen[seen.len() - 1].0, total);
    // The last token of each is only predicted; every other predicts one, and goes through all blocks.
    let g = &model.geometry;
    let rows = 8 * 8;
    let block = 2 * g.hidden_size * g.head_dim * (g.heads + g.kv_heads)
        + 3 * g.hidden_size * g.intermediate_size;
    let (blocks, head) = (
        2 * rows * g.layers * block,
        2 * rows * g.hidden_size * g.vocab_size,
    );
    assert_eq!(total, blocks + head);
    assert!(seen.iter().any(|s| s.0 == blocks), "{blocks} in {seen:?}");
}
