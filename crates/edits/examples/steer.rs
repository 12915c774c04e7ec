//! Steers one block and silences a unit of another; the intervention travels as one file.
//!
//! ```text
//! cargo run --example steer
//! ```

use interlingua_edits::{Edit, Hook, Intervention, ModelShape, Provenance, Site, Tokens};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ModelShape {
        architecture: "LlamaForCausalLM".into(),
        layers: 4,
        hidden: 8,
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        intermediate: 16,
        gated: true,
    };
    let mut direction = vec![0.0; model.hidden];
    direction[0] = 1.5;
    let steps = vec![
        (
            Site::raw(Hook::output(1), Tokens::Text),
            Edit::shift(direction)?.scaled(2.0)?,
        ),
        (
            Site::raw(Hook::units(3), Tokens::All),
            Edit::clamp(model.intermediate, vec![5], vec![0.0])?,
        ),
    ];
    let provenance = Provenance {
        method: Some("by hand".into()),
        ..Provenance::default()
    };
    let intervention = Intervention::new(model.clone(), steps, provenance)?;

    let bytes = intervention.to_bytes()?;
    let again = Intervention::from_bytes(&bytes)?;
    again.check(&model)?;
    println!(
        "{} bytes, equal after reading: {}",
        bytes.len(),
        again == intervention
    );
    for (site, edit) in again.steps() {
        let mut state = vec![1.0_f32; edit.dim()];
        edit.apply_rows(&mut state)?;
        println!("{:<16} {:<6} {state:?}", site.hook, edit.kind().name());
    }
    // A later step must lie later in the forward pass, and an edit must be as wide as its site.
    let wide = Edit::identity(model.hidden);
    let wrong = Intervention::new(
        model,
        vec![(Site::raw(Hook::units(0), Tokens::All), wide)],
        Provenance::default(),
    );
    println!("{}", wrong.expect_err("another width"));
    Ok(())
}
