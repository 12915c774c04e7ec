//! A number with its interval, and what can be said of it.

use crate::row::Row;

/// A number with its interval and the items it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Lower and upper end of the 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// Items behind the number, summed over cells where it is a mean.
    pub n: u64,
    /// How many rows the number is the mean of.
    pub cells: usize,
    /// Smallest Holm-corrected p value, and how many of how many cells have one below 0.05.
    pub holm: Option<Holm>,
}

/// What the corrected tests behind a number say together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holm {
    /// The smallest corrected p value.
    pub smallest: f64,
    /// Cells with a corrected p value below 0.05.
    pub below: usize,
    /// Cells with a corrected p value at all.
    pub tested: usize,
}

impl Estimate {
    /// The number of a row.
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

    /// A number that is known, not estimated.
    pub fn exact(value: f64) -> Estimate {
        Estimate {
            value,
            interval: None,
            n: 0,
            cells: 1,
            holm: None,
        }
    }

    /// The interval where both ends are finite.
    pub fn finite_interval(&self) -> Option<(f64, f64)> {
        self.interval
            .filter(|(low, high)| low.is_finite() && high.is_finite())
    }

    /// Whether the interval is known and leaves `value` out.
    pub fn excludes(&self, value: f64) -> bool {
        self.finite_interval()
            .is_some_and(|(low, high)| value < low || value > high)
    }

    /// The absolute value. An interval across zero starts at zero.
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

    /// The same number seen through an affine map `a + b·x`.
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

    /// The mean over cells. The mean of several has no interval: that of a mean is not the mean of their ends, and rows
    /// of scoped metrics carry the right one.
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

    /// The same cells with the number and interval of the row that is about all of them.
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
