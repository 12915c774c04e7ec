//! Reads which blocks see the whole sequence and which see only a window of it.

use crate::ModelError;
use crate::config::Reader;

/// Returns, for each block, the number of tokens that a query sees, including itself; `None` for all.
///
/// If the file has `layer_types`, they decide; otherwise `slides` does.
///
/// # Errors
/// `layer_types` that are not one known kind for each block, and blocks with a window for which the file gives no
/// size.
pub(super) fn read(
    r: &Reader<'_>,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, ModelError> {
    let sliding = match layer_types(r, layers)? {
        Some(sliding) => sliding,
        None => (0..layers).map(slides).collect(),
    };
    if window.is_none() && sliding.contains(&true) {
        return Err(r.bad(
            "sliding_window",
            "missing or off, and some blocks have sliding attention; expected a positive whole number".into(),
        ));
    }
    Ok(sliding
        .into_iter()
        .map(|slides| window.filter(|_| slides))
        .collect())
}

/// Reads `sliding_window`: `None` if the key is null, and `default` if it is absent.
///
/// # Errors
/// A window that is not a positive whole number.
pub(super) fn size(r: &Reader<'_>, default: usize) -> Result<Option<usize>, ModelError> {
    if r.has("sliding_window") {
        r.optional_size("sliding_window")
    } else {
        Ok(Some(default))
    }
}

/// Whether each block has sliding attention, by `layer_types`; `None` where there is no such key.
fn layer_types(r: &Reader<'_>, layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
    let key = "layer_types";
    let Some(value) = r.value(key) else {
        return Ok(None);
    };
    let kinds = value
        .as_array()
        .filter(|kinds| kinds.len() == layers)
        .ok_or_else(|| {
            r.bad(
                key,
                format!("is not a list of {layers}, one for each block"),
            )
        })?;
    kinds
        .iter()
        .enumerate()
        .map(|(at, kind)| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(r.bad(
                &format!("{key}[{at}]"),
                format!("{kind} is not implemented; `full_attention` and `sliding_attention` are"),
            )),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}
