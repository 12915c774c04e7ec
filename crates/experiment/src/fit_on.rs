//! The languages in which a method is fitted.

use std::fmt;
use std::str::FromStr;

use interlingua_data::Language;
use serde::{Deserialize, Serialize};

use crate::spec::FitOver;

/// The languages of a fit, among those of the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum FitOn {
    /// One language; its name is the language's code, such as `en`.
    One(Language),
    /// All languages together; its name is `all`. It is the upper reference of transfer.
    All,
    /// All languages except one; its name is for example `all-but-en`.
    AllBut(Language),
}

/// Name of a joint fit in rows.
const ALL: &str = "all";
/// Beginning of the name of a fit that leaves a language out.
const ALL_BUT: &str = "all-but-";

impl FitOn {
    /// Returns every fit that a list of kinds asks for.
    pub fn every(kinds: &[FitOver], languages: &[Language]) -> Vec<FitOn> {
        let mut all = Vec::new();
        for kind in kinds {
            match kind {
                FitOver::Each => all.extend(languages.iter().map(|&l| FitOn::One(l))),
                FitOver::All => all.push(FitOn::All),
                FitOver::AllButOne => all.extend(languages.iter().map(|&l| FitOn::AllBut(l))),
            }
        }
        all
    }

    /// Returns the languages, in the order of the experiment.
    pub fn languages(self, all: &[Language]) -> Vec<Language> {
        let fits = |l: &Language| match self {
            FitOn::One(one) => *l == one,
            FitOn::All => true,
            FitOn::AllBut(out) => *l != out,
        };
        all.iter().copied().filter(fits).collect()
    }

    /// Returns the language, if the fit is in one language.
    pub fn one(self) -> Option<Language> {
        match self {
            FitOn::One(language) => Some(language),
            FitOn::All | FitOn::AllBut(_) => None,
        }
    }
}

impl fmt::Display for FitOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FitOn::One(language) => language.fmt(f),
            FitOn::All => f.write_str(ALL),
            FitOn::AllBut(language) => write!(f, "{ALL_BUT}{language}"),
        }
    }
}

impl FromStr for FitOn {
    type Err = interlingua_data::language::BadLanguage;

    fn from_str(name: &str) -> Result<FitOn, Self::Err> {
        Ok(match (name, name.strip_prefix(ALL_BUT)) {
            (ALL, _) => FitOn::All,
            (_, Some(language)) => FitOn::AllBut(language.parse()?),
            _ => FitOn::One(name.parse()?),
        })
    }
}

impl From<FitOn> for String {
    fn from(on: FitOn) -> String {
        on.to_string()
    }
}

impl TryFrom<String> for FitOn {
    type Error = interlingua_data::language::BadLanguage;

    fn try_from(name: String) -> Result<FitOn, Self::Error> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let languages = [Language::EN, Language::FR, Language::DE];
        let kinds = [FitOver::Each, FitOver::All, FitOver::AllButOne];
        let every = FitOn::every(&kinds, &languages);
        let names: Vec<String> = every.iter().map(ToString::to_string).collect();
        let expect = [
            "en",
            "fr",
            "de",
            "all",
            "all-but-en",
            "all-but-fr",
            "all-but-de",
        ];
        assert_eq!(names, expect);
        for (on, name) in every.iter().zip(&names) {
            assert_eq!(name.parse::<FitOn>().unwrap(), *on);
            let json = serde_json::to_string(on).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<FitOn>(&json).unwrap(), *on);
        }
        assert!("all-but-".parse::<FitOn>().is_err());
    }

    #[test]
    fn the_languages_of_a_fit_keep_their_order() {
        let (en, fr, de) = (Language::EN, Language::FR, Language::DE);
        let languages = |on: FitOn| on.languages(&[en, fr, de]);
        assert_eq!(languages(FitOn::One(fr)), [fr]);
        assert_eq!(languages(FitOn::All), [en, fr, de]);
        assert_eq!(languages(FitOn::AllBut(fr)), [en, de]);
    }
}
