//! Tables that a command writes into a page of the documentation, between marks.

use std::path::Path;

use anyhow::Context;

use interlingua_cli::output;

/// Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
///
/// # Errors
/// A page that cannot be read or written, or has no such marks.
pub fn replace(page: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    output::check_page(page)?;
    let old = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let new = between(&old, name, text).with_context(|| {
        format!(
            "{}: expected a line `<!-- begin {name} -->` and after it one `<!-- end {name} -->`",
            page.display()
        )
    })?;
    if new == old {
        return Ok(());
    }
    // What a link leads to is replaced, not the link.
    let written = page
        .canonicalize()
        .and_then(|place| interlingua_files::write(&place, new.as_bytes()));
    written.with_context(|| page.display().to_string())
}

/// The page with another text between its marks; nothing where it has no such marks.
pub fn between(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->"),
    );
    let from = page.find(&begin)? + begin.len();
    let to = from + page[from..].find(&end)?;
    Some(format!(
        "{}{}\n{}",
        &page[..from],
        text.trim_end(),
        &page[to..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let page = "a\n<!-- begin t -->\nold\n<!-- end t -->\nb\n";
        let new = between(page, "t", "new\n\n").unwrap();
        assert_eq!(new, "a\n<!-- begin t -->\nnew\n<!-- end t -->\nb\n");
        assert_eq!(between(&new, "t", "new").unwrap(), new);
        assert!(between(page, "u", "").is_none());
    }
}
