//! Loads and checks the data of the project: parallel corpora, bias benchmarks, and attribute word lists.
//!
//! Most sources are brought into one of three types: [`ParallelCorpus`], [`BiasSet`] and [`AttributeList`].
//! Benchmarks with another structure have types of their own: [`StereoItem`], [`AssociationTest`], [`Question`],
//! [`TemplateItem`], [`ChoiceItem`]. The loaders read streams and bound the memory they use. They name the file and
//! the line of every fault, and they list everything that they skipped or replaced in a [`Report`].

pub mod counterfactual;
pub mod describe;
mod describe_text;
pub mod error;
pub mod fetch;
mod input;
pub mod iso;
pub mod language;
pub mod load;
pub mod manifest;
pub mod own;
mod scan;
pub mod testbed;
pub mod types;

pub use counterfactual::{Class, Counterfactuals, MatchCounts, Matcher, classify, counterfactuals};
pub use describe::{DescribeOptions, Description, describe, describe_as};
pub use error::{DataError, Finding, FindingKind, OnBadRow, Report};
pub use fetch::{FetchOptions, Progress, fetch};
pub use input::{Limits, TextEncoding};
pub use language::Language;
pub use load::{
    AttributeOptions, BbqOptions, BiasOptions, ChoiceOptions, Format, ParallelOptions, Prompt,
    SeatOptions, StereoOptions, TemplateOptions, load_attributes, load_bbq, load_bias, load_bmlama,
    load_choice, load_lexicon, load_localization, load_parallel, load_prompts, load_seat,
    load_stereoset, load_templates, load_winobias, shuffle_choices, sniff,
};
pub use manifest::{FileState, FileStatus, Manifest, verify};
pub use types::{
    AssociationTest, AttributeList, BiasPair, BiasSet, ChoiceItem, Condition, Coreference,
    Direction, Leans, PairKind, ParallelCorpus, Polarity, Question, StereoItem, StereoKind,
    TemplateItem, Triple, WordSet,
};
