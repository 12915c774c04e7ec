use super::*;

/// On one separable axis the optimum can be written down: with n examples at
/// ±a, ½w² + n(1−aw)² is least at w = 2na/(1+2na²).
#[test]
fn matches_the_closed_form() {
    for (n, a) in [(2, 1.0), (10, 0.5), (4, 3.0)] {
        let x = Matrix::from_fn(n, 1, |i, _| if i % 2 == 0 { a } else { -a });
        let signs: Vec<f64> = (0..n)
            .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let w = SvmProblem::new(&x, SvmOptions::default())
            .solve(&signs, &[], &String::new)
            .unwrap();
        let expect = 2.0 * n as f64 * a / (1.0 + 2.0 * n as f64 * a * a);
        assert!((w[0] - expect).abs() < 1e-12, "{} {expect}", w[0]);
    }
}

/// Fitting the unprojected data under a basis equals fitting projected data.
#[test]
fn basis_equals_projected_data() {
    let x = Matrix::from_fn(60, 5, |i, j| {
        ((i * 7 + j * 13) % 11) as f64 / 3.0 - 1.5 + (i % 2) as f64 * 0.3
    });
    let signs: Vec<f64> = (0..60)
        .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    let basis = vec![vec![0.6, 0.8, 0.0, 0.0, 0.0]];
    let options = SvmOptions::default();
    let w = SvmProblem::new(&x, options)
        .solve(&signs, &basis, &String::new)
        .unwrap();
    let mut projected = x.clone();
    for i in 0..projected.rows() {
        project(projected.row_mut(i), &basis);
    }
    let v = SvmProblem::new(&projected, options)
        .solve(&signs, &[], &String::new)
        .unwrap();
    for (w, v) in w.iter().zip(&v) {
        assert!((w - v).abs() < 1e-8, "{w} {v}");
    }
}

/// Far from the Hessian that was factored, iterations find what factoring the new one does.
#[test]
fn conjugate_gradients_find_the_step_of_the_new_hessian() {
    let d = 40;
    let x = Matrix::from_fn(200, d, |i, j| {
        ((i * 7919 + j * 104_729) % 1009) as f64 / 504.0 - 1.0
    });
    let problem = SvmProblem::new(&x, SvmOptions::default());
    let mut basis = Vec::new();
    for at in 0..3 {
        crate::linalg::extend_basis(&mut basis, x.row(at), 1e-10);
    }
    let mut gradient: Vec<f64> = (0..d).map(|j| (j as f64).sin()).collect();
    project(&mut gradient, &basis);
    let active: Vec<bool> = (0..200).map(|i| i % 3 != 0).collect();
    let step = |rough: Option<f64>| {
        let mut newton = Newton {
            problem: &problem,
            basis: &basis,
            factored: None,
            gram: None,
            too_many: usize::MAX,
        };
        newton.direction(&gradient, &[true; 200], 0.1).unwrap();
        let factored = newton.factored.take().unwrap();
        match rough {
            Some(rough) => {
                let minus: Vec<f64> = gradient.iter().map(|g| -g).collect();
                let found = newton.conjugate_gradients(&factored, &minus, &active, rough, MOST);
                assert!(
                    newton
                        .conjugate_gradients(&factored, &minus, &active, rough, 2)
                        .is_none()
                );
                found.unwrap()
            }
            None => {
                newton.follow(&active);
                let factor = factor(&newton.gram.take().unwrap().0, 2.0).unwrap();
                let new = Factored::new(Arc::new(factor), &basis).unwrap();
                new.solve(&gradient.iter().map(|g| -g).collect::<Vec<_>>())
            }
        }
    };
    let (exact, found) = (step(None), step(Some(1e-12)));
    let apart: Vec<f64> = exact.iter().zip(&found).map(|(a, b)| a - b).collect();
    assert!(norm(&apart) < 1e-9 * norm(&exact), "{}", norm(&apart));
    assert!(
        basis
            .iter()
            .all(|b| dot(b, &found).abs() < 1e-12 * norm(&found))
    );
}

/// However the steps are found, the classifier is the same. Both end at a gradient of 10⁻¹⁰ of its
/// start or less, and with curvature 1 at least no weight is further off than the gradient.
#[test]
fn ways_to_the_step_lead_to_one_classifier() {
    let (n, d) = (300, 40);
    for apart in [0.0, 0.2, 3.0] {
        let x = Matrix::from_fn(n, d, |i, j| {
            let noise = ((i * 7919 + j * 104_729 + i * j) % 1009) as f64 / 504.0 - 1.0;
            noise + if j < 3 && i % 2 == 0 { apart } else { 0.0 }
        });
        let signs: Vec<f64> = (0..n).map(|i| [1.0, -1.0][i % 2]).collect();
        let mut basis = Vec::new();
        for _ in 0..3 {
            let [factored, iterated] = [f64::INFINITY, 1e-6].map(|per_number| {
                let problem = SvmProblem {
                    per_number,
                    ..SvmProblem::new(&x, SvmOptions::default())
                };
                problem.solve(&signs, &basis, &String::new).unwrap()
            });
            let rest: Vec<f64> = factored.iter().zip(&iterated).map(|(a, b)| a - b).collect();
            let error = norm(&rest) / norm(&factored);
            assert!(error < 2e-9, "{apart}, without {}: {error:e}", basis.len());
            crate::linalg::extend_basis(&mut basis, &factored, 1e-10);
        }
    }
}

#[test]
fn gives_up_with_the_facts() {
    let x = Matrix::from_fn(20, 2, |i, j| (i + j) as f64);
    let signs: Vec<f64> = (0..20).map(|i| if i < 10 { 1.0 } else { -1.0 }).collect();
    let options = SvmOptions {
        max_steps: 1,
        ..SvmOptions::default()
    };
    let error = SvmProblem::new(&x, options)
        .solve(&signs, &[], &|| "round 7".to_owned())
        .unwrap_err();
    assert!(
        matches!(error, FitError::NoConvergence { what, iterations: 1, .. } if what == "round 7")
    );
}
