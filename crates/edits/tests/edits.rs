//! Edits: what they do, how they compose, and what is refused.

use interlingua_edits::{Edit, EditError, Factor, Kind, Matrix, axpy};
use proptest::prelude::*;

/// Numbers of a fixed order, between −1 and 1.
fn numbers(count: usize, seed: usize) -> Vec<f64> {
    let number = |i: usize| (((i * 7919 + seed * 104_729 + 13) % 1009) as f64) / 504.0 - 1.0;
    (0..count).map(number).collect()
}

fn matrix(rows: usize, cols: usize, seed: usize) -> Matrix {
    Matrix::new(rows, cols, numbers(rows * cols, seed)).unwrap()
}

/// One edit of every kind, and those of factors that no constructor makes.
fn edits(d: usize, seed: usize) -> Vec<Edit> {
    let mean = numbers(d, seed + 1);
    let units = vec![d - 1, 0];
    let mixed = Edit::new(
        d,
        Factor::Units(vec![1, 0], vec![0.5, -2.0]),
        Factor::Dense(matrix(2, d, seed + 4)),
        vec![0.25, 0.0],
    );
    let crossed = Edit::new(
        d,
        Factor::Units(vec![0, 1], vec![1.0, 1.0]),
        Factor::Units(vec![1, 0], vec![1.0, 1.0]),
        vec![0.0, 0.5],
    );
    vec![
        Edit::identity(d),
        Edit::erase(matrix(d, 2, seed + 2), matrix(2, d, seed + 3), Some(&mean)).unwrap(),
        Edit::shift(numbers(d, seed + 5)).unwrap(),
        Edit::clamp(d, units.clone(), vec![1.5, -0.5]).unwrap(),
        Edit::scale(d, units.clone(), vec![0.5, 2.0]).unwrap(),
        Edit::add(d, units, vec![0.75, -1.0]).unwrap(),
        mixed.unwrap(),
        crossed.unwrap(),
    ]
}

fn applied(edits: &[&Edit], states: &Matrix) -> Matrix {
    let mut states = states.clone();
    edits
        .iter()
        .for_each(|e| e.apply_matrix(&mut states).unwrap());
    states
}

#[test]
fn constructors_do_what_they_say() {
    let x = Matrix::new(1, 4, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    let after = |edit: Result<Edit, EditError>| applied(&[&edit.unwrap()], &x).into_data();
    assert_eq!(
        after(Edit::shift(vec![1.0, 0.0, 0.0, -1.0])),
        [2.0, 2.0, 3.0, 3.0]
    );
    assert_eq!(
        after(Edit::clamp(4, vec![2, 0], vec![7.0, 9.0])),
        [9.0, 2.0, 7.0, 4.0]
    );
    assert_eq!(
        after(Edit::scale(4, vec![3], vec![0.5])),
        [1.0, 2.0, 3.0, 2.0]
    );
    assert_eq!(
        after(Edit::add(4, vec![1], vec![0.25])),
        [1.0, 2.25, 3.0, 4.0]
    );
    let axis = Matrix::new(1, 4, vec![0.0, 1.0, 0.0, 0.0]).unwrap();
    assert_eq!(after(Edit::projection(&axis)), [1.0, 0.0, 3.0, 4.0]);
    let mean = [0.0, 5.0, 0.0, 0.0];
    let around = Edit::erase(axis.transpose(), axis, Some(&mean));
    assert_eq!(after(around), [1.0, 5.0, 3.0, 4.0]);
}

#[test]
fn an_edit_says_what_kind_it_is() {
    let kinds: Vec<Kind> = edits(5, 1).iter().map(Edit::kind).collect();
    use Kind::{Add, Clamp, Erase, Identity, Scale, Shift};
    assert_eq!(
        kinds,
        [Identity, Erase, Shift, Clamp, Scale, Add, Erase, Erase]
    );
    let ranks: Vec<usize> = edits(5, 1).iter().map(Edit::rank).collect();
    assert_eq!(ranks, [0, 2, 0, 2, 2, 0, 2, 2]);
}

#[test]
fn units_stay_units_and_shifts_stay_shifts_when_they_are_composed() {
    let all = edits(6, 3);
    let kind = |a: usize, b: usize| all[a].then(&all[b]).unwrap().kind();
    assert_eq!(kind(2, 2), Kind::Shift);
    assert_eq!(kind(5, 5), Kind::Add);
    assert_eq!(kind(4, 4), Kind::Scale);
    assert_eq!(kind(3, 4), Kind::Clamp);
    // Both act on the same two units.
    assert_eq!(all[3].then(&all[5]).unwrap().offset().len(), 2);
    assert_eq!(kind(1, 3), Kind::Erase);
    assert_eq!(kind(2, 5), Kind::Shift);
    assert_eq!(all[0].then(&all[3]).unwrap(), all[3]);
    assert_eq!(all[3].then(&all[0]).unwrap(), all[3]);
}

#[test]
fn what_cannot_be_made_is_refused_with_its_facts() {
    let dim = 4;
    assert_eq!(
        Edit::clamp(dim, vec![2, 0, 2], vec![0.0; 3]),
        Err(EditError::DuplicateUnit { unit: 2 })
    );
    for made in [
        Edit::clamp(dim, vec![4], vec![0.0]),
        Edit::scale(dim, vec![4], vec![0.0]),
        Edit::add(dim, vec![4], vec![0.0]),
    ] {
        assert_eq!(made, Err(EditError::UnitOutOfRange { unit: 4, dim }));
    }
    let beyond = usize::MAX;
    assert!(matches!(
        Edit::add(dim, vec![beyond], vec![0.0]),
        Err(EditError::UnitOutOfRange { .. })
    ));
    assert!(matches!(
        Edit::clamp(dim, vec![1], vec![0.0; 2]),
        Err(EditError::Shape {
            expected: 1,
            found: 2,
            ..
        })
    ));
    assert!(matches!(
        Edit::erase(Matrix::zeros(4, 2), Matrix::zeros(1, 4), None),
        Err(EditError::Shape { .. })
    ));
    assert!(matches!(
        Edit::identity(4).then(&Edit::identity(5)),
        Err(EditError::Shape {
            expected: 4,
            found: 5,
            ..
        })
    ));
    let huge = Edit::shift(vec![1e300; 6]).unwrap();
    assert!(matches!(
        huge.scaled(1e300),
        Err(EditError::NotFinite { .. })
    ));
    assert!(matches!(
        huge.scaled(f64::NAN),
        Err(EditError::NotFinite { .. })
    ));
    assert!(matches!(
        Edit::shift(vec![f64::INFINITY]),
        Err(EditError::NotFinite { what: "vector", .. })
    ));
    assert_eq!(
        huge.apply_rows(&mut [0.0; 13]),
        Err(EditError::PartialRow { len: 13, dim: 6 })
    );
}

proptest! {
    #[test]
    fn any_two_compose_into_one(d in 2usize..9, seed in 0usize..100, strength in -1.0..2.0f64) {
        let states = matrix(5, d, seed + 9);
        let (first, second) = (edits(d, seed), edits(d, seed + 50));
        for a in &first {
            let a = a.scaled(strength).unwrap();
            for b in &second {
                let both = a.then(b).unwrap();
                let difference = applied(&[&both], &states).max_abs_difference(&applied(&[&a, b], &states));
                prop_assert!(difference < 1e-9, "{} then {}: {difference:e}", a.kind().name(), b.kind().name());
            }
        }
    }

    #[test]
    fn strength_and_single_precision_follow_the_form(d in 2usize..20, seed in 0usize..100, strength in -1.0..2.0f64) {
        let states = matrix(70, d, seed + 9);
        for edit in edits(d, seed) {
            let full = applied(&[&edit], &states);
            let mut expected = states.clone();
            for i in 0..states.rows() {
                let change: Vec<f64> = full.row(i).iter().zip(states.row(i)).map(|(a, b)| a - b).collect();
                axpy(strength, &change, expected.row_mut(i));
            }
            let weaker = edit.scaled(strength).unwrap();
            prop_assert!(applied(&[&weaker], &states).max_abs_difference(&expected) < 1e-9);
            // x − L·(R·x − b), with the factors as matrices.
            let mut origin = Matrix::zeros(1, d);
            edit.apply_matrix(&mut origin).unwrap();
            let mut form = states.matmul(&edit.matrix().transpose());
            (0..form.rows()).for_each(|i| axpy(1.0, origin.row(0), form.row_mut(i)));
            prop_assert!(form.max_abs_difference(&full) < 1e-9);
            let mut narrow: Vec<f32> = states.data().iter().map(|&x| x as f32).collect();
            edit.apply_rows(&mut narrow).unwrap();
            for (a, b) in narrow.iter().zip(full.data()) {
                prop_assert!((f64::from(*a) - b).abs() < 1e-4 * (1.0 + b.abs()));
            }
        }
    }
}
