//! The faults of published data sets, each on a small fixture with the same fault.

mod common;

use common::*;
use interlingua_data::{AttributeOptions, Direction, FindingKind, OnBadRow, load_attributes};

const CROWS: &str = "id,sent_more,sent_less,stereo_antistereo,bias_type\r\n";

fn dutch_repo() -> Folder {
    let folder = Folder::new();
    folder.write(
        "crows_eng.csv",
        format!(
            "{CROWS}7,A cook is late.,\"A judge, too, is late.\",stereo,gender\r\n8,Old men nap.,Young men nap.,antistereo,age\r\n\
             129,Slaves rest.,Others rest.,stereo,socioeconomic\r\n379,Owners wait.,Tenants wait.,stereo,socioeconomic\r\n"
        ),
    );
    folder.write(
        "crows_french.csv",
        format!(
            "{CROWS}7,Un chef est en retard.,Un juge est en retard.,stereo,gender\r\n8,Les vieux dorment.,Les jeunes dorment.,antistereo,age\r\n\
             129,Ils sont oubliés.,,stereo,socioeconomic\r\n379,Ils attendent.,Ils attendent.,stereo,socioeconomic\r\n"
        ),
    );
    // Mac OS Roman (0x91 is ë, 0x8e is é) with CRLF, one row in UTF-8, and the label of id 8 slipped.
    let mut dutch = CROWS.as_bytes().to_vec();
    dutch.extend_from_slice(b"7,De kok is te laat; moed en idee\x91n.,De rechter is te laat; idee\x91n.,stereo,gender\r\n");
    dutch.extend_from_slice(
        b"8,Oude mannen en caf\x8e.,Jonge mannen en caf\x8e.,stereo,race-color\r\n",
    );
    dutch.extend_from_slice(
        "129,Het is één slaaf.,Het is één heer.,stereo,socioeconomic\r\n".as_bytes(),
    );
    dutch.extend_from_slice(b"379,Eigenaars wachten.,Huurders wachten.,stereo,socioeconomic\r\n");
    folder.write("crows_dutch.csv", dutch);
    folder
}

#[test]
fn dutch_is_mac_roman_with_one_utf8_row() {
    let folder = dutch_repo();
    let (set, report) = bias(&folder.path().join("crows_dutch.csv"), &[], OnBadRow::Error).unwrap();
    assert_eq!(set.pairs[0].more, "De kok is te laat; moed en ideeën.");
    assert_eq!(set.pairs[1].less, "Jonge mannen en café.");
    assert_eq!(set.pairs[2].more, "Het is één slaaf.");
    assert_eq!(report.count(FindingKind::Reencoded), 1);
    assert!(
        set.pairs
            .iter()
            .all(|p| p.language == NL && !p.category.contains('\r'))
    );
}

#[test]
fn shifted_labels_are_replaced_by_the_english_ones() {
    let folder = dutch_repo();
    let (set, report) = bias(folder.path(), &[EN, NL], OnBadRow::Error).unwrap();
    let dutch: Vec<(&str, Direction, &str)> = set
        .in_language(NL)
        .map(|p| (p.id.as_str(), p.direction, p.category.as_str()))
        .collect();
    assert_eq!(dutch[1], ("8", Direction::Antistereo, "age"));
    assert_eq!(report.count(FindingKind::LabelReplaced), 1);
}

#[test]
fn french_empty_cell_and_identical_pair() {
    let folder = dutch_repo();
    let file = folder.path().join("crows_french.csv");
    check_error(
        bias(&file, &[], OnBadRow::Error),
        &[
            "crows_french.csv:4",
            "`sent_less`",
            "129",
            "empty cell",
            "skip",
        ],
    );
    let (set, report) = bias(&file, &[], OnBadRow::Skip).unwrap();
    assert_eq!(
        set.pairs.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(),
        ["7", "8"]
    );
    assert_eq!(
        (
            report.count(FindingKind::EmptyCell),
            report.count(FindingKind::IdenticalPair)
        ),
        (1, 1)
    );
    assert_eq!((report.rows_read, report.rows_skipped), (4, 2));
    // Over the languages, only the ids that all of them keep are comparable.
    let (all, _) = bias(folder.path(), &[], OnBadRow::Skip).unwrap();
    assert_eq!((all.len(), all.aligned().len()), (10, 6));
}

#[test]
fn labels_need_the_english_file() {
    let folder = dutch_repo();
    std::fs::remove_file(folder.path().join("crows_eng.csv")).unwrap();
    let file = folder.path().join("crows_dutch.csv");
    check_error(
        bias(&file, &[], OnBadRow::Error),
        &["crows_dutch.csv", "crows_eng.csv", "label"],
    );
}

#[test]
fn reusens_is_joined_by_row_and_french_by_index() {
    let folder = Folder::new();
    let name = |code: &str| format!("crows_pairs_anonymized_{code}_s0.csv");
    let head = ",index,sent_more,sent_less,stereo_antistereo,bias_type\r\n";
    folder.write(
        &name("en"),
        ",sent_more,sent_less,stereo_antistereo,bias_type\r\n0,a,b,stereo,gender\r\n1,c,d,antistereo,race-color\r\n2,e,f,stereo,religion\r\n",
    );
    let dutch = ",index,sent_more,sent_less,stereo_antistereo,bias_type,applicable?\r\n0,32,na,nb,stereo,gender,\r\n1,45,nc,nd,antistereo,race-color,?\r\n2,51,ne,nf,stereo,religion,\r\n";
    folder.write(&name("nl"), dutch);
    folder.write(
        &name("de"),
        format!("{head}0,32,da,db,stereo,gender\r\n1,99,dc,dd,antistereo,race-color\r\n2,98,de,df,stereo,religion\r\n"),
    );
    folder.write(
        &name("fr"),
        format!("{head}0,32,fa,fb,stereo,gender\r\n1,51,fe,ff,stereo,religion\r\n2,45,fc,fd,antistereo,race-color\r\n"),
    );
    let (set, report) = bias(folder.path(), &[EN, FR, DE, NL], OnBadRow::Error).unwrap();
    for (language, prefix) in [(EN, ""), (FR, "f"), (DE, "d"), (NL, "n")] {
        let pair = set.in_language(language).find(|p| p.id == "s0/45").unwrap();
        assert_eq!(
            (pair.more.clone(), pair.less.clone()),
            (format!("{prefix}c"), format!("{prefix}d"))
        );
        assert_eq!(
            (pair.direction, pair.category.as_str()),
            (Direction::Antistereo, "race-color")
        );
    }
    assert_eq!(set.aligned().len(), 12);
    assert_eq!(report.count(FindingKind::IdReplaced), 2);
    assert_eq!(report.count(FindingKind::Note), 1);
}

#[test]
fn attribute_lists() {
    let folder = Folder::new();
    let file = folder.write(
        "bias_attribute_words_nl.json",
        r#"{"gender": [["heer", "dame"], ["leider", "leider"], ["heer", "dame"]], "religion": [["tempel", "kerk ", "moskee"]]}"#,
    );
    check_error(
        load_attributes(&file, &AttributeOptions::new(OnBadRow::Error)),
        &["gender[1]", "identical pair", "leider"],
    );
    let (lists, report) = load_attributes(&file, &AttributeOptions::new(OnBadRow::Skip)).unwrap();
    assert_eq!(
        (lists[0].rows.len(), lists[1].rows[0][1].as_str()),
        (1, "kerk")
    );
    assert_eq!(
        (lists[0].language, lists[0].groups.join("/")),
        (NL, "male/female".to_owned())
    );
    for kind in [
        FindingKind::IdenticalPair,
        FindingKind::Duplicate,
        FindingKind::Trimmed,
    ] {
        assert_eq!(report.count(kind), 1, "{kind}");
    }
}

#[test]
fn lower_cased_german_nouns_match_capitals() {
    let folder = Folder::new();
    let file = folder.write("words_de.json", r#"{"gender": [["lehrer", "lehrerin"]]}"#);
    let (lists, _) = load_attributes(&file, &AttributeOptions::new(OnBadRow::Error)).unwrap();
    let made =
        interlingua_data::counterfactuals(&["Der Lehrer kommt."], &lists[0], None, 0).unwrap();
    assert_eq!(made.tuples[0][1], "Der Lehrerin kommt.");
}

#[test]
fn ted_is_joined_by_talk_and_english_never_by_line() {
    let folder = Folder::new();
    let set = |pair: &str, code: &str, talks: &[(&str, &[&str])]| {
        folder.write(
            &format!("IWSLT17.TED.tst2010.{pair}.{code}.xml"),
            ted(talks),
        );
    };
    // The German release merges the first two English sentences, so every later line is off by one; talk 2 says the
    // same English sentence as talk 1; “Thank you.” comes twice.
    set(
        "en-nl",
        "en",
        &[
            (
                "1",
                &[
                    "One.",
                    "Two &amp; three.",
                    "Same words,  here!",
                    "Thank you.",
                    "Thank you.",
                ],
            ),
            ("2", &["Same words here."]),
        ],
    );
    set(
        "en-nl",
        "nl",
        &[
            (
                "1",
                &["Een.", "Twee &amp; drie.", "Zelfde.", "Dank 1.", "Dank 2."],
            ),
            ("2", &["Anders."]),
        ],
    );
    set(
        "de-en",
        "en",
        &[
            (
                "1",
                &[
                    "One. Two &amp; three.",
                    "Same words here",
                    "Thank you.",
                    "Thank you.",
                ],
            ),
            ("2", &["Same words here."]),
        ],
    );
    set(
        "de-en",
        "de",
        &[
            ("1", &["Eins. Zwei.", "Gleich.", "Danke 1.", "Danke 2."]),
            ("2", &["Anders."]),
        ],
    );
    let (corpus, _) = parallel(folder.path(), &[EN, DE, NL], OnBadRow::Error).unwrap();
    assert_eq!(
        corpus.column(DE).unwrap(),
        ["Gleich.", "Danke 1.", "Danke 2.", "Anders."]
    );
    assert_eq!(
        corpus.column(NL).unwrap(),
        ["Zelfde.", "Dank 1.", "Dank 2.", "Anders."]
    );
    let (pair, _) = parallel(folder.path(), &[NL, EN], OnBadRow::Error).unwrap();
    assert_eq!(
        (pair.len(), pair.columns[1][1].as_str()),
        (6, "Two & three.")
    );
}

#[test]
fn ted_archives_hold_one_side_each() {
    let folder = Folder::new();
    let member = |code: &str| format!("x/IWSLT17.TED.tst2016.{code}.xml");
    let (english, french) = (
        ted(&[("1", &["Hello.", "Bye."])]),
        ted(&[("1", &["Bonjour.", "Salut."])]),
    );
    folder.write(
        "en-fr.tgz",
        tar_gz(&[
            ("x/README", b"text"),
            (&member("en-fr.en"), english.as_bytes()),
        ]),
    );
    let file = folder.write(
        "fr-en.tgz",
        tar_gz(&[(&member("fr-en.fr"), french.as_bytes())]),
    );
    for path in [folder.path(), &file] {
        let (corpus, _) = parallel(path, &[FR, EN], OnBadRow::Error).unwrap();
        assert_eq!(corpus.columns, [["Bonjour.", "Salut."], ["Hello.", "Bye."]]);
    }
    std::fs::remove_file(folder.path().join("en-fr.tgz")).unwrap();
    check_error(
        parallel(&file, &[], OnBadRow::Error),
        &["fr-en.tgz", "en.xml", "one file per language"],
    );
}

#[test]
fn ted_training_files_are_tags_and_lines() {
    let folder = Folder::new();
    folder.write(
        "train.tags.en-nl.en",
        "<doc docid=\"1\">\n<talkid>7</talkid>\n<title>T</title>\n One.\n Two & more.\n</doc>\n",
    );
    let file = folder.write(
        "train.tags.en-nl.nl",
        "<doc docid=\"1\">\n<talkid>7</talkid>\n Een.\n Twee & meer.\n</doc>\n",
    );
    let (corpus, _) = parallel(&file, &[EN, NL], OnBadRow::Error).unwrap();
    assert_eq!(
        corpus.columns,
        [["One.", "Two & more."], ["Een.", "Twee & meer."]]
    );
}

#[test]
fn quoted_newlines_and_crlf_and_byte_order_mark_in_tsv() {
    let folder = Folder::new();
    let file = folder.write("x.tsv", "\u{feff}en\tfr\r\n\"one\r\ntwo\"\tun\r\n\"Look,\" he said.\t\"Oui.\"\r\nlast\t\"a \"\"b\"\"\"\r\n");
    let (corpus, _) = parallel(&file, &[EN, FR], OnBadRow::Error).unwrap();
    assert_eq!(
        corpus.columns[0],
        ["one\r\ntwo", "\"Look,\" he said.", "last"]
    );
    assert_eq!(corpus.columns[1], ["un", "\"Oui.\"", "a \"b\""]);
}

#[test]
fn wide_table_keeps_the_english_label() {
    let folder = Folder::new();
    let file = folder.write(
        "wide.tsv",
        "nyu_id\tbias_type\tlabel\tlabel_nl_file_WRONG\ten_more\ten_less\tde_more\tde_less\n3\trace-color\tstereo\tantistereo\ta\tb\tc\td\n",
    );
    let (set, _) = bias(&file, &[DE], OnBadRow::Error).unwrap();
    assert_eq!(
        (
            set.len(),
            set.pairs[0].direction,
            set.pairs[0].more.as_str()
        ),
        (1, Direction::Stereo, "c")
    );
    check_error(
        bias(&file, &[NL], OnBadRow::Error),
        &["`nl`", "available: en, de"],
    );
}

/// lm-evaluation-harness scores a sentence as the file has it; so is it loaded, and told.
#[test]
fn blanks_around_the_sentences_of_pairs_are_kept_and_told() {
    let folder = Folder::new();
    let text = "id,language,category,direction,more,less,planted\n\
                1,en,gender,stereo,\" She left. \",\"He left.\",\n\
                2,en,gender,stereo,She ran.,He ran.,\n";
    folder.write("pairs.csv", text);
    let path = folder.path().join("pairs.csv");
    let (set, report) = bias(&path, &[], OnBadRow::Error).unwrap();
    assert_eq!(set.pairs[0].more, " She left. ");
    assert_eq!(set.pairs[0].less, "He left.");
    let kinds: Vec<FindingKind> = report.findings.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [FindingKind::Blanks]);
    let description = interlingua_data::describe(&path).unwrap().to_string();
    assert!(
        description.contains("blanks around sentences of `more`, kept: 1 (line 2)"),
        "{description}"
    );
}
