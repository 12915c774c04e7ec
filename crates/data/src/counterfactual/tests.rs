use proptest::prelude::*;

use super::*;

fn list(groups: usize, rows: &[&[&str]]) -> AttributeList {
    AttributeList {
        language: Language::EN,
        category: "gender".into(),
        groups: (0..groups).map(|i| format!("g{i}")).collect(),
        rows: rows
            .iter()
            .map(|r| r.iter().map(|w| w.to_string()).collect())
            .collect(),
    }
}

fn check(rows: &[&[&str]], sentence: &str, expect: &[&[&str]]) {
    let made = counterfactuals(&[sentence], &list(rows[0].len(), rows), None, 0).unwrap();
    assert_eq!(made.tuples, expect, "{sentence}");
}

#[test]
fn swaps_all_occurrences_and_keeps_capitals() {
    let gender: &[&[&str]] = &[
        &["he", "she"],
        &["mann", "frau"],
        &["mr.", "mrs."],
        &["grand-père", "grand-mère"],
    ];
    check(
        gender,
        "He says he knows the theory.",
        &[&[
            "He says he knows the theory.",
            "She says she knows the theory.",
        ]],
    );
    check(
        gender,
        "Der Mann lacht.",
        &[&["Der Mann lacht.", "Der Frau lacht."]],
    );
    check(
        gender,
        "MR. Smith, mr. Jones",
        &[&["MR. Smith, mr. Jones", "MRS. Smith, mrs. Jones"]],
    );
    check(
        gender,
        "Son grand-mère.",
        &[&["Son grand-père.", "Son grand-mère."]],
    );
    check(gender, "She's here", &[&["He's here", "She's here"]]);
}

/// "My brother Lisa" does not occur.
#[test]
fn all_words_of_a_group_go_together() {
    let gender: &[&[&str]] = &[
        &["he", "she"],
        &["brother", "sister"],
        &["Paul", "Lisa"],
        &["his", "her"],
    ];
    check(
        gender,
        "My brother Paul says he lost his key.",
        &[&[
            "My brother Paul says he lost his key.",
            "My sister Lisa says she lost her key.",
        ]],
    );
    // With words of both groups there is one tuple for each, in which the other's words stay.
    check(
        gender,
        "his sister and her brother",
        &[
            &["his sister and her brother", "her sister and her sister"],
            &["his brother and his brother", "his sister and her brother"],
        ],
    );
    let made = counterfactuals(&["my brother Paul"], &list(2, gender), None, 0).unwrap();
    assert_eq!(made.matched, [(1, 1), (2, 1)]);
}

#[test]
fn a_swapped_word_has_the_case_of_its_place() {
    let race: &[&[&str]] = &[&["Black", "white"]];
    for (sentence, expect) in [
        ("The Black guest.", ["The Black guest.", "The white guest."]),
        ("The white guest.", ["The Black guest.", "The white guest."]),
        ("Black is she.", ["Black is she.", "White is she."]),
        ("White is she.", ["Black is she.", "White is she."]),
        (
            "Yes. Black it is.",
            ["Yes. Black it is.", "Yes. White it is."],
        ),
        (
            "“White,” she said.",
            ["“Black,” she said.", "“White,” she said."],
        ),
        (
            "She said “Black”.",
            ["She said “Black”.", "She said “white”."],
        ),
        ("the black guest", ["the black guest", "the white guest"]),
        ("THE BLACK GUEST", ["THE BLACK GUEST", "THE WHITE GUEST"]),
    ] {
        check(race, sentence, &[&expect]);
    }
    // A list in the language's spelling, and one in lower case, with German text.
    for row in [["Mann", "Frau"], ["mann", "frau"]] {
        check(
            &[&row],
            "Ein Mann und noch ein Mann.",
            &[&["Ein Mann und noch ein Mann.", "Ein Frau und noch ein Frau."]],
        );
    }
    check(
        &[&["Mann", "Frau"]],
        "ein mann",
        &[&["ein mann", "ein frau"]],
    );
    check(
        &[&["er", "sie"]],
        "Er sagt, er kommt.",
        &[&["Er sagt, er kommt.", "Sie sagt, sie kommt."]],
    );
}

#[test]
fn triples_and_original_group() {
    let religion: &[&[&str]] = &[
        &["torah", "bible", "quran"],
        &["jewish", "christian", "muslim"],
    ];
    let made = counterfactuals(&["none", "The Bible"], &list(3, religion), None, 0).unwrap();
    assert_eq!(made.tuples, [["The Torah", "The Bible", "The Quran"]]);
    assert_eq!(
        (made.original_group, made.sentence, made.matched),
        (vec![1], vec![1], vec![(0, 1)])
    );
}

#[test]
fn first_tuple_wins_and_longest_word_wins() {
    check(
        &[&["his", "her"], &["him", "her"]],
        "her cat",
        &[&["his cat", "her cat"]],
    );
    check(
        &[&["papa", "mama"], &["papa's", "mama's"]],
        "papa's huis",
        &[&["papa's huis", "mama's huis"]],
    );
}

#[test]
fn limit_is_a_seeded_draw() {
    let sentences: Vec<String> = (0..40).map(|i| format!("he {i}")).collect();
    let rows = list(2, &[&["he", "she"]]);
    let some = counterfactuals(&sentences, &rows, Some(10), 3).unwrap();
    assert_eq!(some.tuples.len(), 10);
    assert_eq!(some.matched, [(0, 40)]);
    assert_eq!(
        some,
        counterfactuals(&sentences, &rows, Some(10), 3).unwrap()
    );
    assert_ne!(
        some.sentence,
        counterfactuals(&sentences, &rows, Some(10), 4)
            .unwrap()
            .sentence
    );
    assert!(some.sentence.is_sorted());
}

#[test]
fn no_match_lists_the_words() {
    let error =
        counterfactuals(&["nothing here"], &list(2, &[&["he", "she"]]), None, 0).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("en/gender") && text.contains("none of its 2 words (he, she)"),
        "{text}"
    );
}

#[test]
fn counts_say_what_matched() {
    let rows = list(
        2,
        &[&["he", "she"], &["man", "woman"], &["duke", "duchess"]],
    );
    let matcher = Matcher::new(&rows).unwrap();
    let counts = matcher.counts(&["he and he", "She, he", "woman", "nothing"]);
    assert_eq!(
        (counts.sentences, counts.matched, counts.found()),
        (4, 3, 3)
    );
    assert_eq!(counts.most_frequent(2), [("he", 2), ("she", 1)]);
    counts.require().unwrap();
    assert_eq!(
        counts.to_string(),
        "attribute list en/gender: 3 of 6 words occur, in 3 of 4 sentences; \
             most frequent: he 2, she 1, woman 1"
    );
    let none = matcher.counts(&["nothing"]);
    let error = none.require().unwrap_err().to_string();
    assert!(
        error.contains("6 words") && error.contains("any of the 1 sentences"),
        "{error}"
    );
    assert!(!none.to_string().contains("most frequent"));
    assert!(matcher.counts::<&str>(&[]).require().is_err());
}

#[test]
fn classes() {
    let rows = list(2, &[&["he", "she"], &["man", "woman"]]);
    for (sentence, expect) in [
        ("He is a man.", Class::Group(0)),
        ("A woman", Class::Group(1)),
        ("the human", Class::Neutral),
        ("he and she", Class::Mixed),
        ("", Class::Neutral),
    ] {
        assert_eq!(classify(sentence, &rows).unwrap(), expect, "{sentence}");
    }
    assert_eq!(
        (Class::Group(1).group(), Class::Mixed.group()),
        (Some(1), None)
    );
}

proptest! {
    #[test]
    fn swapping_back_restores(sentence in "[a-z ,.']{0,20}( he | she |He |SHE)?[a-zäé .]{0,20}") {
        let rows = list(2, &[&["he", "she"]]);
        if let Ok(made) = counterfactuals(&[&sentence], &rows, None, 0) {
            for (tuple, group) in made.tuples.iter().zip(&made.original_group) {
                prop_assert_eq!(&tuple[*group], &sentence);
                let other = &tuple[1 - group];
                let both = classify(&sentence, &rows).unwrap() == Class::Mixed;
                if !both {
                    let back = counterfactuals(&[other], &rows, None, 0).unwrap();
                    prop_assert_eq!(back.tuples[0][*group].to_lowercase(), sentence.to_lowercase());
                }
            }
        }
    }

    #[test]
    fn never_panics(sentence in "\\PC{0,60}") {
        let rows = list(2, &[&["he", "she"], &["İx", "ß-y"]]);
        let _ = counterfactuals(&[sentence.as_str()], &rows, None, 0);
    }
}
