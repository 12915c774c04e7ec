//! Two languages in every affine space: how near a sentence is to its translation there, and that a change comes back as itself.
//!
//! `cargo run --example enter`

use interlingua_backend::device::cpu;
use interlingua_backend::{Tensor, from_rows, to_host};
use interlingua_spaces::Space;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (rows, width, dim) = (200, 8, 4);
    // Four hidden coordinates, shown by each language through a mixing of its own.
    let number = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0;
    let language = |seed: usize| -> Vec<f32> {
        let value = |at: usize| {
            let (row, column) = (at / width, at % width);
            let mixed =
                (0..4).map(|k| number(row * 4 + k) * number(seed * 97 + k * width + column));
            mixed.sum::<f32>() + seed as f32
        };
        (0..rows * width).map(value).collect()
    };
    let languages = [language(1), language(2)];
    let device = cpu();
    let distance = |a: &Tensor<2>, b: &Tensor<2>| {
        let squares = to_host((a.clone() - b.clone()).powi_scalar(2));
        (squares.iter().sum::<f32>() / rows as f32).sqrt()
    };
    let states = languages
        .clone()
        .map(|x| from_rows(x, rows, width, &device));
    println!(
        "{:<12} distance {:.3}",
        "raw",
        distance(&states[0], &states[1])
    );
    for space in Space::AFFINE {
        let ways = space.fit(&languages, width, dim, &device)?;
        let points: Vec<Tensor<2>> = ways
            .iter()
            .zip(&states)
            .map(|(way, h)| way.enter(h.clone()))
            .collect();
        let moved = ways[0].enter(states[0].clone() + ways[0].back(points[0].clone()));
        println!(
            "{:<12} distance {:.3}   width {}   a change comes back to within {:.0e}",
            space.name(),
            distance(&points[0], &points[1]),
            ways[0].dim(),
            distance(&moved, &(points[0].clone() + points[0].clone())),
        );
    }
    Ok(())
}
