//! Where the weights of a model live between passes.

use std::fmt;
use std::str::FromStr;

/// The place of the blocks' weights between passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residency {
    /// Resident if the weights fit in half of the free memory, and otherwise streamed.
    #[default]
    Auto,
    /// One block at a time is in memory and is read from disk in every pass; embedding and LM head are read in
    /// slices.
    Stream,
    /// All weights stay in memory after the first pass, in the format in which they are stored.
    Resident,
}

impl fmt::Display for Residency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Residency::Auto => "auto",
            Residency::Stream => "stream",
            Residency::Resident => "resident",
        })
    }
}

impl FromStr for Residency {
    type Err = String;

    fn from_str(text: &str) -> Result<Residency, String> {
        match text {
            "auto" => Ok(Residency::Auto),
            "stream" => Ok(Residency::Stream),
            "resident" => Ok(Residency::Resident),
            other => Err(format!("`{other}` is none of auto, stream, resident")),
        }
    }
}
