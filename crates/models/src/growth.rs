//! Computes how much longer a `tokenizer.json` can make a text, before the file is used.
//!
//! Replacements that follow each other multiply: thirty that double a text turn one letter into a billion. The limit
//! here is on what the steps could do to the worst possible text, judged by their patterns and contents alone. Real
//! tokenizers are far below it.

use serde::Deserialize;
use serde_json::Value;

/// Most that the steps may lengthen a text, all together. SentencePiece's `▁` is 3.
const MOST: f64 = 1024.0;

/// Most steps in all; each reads the whole text. Real files have up to some tens.
const MOST_STEPS: usize = 1000;

/// Most tokens that a template puts around a text.
const MOST_ADDED: f64 = 4096.0;

/// Most tables of SentencePiece, whose entries are not looked at.
const MOST_TABLES: usize = 2;

/// What steps do to the longest text that could come out of one byte.
#[derive(Debug, Clone, Copy)]
struct Growth {
    factor: f64,
    added: f64,
    steps: usize,
    tables: usize,
}

/// The parts of a file that change texts; its vocabulary is skipped.
#[derive(Deserialize)]
pub(crate) struct Steps {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
}

/// Refuses a file whose steps could make a text far too long.
///
/// # Errors
/// The part of the file that could, with the factor.
pub(crate) fn check(steps: &Steps) -> Result<(), String> {
    for (part, step) in [
        ("normalizer", &steps.normalizer),
        ("pre-tokenizer", &steps.pre_tokenizer),
        ("post-processor", &steps.post_processor),
        ("decoder", &steps.decoder),
    ] {
        let mut growth = Growth {
            factor: 1.0,
            added: 0.0,
            steps: 0,
            tables: 0,
        };
        follow(step, &mut growth);
        let problem = if growth.factor > MOST {
            format!("could make a text {:.0e} times as long", growth.factor)
        } else if growth.added > MOST_ADDED {
            format!("could add {:.0e} tokens or bytes to a text", growth.added)
        } else if growth.steps > MOST_STEPS {
            format!("has {} steps", growth.steps)
        } else if growth.tables > MOST_TABLES {
            format!("has {} tables of replacements", growth.tables)
        } else {
            continue;
        };
        return Err(format!(
            "its {part} {problem}, which no real tokenizer does"
        ));
    }
    Ok(())
}

/// Applies a step, or a list of them, to what came before.
fn follow(step: &Value, growth: &mut Growth) {
    // JSON within JSON is bounded in depth by its parser.
    for list in ["normalizers", "pretokenizers", "processors", "decoders"] {
        for inner in step[list].as_array().into_iter().flatten() {
            follow(inner, growth);
        }
    }
    growth.steps += 1;
    let length = |key: &str| step[key].as_str().map_or(0, str::len) as f64;
    let mut grow = |factor: f64, added: f64| {
        growth.factor *= factor.max(1.0);
        growth.added = growth.added * factor.max(1.0) + added;
    };
    // By what a step has, not by its type: old files name none.
    let has = |key: &str| step.get(key).is_some();
    if has("pattern") && has("content") {
        match step["pattern"]["String"].as_str() {
            Some(pattern) if !pattern.is_empty() => {
                grow(length("content") / pattern.len() as f64, 0.0);
            }
            // An expression may match nothing, between any two letters.
            _ => grow(1.0 + length("content"), length("content")),
        }
    } else if has("prepend") {
        grow(1.0, length("prepend"));
    } else if has("single") {
        let (texts, added) = template(step);
        grow(texts, added);
    } else if has("precompiled_charsmap") {
        growth.tables += 1;
    }
}

/// How often a template has the text, and how many tokens it adds.
fn template(step: &Value) -> (f64, f64) {
    let pieces = step["single"].as_array();
    let (mut texts, mut added) = (0.0, 0.0);
    for piece in pieces.into_iter().flatten() {
        if piece.get("Sequence").is_some() {
            texts += 1.0;
        }
        if let Some(name) = piece["SpecialToken"]["id"].as_str() {
            let ids = step["special_tokens"][name]["ids"].as_array();
            added += ids.map_or(0, Vec::len) as f64;
        }
    }
    (texts, added)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(json: Value) -> Result<(), String> {
        super::check(&serde_json::from_value(json).unwrap())
    }

    fn replace(content: &str) -> Value {
        json!({"type": "Replace", "pattern": {"String": "a"}, "content": content})
    }

    #[test]
    fn what_multiplies_is_refused() {
        let nested = |steps: Vec<Value>| json!({"type": "Sequence", "normalizers": steps});
        let doubling = vec![replace("aa"); 30];
        let halves = vec![
            nested(doubling[..15].to_vec()),
            nested(doubling[15..].to_vec()),
        ];
        let empty = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "aaaa"});
        let twice = json!({"type": "TemplateProcessing", "special_tokens": {},
            "single": [{"Sequence": {"id": "A"}}, {"Sequence": {"id": "A"}}]});
        let ids: Vec<u32> = vec![1; 500];
        let many = json!({"type": "TemplateProcessing", "special_tokens": {"x": {"ids": ids}},
            "single": vec![json!({"SpecialToken": {"id": "x"}}); 500]});
        for (part, step, told) in [
            ("normalizer", nested(doubling), "times as long"),
            ("normalizer", nested(halves), "times as long"),
            (
                "decoder",
                json!({"type": "Sequence", "decoders": vec![empty; 9]}),
                "times as long",
            ),
            ("normalizer", nested(vec![replace("b"); 1001]), "steps"),
            (
                "normalizer",
                nested(vec![json!({"precompiled_charsmap": ""}); 3]),
                "tables",
            ),
            (
                "post_processor",
                json!({"type": "Sequence", "processors": vec![twice; 20]}),
                "times as long",
            ),
            ("post_processor", many, "add"),
        ] {
            let error = check(json!({part: step})).unwrap_err();
            assert!(
                error.contains(&part.replace('_', "-")) && error.contains(told),
                "{error}"
            );
        }
    }

    #[test]
    fn what_real_tokenizers_do_is_taken() {
        let sentence_piece = json!({"normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"String": "``"}, "content": "\""},
            {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "Precompiled", "precompiled_charsmap": ""},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]}});
        check(sentence_piece).unwrap();
        check(json!({})).unwrap();
        check(json!({"normalizer": null, "decoder": {"type": "ByteLevel"}})).unwrap();
    }
}
