//! What long work tells its caller.

/// One piece of news.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage begins; `cached` if its result is already there.
    Stage {
        /// Name of the stage.
        name: String,
        /// Whether there is nothing to do.
        cached: bool,
    },
    /// Progress within the stage.
    Progress {
        /// Units done.
        done: usize,
        /// Units in all.
        total: usize,
        /// Something worth showing, such as a loss.
        note: String,
    },
    /// The stage has ended.
    Done {
        /// Seconds it took.
        seconds: f64,
    },
    /// Something a user should know.
    Note(String),
}

/// Receives events.
pub type Listener<'a> = &'a mut dyn FnMut(Event);
