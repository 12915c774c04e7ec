//! Fused CPU kernels on slices, compiled for several instruction sets.
//!
//! Sums use sixteen fixed lanes, so a result does not depend on the vector width of the machine.

mod activation;
mod adamw;
mod attention;
mod coded;
mod dense;
mod halves;
mod head;
mod lanes;
mod math;
mod narrow;
mod norm;
mod panels;
mod product;
mod rotary;

pub use activation::{activate, gate, silu_gate_backward};
pub use adamw::{Step, adamw, squares};
pub use attention::{Kept, Node, attention, attention_backward, attention_kept, path_rows};
pub use dense::dense;
pub use head::{Reduced, Reference, Shape, Update, cross_entropy_grad, reduce, shape_logits};
pub use narrow::{Codes, Coding, Half};
pub use norm::{add_bias, column_sums, layer_norm, layer_norm_backward, rms_norm, squared_error};
pub use panels::{Panels, View, WIDEST};
pub use product::{Factor, product, product_in, products};
pub use rotary::rotate;

/// Rows handed to one rayon task: enough work to pay for the hand-over.
fn rows_per_task(rows: usize) -> usize {
    rows.div_ceil(4 * rayon::current_num_threads()).max(8)
}
