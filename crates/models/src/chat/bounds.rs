//! Limits how much text a chat template can produce while it is rendered.
//!
//! minijinja limits the number of steps but not the size of values, and thirty steps can double a text thirty times.
//! So filters are added to a template before it is compiled: [`CHARGED`] after every operand of an operator, every
//! input of a filter and every slice. The filter subtracts the size of its input from a [`Budget`] and returns the
//! input unchanged. Formatting, methods and the filters that produce more than they get subtract the size themselves.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::machinery::{Span, Token, WhitespaceConfig, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Error, ErrorKind};

/// The number of bytes of text that one rendering may process, counting all its operators and outputs. A conversation
/// of 100 kB in a widely used template needs about 500 kB.
pub const WORK: usize = 8 << 20;

/// The name of the filter that subtracts the size of its input from the budget.
pub const CHARGED: &str = "__charged";

/// The name of the filter that accepts only numbers. It guards factors, so that no text can be repeated.
pub const FACTOR: &str = "__factor";

/// The part of [`WORK`] that is left.
#[derive(Debug, Clone)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Makes the full budget.
    pub fn new() -> Budget {
        Budget(Arc::new(AtomicUsize::new(WORK)))
    }

    /// Subtracts a number of bytes.
    ///
    /// # Errors
    /// A budget that has fewer bytes left.
    pub fn charge(&self, bytes: usize) -> Result<(), Error> {
        let taken = |left: usize| left.checked_sub(bytes);
        match self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(spent()),
        }
    }

    /// Subtracts the length of a value as text plus one byte, so that every step costs something.
    ///
    /// # Errors
    /// Not so many bytes are left.
    pub fn charge_value(&self, value: &Value) -> Result<(), Error> {
        let length = match value.as_str() {
            Some(text) => text.len(),
            None => {
                // Lists that hold one another have no length to look up, and may be longer than any memory.
                let mut counted = Counted {
                    left: self.0.load(Ordering::Relaxed),
                    seen: 0,
                };
                write!(counted, "{value}").map_err(|_| spent())?;
                counted.seen
            }
        };
        self.charge(length.saturating_add(1))
    }
}

fn spent() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("it works through more than {WORK} bytes of text"),
    )
}

/// Counts what is written, up to a bound.
struct Counted {
    left: usize,
    seen: usize,
}

impl Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.seen = self.seen.saturating_add(text.len());
        if self.seen > self.left {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// Words that stand before an operand, so that a sign behind them is no operator between two.
const BEFORE_OPERANDS: [&str; 8] = ["and", "or", "not", "in", "is", "if", "elif", "else"];

/// The template with the filters in it; on the same lines as before.
///
/// # Errors
/// A template that has no tokens.
pub fn bounded(source: &str) -> Result<String, Error> {
    let white = WhitespaceConfig {
        keep_trailing_newline: false,
        lstrip_blocks: true,
        trim_blocks: true,
    };
    let tokens = tokenize(source, false, SyntaxConfig, white);
    let tokens = tokens.collect::<Result<Vec<_>, Error>>()?;
    // Where filters go, and whether what stands there must be a number.
    let mut places: BTreeMap<usize, bool> = BTreeMap::new();
    let mut insert = |at: usize, factor: bool| *places.entry(at).or_default() |= factor;
    let end = |token: usize| tokens[token].1.end_offset as usize;
    for at in 1..tokens.len() {
        let after_operand = ends_operand(&tokens[at - 1].0);
        match &tokens[at].0 {
            Token::Pipe if after_operand => insert(end(at - 1), false),
            Token::BracketOpen if after_operand && is_slice(&tokens, at) => {
                // No subscript may follow a filter.
                insert(end(parts(&tokens, behind(&tokens, at), false) - 1), false);
            }
            token if is_operator(token) && after_operand => {
                let factor = matches!(token, Token::Mul);
                insert(end(at - 1), factor);
                if let Some(last) = operand(&tokens, at + 1) {
                    insert(end(last), factor);
                }
            }
            _ => {}
        }
    }
    let mut out = String::with_capacity(source.len());
    let mut done = 0;
    for (at, factor) in places {
        // Offsets of tokens are between characters of the source.
        out.push_str(source.get(done..at).unwrap_or_default());
        let _ = write!(out, "|{CHARGED}");
        if factor {
            let _ = write!(out, "|{FACTOR}");
        }
        done = at;
    }
    out.push_str(source.get(done..).unwrap_or_default());
    Ok(out)
}

/// Whether an operator makes something of two operands, or compares them.
fn is_operator(token: &Token) -> bool {
    use Token::{Eq, Gt, Gte, Lt, Lte, Mul, Ne, Plus, Tilde};
    matches!(token, Plus | Tilde | Mul | Eq | Ne | Gt | Gte | Lt | Lte)
}

/// Whether a token is the last of an operand.
fn ends_operand(token: &Token) -> bool {
    use Token::{BraceClose, BracketClose, Float, Ident, Int, Int128, ParenClose, Str, String};
    match token {
        Ident(word) => !BEFORE_OPERANDS.contains(word),
        Str(_) | String(_) | Int(_) | Int128(_) | Float(_) => true,
        other => matches!(other, BracketClose | ParenClose | BraceClose),
    }
}

type Tokens<'a> = [(Token<'a>, Span)];

/// The token after the bracket that closes the one at `at`.
fn behind(tokens: &Tokens, at: usize) -> usize {
    use Token::{BraceClose, BraceOpen, BracketClose, BracketOpen, ParenClose, ParenOpen};
    let mut open = 0usize;
    for (i, (token, _)) in tokens.iter().enumerate().skip(at) {
        match token {
            BracketOpen | ParenOpen | BraceOpen => open += 1,
            BracketClose | ParenClose | BraceClose => open = open.saturating_sub(1),
            _ => {}
        }
        if open == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// Whether a bracket behind an operand takes a part of it.
fn is_slice(tokens: &Tokens, at: usize) -> bool {
    let inner = &tokens[at..behind(tokens, at)];
    inner.iter().any(|(token, _)| matches!(token, Token::Colon))
}

/// The last token of the operand that begins at `at`: signs, a name, a constant or brackets, then attributes, subscripts,
/// calls and filters.
fn operand(tokens: &Tokens, at: usize) -> Option<usize> {
    use Token::{BraceOpen, BracketOpen, Ident, Minus, ParenOpen, Plus};
    let token = |i: usize| tokens.get(i).map(|t| &t.0);
    let mut next = at;
    while matches!(token(next), Some(Minus | Plus | Ident("not"))) {
        next += 1;
    }
    next = match token(next)? {
        BracketOpen | ParenOpen | BraceOpen => behind(tokens, next),
        first if ends_operand(first) => next + 1,
        _ => return None,
    };
    Some(parts(tokens, next, true) - 1)
}

/// The token behind the attributes, subscripts and calls that follow an operand, and behind its filters where they are
/// wanted.
fn parts(tokens: &Tokens, mut next: usize, filters: bool) -> usize {
    use Token::{BracketOpen, Dot, ParenOpen, Pipe};
    loop {
        next = match tokens.get(next).map(|t| &t.0) {
            Some(Dot) => next + 2,
            Some(Pipe) if filters => next + 2,
            Some(BracketOpen | ParenOpen) => behind(tokens, next),
            _ => return next.min(tokens.len()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_stand_behind_operands() {
        let shown = |source: &str| {
            let text = bounded(source).unwrap();
            text.replace(&format!("|{CHARGED}"), "¢")
                .replace(&format!("|{FACTOR}"), "#")
        };
        for (source, expected) in [
            ("a + b {{ c }}", "a + b {{ c }}"),
            ("{{ a + b }}", "{{ a¢ + b¢ }}"),
            ("{{ a ~ b.c[0](d) ~ -e }}", "{{ a¢ ~ b.c[0](d)¢ ~ -e¢ }}"),
            ("{{ (a ~ b)|trim ~ 'x' }}", "{{ (a¢ ~ b¢)¢|trim¢ ~ 'x'¢ }}"),
            ("{{ a * 2 + 1 }}", "{{ a¢# * 2¢# + 1¢ }}"),
            ("{% set n.x = n.x + [m] %}", "{% set n.x = n.x¢ + [m]¢ %}"),
            ("{% if a == 'b' and +c %}", "{% if a¢ == 'b'¢ and +c %}"),
            ("{% for m in ms[1:] %}", "{% for m in ms[1:]¢ %}"),
            (
                "{% for m in ms[::-1] %}{{ m[0] }}",
                "{% for m in ms[::-1]¢ %}{{ m[0] }}",
            ),
            ("{{ ms[1:][0].c | trim }}", "{{ ms[1:][0].c¢ | trim }}"),
            ("{{ a is defined ~ b }}", "{{ a is defined¢ ~ b¢ }}"),
            (
                "{% raw %}{{ a + b }}{% endraw %}",
                "{% raw %}{{ a + b }}{% endraw %}",
            ),
            (
                "{# a + b #}é{{ 'é' + \"é\" }}",
                "{# a + b #}é{{ 'é'¢ + \"é\"¢ }}",
            ),
            ("{{ f(a=b, c=d + e) }}", "{{ f(a=b, c=d¢ + e¢) }}"),
            (
                "{% filter upper|trim %}x{% endfilter %}",
                "{% filter upper¢|trim %}x{% endfilter %}",
            ),
            ("{{ a + }}", "{{ a¢ + }}"),
        ] {
            assert_eq!(shown(source), expected);
        }
    }

    #[test]
    fn a_budget_is_spent_by_lists_that_hold_one_another() {
        let budget = Budget::new();
        let mut value = Value::from("x");
        for _ in 0..60 {
            value = Value::from(vec![value.clone(), value]);
        }
        budget.charge_value(&value).unwrap_err();
        budget.charge_value(&Value::from("x".repeat(100))).unwrap();
        budget.charge(WORK - 101).unwrap();
        budget.charge(1).unwrap_err();
    }
}
