//! Language codes and names, as data files spell them.

use crate::language::Language;

/// ISO 639-1 codes, so that `md` or `gz` at the end of a file name is not taken for a language.
const TWO_LETTERS: &str = "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy \
    da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii \
    ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr \
    ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl \
    sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu";

/// Other spellings of the more common languages: ISO 639-2 (both variants) and English names.
const OTHER: &[(&str, &str)] = &[
    ("eng", "en"),
    ("english", "en"),
    ("fra", "fr"),
    ("fre", "fr"),
    ("french", "fr"),
    ("deu", "de"),
    ("ger", "de"),
    ("german", "de"),
    ("nld", "nl"),
    ("dut", "nl"),
    ("dutch", "nl"),
    ("spa", "es"),
    ("spanish", "es"),
    ("ita", "it"),
    ("italian", "it"),
    ("por", "pt"),
    ("portuguese", "pt"),
    ("rus", "ru"),
    ("russian", "ru"),
    ("zho", "zh"),
    ("chi", "zh"),
    ("cmn", "zh"),
    ("chinese", "zh"),
    ("jpn", "ja"),
    ("japanese", "ja"),
    ("kor", "ko"),
    ("korean", "ko"),
    ("ara", "ar"),
    ("arabic", "ar"),
    ("tur", "tr"),
    ("turkish", "tr"),
    ("pol", "pl"),
    ("polish", "pl"),
    ("ces", "cs"),
    ("cze", "cs"),
    ("czech", "cs"),
    ("ron", "ro"),
    ("rum", "ro"),
    ("romanian", "ro"),
    ("swe", "sv"),
    ("swedish", "sv"),
    ("dan", "da"),
    ("danish", "da"),
    ("fin", "fi"),
    ("finnish", "fi"),
    ("hun", "hu"),
    ("hungarian", "hu"),
    ("ell", "el"),
    ("gre", "el"),
    ("heb", "he"),
    ("hebrew", "he"),
    ("hin", "hi"),
    ("hindi", "hi"),
    ("ukr", "uk"),
    ("vie", "vi"),
    ("ind", "id"),
    ("cat", "ca"),
    ("bul", "bg"),
    ("hrv", "hr"),
    ("slk", "sk"),
    ("slv", "sl"),
    ("est", "et"),
];

/// Returns the language of a code or name such as `de`, `deu`, `DE-de` or `german`; `None` if this crate does not
/// know it.
pub fn language_of(text: &str) -> Option<Language> {
    let lower = text.trim().to_lowercase();
    let code = match OTHER.iter().find(|(name, _)| *name == lower) {
        Some((_, code)) => code,
        None => {
            let primary = lower.split(['-', '_']).next().unwrap_or_default();
            match OTHER
                .iter()
                .find(|(name, _)| primary.len() == 3 && *name == primary)
            {
                Some((_, code)) => code,
                None => TWO_LETTERS
                    .split(' ')
                    .find(|c| !c.is_empty() && *c == primary)?,
            }
        }
    };
    code.parse().ok()
}

/// Returns the language that a column header names: a known code or name, or any code that the caller asked for.
pub(crate) fn column_language(header: &str, wanted: &[Language]) -> Option<Language> {
    let header = header.trim();
    wanted
        .iter()
        .copied()
        .find(|l| l.code() == header)
        .or_else(|| {
            // `de-at` and `de` may both be columns; only the plain code stands for the language.
            if header.contains(['-', '_']) {
                None
            } else {
                language_of(header)
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, expect) in [
            ("en", Some("en")),
            ("eng", Some("en")),
            ("German", Some("de")),
            ("nld", Some("nl")),
            ("pt-BR", Some("pt")),
            ("fr_FR", Some("fr")),
            ("md", None),
            ("txt", None),
            ("", None),
            ("id-x", Some("id")),
            ("eng-US", Some("en")),
        ] {
            assert_eq!(
                language_of(text).map(|l| l.to_string()).as_deref(),
                expect,
                "{text}"
            );
        }
    }
}
