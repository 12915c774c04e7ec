//! BMLAMA, the table of localisation, WinoBias and prompts: one small file for each trap.

mod common;

use common::*;
use interlingua_data::{
    ChoiceItem, ChoiceOptions, Coreference, DataError, Language, OnBadRow, Report, load_bmlama,
    load_localization, load_prompts, load_winobias, shuffle_choices,
};

const HEAD: &str = "Prompt\tAns\tCandidate Ans\tSubject\n";

/// A folder with a table in English and one in French.
fn bmlama(
    english: &str,
    french: &str,
    policy: OnBadRow,
) -> Result<(Vec<ChoiceItem>, Report), DataError> {
    let folder = Folder::new();
    for (name, rows) in [("en.tsv", english), ("fr.tsv", french)] {
        folder.write(name, format!("{HEAD}{rows}"));
    }
    folder.write("notes.txt", "no table");
    load_bmlama(folder.path(), &ChoiceOptions::new(&[EN, FR], policy))
}

const ENGLISH: &str = "Rome is in <mask>.\tItaly\tSpain, Peru, Italy\tRome\n\
    A <mask> is a tree.\toak\trose, oak\toak\n\
    Oslo is in <mask>.\tNorway\tNorway\tOslo\n\
    Lima is in <mask> .\tPeru\tItaly, Peru\tLima\n";
const FRENCH: &str = "Rome est en <mask>.\tItalie\tEspagne, Pérou, Italie\tRome\n\
    Un <mask> est un arbre.\tchêne\trose, chêne\tchêne\n\
    Oslo est en <mask>.\tNorvège\tNorvège\tOslo\n\
    Lima est au <mask>\tPérou\tItalie, Pérou\tLima\n";

#[test]
fn facts_are_read_row_by_row_in_all_languages() {
    let (items, report) = bmlama(ENGLISH, FRENCH, OnBadRow::Error).unwrap();
    let ids: Vec<(&str, Language)> = items.iter().map(|i| (i.id.as_str(), i.language)).collect();
    assert_eq!(ids, [("1", EN), ("4", EN), ("1", FR), ("4", FR)]);
    assert_eq!(items[2].prompt, "Rome est en");
    assert_eq!((items[2].candidates.len(), items[2].gold), (3, 2));
    let notes: Vec<&str> = report.findings.iter().map(|f| f.message.as_str()).collect();
    assert!(
        notes[0].contains("1 rows left out: one candidate"),
        "{notes:?}"
    );
    assert!(notes[1].contains("1 rows left out: a hole"), "{notes:?}");
}

#[test]
fn facts_that_cannot_be_used() {
    for (row, parts) in [
        (
            "Rome est en Italie.\tItalie\tEspagne, Pérou, Italie\tRome",
            &["fr.tsv:2", "`Prompt`", "no <mask>"][..],
        ),
        (
            "<mask> est <mask>\tItalie\tEspagne, Pérou, Italie\tRome",
            &["`Prompt`", "more than once"],
        ),
        (
            "Rome est en <mask>.\tChine\tEspagne, Pérou, Italie\tRome",
            &["`Ans`", "the gold `Chine` is none of the candidates"],
        ),
        (
            "Rome est en <mask>.\tItalie\tPérou, Pérou, Italie\tRome",
            &["`Candidate Ans`", "`Pérou` comes twice"],
        ),
        (
            "Rome est en <mask>.\tItalie\tEspagne, Italie\tRome",
            &["fr.tsv:2", "2 candidates, and 3 in en"],
        ),
        (
            "Rome est en <mask>.\tItalie\tItalie, Pérou, Espagne\tRome",
            &["fr.tsv:2", "candidate 0 and candidate 2 in en"],
        ),
        (
            "Rome est en <mask>.\tItalie\tEspagne, , Italie\tRome",
            &["`Candidate Ans`", "candidate 1 of 3 is empty"],
        ),
        (
            "Rome est en <mask>.\tItalie\tItalie",
            &["fr.tsv:2", "3 cells"],
        ),
    ] {
        let french = format!("{row}\n{}", FRENCH.split_once('\n').unwrap().1);
        check_error(bmlama(ENGLISH, &french, OnBadRow::Error), parts);
        let (items, report) = bmlama(ENGLISH, &french, OnBadRow::Skip).unwrap();
        assert_eq!(items.len(), 2, "{row}");
        assert!(report.rows_skipped > 0);
    }
    let short = bmlama(ENGLISH, FRENCH.lines().next().unwrap(), OnBadRow::Error);
    check_error(short, &["fr.tsv:3", "parallel row by row"]);
    let none = bmlama("", "", OnBadRow::Error);
    assert!(matches!(none, Err(DataError::Empty { .. })), "{none:?}");
    let folder = Folder::new();
    folder.write("en.tsv", format!("{HEAD}{ENGLISH}"));
    let options = ChoiceOptions::new(&[EN, NL], OnBadRow::Error);
    check_error(load_bmlama(folder.path(), &options), &["nl", "en"]);
    check_error(
        load_bmlama(&folder.path().join("no"), &options),
        &["<language>.tsv"],
    );
}

/// Order and golds are the same in all languages, whatever else is in the list, and the gold is still the same word.
#[test]
fn a_seed_orders_items_and_candidates_alike_in_all_languages() {
    let item = |id: usize, language: Language| ChoiceItem {
        id: id.to_string(),
        language,
        category: None,
        prompt: String::new(),
        candidates: (0..10).map(|c| format!("{language}{id}-{c}")).collect(),
        gold: 9,
    };
    let ordered = |ids: std::ops::Range<usize>, language, seed| {
        let mut items: Vec<ChoiceItem> = ids.map(|id| item(id, language)).collect();
        shuffle_choices(&mut items, seed);
        items
    };
    let (english, french) = (ordered(0..200, EN, 1), ordered(0..200, FR, 1));
    for (a, b) in english.iter().zip(&french) {
        assert_eq!((&a.id, a.gold), (&b.id, b.gold));
        assert!(a.candidates[a.gold].ends_with("-9") && b.candidates[b.gold].ends_with("-9"));
        let places = |i: &ChoiceItem| -> Vec<char> {
            i.candidates
                .iter()
                .filter_map(|c| c.chars().last())
                .collect()
        };
        assert_eq!(places(a), places(b));
    }
    let fewer = ordered(0..100, EN, 1);
    let same: Vec<&ChoiceItem> = english
        .iter()
        .filter(|i| i.id.parse::<usize>().unwrap() < 100)
        .collect();
    assert!(fewer.iter().eq(same));
    assert_ne!(ordered(0..200, EN, 2), english);
    // Golds stand everywhere: 20 of 200 in each place, give or take what chance does.
    for place in 0..10 {
        let count = english.iter().filter(|i| i.gold == place).count();
        assert!((6..=38).contains(&count), "{count} in place {place}");
    }
}

const LOCAL: &str = "lang,context,idx,subtask,question,option_us,option_fr,option_ru,option_tr,option_bn,options,prompt\n";

fn localization(
    rows: &str,
    named: bool,
    subtasks: &[&str],
    policy: OnBadRow,
) -> Result<(Vec<ChoiceItem>, Report), DataError> {
    let folder = Folder::new();
    let path = folder.write("x.csv", format!("{LOCAL}{rows}"));
    let subtasks: Vec<String> = subtasks.iter().map(|s| (*s).to_owned()).collect();
    load_localization(&path, named, &subtasks, &ChoiceOptions::new(&[], policy))
}

const ROWS: &str = "English,False,1,cities,Where do I live?,Boston,Paris,Moscow,Izmir,Dhaka,x,\"two\nlines\"\n\
    English,True,2,cities,I live in the US. Where?,Boston,Paris,Moscow,Izmir,Dhaka,x,y\n\
    English,False,3,names,Where do I live?,Liam,Enzo,Ivan,Ali,Rana,x,y\n\
    French,False,4,names,Quel est mon nom ?,Liam,Enzo,Ivan,Ali,Rana,x,y\n";

#[test]
fn the_gold_is_the_country_of_the_language() {
    let (items, report) = localization(ROWS, false, &[], OnBadRow::Error).unwrap();
    let found: Vec<(&str, &str)> = items
        .iter()
        .map(|i| (i.id.as_str(), i.candidates[i.gold].as_str()))
        .collect();
    assert_eq!(found, [("cities-1", "Boston"), ("names-4", "Enzo")]);
    assert!(
        report.findings[0].message.contains("1 rows left out"),
        "{:?}",
        report.findings
    );
    let (items, _) = localization(ROWS, true, &["cities"], OnBadRow::Error).unwrap();
    assert_eq!(
        (items.len(), items[0].prompt.as_str()),
        (1, "I live in the US. Where?")
    );
    check_error(
        localization(ROWS, true, &["food"], OnBadRow::Error),
        &["`food`", "cities, names"],
    );
    for (row, parts) in [
        (
            "Klingon,False,9,o1,Q,a,b,c,d,e,x,y",
            &["`lang`", "Klingon", "English, French"][..],
        ),
        (
            "French,Maybe,9,o1,Q,a,b,c,d,e,x,y",
            &["`context`", "neither True nor False"],
        ),
        (
            "French,False,9,o1,Q,a,b,c,d,a,x,y",
            &["`option_bn`", "`a` comes twice"],
        ),
        (
            "French,False,9,o1,Q,a,,c,d,e,x,y",
            &["`option_fr`", "no text"],
        ),
        (
            "French,False,4,names,Q,a,b,c,d,e,x,y",
            &["`idx`", "`names-4` stands before"],
        ),
    ] {
        let rows = format!("{ROWS}{row}\n");
        check_error(localization(&rows, false, &[], OnBadRow::Error), parts);
        assert_eq!(
            localization(&rows, false, &[], OnBadRow::Skip)
                .unwrap()
                .0
                .len(),
            2,
            "{row}"
        );
    }
}

fn winobias(line: &str, policy: OnBadRow) -> Result<(Vec<Coreference>, Report), DataError> {
    let folder = Folder::new();
    folder.write("male_occupations.txt", "construction worker\nCEO\n");
    folder.write("female_occupations.txt", "nurse\n\nworker\n");
    for kind in [1, 2] {
        for (side, pronoun) in [("pro", "he"), ("anti", "she")] {
            let text = format!("1 [The CEO] met the nurse because [{pronoun}] was late.\n{line}");
            folder.write(&format!("{side}_stereotyped_type{kind}.txt.dev"), text);
        }
    }
    load_winobias(folder.path(), &["dev".to_owned()], policy)
}

#[test]
fn sentences_have_two_occupations_and_one_gender() {
    let (items, _) = winobias("", OnBadRow::Error).unwrap();
    assert_eq!(items.len(), 4);
    let first = &items[0];
    assert_eq!(first.sentence, "The CEO met the nurse because he was late.");
    assert_eq!(
        (first.occupation.as_str(), first.other.as_str()),
        ("ceo", "nurse")
    );
    assert_eq!(
        (first.pro, first.male, first.pronoun.as_str()),
        (true, true, "he")
    );
    assert_eq!(items[1].pair, first.pair);
    assert!(!items[1].pro && !items[1].male);
    let line = "2 The construction worker met [the nurse] and thanked [her].";
    let (items, _) = winobias(line, OnBadRow::Error).unwrap();
    assert_eq!(items[1].other, "construction worker");
    for (line, parts) in [
        (
            "The CEO met [the nurse] because [he] was.",
            &["txt.dev:2", "no number"][..],
        ),
        (
            "2 The CEO met [the nurse] because he was.",
            &["1 occupations and 0 pronouns"],
        ),
        (
            "2 The CEO met [the nurse] because [he] lost [her] key.",
            &["pronouns of men and of women"],
        ),
        (
            "2 The CEO met [the pilot] because [he] was late.",
            &["occupations of the lists"],
        ),
        (
            "2 The CEO met [the nurse] and a worker because [he] was late.",
            &["3 occupations of the lists"],
        ),
    ] {
        check_error(winobias(line, OnBadRow::Error), parts);
        assert_eq!(winobias(line, OnBadRow::Skip).unwrap().0.len(), 4, "{line}");
    }
}

#[test]
fn prompts_have_their_places_and_no_others() {
    let folder = Folder::new();
    let load = |text: &str| load_prompts(&folder.write("p.toml", text), &["sentence", "pronoun"]);
    let prompts =
        load("[[prompt]]\nname = \"a\"\ntext = \"{sentence} '{pronoun}' {sentence}\"\n").unwrap();
    assert_eq!(prompts[0].language, EN);
    // What is filled in is not filled again.
    let filled = prompts[0].filled(&[("sentence", "{pronoun}"), ("pronoun", "he")]);
    assert_eq!(filled, "{pronoun} 'he' {pronoun}");
    for (text, parts) in [
        (
            "[[prompt]]\nname = \"a\"\ntext = \"{sentence}\"",
            &["`a`", "no place `{pronoun}`"][..],
        ),
        (
            "[[prompt]]\nname = \"a\"\ntext = \"{sentence}{pronoun}{x}\"",
            &["`{x}`", "sentence, pronoun"],
        ),
        (
            "[[prompt]]\nname = \" \"\ntext = \"{sentence}{pronoun}\"",
            &["without a name"],
        ),
        (
            "[[prompt]]\nname = \"a\"\ntext = \"{sentence}{pronoun}\"\n[[prompt]]\nname = \"a\"\ntext = \"{sentence}{pronoun}\"",
            &["`a` stands twice in en"],
        ),
        ("[[prompt]]\nname = \"a\"\nwords = \"x\"", &["words"]),
        ("prompt = []", &["no"]),
    ] {
        check_error(load(text), parts);
    }
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../datasets/prompts/winobias.toml");
    let own = load_prompts(&own, &["sentence", "pronoun"]).unwrap();
    assert_eq!(own[0].name, "intrinsic");
}
