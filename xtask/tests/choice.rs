//! The task `choice` in a run: accuracies by language, differences, agreement between languages, answers; and files that cannot be used.

#[expect(dead_code, reason = "copies are for faults")]
mod tiny;
mod tree;

use std::collections::BTreeMap;

use serde_json::Value;
use tiny::Tiny;

const CHOICES: &str = "id\tlanguage\tprompt\tcandidates\tgold\n\
    sees\ten\the sees\tbooks | a man | she\t0\n\
    cat\ten\t\tthe cat has lamps | cat the lamps has\t0\n\
    dog\ten\tthe dog\twants | want\t0\n\
    sees\tnl\thij ziet\tboeken | een man | zij\t0\n\
    cat\tnl\t\tde kat heeft lampen | kat de lampen heeft\t0\n\
    late\tnl\tde hond\twil | willen\t0\n\
    cat\tsv\t\tkatten | hunden\t0\n";

const TASK: &str = "[[benchmarks]]\nkind = \"choice\"\npath = \"choices.tsv\"\nname = \"words\"\n";

fn tiny(choices: &str) -> Tiny {
    let tiny = Tiny::new();
    tiny.write("data/choices.tsv", choices.as_bytes());
    tiny.append("tiny.toml", TASK);
    tiny
}

/// The rows of the task.
fn rows(tiny: &Tiny) -> Vec<Value> {
    let results = tiny.results();
    let file = results
        .iter()
        .find(|(name, _)| name.ends_with("/rows.jsonl"));
    let text = String::from_utf8(file.expect("rows").1.clone()).expect("text");
    let rows = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row"));
    rows.filter(|row: &Value| row["benchmark"] == "words")
        .collect()
}

#[test]
fn choices_are_judged_by_language_and_between_languages() {
    let tiny = tiny(CHOICES);
    let output = tiny.reproduce(&[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rows = rows(&tiny);
    let mut found: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in &rows {
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        *found
            .entry((word("metric"), word("eval_language")))
            .or_default() += 1;
        assert_eq!(row["category"], "gender", "the items judge every edit");
        assert_eq!(
            row["versus"].is_string(),
            word("metric").ends_with("_difference"),
            "{row}"
        );
    }
    let keys: Vec<(&str, &str)> = found
        .keys()
        .map(|(m, l)| (m.as_str(), l.as_str()))
        .collect();
    assert_eq!(
        keys,
        [
            ("choice_accuracy", "en"),
            ("choice_accuracy", "nl"),
            ("choice_accuracy_difference", "en"),
            ("choice_accuracy_difference", "nl"),
            ("choice_consistency", "en-nl"),
            ("choice_log_odds", "en"),
            ("choice_log_odds", "nl"),
            ("choice_log_odds_difference", "en"),
            ("choice_log_odds_difference", "nl"),
            ("choice_margin", "en"),
            ("choice_margin", "nl"),
            ("choice_rank_correlation", "en-nl"),
            ("choice_rankc", "en-nl"),
            ("choice_rankc_chance", "en-nl"),
            // What carries over has a direction.
            ("choice_transfer_right", "en-nl"),
            ("choice_transfer_right", "nl-en"),
            ("choice_transfer_right_chance", "en-nl"),
            ("choice_transfer_right_chance", "nl-en"),
            ("choice_transfer_right_excess", "en-nl"),
            ("choice_transfer_right_excess", "nl-en"),
            ("choice_transfer_wrong", "en-nl"),
            ("choice_transfer_wrong", "nl-en"),
            ("choice_transfer_wrong_chance", "en-nl"),
            ("choice_transfer_wrong_chance", "nl-en"),
            ("choice_transfer_wrong_excess", "en-nl"),
            ("choice_transfer_wrong_excess", "nl-en"),
        ]
    );
    let count = |metric: &str| found[&(metric.to_owned(), "en".to_owned())];
    // Three rules each; the unedited model has no difference from itself.
    assert_eq!(
        count("choice_accuracy") - count("choice_accuracy_difference"),
        3
    );
    for row in &rows {
        let n = row["n"].as_u64().unwrap();
        let shared = row["eval_language"] == "en-nl" || row["eval_language"] == "nl-en";
        assert_eq!(n, if shared { 2 } else { 3 }, "{row}");
    }
    let results = tiny.results();
    let answers = results
        .iter()
        .find(|(name, _)| name.ends_with("/answers.parquet"));
    assert!(
        answers.is_some_and(|(_, bytes)| bytes.starts_with(b"PAR1")),
        "no answers.parquet"
    );
    let page = results
        .iter()
        .find(|(name, _)| name.ends_with("/tables/benchmarks.md"));
    let page = String::from_utf8_lossy(page.expect("the table").1);
    assert!(
        page.contains("choice_accuracy") && page.contains("words"),
        "{page}"
    );
    // Again from the cache: the same bytes.
    let output = tiny.reproduce(&[]);
    assert!(output.status.success());
    assert!(rows == self::rows(&tiny));
}

#[test]
fn choices_that_cannot_be_used_stop_the_run() {
    let head = "id\tlanguage\tprompt\tcandidates\tgold\n";
    for (choices, expect) in [
        (
            format!("{head}a\ten\tx\tb | c\t\n"),
            &["choices.tsv:2", "`gold`", "no gold"][..],
        ),
        (
            format!("{head}a\ten\tx\tb | c\t0\na\tfr\tx\tb | c | d\t0\n"),
            &[
                "choices.tsv:3",
                "`candidates`",
                "3 candidates in fr and 2 in en",
            ],
        ),
        (
            format!("{head}a\ten\tx\tb | b\t0\n"),
            &["choices.tsv:2", "`b` comes twice"],
        ),
        (head.to_owned(), &["choices.tsv", "no usable row"]),
        (
            format!("{head}a\tsv\tx\tb | c\t0\n"),
            &["benchmarks[0]", "has no items"],
        ),
    ] {
        let tiny = tiny(&choices);
        let output = tiny.reproduce(&[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in expect {
            assert!(said.contains(part), "lacks {part:?}: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}
