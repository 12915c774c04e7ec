//! The one loop that every model trained here goes through, be it an autoencoder or a language model.
//!
//! A type that implements [`Training`] says how a step is taken, how the result is evaluated and how it is saved; a
//! [`Rhythm`] says when. A training that is resumed after a kill takes only the steps that it had not taken.

use std::ops::ControlFlow;

/// A model in training.
pub trait Training {
    /// The error that can stop the training.
    type Error;

    /// Returns the number of steps that were taken so far, including those before a kill.
    fn steps_done(&self) -> usize;

    /// Takes the next step and returns its loss.
    ///
    /// # Errors
    /// Any error that stops the training, for example a loss that is not finite.
    fn step(&mut self) -> Result<f64, Self::Error>;

    /// Evaluates the model; [`ControlFlow::Break`] ends the training early.
    ///
    /// # Errors
    /// Any error that stops the training.
    fn judge(&mut self, _taken: &Taken) -> Result<ControlFlow<()>, Self::Error> {
        Ok(ControlFlow::Continue(()))
    }

    /// Reports the progress.
    fn tell(&mut self, _taken: &Taken) {}

    /// Saves the state, so that a killed run can be resumed from here.
    ///
    /// # Errors
    /// Any error that stops the training.
    fn save(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The step that was just taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// The number of steps taken so far.
    pub step: usize,
    /// The number of steps of the whole training.
    pub steps: usize,
    /// Its loss.
    pub loss: f64,
    /// The loss of the last steps, the latest ones most: what a progress line shows.
    pub smooth: f64,
    /// The mean loss since the last judgement.
    pub mean: f64,
}

/// When something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    every: usize,
    at_end: bool,
}

impl Due {
    /// Not at all.
    pub const NEVER: Due = Due {
        every: 0,
        at_end: false,
    };

    /// After so many steps again and again, but not after the last step.
    pub fn on_the_way(every: usize) -> Due {
        Due {
            every,
            at_end: false,
        }
    }

    /// After so many steps again and again, and after the last step.
    pub fn to_the_end(every: usize) -> Due {
        Due {
            every,
            at_end: true,
        }
    }

    fn is_at(self, step: usize, steps: usize) -> bool {
        match step == steps {
            true => self.at_end,
            false => self.every > 0 && step.is_multiple_of(self.every),
        }
    }
}

/// How long a training lasts, and what is done on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// The number of steps of the whole training.
    pub steps: usize,
    /// When it is judged.
    pub judge: Due,
    /// When it says how far it is.
    pub tell: Due,
    /// When its state is kept.
    pub save: Due,
}

/// Takes the steps that are left. What is due after the same step is done in the order judge, tell, save.
///
/// # Errors
/// The first error of the training.
pub fn run<T: Training>(training: &mut T, rhythm: &Rhythm) -> Result<(), T::Error> {
    let steps = rhythm.steps;
    let mut smooth: Option<f64> = None;
    let (mut sum, mut count) = (0.0, 0);
    while training.steps_done() < steps {
        let loss = training.step()?;
        let smoothed = smooth.map_or(loss, |mean| 0.95 * mean + 0.05 * loss);
        smooth = Some(smoothed);
        sum += loss;
        count += 1;
        let taken = Taken {
            step: training.steps_done(),
            steps,
            loss,
            smooth: smoothed,
            mean: sum / f64::from(count),
        };
        let is_due = |due: Due| due.is_at(taken.step, steps);
        let mut end = ControlFlow::Continue(());
        if is_due(rhythm.judge) {
            end = training.judge(&taken)?;
            (sum, count) = (0.0, 0);
        }
        if is_due(rhythm.tell) {
            training.tell(&taken);
        }
        if is_due(rhythm.save) {
            training.save()?;
        }
        if end.is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts its steps; its losses are 1, 2, 3, …
    #[derive(Default)]
    struct Counter {
        done: usize,
        saved: usize,
        fails_at: Option<usize>,
        stops_at: Option<usize>,
        log: Vec<String>,
    }

    impl Training for Counter {
        type Error = String;

        fn steps_done(&self) -> usize {
            self.done
        }

        fn step(&mut self) -> Result<f64, String> {
            if self.fails_at == Some(self.done) {
                return Err(format!("step {} fails", self.done));
            }
            self.done += 1;
            Ok(self.done as f64)
        }

        fn judge(&mut self, taken: &Taken) -> Result<ControlFlow<()>, String> {
            self.log
                .push(format!("judge {} {}", taken.step, taken.mean));
            Ok(match self.stops_at == Some(taken.step) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        }

        fn tell(&mut self, taken: &Taken) {
            self.log.push(format!("tell {}", taken.step));
        }

        fn save(&mut self) -> Result<(), String> {
            self.saved = self.done;
            self.log.push(format!("save {}", self.done));
            Ok(())
        }
    }

    const RHYTHM: Rhythm = Rhythm {
        steps: 7,
        judge: Due {
            every: 3,
            at_end: true,
        },
        tell: Due {
            every: 3,
            at_end: false,
        },
        save: Due {
            every: 5,
            at_end: false,
        },
    };

    #[test]
    fn what_is_due_is_done_in_order() {
        let mut counter = Counter::default();
        run(&mut counter, &RHYTHM).unwrap();
        // The mean of the losses since the last judgement: 1..3, 4..6, 7.
        let expect = [
            "judge 3 2",
            "tell 3",
            "save 5",
            "judge 6 5",
            "tell 6",
            "judge 7 7",
        ];
        assert_eq!(counter.log, expect);
    }

    #[test]
    fn a_killed_run_goes_on_from_what_was_saved() {
        let mut killed = Counter {
            fails_at: Some(6),
            ..Counter::default()
        };
        assert_eq!(run(&mut killed, &RHYTHM), Err("step 6 fails".to_owned()));
        let mut resumed = Counter {
            done: killed.saved,
            ..Counter::default()
        };
        run(&mut resumed, &RHYTHM).unwrap();
        assert_eq!((killed.saved, resumed.done), (5, 7));
        assert_eq!(resumed.log, ["judge 6 6", "tell 6", "judge 7 7"]);
    }

    #[test]
    fn a_judgement_can_end_the_training() {
        let mut counter = Counter {
            stops_at: Some(3),
            ..Counter::default()
        };
        run(&mut counter, &RHYTHM).unwrap();
        assert_eq!(counter.done, 3);
        assert_eq!(counter.log, ["judge 3 2", "tell 3"]);
    }

    #[test]
    fn nothing_is_left_of_a_finished_run() {
        let mut counter = Counter {
            done: 7,
            ..Counter::default()
        };
        run(&mut counter, &RHYTHM).unwrap();
        assert!(counter.log.is_empty());
    }

    #[test]
    fn the_first_loss_is_the_smooth_one_and_later_ones_move_it() {
        struct Two(Vec<f64>);
        impl Training for Two {
            type Error = ();
            fn steps_done(&self) -> usize {
                self.0.len()
            }
            fn step(&mut self) -> Result<f64, ()> {
                self.0.push(0.0);
                Ok([4.0, 2.0][self.0.len() - 1])
            }
            fn tell(&mut self, taken: &Taken) {
                self.0[taken.step - 1] = taken.smooth;
            }
        }
        let mut two = Two(Vec::new());
        let rhythm = Rhythm {
            steps: 2,
            judge: Due::NEVER,
            tell: Due::to_the_end(1),
            save: Due::NEVER,
        };
        run(&mut two, &rhythm).unwrap();
        assert_eq!(two.0[0], 4.0);
        assert!((two.0[1] - 3.9).abs() < 1e-12);
    }
}
