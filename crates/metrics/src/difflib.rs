//! Finds the matching blocks of two sequences, as Python's `difflib.SequenceMatcher` does.
//!
//! The masked CrowS-Pairs scorers depend on this exact algorithm, because it decides which tokens count as changed;
//! it is not a shortest edit script. The algorithm takes the longest common block (the earliest, if there are
//! several) and continues to the left and to the right of it. It is not symmetric in its arguments.
//!
//! # Source
//! Python's documentation of `difflib` (Ratcliff and Obershelp's gestalt
//! pattern matching), with its default of `autojunk`: in a second sequence of
//! 200 and more elements, those that make up more than 1 % of it begin no block.

use std::collections::HashMap;

/// A block that both sequences contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatchingBlock {
    /// The position of its beginning in the first sequence.
    pub a: usize,
    /// The position of its beginning in the second sequence.
    pub b: usize,
    /// The number of its elements, at least 1.
    pub len: usize,
}

/// Length from which on frequent elements are junk.
const AUTOJUNK: usize = 200;

/// Returns all matching blocks, in order. No two blocks are adjacent in both sequences.
pub fn matching_blocks(a: &[u32], b: &[u32]) -> Vec<MatchingBlock> {
    let places = places(b);
    let mut found = Vec::new();
    let mut open = vec![(0, a.len(), 0, b.len())];
    while let Some((a_from, a_to, b_from, b_to)) = open.pop() {
        let block = longest(a, b, &places, (a_from, a_to, b_from, b_to));
        if block.len == 0 {
            continue;
        }
        found.push(block);
        if a_from < block.a && b_from < block.b {
            open.push((a_from, block.a, b_from, block.b));
        }
        let (a_end, b_end) = (block.a + block.len, block.b + block.len);
        if a_end < a_to && b_end < b_to {
            open.push((a_end, a_to, b_end, b_to));
        }
    }
    found.sort_unstable();
    let mut joined: Vec<MatchingBlock> = Vec::with_capacity(found.len());
    for block in found {
        match joined.last_mut() {
            Some(last) if last.a + last.len == block.a && last.b + last.len == block.b => {
                last.len += block.len;
            }
            _ => joined.push(block),
        }
    }
    joined
}

/// Places of every element of the second sequence, in order, without those that are too frequent.
fn places(b: &[u32]) -> HashMap<u32, Vec<usize>> {
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, &element) in b.iter().enumerate() {
        places.entry(element).or_default().push(at);
    }
    if b.len() >= AUTOJUNK {
        let most = b.len() / 100 + 1;
        places.retain(|_, at| at.len() <= most);
    }
    places
}

/// The longest block within bounds; of several, the first in `a`, then in `b`.
fn longest(
    a: &[u32],
    b: &[u32],
    places: &HashMap<u32, Vec<usize>>,
    (a_from, a_to, b_from, b_to): (usize, usize, usize, usize),
) -> MatchingBlock {
    let mut best = MatchingBlock {
        a: a_from,
        b: b_from,
        len: 0,
    };
    // Length of the block that ends at this place of `b` and at the last place of `a`.
    let mut ending: HashMap<usize, usize> = HashMap::new();
    for (i, element) in a.iter().enumerate().take(a_to).skip(a_from) {
        let mut now = HashMap::new();
        let here = places.get(element).map_or(&[][..], Vec::as_slice);
        for &j in here.iter().filter(|&&j| (b_from..b_to).contains(&j)) {
            let before = j.checked_sub(1).and_then(|j| ending.get(&j));
            let len = before.copied().unwrap_or(0) + 1;
            now.insert(j, len);
            if len > best.len {
                best = MatchingBlock {
                    a: i + 1 - len,
                    b: j + 1 - len,
                    len,
                };
            }
        }
        ending = now;
    }
    // Frequent elements begin no block, but they lengthen one.
    while best.a > a_from && best.b > b_from && a[best.a - 1] == b[best.b - 1] {
        best.a -= 1;
        best.b -= 1;
        best.len += 1;
    }
    while best.a + best.len < a_to
        && best.b + best.len < b_to
        && a[best.a + best.len] == b[best.b + best.len]
    {
        best.len += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(a: &[u32], b: &[u32]) -> Vec<(usize, usize, usize)> {
        matching_blocks(a, b)
            .iter()
            .map(|m| (m.a, m.b, m.len))
            .collect()
    }

    #[test]
    fn longest_first_then_around_it() {
        assert_eq!(blocks(&[], &[1]), []);
        assert_eq!(blocks(&[1, 2, 3], &[1, 2, 3]), [(0, 0, 3)]);
        assert_eq!(
            blocks(&[1, 2, 3, 9], &[1, 7, 8, 3, 9]),
            [(0, 0, 1), (2, 3, 2)]
        );
        // The longest block may leave a longer subsequence unmatched.
        assert_eq!(blocks(&[1, 2, 3, 4], &[2, 1, 3, 4]), [(0, 1, 1), (2, 2, 2)]);
    }

    #[test]
    fn frequent_elements_of_long_sequences_only_lengthen_blocks() {
        let mut b = vec![0; 200];
        assert_eq!(blocks(&[5, 0, 0], &b), []);
        // The same sequence, one element shorter, has no junk.
        assert_eq!(blocks(&[5, 0, 0], &b[1..]), [(1, 0, 2)]);
        b[100] = 7;
        assert_eq!(blocks(&[0, 7, 0], &b), [(0, 99, 3)]);
    }
}
