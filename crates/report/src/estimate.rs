//! A number with its interval, and the statements that the two allow.

use crate::row::Row;

/// A number with its interval and the number of items that it is computed from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// The lower and the upper end of the 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// The number of items, summed over cells if the number is a mean over cells.
    pub n: u64,
    /// The number of rows that the number is the mean of.
    pub cells: usize,
    /// The smallest Holm-corrected p value, with the number of cells whose p value is below 0.05.
    pub holm: Option<Holm>,
}

/// A summary of the corrected tests of one or several cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holm {
    /// The smallest corrected p value.
    pub smallest: f64,
    /// The number of cells with a corrected p value below 0.05.
    pub below: usize,
    /// The number of cells that have a corrected p value.
    pub tested: usize,
}

impl Estimate {
    /// Takes the number from a row.
    pub fn of(row: &Row) -> Estimate {
        Estimate {
            value: row.value,
            interval: row.ci_low.zip(row.ci_high),
            n: row.n,
            cells: 1,
            holm: row.p_holm.filter(|p| p.is_finite()).map(|p| Holm {
                smallest: p,
                below: usize::from(p < 0.05),
                tested: 1,
            }),
        }
    }

    /// Makes a number that is known exactly, without an interval.
    pub fn exact(value: f64) -> Estimate {
        Estimate {
            value,
            interval: None,
            n: 0,
            cells: 1,
            holm: None,
        }
    }

    /// Returns the interval if both of its ends are finite.
    pub fn finite_interval(&self) -> Option<(f64, f64)> {
        self.interval
            .filter(|(low, high)| low.is_finite() && high.is_finite())
    }

    /// Returns whether there is an interval and `value` is outside it.
    pub fn excludes(&self, value: f64) -> bool {
        self.finite_interval()
            .is_some_and(|(low, high)| value < low || value > high)
    }

    /// Returns the absolute value. If the interval contains zero, the result's interval starts at zero.
    pub fn abs(self) -> Estimate {
        let interval = self.interval.map(|(low, high)| {
            let (a, b) = (low.abs(), high.abs());
            let inner = if low <= 0.0 && high >= 0.0 {
                0.0
            } else {
                a.min(b)
            };
            (inner, a.max(b))
        });
        Estimate {
            value: self.value.abs(),
            interval,
            ..self
        }
    }

    /// Returns the number after the affine map `a + b·x`.
    pub fn affine(self, a: f64, b: f64) -> Estimate {
        let interval = self.interval.map(|(low, high)| {
            let (x, y) = (a + b * low, a + b * high);
            (x.min(y), x.max(y))
        });
        Estimate {
            value: a + b * self.value,
            interval,
            ..self
        }
    }

    /// Computes the mean over cells. The mean of several cells has no interval, because the ends of the cells'
    /// intervals do not give one; the rows of scoped metrics have the right interval.
    pub fn mean(cells: &[Estimate]) -> Option<Estimate> {
        if let [one] = cells {
            return Some(*one);
        }
        if cells.is_empty() {
            return None;
        }
        let holm = cells.iter().filter_map(|c| c.holm).reduce(|a, b| Holm {
            smallest: a.smallest.min(b.smallest),
            below: a.below + b.below,
            tested: a.tested + b.tested,
        });
        Some(Estimate {
            value: cells.iter().map(|c| c.value).sum::<f64>() / cells.len() as f64,
            interval: None,
            n: cells.iter().map(|c| c.n).sum(),
            cells: cells.iter().map(|c| c.cells).sum(),
            holm,
        })
    }

    /// Returns the same cells with the number and the interval of the row that summarises all of them.
    pub fn or_scoped(self, scoped: Option<Estimate>) -> Estimate {
        match scoped {
            Some(Estimate {
                value, interval, ..
            }) => Estimate {
                value,
                interval,
                ..self
            },
            None => self,
        }
    }
}
