//! Fits SentDebias on planted sentence vectors and shows what it removes.
//!
//! `cargo run --example sentdebias`

use interlingua_debias::{FitData, FitOptions, Matrix, by_name};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Twelve counterfactual pairs in ten dimensions: the members of a pair differ
    // along the first axis, the pairs along all the others.
    let (pairs, d) = (12, 10);
    let x = Matrix::from_fn(2 * pairs, d, |row, axis| {
        let (pair, member) = (row / 2, row % 2);
        if axis == 0 {
            if member == 0 { 1.0 } else { -1.0 }
        } else {
            ((pair * 5 + axis * 3) % 7) as f64 / 3.0 - 1.0
        }
    });
    let data = FitData {
        x,
        label: (0..2 * pairs).map(|row| row % 2).collect(),
        tuple: (0..2 * pairs).map(|row| Some(row / 2)).collect(),
        classes: vec!["male".into(), "female".into()],
        ..FitData::default()
    };

    let fitted = by_name("sentdebias")?.fit(&data, &FitOptions::with_rank(1))?;
    for (name, value) in &fitted.notes {
        println!("{name:<24}{value:.4}");
    }

    let mut states: Vec<f32> = data.x.data().iter().map(|&v| v as f32).collect();
    fitted.edit.apply_rows(&mut states)?;
    println!(
        "first pair, first axis: {:+.4} and {:+.4}",
        states[0], states[d]
    );

    // An edit is data and knows no method; the crate `interlingua-edits` gives it a site and a file.
    println!(
        "{} of rank {}",
        fitted.edit.kind().name(),
        fitted.edit.rank()
    );
    Ok(())
}
