//! The positions and roles of the rows of a tensor, and edits of some of the rows.

use std::borrow::Cow;

use interlingua_backend::Tensor;
use interlingua_backend::ops::index;
use interlingua_edits::{Role, Tokens};

use super::{LowRank, StateEdit};
use crate::pack::Pack;

/// The position and the role of every row of a tensor of states.
#[derive(Debug, Clone)]
pub struct RowInfo<'a> {
    positions: Cow<'a, [u32]>,
    roles: Cow<'a, [Role]>,
}

impl<'a> RowInfo<'a> {
    /// Makes the information from positions and roles; roles may be empty if no edit reads them.
    pub fn new(positions: &'a [u32], roles: &'a [Role]) -> RowInfo<'a> {
        RowInfo {
            positions: positions.into(),
            roles: roles.into(),
        }
    }

    /// Returns the information about all rows of a pack.
    pub(crate) fn of(pack: &'a Pack) -> RowInfo<'a> {
        RowInfo::new(&pack.tree.positions, &pack.roles)
    }

    /// Returns the information about some of the rows, in this order.
    pub(crate) fn some(&self, rows: impl Iterator<Item = u32>) -> RowInfo<'static> {
        let rows: Vec<usize> = rows.map(|row| row as usize).collect();
        let roles = match self.roles.is_empty() {
            true => Vec::new(),
            false => rows.iter().map(|&row| self.roles[row]).collect(),
        };
        RowInfo {
            positions: rows.iter().map(|&row| self.positions[row]).collect(),
            roles: roles.into(),
        }
    }

    /// Returns the position of every row in its sequence, counted from 0.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Returns the role of every row. It is empty unless some edit of the pass reads rows
    /// ([`StateEdit::reads_rows`]).
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }
}

/// An edit of some tokens. The states of the other tokens stay exactly the same.
#[derive(Debug, Clone)]
pub struct OnTokens<E> {
    /// The edit.
    pub edit: E,
    /// The tokens that are edited.
    pub tokens: Tokens,
}

impl<E: StateEdit> StateEdit for OnTokens<E> {
    fn apply(&self, h: Tensor<2>, rows: &RowInfo<'_>) -> Tensor<2> {
        if self.tokens == Tokens::All {
            return self.edit.apply(h, rows);
        }
        let meant = rows.roles.iter().map(|&role| self.tokens.has(role));
        let chosen: Vec<u32> = (0..)
            .zip(meant)
            .filter(|(_, m)| *m)
            .map(|(r, _)| r)
            .collect();
        let [count, _] = h.dims();
        if chosen.is_empty() {
            return h;
        }
        if chosen.len() == count {
            return self.edit.apply(h, rows);
        }
        let device = h.device();
        let places: Vec<i32> = chosen.iter().map(|&row| row as i32).collect();
        let some = h.clone().select(0, index(places, &device));
        let edited = self.edit.apply(some, &rows.some(chosen.iter().copied()));
        // Every row from the states before, or from the edited ones behind them.
        let mut from: Vec<i32> = (0..count as i32).collect();
        for (at, &row) in (count as i32..).zip(&chosen) {
            from[row as usize] = at;
        }
        Tensor::cat(vec![h, edited], 0).select(0, index(from, &device))
    }

    fn reads_rows(&self) -> bool {
        self.tokens != Tokens::All || self.edit.reads_rows()
    }

    fn low_rank(&self) -> Option<LowRank> {
        match self.tokens {
            Tokens::All => self.edit.low_rank(),
            _ => None,
        }
    }
}
