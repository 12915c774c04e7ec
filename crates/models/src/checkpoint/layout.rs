//! Reverses the changes that the converter to GGUF makes to a tensor, while the tensor is read.

/// The difference between a tensor in the file and the same tensor of the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// There is no difference.
    #[default]
    Same,
    /// The rows are in another order.
    Rows(Order),
    /// Rows and columns are exchanged (GPT-2, whose matrices are `[in, out]` in transformers).
    Transposed,
    /// All values are larger by one (the norms of Gemma, which are stored as gains).
    LargerByOne,
}

/// An order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The rows of the two halves of every head, which rotary embedding pairs, alternate (Llama).
    Pairs {
        /// The number of rows of a head.
        head_dim: usize,
    },
    /// All queries come first, then all keys, then all values, whereas the architecture stores those of each head
    /// together (BLOOM).
    Heads {
        /// The number of heads.
        heads: usize,
        /// The number of rows of a head's queries.
        head_dim: usize,
    },
}

impl Order {
    /// Returns the row of the file that is row `row` of the architecture.
    pub fn in_file(self, row: usize) -> usize {
        match self {
            Order::Pairs { head_dim } => {
                let (head, within, half) = (row / head_dim, row % head_dim, head_dim / 2);
                head * head_dim + within % half * 2 + within / half
            }
            Order::Heads { heads, head_dim } => {
                let (head, within) = (row / (3 * head_dim), row % (3 * head_dim));
                let kind = within / head_dim;
                (kind * heads + head) * head_dim + within % head_dim
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_that_undo_the_converter() {
        let pairs = Order::Pairs { head_dim: 6 };
        let rows: Vec<usize> = (0..12).map(|r| pairs.in_file(r)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        let heads = Order::Heads {
            heads: 2,
            head_dim: 2,
        };
        let rows: Vec<usize> = (0..12).map(|r| heads.in_file(r)).collect();
        assert_eq!(rows, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
    }
}
