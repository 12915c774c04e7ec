//! Token ids and offsets against transformers (`generators/tokenizers_golden.py`).

use std::path::PathBuf;

use interlingua_models::Tokenizer;
use interlingua_tests::{fixtures, shared};
use serde_json::Value;

/// The tokenizers at hand, by name in the golden file. MiniLM's folder has a variable of its own.
fn tokenizers(shared: &std::path::Path) -> Vec<(&'static str, PathBuf)> {
    let mut found = vec![
        ("reference-lm-4l", shared.join("models/reference-lm-4l")),
        ("stories260K", shared.join("models/stories260K")),
    ];
    match std::env::var_os("INTERLINGUA_MINILM") {
        Some(folder) => found.push(("all-MiniLM-L6-v2", folder.into())),
        None => eprintln!("skipped: all-MiniLM-L6-v2, INTERLINGUA_MINILM does not name its folder"),
    }
    found
}

fn numbers(value: &Value) -> Vec<usize> {
    let list = value.as_array().unwrap();
    list.iter().map(|x| x.as_u64().unwrap() as usize).collect()
}

#[test]
fn ids_and_offsets_agree_with_transformers() {
    let Some(shared) = shared("ids_and_offsets_agree_with_transformers") else {
        return;
    };
    let text =
        std::fs::read_to_string(shared.join("data/derived/tatoeba4_en_fr_de_nl.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let sentence = |item: &Value| {
        let language = item["language"].as_str().unwrap();
        let column = rows[0].iter().position(|c| *c == language).unwrap();
        rows[item["row"].as_u64().unwrap() as usize + 1][column]
    };
    let golden = std::fs::read(fixtures().join("models/tokenizers.golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    for (name, folder) in tokenizers(&shared) {
        let tokenizer = Tokenizer::open(&folder, 1 << 20).unwrap();
        let (sentences, edges) = (&golden[name]["sentences"], &golden[name]["edges"]);
        let (sentences, edges) = (sentences.as_array().unwrap(), edges.as_array().unwrap());
        assert_eq!((sentences.len(), edges.len()), (100, 14), "{name}");
        let texts = sentences.iter().map(|s| (sentence(s), s));
        let edges = edges.iter().map(|e| (e["text"].as_str().unwrap(), e));
        for (text, item) in texts.chain(edges) {
            let context = format!("{name}: {text:?}");
            agrees(&tokenizer, text, item, &context);
        }
        println!("{name}: 100 sentences and 14 edge texts agree");
    }
}

fn agrees(tokenizer: &Tokenizer, text: &str, golden: &Value, context: &str) {
    let ids = |ids: &[u32]| -> Vec<usize> { ids.iter().map(|&id| id as usize).collect() };
    let plain = tokenizer.encode(text).unwrap();
    assert_eq!(ids(&plain), numbers(&golden["ids"]), "{context}");

    let whole = tokenizer.encode_template(text).unwrap();
    assert_eq!(ids(&whole.ids), numbers(&golden["special"]), "{context}");
    // Ours count bytes, those of transformers characters.
    let characters = |byte: usize| text[..byte].chars().count();
    let offsets: Vec<usize> = whole
        .offsets
        .iter()
        .flat_map(|range| [characters(range.start), characters(range.end)])
        .collect();
    assert_eq!(offsets, numbers(&golden["offsets"]), "{context}");

    let (before, after) = tokenizer.around();
    assert_eq!(
        [before, &plain, after].concat(),
        whole.ids,
        "{context}: the template is put around the text"
    );
    let added: Vec<u32> = (whole.ids.iter().zip(&whole.added))
        .filter(|(_, added)| **added)
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(added, [before, after].concat(), "{context}");

    let bare = tokenizer.encode_with_offsets(text).unwrap();
    assert_eq!(bare.ids, plain, "{context}");
    let inner = before.len()..whole.ids.len() - after.len();
    assert_eq!(bare.offsets, whole.offsets[inner], "{context}");
    assert!(bare.added.iter().all(|added| !added), "{context}");
}

#[test]
fn settings_of_the_checkpoints_at_hand() {
    let Some(shared) = shared("settings_of_the_checkpoints_at_hand") else {
        return;
    };
    for (name, folder) in tokenizers(&shared) {
        let tokenizer = Tokenizer::open(&folder, 1 << 20).unwrap();
        let special = tokenizer.special();
        let id = |token: &Option<interlingua_models::tokenizer::SpecialToken>| {
            token.as_ref().and_then(|t| t.id)
        };
        let found = (
            id(&special.bos),
            id(&special.eos),
            id(&special.unk),
            tokenizer.mask(),
            special.chat_template,
        );
        let expected = match name {
            "reference-lm-4l" => (Some(2), Some(3), Some(1), None, false),
            "stories260K" => (Some(1), Some(2), Some(0), None, false),
            _ => (None, None, Some(100), Some(103), false),
        };
        assert_eq!(found, expected, "{name}: {special:?}");
    }
}

/// Nothing is cut, whatever the length.
#[test]
fn long_texts_keep_all_their_tokens() {
    let Some(shared) = shared("long_texts_keep_all_their_tokens") else {
        return;
    };
    for (name, folder) in tokenizers(&shared) {
        let tokenizer = Tokenizer::open(&folder, 1 << 20).unwrap();
        let word = tokenizer.encode("and the").unwrap().len();
        let text = vec!["and the"; 20_000].join(" ");
        let encoded = tokenizer.encode_with_offsets(&text).unwrap();
        assert!(encoded.ids.len() >= 20_000 * word.min(2), "{name}");
        assert_eq!(encoded.offsets.last().unwrap().end, text.len(), "{name}");
    }
}
