//! The events by which a long computation reports its progress.

/// An event of a long computation.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage begins.
    Stage {
        /// The name of the stage.
        name: String,
        /// Whether its result exists already, so that there is nothing to do.
        cached: bool,
    },
    /// The computation makes progress within the stage.
    Progress {
        /// The number of units that are done.
        done: usize,
        /// The number of all units.
        total: usize,
        /// Something worth showing, such as a loss.
        note: String,
    },
    /// The stage has ended.
    Done {
        /// The duration in seconds.
        seconds: f64,
    },
    /// There is something that a user should know.
    Note(String),
}

/// A function that receives events.
pub type Listener<'a> = &'a mut dyn FnMut(Event);
