//! Random subspace: the control of equal rank, which removes random directions.
//!
//! Removing *any* k directions changes a model a little. The effect of a method means something only if it exceeds
//! that of this control at the same rank.
//!
//! # Source
//! A matrix of independent standard normals, orthonormalised with positive
//! diagonal, spans a uniformly (Haar) distributed subspace: Mezzadri, "How to
//! generate random matrices from the classical compact groups", Notices of the
//! AMS 54 (2007), arXiv math-ph/0609050.
//!
//! Formula: G ∈ ℝ^{k×d} with G_ij ~ N(0,1); B is an orthonormal basis of its rows; x ↦ x − Bᵀ·B·x.

use super::fitted_projection;
use crate::control::haar_basis;
use crate::options::{Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Needs};

/// Random subspace. The rank defaults to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomSubspace;

impl Debiaser for RandomSubspace {
    fn name(&self) -> &'static str {
        "random"
    }

    fn title(&self) -> &'static str {
        "Random subspace"
    }

    fn citation(&self) -> &'static str {
        "control; Mezzadri 2007, arXiv math-ph/0609050"
    }

    fn summary(&self) -> &'static str {
        "Removes a uniformly random subspace, which any method must beat at equal rank."
    }

    fn docs(&self) -> &'static str {
        "methods/random.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            seed: true,
            ..Needs::default()
        }
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        Params::new(self.name(), self.params(), options)?;
        data.check()?;
        let d = data.dim();
        let rank = rank_within(self.name(), options, 1, d)?;
        fitted_projection(&haar_basis(rank, d, options.seed), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_decide_the_subspace() {
        assert_eq!(haar_basis(3, 8, 1), haar_basis(3, 8, 1));
        assert_ne!(haar_basis(3, 8, 1), haar_basis(3, 8, 2));
        assert_eq!(haar_basis(8, 8, 0).rows(), 8);
    }

    #[test]
    fn directions_are_uniform() {
        // Every squared component of a uniform unit vector has mean 1/d.
        let d = 5;
        let draws = 4000;
        let mut mean = vec![0.0; d];
        for seed in 0..draws {
            let basis = haar_basis(1, d, seed);
            for (m, v) in mean.iter_mut().zip(basis.row(0)) {
                *m += v * v / draws as f64;
            }
        }
        for m in mean {
            assert!((m - 0.2).abs() < 0.02, "{m}");
        }
    }
}
