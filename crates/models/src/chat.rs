//! Chat templates, which turn the messages of a conversation into the text format that a model was tuned on.
//!
//! Nothing is rendered unless the caller asks for it. A template comes with the checkpoint and so from strangers. It
//! is run by minijinja with bounds on its steps, on its output and on the text that it processes (`bounds.rs`), and
//! it can read no files, no clock and no other templates.

mod bounds;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context, escape_formatter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::{ModelError, Tokenizer, input};
use bounds::Budget;

/// The longest templates in use have some 30 kB.
const MAX_SOURCE: u64 = 1 << 18;

/// Steps of a template; those in use take some hundred for a message.
const FUEL: u64 = 1 << 16;

/// Bytes that the steps may copy of the template itself, into a variable say: a longer one has fewer steps.
const COPIED: u64 = 1 << 29;

/// Bytes of stack of a rendering: lists in lists, as deep as there are steps.
const STACK: usize = 64 << 20;

/// Bytes of a text that is rendered.
const MAX_OUTPUT: usize = 4 << 20;

/// Spaces that a filter may indent by.
const MAX_INDENT: usize = 64;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The role of the speaker: `system`, `user` or `assistant`.
    pub role: String,
    /// The text of the message.
    pub content: String,
}

/// The chat template of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    /// The file that it comes from.
    path: PathBuf,
}

impl ChatTemplate {
    /// Makes a template from the text of a file.
    ///
    /// # Errors
    /// A text that is longer than any real template.
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

    /// Reads the template of a Hugging Face folder: `chat_template.jinja`, or else that of `tokenizer_config.json`.
    /// If there are several, the one named `default` is taken.
    ///
    /// # Errors
    /// Two templates that differ, and files that cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Option<ChatTemplate>, ModelError> {
        let settings = folder.join("tokenizer_config.json");
        let listed = match input::is_there(&settings)? {
            true => listed(&settings)?,
            false => None,
        };
        one_of(of_file(folder)?, listed)
    }

    /// Returns the template of a GGUF file, or the `chat_template.jinja` beside it.
    ///
    /// # Errors
    /// Two templates that differ, and a file that cannot be read.
    pub fn of_gguf(path: &Path, own: Option<&str>) -> Result<Option<ChatTemplate>, ModelError> {
        let own = own.map(|text| ChatTemplate::new(path, text.to_owned()));
        one_of(
            of_file(path.parent().unwrap_or(Path::new("")))?,
            own.transpose()?,
        )
    }

    /// Returns the text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the file that the template comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renders a conversation. If `prompt` is true, the text ends where the model is to answer.
    ///
    /// # Errors
    /// A template that is malformed, refuses the conversation, or exceeds its bounds.
    pub fn render(
        &self,
        messages: &[Message],
        prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<String, ModelError> {
        // What recurses in a template must not end the program.
        let run = || self.render_here(messages, prompt, tokenizer);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let thread = thread.spawn_scoped(scope, run);
            let thread = thread.map_err(|e| bad(&self.path, format!("cannot be rendered: {e}")))?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn render_here(
        &self,
        messages: &[Message],
        prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<String, ModelError> {
        let mut jinja = environment();
        let steps = FUEL.min(COPIED / (self.source.len() as u64).max(1));
        jinja.set_fuel(Some(steps));
        let failed = |e: &Error| {
            let line = e.line().map_or(String::new(), |line| {
                format!(" (line {line} of the template)")
            });
            bad(
                &self.path,
                format!("its chat template cannot be rendered: {e}{line}"),
            )
        };
        // As it is, it is not even compiled: constants are worked out then.
        let source = bounds::bounded(&self.source).map_err(|e| failed(&e))?;
        jinja
            .add_template("chat", &source)
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

/// What templates of transformers use, but for filters that make a text as long as a template likes; what works on text
/// is charged to a budget.
fn environment() -> Environment<'static> {
    let budget = Budget::new();
    let mut jinja = Environment::new();
    jinja.set_trim_blocks(true);
    jinja.set_lstrip_blocks(true);
    jinja.set_auto_escape_callback(|_| AutoEscape::None);
    jinja.set_recursion_limit(100);
    let own = budget.clone();
    jinja.set_formatter(move |out, state, value| {
        own.charge_value(value)?;
        escape_formatter(out, state, value)
    });
    let own = budget.clone();
    jinja.set_unknown_method_callback(move |state, value, method, args| {
        own.charge_value(value)?;
        args.iter().try_for_each(|arg| own.charge_value(arg))?;
        match (method, args) {
            ("format", _) => return Err(Error::from(ErrorKind::UnknownMethod)),
            ("replace", [from, to, ..]) => charge_replaced(&own, value, from, to)?,
            ("join", [list]) => charge_joined(&own, list, value)?,
            _ => {}
        }
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
    });
    for filter in ["batch", "format", "indent", "pprint", "slice"] {
        jinja.remove_filter(filter);
    }
    let own = budget.clone();
    jinja.add_filter(bounds::CHARGED, move |value: JinjaValue| {
        own.charge_value(&value).map(|()| value)
    });
    jinja.add_filter(bounds::FACTOR, factor);
    let own = budget.clone();
    jinja.add_filter(
        "replace",
        move |value: JinjaValue, from: JinjaValue, to: JinjaValue| {
            charge_replaced(&own, &value, &from, &to)?;
            Ok::<_, Error>(text(&value).replace(&*text(&from), &text(&to)))
        },
    );
    let own = budget.clone();
    jinja.add_filter(
        "join",
        move |list: JinjaValue, joiner: Option<JinjaValue>| {
            let joiner = joiner.unwrap_or_else(|| JinjaValue::from(""));
            charge_joined(&own, &list, &joiner)?;
            let items: Vec<String> = list
                .try_iter()?
                .map(|item| text(&item).into_owned())
                .collect();
            Ok::<_, Error>(items.join(&*text(&joiner)))
        },
    );
    jinja.add_filter("tojson", move |value: JinjaValue, options: Kwargs| {
        to_json(&budget, &value, &options)
    });
    jinja.add_function("raise_exception", |message: String| {
        let problem = format!("it says `{message}`");
        Err::<JinjaValue, Error>(Error::new(ErrorKind::InvalidOperation, problem))
    });
    jinja
}

/// A factor of a product, which repeats no text and no list.
fn factor(value: JinjaValue) -> Result<JinjaValue, Error> {
    if value.as_str().is_some() || value.as_object().is_some() {
        let problem = "it repeats a text or a list by `*`, which no template in use does";
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    Ok(value)
}

/// A value as text.
fn text(value: &JinjaValue) -> Cow<'_, str> {
    match value.as_str() {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(value.to_string()),
    }
}

/// Charges what replacing adds to a text.
fn charge_replaced(
    budget: &Budget,
    value: &JinjaValue,
    from: &JinjaValue,
    to: &JinjaValue,
) -> Result<(), Error> {
    for v in [value, from, to] {
        budget.charge_value(v)?;
    }
    let times = text(value).matches(&*text(from)).count();
    budget.charge(times.saturating_mul(text(to).len()))
}

/// Charges what is put between the items of a list.
fn charge_joined(budget: &Budget, list: &JinjaValue, joiner: &JinjaValue) -> Result<(), Error> {
    budget.charge_value(list)?;
    let items = list.try_iter().map_or(0, Iterator::count);
    budget.charge(items.saturating_mul(text(joiner).len()))
}

/// As in transformers: letters as they are, nothing escaped for pages.
fn to_json(budget: &Budget, value: &JinjaValue, options: &Kwargs) -> Result<JinjaValue, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    // Keys keep the order they have.
    let _ = options.get::<Option<bool>>("sort_keys")?;
    let _ = options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let mut out = Bounded::default();
    let written = match indent {
        None => {
            let mut json = serde_json::Serializer::with_formatter(&mut out, Spaced);
            value.serialize(&mut json)
        }
        Some(indent) if indent > MAX_INDENT => {
            let problem = format!("indents by {indent}; at most {MAX_INDENT} is possible");
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
        Some(indent) => {
            let spaces = vec![b' '; indent];
            let format = PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut serde_json::Serializer::with_formatter(
                &mut out, format,
            ))
        }
    };
    budget.charge(out.bytes.len())?;
    written.map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    let text = String::from_utf8(out.bytes).expect("JSON is text");
    Ok(JinjaValue::from_safe_string(text))
}

/// JSON as Python writes it, with a space behind commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
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
mod tests;
