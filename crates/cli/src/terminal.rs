//! Writes to the terminal: progress during a run, and the lists of methods, metrics and hooks.

use std::fmt::Write;
use std::io::{ErrorKind, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use interlingua_edits::Part;
use interlingua_experiment::progress::Event;

/// Writes a text to the standard output.
///
/// # Errors
/// Output that cannot be written, for example to a full disk. If the reader, such as `head`, stops reading, that is
/// not an error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = std::io::Write::write_all(&mut out, text.as_bytes())
        .and_then(|()| std::io::Write::flush(&mut out));
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("standard output")
        }
        _ => Ok(()),
    }
}

/// Writes a line to the standard error. A failure is ignored, because there is nowhere to report it.
pub fn tell(line: &str) {
    let mut text = line.to_owned();
    text.push('\n');
    let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), text.as_bytes());
}

/// A stage that runs, and how far it is.
struct Stage {
    name: String,
    /// When the pass began that is counted now.
    since: Instant,
    done: usize,
    total: usize,
    note: String,
}

impl Stage {
    fn new(name: String) -> Stage {
        Stage {
            name,
            since: Instant::now(),
            done: 0,
            total: 0,
            note: String::new(),
        }
    }

    fn update(&mut self, done: usize, total: usize, note: String) {
        if done < self.done || total != self.total {
            // Another pass, with a pace of its own.
            self.since = Instant::now();
        }
        (self.done, self.total, self.note) = (done, total, note);
    }

    fn share(&self) -> Option<f64> {
        (self.total > 0).then(|| (self.done as f64 / self.total as f64).min(1.0))
    }

    /// Name, bar, share, what is left, note: what matters least comes last and is cut off first.
    fn bar(&self) -> String {
        let share = self.share().unwrap_or(0.0);
        let full = (share * BAR as f64) as usize;
        format!(
            "{:<34.34} {}{} {:>3.0} % {:>11}  {}",
            self.name,
            "█".repeat(full),
            "░".repeat(BAR - full),
            (100.0 * share).floor(),
            left(share, self.since.elapsed()).unwrap_or_default(),
            self.note
        )
    }

    /// The same in words, for a file or a pipe.
    fn words(&self) -> String {
        let mut parts = Vec::new();
        if let Some(share) = self.share() {
            parts.push(format!("{:.0} %", (100.0 * share).floor()));
            parts.extend(left(share, self.since.elapsed()));
        }
        if !self.note.is_empty() {
            parts.push(self.note.clone());
        }
        match parts.is_empty() {
            true => format!("{} …", self.name),
            false => format!("{} … {}", self.name, parts.join(", ")),
        }
    }
}

/// Characters of a bar.
const BAR: usize = 20;

/// Time left at the pace so far; nothing before there is a pace to speak of.
fn left(share: f64, elapsed: Duration) -> Option<String> {
    let elapsed = elapsed.as_secs_f64();
    if !(0.01..1.0).contains(&share) || elapsed < 2.0 {
        return None;
    }
    let seconds = elapsed * (1.0 - share) / share;
    Some(match seconds {
        ..90.0 => format!("{seconds:.0} s left"),
        ..5400.0 => format!("{:.0} min left", seconds / 60.0),
        _ => format!("{:.1} h left", seconds / 3600.0),
    })
}

/// Shows progress: a bar on a terminal; elsewhere one line per stage, and one line per minute within a stage.
pub struct Progress {
    bar: Option<ProgressBar>,
    interactive: bool,
    cached: bool,
    stage: Arc<Mutex<Option<Stage>>>,
    /// Dropped, it ends the thread that writes a line a minute.
    _ticker: Option<Sender<()>>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Progress {
    /// Makes a progress display that shows nothing yet.
    pub fn new() -> Progress {
        let interactive = std::io::stderr().is_terminal();
        let stage = Arc::new(Mutex::new(None));
        let minute = Duration::from_secs(60);
        Progress {
            bar: None,
            interactive,
            cached: false,
            _ticker: (!interactive).then(|| tick(stage.clone(), minute, |line| tell(&line))),
            stage,
        }
    }

    /// Shows one event.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Stage { name, cached } => {
                self.cached = cached;
                let stage = Stage::new(name);
                if self.interactive && !cached {
                    let bar = ProgressBar::new_spinner();
                    let style = ProgressStyle::with_template("{spinner} {wide_msg}");
                    bar.set_style(style.expect("the template is fixed"));
                    bar.set_message(stage.bar());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    self.bar = Some(bar);
                }
                *self.stage() = Some(stage);
            }
            Event::Progress { done, total, note } => {
                let mut stage = self.stage();
                if let Some(stage) = stage.as_mut() {
                    stage.update(done, total, note);
                    if let Some(bar) = &self.bar {
                        bar.set_message(stage.bar());
                    }
                }
            }
            Event::Done { seconds } => {
                self.clear();
                let how = match self.cached {
                    true => "cached".to_owned(),
                    false => format!("{seconds:.1} s"),
                };
                let name = self.stage().take().map_or(String::new(), |s| s.name);
                tell(&format!("{name:<44} {how:>9}"));
            }
            Event::Note(text) => match &self.bar {
                Some(bar) => bar.println(format!("note: {text}")),
                None => tell(&format!("note: {text}")),
            },
        }
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        self.clear();
        self.stage().take();
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn stage(&self) -> MutexGuard<'_, Option<Stage>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line every so often while a stage runs, until what it returns is dropped.
fn tick(
    stage: Arc<Mutex<Option<Stage>>>,
    every: Duration,
    write: impl Fn(String) + Send + 'static,
) -> Sender<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(every) {
            let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(stage) = stage.as_ref() {
                write(stage.words());
            }
        }
    });
    sender
}

/// Lists the methods, for the subcommand `methods`.
pub fn methods() -> String {
    let mut out = String::new();
    for method in interlingua_debias::registry() {
        let _ = writeln!(
            out,
            "{:<26} {}\n{:26} {}\n{:26} {}",
            method.name(),
            method.title(),
            "",
            method.summary(),
            "",
            method.citation()
        );
        for param in method.params() {
            let _ = writeln!(
                out,
                "{:26}   {} (default {}): {}",
                "", param.name, param.default, param.help
            );
        }
    }
    out
}

/// Lists the tasks, scorers and metrics, for the subcommand `metrics`.
pub fn metrics() -> String {
    let mut out = String::from("Tasks\n");
    for about in interlingua_tasks::registry::all() {
        let listed = interlingua_tasks::registry::TASKS.contains(&about);
        let how = match listed {
            true => "where an experiment lists it under [[benchmarks]]",
            false => "in every run",
        };
        let _ = writeln!(
            out,
            "  {:<30} {} Asks {} ({}), {how}.\n  {:30} {}\n  {:30} {}",
            about.name,
            about.summary,
            about.asks,
            about.needs.in_words(),
            "",
            about.metrics.join(", "),
            "",
            about.citation
        );
    }
    out.push_str("Scorers\n");
    for scorer in interlingua_metrics::crows::SCORERS {
        let _ = writeln!(
            out,
            "  {:<30} {} [{}]\n  {:30} {}",
            scorer.name, scorer.formula, scorer.unit, "", scorer.citation
        );
    }
    out.push_str("Metrics\n");
    for metric in interlingua_metrics::info::METRICS {
        let unit = match metric.unit {
            "" => String::new(),
            unit => format!(" [{unit}]"),
        };
        let _ = writeln!(out, "  {:<30} {}{unit}", metric.name, metric.formula);
        let good = match (metric.ideal, metric.higher_is_better) {
            (Some(ideal), None) => format!("ideal {ideal}"),
            (_, Some(true)) => "higher is better".to_owned(),
            (_, Some(false)) => "lower is better".to_owned(),
            (None, None) => String::new(),
        };
        let notes: Vec<&str> = [good.as_str(), metric.citation]
            .into_iter()
            .filter(|note| !note.is_empty())
            .collect();
        if !notes.is_empty() {
            let _ = writeln!(out, "  {:30} {}", "", notes.join("; "));
        }
    }
    out
}

/// Lists the hooks, for the subcommand `hooks`.
pub fn hooks() -> String {
    let mut out = String::from(
        "Hook points of a model of L blocks, in the order of the forward pass, how wide their states are, and what they\nare in transformers\n",
    );
    for part in Part::all() {
        let (name, what) = (part.pattern(), part.meaning());
        let _ = writeln!(out, "  {name:<18} {:<19} {what}", part.size());
        let _ = writeln!(out, "  {:<38} = {}", "", part.transformers());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the start the bar said 584942417355 years, and it had one character at 80 columns.
    #[test]
    fn a_bar_fits_eighty_columns_and_says_no_time_before_it_has_a_pace() {
        let mut stage = Stage::new("score gender in English and in a few more".to_owned());
        stage.update(0, 1 << 50, "35 settings".to_owned());
        for done in [0, 1, 1 << 40, 1 << 49, 1 << 50] {
            stage.done = done;
            let line = stage.bar();
            let cells = line.chars().filter(|c| "█░".contains(*c)).count();
            assert_eq!(cells, BAR, "{line}");
            let shown: String = line.chars().take(78).collect();
            assert!(shown.contains(" % ") && !shown.contains("left"), "{line}");
        }
        let half = |seconds| left(0.5, Duration::from_secs(seconds));
        assert_eq!(half(1), None);
        assert_eq!(half(40).as_deref(), Some("40 s left"));
        assert_eq!(half(600).as_deref(), Some("10 min left"));
        assert_eq!(half(9000).as_deref(), Some("2.5 h left"));
        assert_eq!(left(0.0, Duration::from_secs(900)), None);
        assert_eq!(left(1.0, Duration::from_secs(900)), None);
        stage.since = Instant::now() - Duration::from_secs(10);
        stage.done = 1 << 49;
        let shown: String = stage.bar().chars().take(78).collect();
        assert!(shown.contains(" 50 %   10 s left  "), "{shown}");
    }

    #[test]
    fn a_pipe_gets_lines_while_a_stage_runs() {
        let stage = Arc::new(Mutex::new(Some(Stage::new("train".to_owned()))));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        let ticker = tick(stage.clone(), Duration::from_millis(20), move |line| {
            seen.lock().unwrap().push(line);
        });
        let wait = |n: usize| {
            while lines.lock().unwrap().len() < n {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait(1);
        let some = Stage {
            done: 1,
            total: 4,
            note: "loss 2.0".to_owned(),
            ..Stage::new("train".to_owned())
        };
        *stage.lock().unwrap() = Some(some);
        let before = lines.lock().unwrap().len();
        wait(before + 2);
        drop(ticker);
        let lines = lines.lock().unwrap();
        assert_eq!(lines[0], "train …");
        assert_eq!(lines[lines.len() - 1], "train … 25 %, loss 2.0");
    }
}
