//! Sentences packed without padding, shared prefixes once.

use interlingua_backend::ops::{Node, Tree, path_rows};

/// A tokenised text and how many of its leading tokens only condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// All tokens, special ones included.
    pub tokens: Vec<u32>,
    /// Leading tokens that are given, not scored or pooled (the start token).
    pub context: usize,
}

/// Some sequences as one prefix tree of packed rows.
#[derive(Debug, Clone)]
pub struct Pack {
    /// The tree.
    pub tree: Tree,
    /// Token of every row.
    pub tokens: Vec<u32>,
    /// The sequences in this pack, by index in the request, with their rows.
    pub members: Vec<Member>,
    /// Distinct (row, target) predictions that are asked for.
    pub predictions: Vec<(u32, u32)>,
}

/// One sequence of a pack.
#[derive(Debug, Clone)]
pub struct Member {
    /// Index in the request.
    pub sequence: usize,
    /// Row of each token.
    pub rows: Vec<u32>,
    /// For each scored token, its index among the pack's predictions.
    pub scored: Vec<u32>,
}

/// Packs sequences, each pack at most `max_rows` rows (or one longer sequence).
///
/// Sequences are sorted, so that those with a common beginning meet; a common
/// beginning becomes rows only once in a pack.
pub fn pack(sequences: &[Sequence], max_rows: usize) -> Vec<Pack> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by(|&a, &b| {
        sequences[a]
            .tokens
            .cmp(&sequences[b].tokens)
            .then(a.cmp(&b))
    });
    let mut packs = Vec::new();
    let mut builder = Builder::default();
    for at in order {
        let sequence = &sequences[at];
        let fresh = sequence.tokens.len() - builder.shared_with_last(&sequence.tokens);
        if builder.tokens.len() + fresh > max_rows && !builder.members.is_empty() {
            packs.push(std::mem::take(&mut builder).finish());
        }
        builder.add(at, sequence);
    }
    if !builder.members.is_empty() {
        packs.push(builder.finish());
    }
    packs
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    positions: Vec<u32>,
    tokens: Vec<u32>,
    members: Vec<Member>,
    predictions: Vec<(u32, u32)>,
    last: Vec<u32>,
    last_node: usize,
}

impl Builder {
    fn shared_with_last(&self, tokens: &[u32]) -> usize {
        self.last
            .iter()
            .zip(tokens)
            .take_while(|(a, b)| a == b)
            .count()
    }

    fn add(&mut self, sequence: usize, item: &Sequence) {
        let shared = self.shared_with_last(&item.tokens);
        let fresh = item.tokens.len() - shared;
        if fresh > 0 {
            let parent = (shared > 0).then_some(self.last_node);
            self.nodes.push(Node {
                start: self.tokens.len(),
                len: fresh,
                parent,
                prefix: shared,
            });
            self.positions
                .extend(shared as u32..item.tokens.len() as u32);
            self.tokens.extend(&item.tokens[shared..]);
            self.last_node = self.nodes.len() - 1;
            self.last.clone_from(&item.tokens);
        }
        let mut rows = Vec::new();
        path_rows(&self.nodes, self.last_node, &mut rows);
        // A sequence that is a prefix of the last one ends before it does.
        rows.truncate(item.tokens.len());
        let first_fresh = self.predictions.len();
        let scored = (item.context.max(1)..item.tokens.len())
            .map(|j| {
                let wanted = (rows[j - 1], item.tokens[j]);
                // Sorted neighbours repeat predictions; those of the last sequence are the only candidates.
                let known = self.members.last().and_then(|m| {
                    m.scored.iter().copied().find(|&p| {
                        (p as usize) < first_fresh && self.predictions[p as usize] == wanted
                    })
                });
                known.unwrap_or_else(|| {
                    self.predictions.push(wanted);
                    self.predictions.len() as u32 - 1
                })
            })
            .collect();
        self.members.push(Member {
            sequence,
            rows,
            scored,
        });
    }

    fn finish(self) -> Pack {
        Pack {
            tree: Tree {
                nodes: self.nodes,
                positions: self.positions,
            },
            tokens: self.tokens,
            members: self.members,
            predictions: self.predictions,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequences() -> impl Strategy<Value = Vec<Sequence>> {
        prop::collection::vec(
            (prop::collection::vec(0u32..3, 1..9), 0usize..2)
                .prop_map(|(tokens, context)| Sequence { tokens, context }),
            0..20,
        )
    }

    proptest! {
        #[test]
        fn every_sequence_keeps_its_tokens_positions_and_predictions(sequences in sequences(), max in 1usize..40) {
            let packs = pack(&sequences, max);
            let mut seen = vec![0; sequences.len()];
            for pack in &packs {
                prop_assert_eq!(pack.tokens.len(), pack.tree.rows());
                for member in &pack.members {
                    let sequence = &sequences[member.sequence];
                    seen[member.sequence] += 1;
                    let tokens: Vec<u32> = member.rows.iter().map(|&r| pack.tokens[r as usize]).collect();
                    prop_assert_eq!(&tokens, &sequence.tokens);
                    for (i, &r) in member.rows.iter().enumerate() {
                        prop_assert_eq!(pack.tree.positions[r as usize] as usize, i);
                    }
                    let from = sequence.context.max(1);
                    prop_assert_eq!(member.scored.len(), sequence.tokens.len().saturating_sub(from));
                    for (k, &p) in member.scored.iter().enumerate() {
                        prop_assert_eq!(pack.predictions[p as usize], (member.rows[from + k - 1], sequence.tokens[from + k]));
                    }
                }
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
        }
    }

    #[test]
    fn a_common_beginning_is_stored_once() {
        let s = |tokens: &[u32]| Sequence {
            tokens: tokens.to_vec(),
            context: 1,
        };
        let packs = pack(
            &[
                s(&[2, 5, 6, 7]),
                s(&[2, 5, 6, 8]),
                s(&[2, 5, 9]),
                s(&[2, 5, 6, 7]),
            ],
            100,
        );
        assert_eq!(packs.len(), 1);
        assert_eq!(packs[0].tokens.len(), 6);
        assert_eq!(packs[0].predictions.len(), 5);
    }
}
