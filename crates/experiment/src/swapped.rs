//! Makes parallel rows in which the groups are swapped in all languages at once.

use interlingua_data::{AttributeList, Class, DataError, Matcher, ParallelCorpus};

/// Appends the counterfactuals of every row, and returns for each row the others that were made from the same row.
///
/// A row is swapped if the words of a category mention exactly one group in every language, and the same one in all.
///
/// # Errors
/// A list whose tuples do not fit its groups, and [`DataError::NoMatches`] for a category in which no row can be
/// swapped.
pub fn append(
    corpus: &mut ParallelCorpus,
    lists: &[AttributeList],
) -> Result<Vec<Vec<usize>>, DataError> {
    let rows = corpus.len();
    // Each row with what is made of it.
    let mut families: Vec<Vec<usize>> = (0..rows).map(|row| vec![row]).collect();
    let mut categories: Vec<&str> = lists.iter().map(|l| l.category.as_str()).collect();
    categories.sort_unstable();
    categories.dedup();
    for category in categories {
        let mut matchers = Vec::new();
        for &language in &corpus.languages {
            let mut own = lists.iter();
            let list = own
                .find(|l| l.language == language && l.category == category)
                .expect("a list for every language and category");
            matchers.push((Matcher::new(list)?, list));
        }
        let before = corpus.len();
        for (row, family) in families.iter_mut().enumerate() {
            let class = |(column, (matcher, _)): (&Vec<String>, &(Matcher, &AttributeList))| {
                matcher.classify(&column[row])
            };
            let mut classes = corpus.columns.iter().zip(&matchers).map(class);
            let Some(Class::Group(group)) = classes.next() else {
                continue;
            };
            if !classes.all(|class| class == Class::Group(group)) {
                continue;
            }
            for other in (0..matchers[0].1.groups.len()).filter(|&other| other != group) {
                for (column, (matcher, list)) in corpus.columns.iter_mut().zip(&matchers) {
                    column.push(matcher.swap(&column[row], group, other, list));
                }
                let id = format!("{}~{}", corpus.ids[row], matchers[0].1.groups[other]);
                family.push(corpus.ids.len());
                corpus.ids.push(id);
            }
        }
        if corpus.len() == before {
            let (matcher, _) = &matchers[0];
            matcher.counts(&corpus.columns[0]).require()?;
        }
    }
    let mut twins = vec![Vec::new(); corpus.len()];
    for family in families {
        for &row in &family {
            twins[row] = family
                .iter()
                .copied()
                .filter(|&other| other != row)
                .collect();
        }
    }
    Ok(twins)
}

#[cfg(test)]
mod tests {
    use interlingua_data::Language;

    use super::*;

    #[test]
    fn rows_are_swapped_in_all_languages_or_not_at_all() {
        let list = |language, rows: [[&str; 2]; 2]| AttributeList {
            category: "gender".into(),
            language,
            groups: vec!["female".into(), "male".into()],
            rows: rows.map(|row| row.map(str::to_owned).to_vec()).to_vec(),
        };
        let lists = [
            list(Language::EN, [["she", "he"], ["mother", "father"]]),
            list(Language::DE, [["sie", "er"], ["Mutter", "Vater"]]),
        ];
        let text = |rows: [&str; 4]| rows.map(str::to_owned).to_vec();
        let mut corpus = ParallelCorpus {
            languages: vec![Language::EN, Language::DE],
            columns: vec![
                text(["She sleeps.", "It rains.", "He eats.", "She and he sing."]),
                text([
                    "Sie schläft.",
                    "Es regnet.",
                    "Es schmeckt.",
                    "Sie und er singen.",
                ]),
            ],
            ids: text(["a", "b", "c", "d"]),
        };
        let twins = append(&mut corpus, &lists).unwrap();
        assert_eq!(corpus.ids, ["a", "b", "c", "d", "a~male"]);
        assert_eq!(corpus.columns[0][4], "He sleeps.");
        assert_eq!(corpus.columns[1][4], "Er schläft.");
        assert_eq!(twins, [vec![4], vec![], vec![], vec![], vec![0]]);
        // Words that are in no row are named.
        let none = lists.map(|l| AttributeList {
            rows: vec![vec!["aunt".into(), "uncle".into()]],
            ..l
        });
        let error = append(&mut corpus, &none).unwrap_err();
        assert!(error.to_string().contains("aunt"), "{error}");
    }
}
