//! Rules for words that change because of their neighbours: French elision and contraction, the English indefinite
//! article, and the capital at the beginning.

use crate::language::Language;

/// Turns the concatenated words of a template into a written sentence.
pub(super) fn finish(text: &str, language: Language) -> String {
    let text = match language {
        Language::FR => french(text),
        Language::EN => english(text),
        _ => text.to_owned(),
    };
    capitalise(&text)
}

/// Elision (`la école` → `l'école`), contraction (`de le` → `du`) and the forms that some
/// masculine words take before a vowel (`ce homme` → `cet homme`).
fn french(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < words.len() {
        if !out.is_empty() && !out.ends_with('\'') {
            out.push(' ');
        }
        let next_is_vowel = |at: usize| words.get(at + 1).is_some_and(|w| begins_with_vowel(w));
        // Contractions are looked for first: "de le ami" is "de l'ami", not "du ami".
        if words.get(i + 1) == Some(&"le") && !next_is_vowel(i + 1) {
            let contracted = match words[i] {
                "à" => Some("au"),
                "de" => Some("du"),
                _ => None,
            };
            if let Some(contracted) = contracted {
                out.push_str(contracted);
                i += 2;
                continue;
            }
        }
        match words[i] {
            "si" if words.get(i + 1) == Some(&"il") => out.push_str("s'"),
            "le" | "la" if next_is_vowel(i) => out.push_str("l'"),
            "de" if next_is_vowel(i) => out.push_str("d'"),
            "que" if next_is_vowel(i) => out.push_str("qu'"),
            "ce" if next_is_vowel(i) => out.push_str("cet"),
            "nouveau" if next_is_vowel(i) => out.push_str("nouvel"),
            word => out.push_str(word),
        }
        i += 1;
    }
    out
}

/// Whether a French word begins with a vowel or a silent h. Words in h are aspirated unless listed.
fn begins_with_vowel(word: &str) -> bool {
    const SILENT_H: [&str; 5] = ["homme", "hôtel", "hiver", "heureuse", "heureux"];
    let word = word.trim_end_matches(['.', ',']);
    SILENT_H.contains(&word)
        || word
            .chars()
            .next()
            .is_some_and(|c| "aeiouyâàäéèêëîïôöûùüœAEIOUÂÉÈÊÎÔÛŒ".contains(c))
}

/// `a` before a vowel becomes `an`. The lexicon has no word whose sound differs from its letter.
fn english(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut out = String::with_capacity(text.len() + 2);
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        let vowel_follows = words
            .get(i + 1)
            .and_then(|w| w.chars().next())
            .is_some_and(|c| "aeiouAEIOU".contains(c));
        out.push_str(if *word == "a" && vowel_follows {
            "an"
        } else {
            word
        });
    }
    out
}

fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::finish;
    use crate::language::Language;

    fn check(language: Language, input: &str, expect: &str) {
        assert_eq!(finish(input, language), expect);
    }

    #[test]
    fn words_fit_their_neighbours() {
        check(
            Language::FR,
            "le homme a dit que il dort.",
            "L'homme a dit qu'il dort.",
        );
        check(
            Language::FR,
            "à le infirmier si il dort.",
            "À l'infirmier s'il dort.",
        );
        check(
            Language::FR,
            "de le sac, à le boulanger.",
            "Du sac, au boulanger.",
        );
        check(
            Language::FR,
            "ce invité, ce hockey.",
            "Cet invité, ce hockey.",
        );
        check(
            Language::FR,
            "en tant que électricien.",
            "En tant qu'électricien.",
        );
        check(
            Language::FR,
            "le nouveau enseignant.",
            "Le nouvel enseignant.",
        );
        check(
            Language::EN,
            "a engineer and a baker.",
            "An engineer and a baker.",
        );
        check(Language::DE, "über a engineer.", "Über a engineer.");
    }
}
