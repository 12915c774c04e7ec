//! Spec, plan, stages, run folder and report.

pub mod row;
