//! The language of a text, by the trigrams and letters of the crate `whatlang` (MIT).

use interlingua_data::Language;
use whatlang::Lang;

/// Codes of ISO 639-1 that experiments use, each before the code of ISO 639-3 by which `whatlang` has the language.
const CODES: &str = "af afr ak aka am amh ar ara az aze be bel bg bul bn ben ca cat cs ces cy cym da dan de deu el ell en eng eo epo \
    es spa et est fa pes fi fin fr fra gu guj he heb hi hin hr hrv hu hun hy hye id ind it ita ja jpn jv jav ka kat km khm kn kan \
    ko kor la lat lt lit lv lav mk mkd ml mal mr mar my mya nb nob ne nep nl nld no nob or ori pa pan pl pol pt por ro ron ru rus \
    si sin sk slk sl slv sn sna sr srp sv swe ta tam te tel th tha tk tuk tl tgl tr tur uk ukr ur urd uz uzb vi vie yi yid zh cmn \
    zu zul";

/// The name by which rows and pages call the identifier.
pub(crate) const IDENTIFIER: &str = "whatlang";

/// The confidence above which the identifier itself calls a language sure.
pub(crate) const SURE: f64 = 0.9;

/// Returns the code by which the identifier has a language; `None` if it does not know it.
pub(crate) fn code(language: Language) -> Option<&'static str> {
    let mut codes = CODES.split_whitespace();
    while let (Some(short), Some(long)) = (codes.next(), codes.next()) {
        if language.code() == short || language.code() == long {
            return Some(long);
        }
    }
    None
}

/// Lists the languages that the identifier knows, for messages.
pub(crate) fn known() -> String {
    let mut codes: Vec<&str> = CODES.split_whitespace().step_by(2).collect();
    codes.sort_unstable();
    codes.join(", ")
}

/// Returns the code of a text's language and the confidence in it, from 0 to 1; `None` for a text without letters.
pub(crate) fn identify(text: &str) -> Option<(&'static str, f64)> {
    let info = whatlang::detect(text)?;
    Some((Lang::code(&info.lang()), info.confidence()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_language_of_the_identifier_has_a_code() {
        let ours: BTreeSet<&str> = CODES.split_whitespace().skip(1).step_by(2).collect();
        let theirs: BTreeSet<&str> = Lang::all().iter().map(Lang::code).collect();
        assert_eq!(ours, theirs);
        let parse = |code: &str| code.parse().unwrap();
        for (language, expect) in [
            ("nl", Some("nld")),
            ("nld", Some("nld")),
            ("zh", Some("cmn")),
            ("fy", None),
        ] {
            assert_eq!(code(parse(language)), expect, "{language}");
        }
        assert!(known().starts_with("af, ak, am") && known().contains(" nl, "));
    }

    /// The page of generated text has these numbers.
    #[test]
    fn what_the_identifier_knows_of_short_sentences() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path.join("../../datasets/neutral.tsv")).unwrap();
        let mut lines = text.lines();
        let languages: Vec<&str> = lines.next().unwrap().split('\t').collect();
        let mut right = vec![0; languages.len()];
        let mut threes = vec![0; languages.len()];
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split('\t').collect()).collect();
        for (at, language) in languages.iter().enumerate() {
            let expect = code(language.parse().unwrap());
            let is = |text: &str| identify(text).map(|told| told.0) == expect;
            right[at] = rows.iter().filter(|row| is(row[at])).count();
            // Three sentences together are as long as what a model writes in 40 tokens.
            let joined = rows
                .chunks(3)
                .map(|rows| rows.iter().map(|row| row[at]).collect::<Vec<_>>().join(" "));
            threes[at] = joined.filter(|text| is(text)).count();
        }
        assert_eq!(
            (languages.as_slice(), rows.len()),
            (&["en", "fr", "de", "nl"][..], 60)
        );
        assert_eq!(right, [60, 58, 60, 43]);
        assert_eq!(threes, [20, 20, 20, 18], "of 20");
    }

    #[test]
    fn texts_without_letters_have_no_language() {
        for text in ["", "  \n", "12 : 30 !?", "…"] {
            assert_eq!(identify(text), None, "{text}");
        }
        let (language, confidence) = identify("Это предложение по-русски.").unwrap();
        assert_eq!(language, "rus");
        assert!((0.0..=1.0).contains(&confidence));
    }
}
