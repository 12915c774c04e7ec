//! Spec, plan, stages, run folder and report.

pub mod report;
pub mod row;
