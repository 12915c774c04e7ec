//! Packs sentences without padding, and stores prefixes that sentences share only once.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use interlingua_backend::ops::{Node, Repeats, Tree, path_rows};
use interlingua_edits::Role;

/// A tokenised text, with the numbers of tokens at its two ends that are read but not scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// All token ids, including special tokens.
    pub tokens: Vec<u32>,
    /// The number of tokens at the beginning that are given and not scored or pooled, such as the start token.
    pub context: usize,
    /// The number of tokens at the end that are given and not scored or pooled, such as an encoder's closing token.
    pub closing: usize,
}

impl Sequence {
    /// Makes a sequence without closing tokens.
    pub fn new(tokens: Vec<u32>, context: usize) -> Sequence {
        Sequence {
            tokens,
            context,
            closing: 0,
        }
    }

    /// Returns the range of the tokens that are scored or pooled.
    pub fn text(&self) -> std::ops::Range<usize> {
        self.context
            ..self
                .tokens
                .len()
                .saturating_sub(self.closing)
                .max(self.context)
    }
}

/// Tokens that go through the model, and the predictions to make from their states.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// All token ids.
    pub tokens: Vec<u32>,
    /// Pairs of a position in `tokens` and the token whose probability is asked for there.
    pub predictions: Vec<(usize, u32)>,
    /// The role of each token in its text ([`crate::Model::roles`]). Rows with equal tokens and different roles are
    /// not shared. The list may be empty if no edit reads roles.
    pub roles: Vec<Role>,
}

impl Query {
    /// Asks for every token of a text, predicted from those before it. A first token without context is not
    /// predicted.
    ///
    /// Tokens after the last prediction are left out, because they do not affect it.
    pub fn next_tokens(sequence: &Sequence) -> Query {
        let text = sequence.text();
        let predictions: Vec<(usize, u32)> = (text.start.max(1)..text.end)
            .map(|j| (j - 1, sequence.tokens[j]))
            .collect();
        let needed = match predictions.last() {
            Some((place, _)) => place + 1,
            None => sequence.tokens.len(),
        };
        Query {
            tokens: sequence.tokens[..needed].to_vec(),
            predictions,
            roles: Vec::new(),
        }
    }

    /// Asks for no predictions, only for states.
    pub fn states(tokens: &[u32]) -> Query {
        Query {
            tokens: tokens.to_vec(),
            predictions: Vec::new(),
            roles: Vec::new(),
        }
    }

    /// Returns the same query with the roles of a text whose first tokens it has.
    pub fn with_roles(mut self, mut roles: Vec<Role>) -> Query {
        roles.truncate(self.tokens.len());
        self.roles = roles;
        self
    }

    /// The first tokens that another query has too, in the same roles.
    fn shared(&self, other: &Query, sharing: Sharing) -> usize {
        let same = |i: &usize| {
            self.tokens.get(*i) == other.tokens.get(*i) && self.roles.get(*i) == other.roles.get(*i)
        };
        let most = self.tokens.len().min(other.tokens.len());
        let found = (0..most).take_while(same).count();
        match sharing {
            Sharing::Prefixes => found,
            Sharing::Whole if found == self.tokens.len().max(other.tokens.len()) => found,
            Sharing::Whole => 0,
        }
    }
}

/// Several sequences as one prefix tree of packed rows.
#[derive(Debug, Clone)]
pub struct Pack {
    /// The prefix tree.
    pub tree: Tree,
    /// The token of every row.
    pub tokens: Vec<u32>,
    /// The role of every row; empty if the queries have no roles.
    pub roles: Vec<Role>,
    /// The sequences in this pack, by their index in the request, with their rows.
    pub members: Vec<Member>,
    /// The distinct predictions that are asked for, as pairs of a row and a target token.
    pub predictions: Vec<(u32, u32)>,
}

impl Pack {
    /// Returns which rows enter the first block with equal states, if there are many such rows. They have equal
    /// tokens, equal positions if the embedding depends on the position, and equal roles if edits read them.
    pub(crate) fn repeats(&self, placed: bool) -> Option<Repeats> {
        let places = self.tree.positions.iter();
        let keys = self.tokens.iter().zip(places);
        let by_role = !self.roles.is_empty();
        let repeats = Repeats::new(keys.enumerate().map(|(row, (&token, &place))| {
            let place = (placed || by_role).then_some(place);
            (token, place, self.roles.get(row))
        }));
        // Gathering and spreading states must spare more than it costs.
        (repeats.first.len() * 4 < self.tokens.len() * 3).then_some(repeats)
    }
}

/// One query of a pack.
#[derive(Debug, Clone)]
pub struct Member {
    /// The index in the request.
    pub sequence: usize,
    /// The row of each token.
    pub rows: Vec<u32>,
    /// For each prediction, its index among the predictions of the pack.
    pub scored: Vec<u32>,
}

/// The rows of different sequences that can be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The rows of a common beginning, for causal models.
    Prefixes,
    /// Only the rows of equal sequences, for encoders, in which every token sees all others.
    Whole,
}

/// Packs queries into packs of at most `max_rows` rows; a longer sequence gets a pack of its own.
///
/// The queries are sorted so that those that share rows come together. A shared row occurs only once in a pack.
pub fn pack(queries: &[Query], max_rows: usize, sharing: Sharing) -> Vec<Pack> {
    fill(queries, &sorted(queries, sharing), max_rows, sharing)
}

/// Packs queries as [`pack`] does, into packs of about the same size whose number is a multiple of `workers`, so that
/// none of the workers is idle. Packs are not made smaller than the lower end of `rows` for this.
pub fn pack_for(
    workers: usize,
    queries: &[Query],
    rows: RangeInclusive<usize>,
    sharing: Sharing,
) -> Vec<Pack> {
    let order = sorted(queries, sharing);
    // Of each sequence all rows, and those that the one before it does not have.
    let mut last = &Query::states(&[]);
    let mut sizes = Vec::with_capacity(order.len());
    for &at in &order {
        let (query, all) = (&queries[at], queries[at].tokens.len());
        sizes.push((all, all - query.shared(last, sharing)));
        last = query;
    }
    let count = |limit: usize| {
        let (mut packs, mut filled) = (0usize, 0);
        for &(all, fresh) in &sizes {
            if packs == 0 || filled + fresh > limit {
                (packs, filled) = (packs + 1, all);
            } else {
                filled += fresh;
            }
        }
        packs
    };
    let (least, most) = (*rows.start().min(rows.end()), *rows.end());
    let wanted = count(most).next_multiple_of(workers.max(1));
    // The smallest limit that needs no more packs: below it is too small, `high` is enough.
    let (mut low, mut high) = (least.saturating_sub(1), most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match count(middle) <= wanted {
            true => high = middle,
            false => low = middle,
        }
    }
    fill(queries, &order, high, sharing)
}

/// By their tokens, or, where only equal ones share rows, by the first that is equal: neighbours of a
/// request are often copies of one text. Equal predictions must meet too.
fn sorted(queries: &[Query], sharing: Sharing) -> Vec<usize> {
    let mut order: Vec<usize> = (0..queries.len()).collect();
    match sharing {
        Sharing::Prefixes => {
            let key = |at: usize| {
                let query = &queries[at];
                (&query.tokens, &query.roles, &query.predictions, at)
            };
            order.sort_by(|&a, &b| key(a).cmp(&key(b)));
        }
        Sharing::Whole => {
            let mut seen = HashMap::new();
            let first: Vec<usize> = (queries.iter().enumerate())
                .map(|(at, query)| *seen.entry((&query.tokens, &query.roles)).or_insert(at))
                .collect();
            order.sort_by_key(|&at| (first[at], &queries[at].predictions, at));
        }
    }
    order
}

fn fill(queries: &[Query], order: &[usize], max_rows: usize, sharing: Sharing) -> Vec<Pack> {
    let mut packs = Vec::new();
    let mut builder = Builder::default();
    for &at in order {
        let query = &queries[at];
        let fresh = query.tokens.len() - query.shared(&builder.last, sharing);
        if builder.tokens.len() + fresh > max_rows && !builder.members.is_empty() {
            packs.push(std::mem::take(&mut builder).finish());
        }
        builder.add(at, query, sharing);
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
    roles: Vec<Role>,
    members: Vec<Member>,
    predictions: Vec<(u32, u32)>,
    last: Query,
    last_node: usize,
}

impl Builder {
    fn add(&mut self, sequence: usize, item: &Query, sharing: Sharing) {
        let shared = item.shared(&self.last, sharing);
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
            self.roles.extend(item.roles.iter().skip(shared));
            self.last_node = self.nodes.len() - 1;
            self.last.clone_from(item);
        }
        let mut rows = Vec::new();
        path_rows(&self.nodes, self.last_node, &mut rows);
        // A sequence that is a prefix of the last one ends before it does.
        rows.truncate(item.tokens.len());
        let first_fresh = self.predictions.len();
        let scored = item
            .predictions
            .iter()
            .map(|&(place, target)| {
                let wanted = (rows[place], target);
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
                ..Tree::default()
            },
            tokens: self.tokens,
            roles: self.roles,
            members: self.members,
            predictions: self.predictions,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queries() -> impl Strategy<Value = Vec<Query>> {
        prop::collection::vec(
            (
                prop::collection::vec((0u32..3, any::<bool>()), 1..9),
                0usize..2,
            )
                .prop_map(|(tokens, context)| {
                    let (tokens, given): (Vec<u32>, Vec<bool>) = tokens.into_iter().unzip();
                    let role = |given| Role {
                        given,
                        ..Role::default()
                    };
                    let roles = given.into_iter().map(role).collect();
                    Query::next_tokens(&Sequence::new(tokens, context)).with_roles(roles)
                }),
            0..20,
        )
    }

    #[test]
    fn copies_of_a_text_lie_together_and_have_few_kinds_of_rows() {
        // Two texts, each with every token masked once; the second text is there twice.
        let copy = |text: u32, place: usize| {
            let mut tokens: Vec<u32> = (0..8).map(|t| 10 * text + t).collect();
            tokens[place] = 99;
            Query {
                tokens,
                predictions: vec![(place, 10 * text + place as u32)],
                roles: Vec::new(),
            }
        };
        let queries: Vec<Query> = [1, 2, 2]
            .into_iter()
            .flat_map(|text| (0..8).map(move |place| copy(text, place)))
            .collect();
        let packs = pack(&queries, 64, Sharing::Whole);
        assert_eq!(packs.len(), 2);
        assert_eq!(packs[1].members.len(), 16);
        for pack in &packs {
            assert_eq!(pack.tokens.len(), 64);
            // Eight tokens and eight masks by place, or one mask wherever it is.
            let placed = pack.repeats(true).unwrap();
            assert_eq!(placed.first.len(), 16);
            let anywhere = pack.repeats(false).unwrap();
            assert_eq!(anywhere.first.len(), 9);
            for (row, &kind) in anywhere.kind.iter().enumerate() {
                let first = anywhere.first[kind as usize] as usize;
                assert_eq!(pack.tokens[row], pack.tokens[first]);
            }
        }
        // Of a text without repetitions nothing is gained.
        assert_eq!(
            pack(&queries[..1], 64, Sharing::Whole)[0].repeats(false),
            None
        );
    }

    proptest! {
        #[test]
        fn every_query_keeps_its_tokens_positions_and_predictions(
            queries in queries(),
            max in 1usize..40,
            prefixes in any::<bool>(),
            workers in 1usize..5,
        ) {
            let sharing = if prefixes { Sharing::Prefixes } else { Sharing::Whole };
            let together = pack(&queries, max, sharing);
            let even = pack_for(workers, &queries, 3..=max.max(3), sharing);
            for packs in [together, even] {
            let mut seen = vec![0; queries.len()];
            for pack in &packs {
                prop_assert_eq!(pack.tokens.len(), pack.tree.rows());
                if !prefixes {
                    prop_assert!(pack.tree.nodes.iter().all(|n| n.parent.is_none()));
                }
                for member in &pack.members {
                    let query = &queries[member.sequence];
                    seen[member.sequence] += 1;
                    let tokens: Vec<u32> = member.rows.iter().map(|&r| pack.tokens[r as usize]).collect();
                    prop_assert_eq!(&tokens, &query.tokens);
                    let roles: Vec<Role> = member.rows.iter().map(|&r| pack.roles[r as usize]).collect();
                    prop_assert_eq!(&roles, &query.roles);
                    for (i, &r) in member.rows.iter().enumerate() {
                        prop_assert_eq!(pack.tree.positions[r as usize] as usize, i);
                    }
                    prop_assert_eq!(member.scored.len(), query.predictions.len());
                    for (&p, &(place, target)) in member.scored.iter().zip(&query.predictions) {
                        prop_assert_eq!(pack.predictions[p as usize], (member.rows[place], target));
                    }
                }
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
            }
        }
    }

    #[test]
    fn packs_are_of_a_size_and_enough_for_all_workers() {
        let query = |i: u32| Query::next_tokens(&Sequence::new(vec![i; 11], 1));
        let queries: Vec<Query> = (0..50).map(query).collect();
        let rows = |workers, range| -> Vec<usize> {
            let packs = pack_for(workers, &queries, range, Sharing::Prefixes);
            packs.iter().map(|p| p.tokens.len()).collect()
        };
        assert_eq!(rows(1, 10..=1000), [500]);
        assert_eq!(rows(2, 10..=1000), [250, 250]);
        assert_eq!(rows(3, 10..=200), [170, 170, 160]);
        assert_eq!(
            rows(16, 300..=1000),
            [300, 200],
            "too little for all of them"
        );
        assert_eq!(rows(4, 10..=130).iter().max(), Some(&130));
    }

    #[test]
    fn a_common_beginning_is_stored_once() {
        let s = |tokens: &[u32]| Query::next_tokens(&Sequence::new(tokens.to_vec(), 1));
        let queries = [
            s(&[2, 5, 6, 7]),
            s(&[2, 5, 6, 8]),
            s(&[2, 5, 9]),
            s(&[2, 5, 6, 7]),
        ];
        let packs = pack(&queries, 100, Sharing::Prefixes);
        assert_eq!(packs.len(), 1);
        assert_eq!(packs[0].tokens.len(), 3, "last tokens are only targets");
        assert_eq!(packs[0].predictions.len(), 5);
        let packs = pack(&queries, 100, Sharing::Whole);
        assert_eq!(packs[0].tokens.len(), 5, "equal sequences are still one");
    }
}
