//! No loader panics, whatever the bytes.

mod common;

use common::*;
use interlingua_data::{
    AttributeOptions, BbqOptions, BiasOptions, ChoiceOptions, Format, OnBadRow, ParallelOptions,
    SeatOptions, StereoOptions, TemplateOptions, load_attributes, load_bbq, load_bias, load_choice,
    load_parallel, load_seat, load_stereoset, load_templates,
};
use proptest::prelude::*;

/// Pieces that steer random input into the formats.
const PIECES: &[&[u8]] = &[
    b"en\tfr\tde\n",
    b"en,fr\n",
    b"talk_id\ten\tde\n",
    b"id,sent_more,sent_less,stereo_antistereo,bias_type\r\n",
    b"\"",
    b"\"\"",
    b"\t",
    b",",
    b"\n",
    b"\r\n",
    b"stereo",
    b"en_more\ten_less\tlabel\tbias_type\tid\n",
    b"<tmx>",
    b"<tu><tuv xml:lang=\"en\"><seg>",
    b"</seg>",
    b"</tuv></tu>",
    b"&amp;",
    b"&#x110000;",
    b"&",
    b"<mteval><doc docid=\"1\">",
    b"<seg id=\"1\">",
    b"</doc>",
    b"<![CDATA[",
    b"<!--",
    b"{\"translation\":",
    b"{\"en\":\"a\",\"fr\":\"b\"}",
    b"}",
    b"[",
    b"{\"gender\":[[\"a\",\"b\"]]}",
    b"{\"data\":{\"intrasentence\":",
    b"[{\"id\":1,\"bias_type\":\"race\",\"target\":\"x\",\"context\":\"a BLANK\",\"sentences\":[",
    b"{\"gold_label\":\"stereotype\",\"sentence\":\"a b\"}",
    b"{\"targ1\":{\"category\":\"x\",\"examples\":[\"a\"]}",
    b"{\"example_id\":1,\"answer_info\":{\"ans0\":[\"a\",\"unknown\"]},\"context_condition\":\"ambig\"",
    b"id\tlanguage\tprompt\tcandidates\tgold\n",
    b"x\ten\ta\tb | c\t1\n",
    b"{\"id\":1,\"language\":\"en\",\"prompt\":\"a\",\"candidates\":[\"b\",\"c\"],\"gold\":0}",
    b"format = \"templates\"\n[[template]]\n",
    b"PK\x03\x04",
    b"PAR1",
    b"\x1f\x8b\x08",
    b"\xef\xbb\xbf",
    b"\x8e",
    b"\xc3\xa9",
    b"a",
    b"\0",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// The loaders of benchmarks; whatever they give is whole.
fn benchmarks(path: &std::path::Path, policy: OnBadRow) {
    if let Ok((items, _)) = load_stereoset(path, &StereoOptions::new(policy)) {
        assert!(items.iter().all(|i| !i.sentences.unrelated.is_empty()));
    }
    if let Ok((tests, _)) = load_seat(path, &SeatOptions::new(policy)) {
        let mut sets = tests
            .iter()
            .flat_map(|t| t.targets.iter().chain(&t.attributes));
        assert!(sets.all(|s| !s.examples.is_empty()));
    }
    let options = BbqOptions {
        language: Some(EN),
        ..BbqOptions::new(policy)
    };
    if let Ok((questions, _)) = load_bbq(path, &options) {
        let fits = |i: usize, unknown: usize| i < 3 && i != unknown;
        assert!(
            questions
                .iter()
                .all(|q| q.label < 3 && q.stereotyped.is_none_or(|s| fits(s, q.unknown)))
        );
    }
    if let Ok((items, _)) = load_choice(path, &ChoiceOptions::new(&[], policy)) {
        let whole = |i: &interlingua_data::ChoiceItem| i.candidates.len() > i.gold.max(1);
        assert!(items.iter().all(whole));
    }
    if let Ok((items, _)) = load_templates(path, &TemplateOptions::new(&[], policy)) {
        assert!(items.iter().all(|i| i.a != i.b));
    }
}

/// Good files of each benchmark.
const GOOD: &[(&str, &str)] = &[
    (
        "x.json",
        r#"{"version": "1", "data": {"intrasentence": [{"id": "a", "target": "poet", "bias_type": "profession",
        "context": "A poet can BLANK.", "sentences": [{"sentence": "A poet can rhyme.", "gold_label": "stereotype"},
        {"sentence": "A poet can box.", "gold_label": "anti-stereotype"},
        {"sentence": "A poet can blue.", "gold_label": "unrelated"}]}], "intersentence": []}}"#,
    ),
    (
        "weat.jsonl",
        r#"{"targ1": {"category": "X", "examples": ["a", "b"]}, "targ2": {"category": "Y", "examples": ["c"]},
        "attr1": {"category": "A", "examples": ["d"]}, "attr2": {"category": "B", "examples": ["e"]}}"#,
    ),
    (
        "Age_en.jsonl",
        r#"{"example_id": 0, "question_index": "1", "question_polarity": "neg", "context_condition": "ambig", "category": "Age", "answer_info": {"ans0": ["u", "unknown"], "ans1": ["old", "old"], "ans2": ["young", "nonOld"]}, "additional_metadata": {"stereotyped_groups": ["old"]}, "context": "c", "question": "q", "ans0": "u", "ans1": "o", "ans2": "y", "label": 0}"#,
    ),
    (
        "t.toml",
        include_str!("../../../datasets/templates/templates.toml"),
    ),
    (
        "choices.tsv",
        include_str!("../../../datasets/choice/everyday.tsv"),
    ),
    (
        "choices.jsonl",
        r#"{"id": "a", "language": "en", "prompt": "x", "candidates": ["b", "c"], "gold": 1, "category": null}"#,
    ),
];

#[test]
fn good_files_are_good() {
    let folder = Folder::new();
    let path = |i: usize| folder.write(GOOD[i].0, GOOD[i].1);
    let policy = OnBadRow::Error;
    assert_eq!(
        load_stereoset(&path(0), &StereoOptions::new(policy))
            .unwrap()
            .0
            .len(),
        1
    );
    assert_eq!(
        load_seat(&path(1), &SeatOptions::new(policy))
            .unwrap()
            .0
            .len(),
        1
    );
    assert_eq!(
        load_bbq(&path(2), &BbqOptions::new(policy))
            .unwrap()
            .0
            .len(),
        1
    );
    let templates = TemplateOptions::new(&[], policy);
    assert!(!load_templates(&path(3), &templates).unwrap().0.is_empty());
    let choices = ChoiceOptions::new(&[], policy);
    assert_eq!(
        [4, 5].map(|i| load_choice(&path(i), &choices).unwrap().0.len()),
        [160, 1]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Good files cut off or with bytes changed.
    #[test]
    fn damaged_benchmarks(
        which in 0..GOOD.len(),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let (name, text) = GOOD[which];
        let mut bytes = text.as_bytes().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = Folder::new();
        let path = folder.write(name, &bytes);
        let _ = interlingua_data::describe(&path);
        for policy in [OnBadRow::Error, OnBadRow::Skip] {
            benchmarks(&path, policy);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_loader(bytes in bytes()) {
        let folder = Folder::new();
        let names = ["crows_pairs_anonymized_nl_s0.csv", "I.t.en-de.de.xml", "I.t.en-de.en.xml", "crows_eng.csv", "words_de.json", "n.deu", "n.eng", "x.bin"];
        for name in names {
            folder.write(name, &bytes);
        }
        folder.write("deu-eng.zip", zip(&[("deu.txt", &bytes)]));
        folder.write("x.gz", gzip(&bytes));
        for name in names.iter().chain(&["deu-eng.zip", "x.gz"]) {
            let path = folder.path().join(name);
            let _ = interlingua_data::describe(&path);
            for policy in [OnBadRow::Error, OnBadRow::Skip] {
                let _ = load_attributes(&path, &AttributeOptions::new(policy));
                benchmarks(&path, policy);
                for format in Format::PARALLEL.iter().copied().map(Some).chain([None]) {
                    let _ = load_parallel(&path, &ParallelOptions { format, ..ParallelOptions::new(&[], policy) });
                }
                for format in Format::BIAS.iter().copied().map(Some).chain([None]) {
                    let _ = load_bias(&path, &BiasOptions { format, ..BiasOptions::new(&[], policy) });
                }
            }
        }
    }

    /// A real Parquet file with bytes changed.
    #[test]
    fn damaged_parquet(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let folder = Folder::new();
        let source = folder.write("x.tsv", "en\tfr\na\tb\nc\td\n");
        let (corpus, _) = parallel(&source, &[], OnBadRow::Error).unwrap();
        let file = folder.path().join("x.parquet");
        interlingua_data::load::write_parquet(&file, &corpus).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        std::fs::write(&file, bytes).unwrap();
        let _ = parallel(&file, &[], OnBadRow::Skip);
    }
}

/// Every byte of a Parquet file in turn: a count of a page's header becomes negative or huge at some of them, and the
/// decoder would reserve memory for so many values.
#[test]
fn parquet_with_any_byte_changed() {
    let folder = Folder::new();
    let source = folder.write("x.tsv", "en\tfr\na\tb\nc\td\n");
    let (corpus, _) = parallel(&source, &[], OnBadRow::Error).unwrap();
    let file = folder.path().join("x.parquet");
    interlingua_data::load::write_parquet(&file, &corpus).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for value in [0x00, 0x01, 0x03, 0x7f, 0x80, 0xfe, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            std::fs::write(&file, &damaged).unwrap();
            refused += usize::from(parallel(&file, &[], OnBadRow::Skip).is_err());
        }
    }
    assert!(
        refused > bytes.len(),
        "{refused} of {} files",
        7 * bytes.len()
    );
}
