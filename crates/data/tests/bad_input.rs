//! Bad input gives one clear error that names file, line or column, and what would work.

mod common;

use std::io::Read;

use common::*;
use interlingua_data::{
    BiasOptions, DataError, FindingKind, Limits, OnBadRow, ParallelOptions, TextEncoding,
    load_bias, load_parallel,
};

#[test]
fn missing_file() {
    let folder = Folder::new();
    folder.write("there.tsv", "en\tfr\na\tb\n");
    let file = folder.path().join("here.tsv");
    check_error(
        parallel(&file, &[], OnBadRow::Skip),
        &["here.tsv", "no such file", "the folder has: there.tsv"],
    );
    let file = folder.path().join("no/here.tsv");
    check_error(
        bias(&file, &[], OnBadRow::Skip),
        &["no/here.tsv", "doesn't exist either"],
    );
}

#[test]
fn missing_column() {
    let folder = Folder::new();
    let file = folder.write("x.csv", "id,sent_more,sent_less,label\n1,a,b,stereo\n");
    check_error(
        bias(&file, &[EN], OnBadRow::Skip),
        &[
            "x.csv:1",
            "`stereo_antistereo` is missing",
            "`sent_more`, `sent_less`, `label`",
        ],
    );
}

#[test]
fn unknown_format() {
    let folder = Folder::new();
    let file = folder.write("x.dat", "hello world\n");
    check_error(
        parallel(&file, &[], OnBadRow::Skip),
        &["x.dat", "hello world", "moses", "parquet"],
    );
    let file = folder.write("p.tsv", "en\tfr\na\tb\n");
    check_error(
        bias(&file, &[], OnBadRow::Skip),
        &["`tsv` doesn't hold pairs", "crows-original"],
    );
}

#[test]
fn empty_cell_field_count_and_label() {
    let folder = Folder::new();
    let file = folder.write("x.tsv", "en\tfr\na\tb\n \tc\nd\ne\tf\n");
    check_error(
        parallel(&file, &[], OnBadRow::Error),
        &["x.tsv:3", "column `en`", "empty cell"],
    );
    let (corpus, report) = parallel(&file, &[], OnBadRow::Skip).unwrap();
    assert_eq!(
        (corpus.len(), report.rows_read, report.rows_skipped),
        (2, 4, 2)
    );
    assert_eq!(
        (report.findings[0].line, report.findings[1].kind),
        (Some(3), FindingKind::FieldCount)
    );
    let text = report.findings[0].to_string();
    assert!(text.contains("x.tsv:3: empty cell: column `en`"), "{text}");

    let file = folder.write("p.csv", "id,language,category,direction,more,less,planted\n1,en,gender,sterio,a,b,\n2,en,gender,stereo,a,a,\n");
    check_error(
        bias(&file, &[], OnBadRow::Error),
        &["p.csv:2", "`direction`", "sterio", "antistereo"],
    );
    check_error(
        bias(&file, &[], OnBadRow::Skip),
        &["no usable row (2 read, 2 left out)"],
    );
}

#[test]
fn wrong_encoding() {
    let folder = Folder::new();
    let file = folder.write("x.tsv", b"en\tfr\na\tb\ncoffee\tcaf\x8e\n");
    check_error(
        parallel(&file, &[], OnBadRow::Error),
        &["x.tsv:3", "column `fr`", "0x8e", "offset 3", "mac-roman"],
    );
    let (corpus, report) = parallel(&file, &[], OnBadRow::Skip).unwrap();
    assert_eq!(
        (corpus.len(), report.count(FindingKind::BadEncoding)),
        (1, 1)
    );
    let options = ParallelOptions {
        encoding: Some(TextEncoding::MacRoman),
        ..ParallelOptions::new(&[], OnBadRow::Error)
    };
    assert_eq!(
        load_parallel(&file, &options).unwrap().0.columns[1][1],
        "café"
    );

    let file = folder.write("y.tsv", b"en\tfr\na\tcaf\xe9\n");
    check_error(
        parallel(&file, &[], OnBadRow::Error),
        &["y.tsv:2", "0xe9", "convert the file to UTF-8"],
    );
    // What was lost before the file was written can only be reported.
    let file = folder.write("z.tsv", "en\tfr\na\tcaf\u{fffd}\nb\tcafÃ©\n");
    let (_, report) = parallel(&file, &[], OnBadRow::Error).unwrap();
    assert_eq!(
        (
            report.count(FindingKind::BadEncoding),
            report.count(FindingKind::Mojibake)
        ),
        (1, 1)
    );
}

#[test]
fn identical_pair() {
    let folder = Folder::new();
    let file = folder.write("x.csv", ",sent_more,sent_less,stereo_antistereo,bias_type,annotations\n4,same , same,stereo,age,[]\n5,a,b,stereo,age,[]\n");
    check_error(
        bias(&file, &[], OnBadRow::Error),
        &["x.csv:2", "identical pair", "pair 4"],
    );
    assert_eq!(bias(&file, &[], OnBadRow::Skip).unwrap().0.len(), 1);
    check_error(
        bias(&file, &[FR, DE], OnBadRow::Skip),
        &["no text in `fr`", "available: en"],
    );
    let options = BiasOptions {
        categories: vec!["agge".into()],
        ..BiasOptions::new(&[], OnBadRow::Skip)
    };
    check_error(load_bias(&file, &options), &["`agge`", "there are: age"]);
}

#[test]
fn missing_language_in_every_format() {
    let folder = Folder::new();
    folder.write("s.eng", "a\n");
    folder.write("IWSLT.x.en-de.en.xml", ted(&[("1", &["a"])]));
    let files = [
        folder.write("a.tsv", "en\tde\na\tb\n"),
        folder.write("a.tmx", tmx(&[&[("en", "a"), ("de", "b")]])),
        folder.write(
            "a.json",
            "[{\"translation\": {\"en\": \"a\", \"de\": \"b\"}}]",
        ),
        folder.write("deu.txt", "a\tb\n"),
        folder.write("s.deu", "b\n"),
        folder.write("IWSLT.x.en-de.de.xml", ted(&[("1", &["b"])])),
    ];
    for file in files {
        check_error(
            parallel(&file, &[EN, NL], OnBadRow::Skip),
            &["`nl`", "available: en, de"],
        );
        assert_eq!(
            parallel(&file, &[EN, DE], OnBadRow::Error).unwrap().0.len(),
            1,
            "{}",
            file.display()
        );
    }
}

#[test]
fn no_sentence_in_all_languages() {
    let folder = Folder::new();
    for (pair, talk) in [("en-de", "1"), ("en-nl", "2")] {
        let other = &pair[3..];
        folder.write(&format!("I.x.{pair}.en.xml"), ted(&[(talk, &["a"])]));
        folder.write(&format!("I.x.{pair}.{other}.xml"), ted(&[(talk, &["b"])]));
    }
    check_error(
        parallel(folder.path(), &[], OnBadRow::Skip),
        &["en, de, nl", "de: 1, nl: 1", "fewer languages"],
    );
}

#[test]
fn decompression_bombs_and_long_cells() {
    let folder = Folder::new();
    let bomb = "a\tb\n".repeat(500_000);
    let options = |decompressed_bytes, cell_bytes| ParallelOptions {
        limits: Limits {
            decompressed_bytes,
            cell_bytes,
        },
        ..ParallelOptions::new(&[], OnBadRow::Skip)
    };
    let table = format!("en\tfr\n{bomb}");
    let files = [
        folder.write("deu-eng.zip", zip(&[("deu.txt", bomb.as_bytes())])),
        folder.write("x.tsv.gz", gzip(table.as_bytes())),
    ];
    for file in files {
        assert!(std::fs::metadata(&file).unwrap().len() < bomb.len() as u64 / 20);
        let error = check_error(
            load_parallel(&file, &options(1 << 20, 1 << 16)),
            &["decompressed file", "1048576", "limits"],
        );
        assert!(matches!(error, DataError::TooLarge { .. }));
        assert!(load_parallel(&file, &options(1 << 24, 1 << 16)).is_ok());
    }
    let long = "x".repeat(70_000);
    let talks = [("1", [long.as_str()])];
    folder.write("I.x.en-de.en.xml", ted(&[("1", &talks[0].1)]));
    let files = [
        folder.write("I.x.en-de.de.xml", ted(&[("1", &talks[0].1)])),
        folder.write("long.tsv", format!("en\tfr\na\t{long}\n")),
        folder.write(
            "long.csv",
            format!("en,fr\na,\"{}\"\n", "y\n".repeat(40_000)),
        ),
        folder.write("deu.txt", format!("a\t{long}\n")),
        folder.write("long.tmx", tmx(&[&[("en", "a"), ("de", &long)]])),
    ];
    for file in files {
        let error =
            load_parallel(&file, &options(1 << 30, 1 << 16)).expect_err("the cell is too long");
        assert!(
            matches!(error, DataError::TooLarge { .. }),
            "{}: {error}",
            file.display()
        );
    }
}

#[test]
fn truncated_archives() {
    let folder = Folder::new();
    let rows: String = (0..2000)
        .map(|i| format!("sentence {i}\tphrase {}\n", i * 7919))
        .collect();
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() * 2 / 3].to_vec();
    folder.write(
        "en-fr.tgz",
        tar_gz(&[("I.tst.en-fr.en.xml", ted(&[("1", &["a"])]).as_bytes())]),
    );
    let segments: Vec<String> = (0..3000u64)
        .map(|i| format!("segment {}", i.wrapping_mul(2654435761) % 99991))
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let files = [
        folder.write("x.tsv.gz", cut(gzip(format!("en\tfr\n{rows}").as_bytes()))),
        folder.write("deu-eng.zip", cut(zip(&[("deu.txt", rows.as_bytes())]))),
        folder.write(
            "fr-en.tgz",
            cut(tar_gz(&[(
                "I.tst.fr-en.fr.xml",
                ted(&[("1", &segments)]).as_bytes(),
            )])),
        ),
    ];
    for file in files {
        let error = check_error(
            parallel(&file, &[], OnBadRow::Skip),
            &["truncated or corrupt", "fetch the file again"],
        );
        assert!(matches!(error, DataError::Archive { .. }), "{error}");
    }
    let file = folder.write("x.parquet", b"PAR1 and then nothing that makes sense PAR1");
    check_error(
        parallel(&file, &[], OnBadRow::Skip),
        &["x.parquet", "Parquet"],
    );
}

#[test]
fn broken_xml_and_json() {
    let folder = Folder::new();
    folder.write("I.x.en-de.en.xml", ted(&[("1", &["a"])]));
    let text = ted(&[("1", &["a", "b"])]);
    let file = folder.write("I.x.en-de.de.xml", &text[..text.len() - 40]);
    check_error(
        parallel(&file, &[], OnBadRow::Skip),
        &["I.x.en-de.de.xml:", "not well-formed"],
    );
    let file = folder.write(
        "x.tmx",
        "<tmx>\n<body>\n<tu><tuv xml:lang=\"en\"><seg>a</tuv></tu>\n",
    );
    check_error(
        parallel(&file, &[], OnBadRow::Skip),
        &["x.tmx:3", "not well-formed"],
    );
    let file = folder.write(
        "x.json",
        "[{\"translation\": {\"en\": \"a\"}},\n {\"translation\": 3}]",
    );
    check_error(parallel(&file, &[], OnBadRow::Skip), &["x.json:2:"]);
    let file = folder.write("x.jsonl", "{\"id\":\"1\",\"more\":\"a\",\"less\":\"b\"}\n");
    check_error(
        bias(&file, &[], OnBadRow::Error),
        &["x.jsonl:1", "language"],
    );
    let file = folder.write("words_de.json", "{\"gender\": 3}");
    let options = interlingua_data::AttributeOptions::new(OnBadRow::Skip);
    check_error(
        interlingua_data::load_attributes(&file, &options),
        &["`gender`", "tuples of words"],
    );
    let file = folder.write("words.json", "{\"gender\": [[\"he\", \"she\"]]}");
    check_error(
        interlingua_data::load_attributes(&file, &options),
        &["words.json", "words_de.json"],
    );
}

#[test]
fn limit_stops_early() {
    let folder = Folder::new();
    let file = folder.write("x.tsv", "en\tfr\na\tb\nc\td\nbad\n");
    let options = ParallelOptions {
        limit: Some(2),
        ..ParallelOptions::new(&[], OnBadRow::Error)
    };
    assert_eq!(load_parallel(&file, &options).unwrap().0.len(), 2);
}

#[test]
fn describing_faults() {
    let folder = Folder::new();
    let mut text = b"id,sent_more,sent_less,stereo_antistereo,bias_type\r\n1,caf\x8e,b,stereo,age\r\n2,a,,stereo,age\r\n3,c,c,stereo,age\r\n".to_vec();
    text.extend_from_slice("4,één,x,stereo,age\n4,één,x,stereo,age\r\nshort\r\n".as_bytes());
    let file = folder.write("crows_dutch.csv", text);
    let description = interlingua_data::describe(&file).unwrap();
    assert_eq!(
        (
            description.rows,
            description.duplicate_rows,
            description.report.rows_skipped
        ),
        (5, 1, 1)
    );
    assert_eq!(description.columns[2].empty.first, [3]);
    assert_eq!(description.identical[0].rows.first, [4]);
    assert_eq!(description.encoding.invalid_utf8.first, [2]);
    let shown = description.to_string();
    for part in [
        "Mac OS Roman",
        "empty cells in `sent_less`: 1 (line 3)",
        "`sent_more` equals `sent_less`: 1 (line 4)",
        "mixed encodings",
        "mixed line ends: 6 CRLF, 1 LF",
        "duplicate rows: 1",
        "7: wrong number of cells",
    ] {
        assert!(shown.contains(part), "`{part}` is missing in:\n{shown}");
    }
    let file = folder.write("x.tsv", "en\tnl\nOne two.\tEen twee drie.\nTom!\tTom!\n");
    let shown = interlingua_data::describe(&file).unwrap().to_string();
    assert!(
        shown.contains("languages: en, nl") && shown.contains("`en` equals `nl`: 1 (line 3)"),
        "{shown}"
    );
    let mut json = String::new();
    std::fs::File::open(folder.write("w.json", "{\"gender\": [[\"he\", \"she\"]]}"))
        .unwrap()
        .read_to_string(&mut json)
        .unwrap();
    assert_eq!(
        interlingua_data::describe(&folder.path().join("w.json"))
            .unwrap()
            .rows,
        2
    );
    let file = folder.write("w.json", "{\"race\": [[\"a\", \"b \"], [\"c\", \"c\"]]}");
    let shown = interlingua_data::describe(&file).unwrap().to_string();
    assert!(
        shown.contains("race[0]: `b `") && shown.contains("race[1]"),
        "{shown}"
    );
    check_error(
        interlingua_data::describe(&folder.path().join("no.tsv")),
        &["no such file"],
    );
}
