//! Random controls: edits of the same kind and size as a fitted one, which have no information about the groups.

use interlingua_edits::{Edit, Factor, Matrix, norm};
use rand::seq::index::sample;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::FitError;
use crate::linalg::extend_basis;

/// Makes a random edit that matches a fitted one. For a shift it is a shift of the same length in a random direction,
/// for an edit of units the same change of random units, or the changes of its units dealt anew where it changes every one, and for any
/// other edit the projection that removes a random subspace of the same rank.
///
/// # Shapes
/// An edit of dimension d gives an edit of dimension d.
///
/// # Errors
/// [`FitError::Overflow`] if the numbers of the edit are too large to be redrawn.
pub fn random_like(edit: &Edit, seed: u64) -> Result<Edit, FitError> {
    let dim = edit.dim();
    let drawn = match (edit.left(), edit.right()) {
        _ if edit.offset().is_empty() => Ok(edit.clone()),
        (Factor::Dense(_), Factor::Zero) => {
            let length = norm(&edit.constant().unwrap_or_default());
            let mut vector = haar_basis(1, dim, seed).row(0).to_vec();
            vector.iter_mut().for_each(|v| *v *= length);
            Edit::shift(vector)
        }
        (Factor::Units(units, weights), right) if units.len() == dim && dim > 1 => {
            let order = derangement(dim, seed);
            let deal = |of: &[f64]| order.iter().map(|&at| of[at]).collect::<Vec<f64>>();
            let right = match right {
                Factor::Units(_, weights) => Factor::Units(units.clone(), deal(weights)),
                other => other.clone(),
            };
            let left = Factor::Units(units.clone(), deal(weights));
            Edit::new(dim, left, right, deal(edit.offset()))
        }
        (Factor::Units(units, weights), right) => {
            let drawn = random_units(dim, units.len(), seed);
            let drawn: Vec<u32> = drawn.into_iter().map(|unit| unit as u32).collect();
            let right = match right {
                Factor::Units(_, weights) => Factor::Units(drawn.clone(), weights.clone()),
                other => other.clone(),
            };
            let left = Factor::Units(drawn, weights.clone());
            Edit::new(dim, left, right, edit.offset().to_vec())
        }
        _ => Edit::projection(&subspace(edit.rank(), dim, seed)),
    };
    drawn.map_err(|_| FitError::Overflow {
        what: "the random control of the edit",
    })
}

/// Draws an order of 0 to n − 1 that leaves nothing in its place: a cycle through all in random order. There are at least two.
fn derangement(n: usize, seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let cycle = sample(&mut rng, n, n).into_vec();
    let mut order = vec![0; n];
    for (at, &from) in cycle.iter().enumerate() {
        order[from] = cycle[(at + 1) % n];
    }
    order
}

/// Draws distinct units, each with the same probability, and returns them in ascending order.
///
/// # Shapes
/// There are at most `dim` units, all below `dim`.
pub fn random_units(dim: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut units = sample(&mut rng, dim, count.min(dim)).into_vec();
    units.sort_unstable();
    units
}

/// Draws an orthonormal basis, as rows, of a uniformly random k-dimensional subspace.
///
/// # Shapes
/// The result is k×d, with k ≤ d.
pub(crate) fn haar_basis(k: usize, d: usize, seed: u64) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut basis = Vec::with_capacity(k);
    // A draw is dependent on the earlier ones with probability zero; should
    // rounding make it so, the next draw takes its place.
    while basis.len() < k {
        let row: Vec<f64> = (0..d).map(|_| standard_normal(&mut rng)).collect();
        extend_basis(&mut basis, &row, 1e-8);
    }
    Matrix::from_rows(&basis, d)
}

/// One standard normal by the method of Box and Muller.
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn subspace(rank: usize, dim: usize, seed: u64) -> Matrix {
    haar_basis(rank.min(dim), dim, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlingua_edits::Kind;

    #[test]
    fn a_control_has_the_kind_and_size_of_what_it_controls() {
        let shift = Edit::shift(vec![3.0, 0.0, 4.0, 0.0]).unwrap();
        let drawn = random_like(&shift, 1).unwrap();
        assert_eq!(drawn.kind(), Kind::Shift);
        assert!((norm(&drawn.constant().unwrap()) - 5.0).abs() < 1e-12);
        assert_ne!(drawn, shift);
        assert_ne!(drawn, random_like(&shift, 2).unwrap());

        let erase = Edit::projection(&haar_basis(2, 6, 9)).unwrap();
        let drawn = random_like(&erase, 1).unwrap();
        assert_eq!((drawn.kind(), drawn.rank()), (Kind::Erase, 2));
        assert_eq!(drawn, Edit::projection(&haar_basis(2, 6, 1)).unwrap());

        let clamp = Edit::clamp(50, vec![7, 30, 2], vec![1.0, 2.0, 3.0]).unwrap();
        let drawn = random_like(&clamp, 3).unwrap();
        assert_eq!((drawn.kind(), drawn.rank()), (Kind::Clamp, 3));
        assert_eq!(drawn.offset(), clamp.offset());
        assert_ne!(drawn, clamp);

        let scale = Edit::scale(50, vec![7, 30], vec![0.5, 0.0]).unwrap();
        assert_eq!(random_like(&scale, 3).unwrap().kind(), Kind::Scale);
        let add = Edit::add(50, vec![7, 30], vec![0.5, 0.0]).unwrap();
        assert_eq!(random_like(&add, 3).unwrap().kind(), Kind::Add);
        let none = Edit::identity(4);
        assert_eq!(random_like(&none, 3).unwrap(), none);
        // An edit of every unit is no control of itself: no unit keeps its change.
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0];
        let all = Edit::clamp(5, vec![0, 1, 2, 3, 4], values.clone()).unwrap();
        for seed in 0..50 {
            let drawn = random_like(&all, seed).unwrap();
            let mut state = Matrix::new(1, 5, vec![9.0; 5]).unwrap();
            drawn.apply_matrix(&mut state).unwrap();
            let mut dealt = state.data().to_vec();
            assert!(dealt.iter().zip(&values).all(|(a, b)| a != b), "{dealt:?}");
            dealt.sort_by(f64::total_cmp);
            assert_eq!(dealt, values);
        }
    }

    #[test]
    fn every_unit_is_as_likely() {
        let mut counts = [0; 5];
        for seed in 0..4000 {
            let units = random_units(5, 2, seed);
            assert!(units[0] < units[1]);
            units.iter().for_each(|&unit| counts[unit] += 1);
        }
        for count in counts {
            assert!((1500..1700).contains(&count), "{counts:?}");
        }
        assert_eq!(random_units(3, 9, 0), [0, 1, 2]);
    }
}
