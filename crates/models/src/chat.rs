//! Chat templates: messages as the text that a model was tuned on.
//!
//! Nothing is rendered unless it is asked for. A template comes with the checkpoint, so from strangers: it is run by
//! minijinja with a bound on its steps and its output, and has no files, no clock and no other templates to read.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ModelError, Tokenizer, input};

/// The longest templates in use have some 30 kB.
const MAX_SOURCE: u64 = 1 << 20;

/// Steps of a template; those in use take some hundred for a message.
const FUEL: u64 = 1 << 20;

/// Bytes of a text that is rendered.
const MAX_OUTPUT: usize = 4 << 20;

/// Spaces that a filter may indent by.
const MAX_INDENT: usize = 64;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// The template of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    /// The file that it comes from.
    path: PathBuf,
}

impl ChatTemplate {
    /// A template that stands in a file.
    ///
    /// # Errors
    /// One that is longer than any real one.
    pub fn new(path: &Path, source: String) -> Result<ChatTemplate, ModelError> {
        if source.len() as u64 > MAX_SOURCE {
            let problem = format!(
                "has a chat template of {} bytes; real ones have at most {MAX_SOURCE}",
                source.len()
            );
            return Err(bad(path, problem));
        }
        Ok(ChatTemplate {
            source,
            path: path.to_owned(),
        })
    }

    /// The template of a Hugging Face folder: `chat_template.jinja`, else that of `tokenizer_config.json`, of several
    /// the one named `default`.
    ///
    /// # Errors
    /// Two that differ; files that cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Option<ChatTemplate>, ModelError> {
        let settings = folder.join("tokenizer_config.json");
        let listed = match input::is_there(&settings)? {
            true => listed(&settings)?,
            false => None,
        };
        one_of(of_file(folder)?, listed)
    }

    /// The template of a GGUF file, or the `chat_template.jinja` beside it.
    ///
    /// # Errors
    /// Two that differ; a file that cannot be read.
    pub fn of_gguf(path: &Path, own: Option<&str>) -> Result<Option<ChatTemplate>, ModelError> {
        let own = own.map(|text| ChatTemplate::new(path, text.to_owned()));
        one_of(
            of_file(path.parent().unwrap_or(Path::new("")))?,
            own.transpose()?,
        )
    }

    /// The template itself.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The file that it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of a conversation; with `prompt`, up to where the model is to answer.
    ///
    /// # Errors
    /// A template that is malformed, refuses the conversation, or goes on for too long.
    pub fn render(
        &self,
        messages: &[Message],
        prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<String, ModelError> {
        let mut jinja = environment();
        let failed = |e: &Error| {
            let line = e.line().map_or(String::new(), |line| {
                format!(" (line {line} of the template)")
            });
            bad(
                &self.path,
                format!("its chat template cannot be rendered: {e}{line}"),
            )
        };
        jinja
            .add_template("chat", &self.source)
            .map_err(|e| failed(&e))?;
        let template = jinja.get_template("chat").map_err(|e| failed(&e))?;
        let special = tokenizer.special();
        let text = |token: &Option<crate::tokenizer::SpecialToken>| {
            token.as_ref().map_or(String::new(), |t| t.text.clone())
        };
        let values = context! {
            messages => messages,
            add_generation_prompt => prompt,
            bos_token => text(&special.bos),
            eos_token => text(&special.eos),
            pad_token => text(&special.pad),
            unk_token => text(&special.unk),
        };
        let mut out = Bounded::default();
        let rendered = template.render_captured_to(values, &mut out);
        if out.full {
            let problem =
                format!("its chat template makes more than {MAX_OUTPUT} bytes of a conversation");
            return Err(bad(&self.path, problem));
        }
        rendered.map_err(|e| failed(&e))?;
        String::from_utf8(out.bytes)
            .map_err(|_| bad(&self.path, "its chat template makes no text".into()))
    }
}

fn bad(path: &Path, problem: String) -> ModelError {
    ModelError::Tokenizer {
        path: path.to_owned(),
        problem: input::brief(problem),
    }
}

/// `chat_template.jinja` of a folder.
fn of_file(folder: &Path) -> Result<Option<ChatTemplate>, ModelError> {
    let path = folder.join("chat_template.jinja");
    if !input::is_there(&path)? {
        return Ok(None);
    }
    let text = String::from_utf8(input::read(&path, MAX_SOURCE)?);
    let text = text.map_err(|_| bad(&path, "is not UTF-8".into()))?;
    Ok(Some(ChatTemplate::new(&path, text)?))
}

/// The template that `tokenizer_config.json` has.
fn listed(path: &Path) -> Result<Option<ChatTemplate>, ModelError> {
    #[derive(Deserialize)]
    struct Settings {
        chat_template: Option<Value>,
    }
    let bytes = input::read(path, 16 << 20)?;
    let settings: Settings =
        serde_json::from_slice(&bytes).map_err(|e| bad(path, e.to_string()))?;
    let text = match settings.chat_template {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(Value::Array(named)) => {
            let default = named.iter().find(|t| t["name"] == "default");
            let text = default.and_then(|t| t["template"].as_str());
            let problem = "has several chat templates and none of the name `default`";
            text.ok_or_else(|| bad(path, problem.into()))?.to_owned()
        }
        Some(_) => return Err(bad(path, "key `chat_template`: expected a text".into())),
    };
    Ok(Some(ChatTemplate::new(path, text)?))
}

/// The one template of two places.
fn one_of(
    first: Option<ChatTemplate>,
    second: Option<ChatTemplate>,
) -> Result<Option<ChatTemplate>, ModelError> {
    match (first, second) {
        (Some(a), Some(b)) if a.source.trim_end() != b.source.trim_end() => Err(bad(
            &a.path,
            format!(
                "and {} are two chat templates; remove the one that is not wanted",
                b.path.display()
            ),
        )),
        (first, second) => Ok(first.or(second)),
    }
}

/// What templates of transformers use, but for filters that make a text as long as a template likes.
fn environment() -> Environment<'static> {
    let mut jinja = Environment::new();
    jinja.set_trim_blocks(true);
    jinja.set_lstrip_blocks(true);
    jinja.set_auto_escape_callback(|_| AutoEscape::None);
    jinja.set_fuel(Some(FUEL));
    jinja.set_recursion_limit(100);
    jinja.set_unknown_method_callback(|state, value, method, args| match method {
        "format" => Err(Error::from(ErrorKind::UnknownMethod)),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    });
    for filter in ["batch", "format", "indent", "pprint", "slice"] {
        jinja.remove_filter(filter);
    }
    jinja.add_filter("tojson", to_json);
    jinja.add_function("raise_exception", |message: String| {
        let problem = format!("it says `{message}`");
        Err::<JinjaValue, Error>(Error::new(ErrorKind::InvalidOperation, problem))
    });
    jinja
}

/// As in transformers: letters as they are, nothing escaped for pages.
fn to_json(value: JinjaValue, options: Kwargs) -> Result<JinjaValue, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    // Keys keep the order they have.
    let _ = options.get::<Option<bool>>("sort_keys")?;
    let _ = options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let failed = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let Some(indent) = indent else {
        let text = serde_json::to_value(&value).map_err(failed)?;
        return Ok(JinjaValue::from_safe_string(spaced(&text)));
    };
    if indent > MAX_INDENT {
        let problem = format!("indents by {indent}; at most {MAX_INDENT} is possible");
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    let (mut bytes, spaces) = (Vec::new(), vec![b' '; indent]);
    let format = serde_json::ser::PrettyFormatter::with_indent(&spaces);
    value
        .serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes, format,
        ))
        .map_err(failed)?;
    let text = String::from_utf8(bytes).expect("JSON is text");
    Ok(JinjaValue::from_safe_string(text))
}

/// JSON as Python writes it, with a space behind commas and colons.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(spaced).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Object(all) => {
            let key = |k: &String| Value::from(k.as_str());
            let all: Vec<String> = (all.iter())
                .map(|(k, v)| format!("{}: {}", key(k), spaced(v)))
                .collect();
            format!("{{{}}}", all.join(", "))
        }
        other => other.to_string(),
    }
}

/// A writer that takes no more than a text may have.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_OUTPUT {
            self.full = true;
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, String> {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models/cohere-f32");
        let tokenizer = Tokenizer::open(&path, 1 << 20).unwrap();
        let template = ChatTemplate::new(Path::new("x.gguf"), source.to_owned()).unwrap();
        let message = |role: &str, content: &str| Message {
            role: role.into(),
            content: content.into(),
        };
        let messages = [
            message("system", "Be brief."),
            message("user", " Grüße <&> "),
        ];
        let shown = template.render(&messages, true, &tokenizer);
        shown.map_err(|e| e.to_string())
    }

    #[test]
    fn templates_are_rendered_as_in_transformers() {
        let cases = [
            ("{{ messages[1]['content'] }}|", " Grüße <&> |"),
            ("{{ messages[1].content | trim }}", "Grüße <&>"),
            ("{{ messages[1].content.strip() }}", "Grüße <&>"),
            (
                "{%- for m in messages %}\n    {{- '<' + m.role + '>' }}\n{% endfor %}\n",
                "<system>\n<user>\n",
            ),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "2",
            ),
            (
                "{{ messages[0] | tojson }}",
                "{\"content\": \"Be brief.\", \"role\": \"system\"}",
            ),
            (
                "{% if add_generation_prompt %}yes{% endif %}{{ nothing is defined }}",
                "yesFalse",
            ),
            (
                "{% if 'brief' in messages[0]['content'] and messages | length == 2 %}a{% endif %}",
                "a",
            ),
            (
                "{{ messages[0]['content'].split(' ')[-1] }}{{ messages[::-1][0]['role'] }}",
                "brief.user",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn templates_that_read_or_never_end_are_refused() {
        let cases = [
            (
                "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                "fuel",
            ),
            (
                "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
                "recursion",
            ),
            (
                "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
                "more than 4194304 bytes",
            ),
            ("{{ 'x' * 10000000000 }}", "too large"),
            ("{% include '/etc/passwd' %}", "cannot be rendered"),
            ("{% import 'x' as x %}", "cannot be rendered"),
            ("{% extends '../x' %}", "cannot be rendered"),
            ("{{ messages | tojson(indent=100000000000) }}", "at most 64"),
            ("{{ 'x' | indent(100000000000) }}", "indent"),
            (
                "{{ raise_exception('Roles must alternate') }}",
                "Roles must alternate",
            ),
            ("{% for", "line 1 of the template"),
            ("{{ open('/etc/passwd').read() }}", "open"),
            ("{{ ''.__class__ }}{{ nothing.at.all }}", "undefined"),
        ];
        for (source, told) in cases {
            let error = render(source).expect_err(source);
            assert!(
                error.contains(told) && error.contains("x.gguf"),
                "{source}: {error}"
            );
        }
        let long = "x".repeat(MAX_SOURCE as usize + 1);
        ChatTemplate::new(Path::new("x"), long).unwrap_err();
    }

    #[test]
    fn two_templates_that_differ_are_an_error_that_names_both() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(ChatTemplate::of_folder(folder.path()).unwrap(), None);
        let settings =
            |json: Value| std::fs::write(at("tokenizer_config.json"), json.to_string()).unwrap();
        settings(serde_json::json!({"chat_template": "a"}));
        assert_eq!(
            ChatTemplate::of_folder(folder.path())
                .unwrap()
                .unwrap()
                .source(),
            "a"
        );
        let several = [("tool", "t"), ("default", "d")];
        let several = several.map(|(name, t)| serde_json::json!({"name": name, "template": t}));
        settings(serde_json::json!({"chat_template": several}));
        assert_eq!(
            ChatTemplate::of_folder(folder.path())
                .unwrap()
                .unwrap()
                .source(),
            "d"
        );
        std::fs::write(at("chat_template.jinja"), "d\n").unwrap();
        ChatTemplate::of_folder(folder.path()).unwrap();
        std::fs::write(at("chat_template.jinja"), "other").unwrap();
        for problem in [
            ChatTemplate::of_folder(folder.path()),
            ChatTemplate::of_gguf(&at("x.gguf"), Some("mine")),
        ] {
            let problem = problem.unwrap_err().to_string();
            assert!(problem.contains("two chat templates"), "{problem}");
        }
        assert!(
            ChatTemplate::of_gguf(&at("x.gguf"), None)
                .unwrap()
                .is_some()
        );
    }
}
