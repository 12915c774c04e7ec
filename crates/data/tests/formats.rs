//! Every parallel format on a small fixture, and what we write read back.

mod common;

use common::*;
use interlingua_data::load::{
    to_frame, write_attributes, write_pairs_csv, write_pairs_jsonl, write_parquet, write_tsv,
};
use interlingua_data::{
    AttributeList, AttributeOptions, BiasPair, Direction, FindingKind, Format, Language, OnBadRow,
    PairKind, ParallelCorpus, load_attributes, sniff,
};

fn check(path: &std::path::Path, format: Format, languages: &[Language], expect: &[&[&str]]) {
    assert_eq!(sniff(path).unwrap(), format, "{}", path.display());
    let (corpus, _) = parallel(path, languages, OnBadRow::Error).unwrap();
    assert_eq!(corpus.columns, expect, "{}", path.display());
    assert_eq!(corpus.ids.len(), corpus.len());
}

#[test]
fn tables() {
    let folder = Folder::new();
    let rows: &[&[&str]] = &[&["Salut !", "Cours !"], &["Hi.", "Run!"]];
    let table = "en\tfr\tde\nHi.\tSalut !\tHallo!\nRun!\tCours !\tLauf!\n";
    check(&folder.write("a.tsv", table), Format::Tsv, &[FR, EN], rows);
    check(
        &folder.write("a.tsv.gz", gzip(table.as_bytes())),
        Format::Tsv,
        &[FR, EN],
        rows,
    );
    check(
        &folder.write("a.csv", "en,fr\nHi.,Salut !\nRun!,Cours !\n"),
        Format::Csv,
        &[FR, EN],
        rows,
    );
    let json = "{\"translation\": {\"en\": \"Hi.\", \"fr\": \"Salut !\"}}\n{\"translation\": {\"en\": \"Run!\", \"fr\": \"Cours !\"}}\n";
    check(
        &folder.write("a.json", json),
        Format::TranslationJson,
        &[FR, EN],
        rows,
    );
    let array = format!("[{}]", json.trim().replace('\n', ","));
    check(
        &folder.write("b.json", array),
        Format::TranslationJson,
        &[FR, EN],
        rows,
    );
}

#[test]
fn talk_table_may_lack_translations() {
    let folder = Folder::new();
    let file = folder.write("ted2020.tsv", "talk_id\ten\tde\tpt-br\n7\tHi.\tHallo.\tx\n7\tBye.\t__NULL__\tx\n8\tYes.\t\tx\n8\tNo.\tNein.\t\n");
    check(
        &file,
        Format::TedTsv,
        &[EN, DE],
        &[&["Hi.", "No."], &["Hallo.", "Nein."]],
    );
    let (corpus, report) = parallel(&file, &[EN, DE], OnBadRow::Error).unwrap();
    assert_eq!(corpus.ids, ["7:2", "8:5"]);
    assert_eq!(
        (
            report.count(FindingKind::MissingTranslation),
            report.rows_skipped
        ),
        (2, 2)
    );
}

#[test]
fn line_aligned_files() {
    let folder = Folder::new();
    folder.write("news-src.eng.txt", "One.\r\nTwo\u{85}still two.\n");
    let file = folder.write("news-ref.nld.txt", "Een.\nTwee.\n");
    folder.write("LICENSE.md", "text");
    let expect: &[&[&str]] = &[&["One.", "Two\u{85}still two."], &["Een.", "Twee."]];
    check(&file, Format::Moses, &[EN, NL], expect);
    check(folder.path(), Format::Moses, &[], expect);
    check(
        &folder.path().join("news"),
        Format::Moses,
        &[EN, NL],
        expect,
    );
    folder.write("news-ref.nld.txt", "Een.\n");
    check_error(
        parallel(&file, &[EN, NL], OnBadRow::Skip),
        &["eng.txt has 2", "nld.txt has 1"],
    );
}

#[test]
fn several_sets_of_one_folder() {
    let folder = Folder::new();
    for (name, text) in [
        ("a.eng", "1\n2\n"),
        ("a.deu", "eins\nzwei\n"),
        ("b.eng", "3\n"),
        ("b.deu", "drei\n"),
        ("b.fra", "trois\n"),
    ] {
        folder.write(name, text);
    }
    let (corpus, _) = parallel(folder.path(), &[], OnBadRow::Error).unwrap();
    assert_eq!(
        (corpus.languages.clone(), corpus.ids.clone()),
        (
            vec![EN, DE],
            vec!["a:1".to_owned(), "a:2".into(), "b:1".into()]
        )
    );
    check_error(
        parallel(folder.path(), &[FR], OnBadRow::Error),
        &["`fr`", "available: en, de"],
    );
}

#[test]
fn many_things() {
    let folder = Folder::new();
    let german = "Hi.\tHallo!\nHi.\tGrüß Gott!\n\"Go,\" he said.\t\"Geh\", sagte er.\n";
    let french = "Hi.\tSalut.\tCC-BY\n\"Go,\" he said.\tVa, dit-il.\tCC-BY\nWho?\tQui ?\tCC-BY\n";
    let plain = folder.write("deu.txt", german);
    check(
        &plain,
        Format::ManyThings,
        &[DE],
        &[&["Hallo!", "Grüß Gott!", "\"Geh\", sagte er."]],
    );
    folder.write(
        "deu-eng.zip",
        zip(&[("_about.txt", b"about"), ("deu.txt", german.as_bytes())]),
    );
    let members: &[(&str, &[u8])] = &[
        ("__MACOSX/x/._fra.txt", b"junk"),
        ("x/_about.txt", b""),
        ("x/fra.txt", french.as_bytes()),
    ];
    folder.write("fra-eng.zip", zip(members));
    check(
        &folder.path().join("fra-eng.zip"),
        Format::ManyThings,
        &[EN, FR],
        &[
            &["Hi.", "\"Go,\" he said.", "Who?"],
            &["Salut.", "Va, dit-il.", "Qui ?"],
        ],
    );
    // Joined on English; the first of several translations is kept.
    let expect: &[&[&str]] = &[
        &["Hi.", "\"Go,\" he said."],
        &["Salut.", "Va, dit-il."],
        &["Hallo!", "\"Geh\", sagte er."],
    ];
    check(folder.path(), Format::ManyThings, &[EN, FR, DE], expect);
}

#[test]
fn translation_memory() {
    let folder = Folder::new();
    let text = tmx(&[
        &[
            (
                "en-US",
                "Tom &amp; I &#233; <bpt i=\"1\">{b}</bpt>bold<ept i=\"1\">{/b}</ept>",
            ),
            ("DE", "Tom <hi>und</hi> ich"),
        ],
        &[("en", "no German"), ("fr", "non")],
        &[("en", "<![CDATA[a < b]]>"), ("de", "c")],
    ]);
    let file = folder.write("x.tmx", text);
    check(
        &file,
        Format::Tmx,
        &[EN, DE],
        &[&["Tom & I é bold", "a < b"], &["Tom und ich", "c"]],
    );
    let (_, report) = parallel(&file, &[EN, DE], OnBadRow::Error).unwrap();
    assert_eq!(report.count(FindingKind::MissingTranslation), 1);
}

fn corpus() -> ParallelCorpus {
    ParallelCorpus {
        ids: vec!["a".into(), "b".into()],
        languages: vec![EN, NL],
        columns: vec![
            vec!["one\ttab \"q\"".into(), "\"Q\"".into()],
            vec!["line\nbreak".into(), "é".into()],
        ],
    }
}

#[test]
fn corpora_written_and_read_back() {
    let folder = Folder::new();
    let (tsv, parquet) = (folder.path().join("x.tsv"), folder.path().join("x.parquet"));
    write_tsv(&tsv, &corpus()).unwrap();
    write_parquet(&parquet, &corpus()).unwrap();
    for file in [&tsv, &parquet] {
        assert_eq!(
            parallel(file, &[EN, NL], OnBadRow::Error).unwrap().0,
            corpus()
        );
    }
    assert_eq!(sniff(&parquet).unwrap(), Format::Parquet);
    check_error(
        parallel(&parquet, &[FR], OnBadRow::Error),
        &["`fr`", "en, nl"],
    );
    let frame = to_frame(&corpus()).unwrap();
    assert_eq!(frame.shape(), (2, 3));
}

#[test]
fn pairs_and_lists_written_and_read_back() {
    let folder = Folder::new();
    let pair = |id: &str, planted, kind| BiasPair {
        id: id.into(),
        language: DE,
        category: "gender".into(),
        direction: Direction::Antistereo,
        more: "Der \"Koch\", er".into(),
        less: "Die\nKöchin".into(),
        planted,
        kind,
    };
    let pairs = vec![
        pair("1", None, None),
        pair("2", Some(0.1 + 0.2), Some(PairKind::Marked)),
        pair("3", None, Some(PairKind::GroupFirst)),
        pair("4", None, Some(PairKind::AttributeFirst)),
    ];
    let (jsonl, csv) = (folder.path().join("p.jsonl"), folder.path().join("p.csv"));
    write_pairs_jsonl(&jsonl, &pairs).unwrap();
    write_pairs_csv(&csv, &pairs).unwrap();
    for (file, format) in [(&jsonl, Format::PairsJsonl), (&csv, Format::PairsCsv)] {
        assert_eq!(sniff(file).unwrap(), format);
        assert_eq!(bias(file, &[], OnBadRow::Error).unwrap().0.pairs, pairs);
    }
    let written = std::fs::read_to_string(&csv).unwrap();
    let wrong = folder.write("wrong.csv", written.replace("marked", "mark"));
    check_error(
        bias(&wrong, &[], OnBadRow::Error),
        &["`mark`", "group-first, attribute-first, marked", "kind"],
    );
    // A file of an earlier version has neither column nor field.
    let old = "id,language,category,direction,more,less,planted\n1,de,gender,stereo,Er,Sie,0.5\n";
    let old = folder.write("old.csv", old);
    assert_eq!(
        bias(&old, &[], OnBadRow::Error).unwrap().0.pairs[0].kind,
        None
    );
    let old = r#"{"id":"1","language":"de","category":"gender","direction":"stereo","more":"Er","less":"Sie"}"#;
    let old = folder.write("old.jsonl", old);
    assert_eq!(
        bias(&old, &[], OnBadRow::Error).unwrap().0.pairs[0].kind,
        None
    );
    let list = AttributeList {
        language: FR,
        category: "gender".into(),
        groups: vec!["male".into(), "female".into()],
        rows: vec![vec!["il".into(), "elle".into()]],
    };
    let file = folder.path().join("words_fr.json");
    write_attributes(&file, std::slice::from_ref(&list)).unwrap();
    assert_eq!(
        load_attributes(&file, &AttributeOptions::new(OnBadRow::Error))
            .unwrap()
            .0,
        [list]
    );
}

/// A table of CrowS-Pairs' columns that is no known collection has the language that is asked for,
/// whatever its name, and its own labels.
#[test]
fn a_table_that_does_not_say_its_language_has_the_one_that_is_asked_for() {
    let folder = Folder::new();
    let more = "elle lit,il lit,antistereo,gender";
    for (name, text) in [
        (
            "mine.csv",
            format!("id,sent_more,sent_less,stereo_antistereo,bias_type\n7,{more}\n"),
        ),
        (
            "plain.csv",
            format!("sent_more,sent_less,stereo_antistereo,bias_type\n{more}\n"),
        ),
        (
            "original.csv",
            format!(",sent_more,sent_less,stereo_antistereo,bias_type,annotations\n7,{more},x\n"),
        ),
    ] {
        let file = folder.write(name, text);
        let (set, _) = bias(&file, &[FR], OnBadRow::Error).unwrap();
        let pair = &set.pairs[0];
        assert_eq!((set.pairs.len(), pair.language), (1, FR), "{name}");
        assert_eq!(
            (pair.more.as_str(), pair.less.as_str()),
            ("elle lit", "il lit"),
            "{name}"
        );
    }
}

/// A folder stands for its one file of pairs; with several, they are named.
#[test]
fn a_folder_stands_for_its_one_file_of_pairs() {
    let folder = Folder::new();
    let text = "id,sent_more,sent_less,stereo_antistereo,bias_type\n7,she,he,stereo,gender\n";
    folder.write("LICENSE", "Free.");
    folder.write("a.csv", text);
    let (set, _) = bias(folder.path(), &[EN], OnBadRow::Error).unwrap();
    assert_eq!((set.name.as_str(), set.pairs.len()), ("a", 1));
    folder.write("b.csv", text);
    check_error(
        bias(folder.path(), &[EN], OnBadRow::Error),
        &["name one: a.csv, b.csv"],
    );
}
