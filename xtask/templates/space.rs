//! New space: centred states in which every coordinate of a language varies by one.
//!
//! Starting point: this works and its tests pass. Put your maps, source and tests in their place.
//!
//! # Source
//! Starting point: put the authors, title, venue and arXiv number here.

use faer::Mat;

use crate::SpaceError;
use crate::affine::{Family, Maps, Translations};

/// Centred states in which every coordinate of a language varies by one.
pub struct NewSpace;

impl Family for NewSpace {
    const NAME: &'static str = "new-space";
    const NARROWED: bool = false;
    const CENTRED: bool = true;

    fn maps(on: &Translations, dim: usize) -> Result<Vec<Maps>, SpaceError> {
        // A space as wide as the states takes no width of its own.
        let _ = dim;
        on.centred.iter().map(scaling).collect()
    }
}

/// The maps are A = diag(1/σ) and B = diag(σ). Since B·A = I, a change that is made in the space is
/// mapped back to the same change of the states.
fn scaling(centred: &Mat<f64>) -> Result<Maps, SpaceError> {
    let (rows, width) = (centred.nrows(), centred.ncols());
    let deviation = |j: usize| {
        let squares = (0..rows).map(|i| centred[(i, j)].powi(2)).sum::<f64>();
        (squares / rows as f64).sqrt()
    };
    let deviations: Vec<f64> = (0..width).map(deviation).collect();
    // What is left of a constant after its mean is taken away is rounding.
    let largest = deviations.iter().copied().fold(0.0, f64::max);
    let found = deviations.iter().filter(|d| **d > 1e-9 * largest).count();
    if found < width {
        return Err(SpaceError::TooFew {
            space: NewSpace::NAME,
            dim: width,
            found,
        });
    }
    let diagonal = |value: &dyn Fn(f64) -> f64| {
        Mat::from_fn(width, width, |i, j| match i == j {
            true => value(deviations[i]),
            false => 0.0,
        })
    };
    Ok(Some((diagonal(&|d| 1.0 / d), diagonal(&|d| d))))
}

#[cfg(test)]
mod tests {
    use interlingua_backend::device::cpu;
    use interlingua_backend::{from_rows, to_host};

    use super::*;
    use crate::affine::fit;

    const ROWS: usize = 50;
    const WIDTH: usize = 4;

    /// States of a language whose coordinates vary by 1, 2, 3 and 4 times as much.
    fn states(seed: usize) -> Vec<f32> {
        let number = |at: usize| ((at * 7919 + seed * 31 + 13) % 101) as f32 / 50.0 - 1.0;
        let value = |at: usize| number(at) * (at % WIDTH + 1) as f32;
        (0..ROWS * WIDTH).map(value).collect()
    }

    #[test]
    fn every_coordinate_varies_by_one() {
        let found = fit::<NewSpace>(&[states(1), states(2)], WIDTH, WIDTH, &cpu()).unwrap();
        let points = to_host(found[0].enter(from_rows(states(1), ROWS, WIDTH, &cpu())));
        for j in 0..WIDTH {
            let squares = points.iter().skip(j).step_by(WIDTH).map(|v| v * v);
            let variance = squares.sum::<f32>() / ROWS as f32;
            assert!((variance - 1.0).abs() < 1e-4, "{j}: {variance}");
        }
    }

    #[test]
    fn a_change_comes_back_as_itself() {
        let found = fit::<NewSpace>(&[states(1)], WIDTH, WIDTH, &cpu()).unwrap();
        let h = || from_rows(states(1), ROWS, WIDTH, &cpu());
        let change = || from_rows(states(3), ROWS, WIDTH, &cpu());
        let moved = found[0].enter(h() + found[0].back(change())) - found[0].enter(h());
        for (a, b) in to_host(moved).iter().zip(to_host(change())) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn a_coordinate_that_does_not_vary_is_refused() {
        let mut flat = states(1);
        flat.iter_mut().step_by(WIDTH).for_each(|v| *v = 2.0);
        let error = fit::<NewSpace>(&[flat], WIDTH, WIDTH, &cpu()).unwrap_err();
        assert!(
            matches!(error, SpaceError::TooFew { found: 3, .. }),
            "{error}"
        );
    }
}
