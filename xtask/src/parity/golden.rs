//! Methods, metrics and scorers against golden values: the committed ones, or fresh ones.
//!
//! The comparisons are the golden tests of the workspace. They read the folder
//! `INTERLINGUA_GOLDEN` and print lines `parity | what | against | largest difference | bound`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{generate, workspace};
use crate::flags::{Parity, Subject};
use crate::page;
use interlingua_cli::terminal::{print, tell};

/// The variable that names the folder of golden values.
const GOLDEN: &str = "INTERLINGUA_GOLDEN";

/// The variable that names the folder of real data and checkpoints.
const SHARED: &str = "INTERLINGUA_SHARED";

/// A test program that compares.
struct Program {
    subject: Subject,
    /// Folder of its package.
    package: &'static str,
    test: &'static str,
    /// Only the tests whose name contains this.
    filter: &'static str,
    /// Scripts that write what it reads.
    generators: &'static [&'static str],
}

const PROGRAMS: &[Program] = &[
    Program {
        subject: Subject::Methods,
        package: "crates/debias",
        test: "golden",
        filter: "",
        generators: &["debias_golden.py", "erasers_golden.py"],
    },
    Program {
        subject: Subject::Metrics,
        package: "crates/metrics",
        test: "golden",
        filter: "",
        generators: &["metrics_golden.py", "masked_golden.py"],
    },
    Program {
        subject: Subject::Metrics,
        package: "crates/metrics",
        test: "golden_probe",
        filter: "",
        generators: &["probe_golden.py"],
    },
    Program {
        subject: Subject::Metrics,
        package: "crates/metrics",
        test: "golden_bias",
        filter: "",
        generators: &[BIAS],
    },
    Program {
        subject: Subject::Metrics,
        package: "tests",
        test: "masked",
        filter: "both_scorers_agree",
        generators: &["masked_golden.py"],
    },
    Program {
        subject: Subject::Crows,
        package: "tests",
        test: "crows_parity",
        filter: "",
        generators: &[CROWS],
    },
];

/// The script that needs real data.
const CROWS: &str = "crows_golden.py";

/// The script that uses real data where they are.
const BIAS: &str = "bias_golden.py";

/// What was compared with what.
type Comparison = (String, String);

/// The largest difference seen of a comparison, and its bound.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Largest {
    difference: f64,
    bound: f64,
}

/// What the test programs printed.
#[derive(Default)]
struct Found {
    lines: BTreeMap<Comparison, Largest>,
    skipped: Vec<String>,
    failed: Vec<String>,
}

/// Compares one subject.
///
/// # Errors
/// A comparison that does not hold, and whatever keeps one from being tried.
pub fn parity(subject: Subject, flags: &Parity) -> anyhow::Result<()> {
    let programs: Vec<&Program> = PROGRAMS.iter().filter(|p| p.subject == subject).collect();
    let executables = build(&programs)?;
    let mut found = Found::default();
    let values = match &flags.python {
        None => {
            for (program, executable) in programs.iter().zip(&executables) {
                found.run(program, executable, None)?;
            }
            "the committed values".to_owned()
        }
        Some(python) => {
            for &seed in &flags.seed {
                let folder = fresh(python, &programs, seed)?;
                for (program, executable) in programs.iter().zip(&executables) {
                    found.run(program, executable, Some((seed, folder.path())))?;
                }
            }
            let seeds: Vec<String> = flags.seed.iter().map(u64::to_string).collect();
            format!("fresh values, seed {}", seeds.join(", "))
        }
    };
    found.skipped.sort();
    found.skipped.dedup();
    for skipped in &found.skipped {
        tell(skipped);
    }
    if !found.lines.is_empty() {
        let table = table(&found.lines);
        print(&format!(
            "\nLargest differences of {}; {values}.\n\n{table}",
            subject.name()
        ))?;
        if let (Some(path), []) = (&flags.page, found.failed.as_slice()) {
            page::replace(path, subject.name(), &table)?;
        }
    }
    if !found.failed.is_empty() {
        bail!("{}", found.failed.join("\n"));
    }
    Ok(())
}

/// Builds the test programs; their paths.
fn build(programs: &[&Program]) -> anyhow::Result<Vec<PathBuf>> {
    tell("building the comparisons …");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells this program about its package would make build scripts run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    // Of the whole workspace, as its tests are: other features would build every dependency again.
    command.args(["test", "--workspace", "--no-run", "--quiet"]);
    command.arg("--message-format=json-render-diagnostics");
    for program in programs {
        command.args(["--test", program.test]);
    }
    let output = command
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the comparisons do not build");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    programs
        .iter()
        .map(|program| {
            executable(&messages, &workspace().join(program.package), program.test).with_context(
                || {
                    format!(
                        "cargo did not name the test `{}` of {}",
                        program.test, program.package
                    )
                },
            )
        })
        .collect()
}

/// The test program of a package, by cargo's messages.
fn executable(messages: &str, package: &Path, test: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let manifest = Path::new(message["manifest_path"].as_str()?);
        (manifest.parent() == Some(package) && message["target"]["name"] == test)
            .then(|| message["executable"].as_str().map(PathBuf::from))?
    })
}

/// The committed values, those of the programs replaced by fresh ones.
fn fresh(python: &Path, programs: &[&Program], seed: u64) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("no folder for golden values")?;
    for part in ["debias", "metrics"] {
        copy(
            &workspace().join("tests/fixtures").join(part),
            &folder.path().join(part),
        )?;
    }
    let mut scripts: Vec<&str> = programs
        .iter()
        .flat_map(|p| p.generators)
        .copied()
        .collect();
    scripts.sort_unstable();
    scripts.dedup();
    for script in scripts {
        let option = |name: &str| PathBuf::from(name);
        let arguments = match (script, shared()) {
            (CROWS, Some(shared)) => vec![shared, option("--train")],
            // The test says that it is skipped.
            (CROWS, None) => continue,
            (BIAS, Some(shared)) => vec![option("--shared"), shared],
            _ => Vec::new(),
        };
        generate(python, script, &arguments, seed, folder.path())?;
    }
    Ok(folder)
}

/// The folder of real data and checkpoints, where the tests look for it.
fn shared() -> Option<PathBuf> {
    let beside = || workspace().join("../shared");
    let folder = std::env::var_os(SHARED).map_or_else(beside, PathBuf::from);
    folder.join("models").is_dir().then_some(folder)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| entry.path().display().to_string())?;
    }
    Ok(())
}

impl Found {
    /// Runs a program on the committed values, or on those of a seed in a folder.
    fn run(
        &mut self,
        program: &Program,
        executable: &Path,
        fresh: Option<(u64, &Path)>,
    ) -> anyhow::Result<()> {
        tell(&format!("{}: {} …", program.package, program.test));
        let mut command = Command::new(executable);
        command.current_dir(workspace().join(program.package));
        command.args(["--nocapture", program.filter]);
        // Only the message of a failure is shown.
        command.env("RUST_BACKTRACE", "0");
        match fresh {
            Some((_, folder)) => command.env(GOLDEN, folder),
            None => command.env_remove(GOLDEN),
        };
        let output = command
            .output()
            .with_context(|| executable.display().to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = lines(&String::from_utf8_lossy(&output.stdout))?;
        let skipped = said.lines().filter(|line| line.starts_with("skipped: "));
        let before = self.skipped.len();
        self.skipped.extend(skipped.map(str::to_owned));
        let nothing = lines.is_empty() && self.skipped.len() == before;
        for (comparison, line) in lines {
            let so_far = self.lines.entry(comparison).or_insert(line);
            so_far.difference = so_far.difference.max(line.difference);
        }
        if !output.status.success() || nothing {
            let what = match panics(&said) {
                text if !text.is_empty() => text,
                _ if nothing => "it compared nothing".to_owned(),
                _ => output.status.to_string(),
            };
            self.failed
                .push(failure(program, fresh.map(|f| f.0), &what));
        }
        Ok(())
    }
}

/// What failed, and how to see it again.
fn failure(program: &Program, seed: Option<u64>, what: &str) -> String {
    let mut text = format!("test `{}` of {} failed", program.test, program.package);
    let cargo = format!("cargo test --workspace --test {}", program.test);
    let _ = match seed {
        None => write!(text, " with the committed values:\n{what}\nagain: {cargo}"),
        Some(seed) => {
            let scripts = program.generators.join(", ");
            let _ = write!(
                text,
                " with the values of {scripts}, seed {seed}:\n{what}\nagain:"
            );
            for script in program.generators {
                let arguments = if *script == CROWS {
                    "SHARED_DIR --train "
                } else {
                    ""
                };
                let _ = write!(
                    text,
                    " python tests/generators/{script} {arguments}--seed {seed} --out DIR &&"
                );
            }
            write!(text, " {GOLDEN}=DIR {cargo}")
        }
    };
    text
}

/// Every panic of a test program: where, and its message.
fn panics(said: &str) -> String {
    let mut out = Vec::new();
    let mut inside = false;
    for line in said.lines() {
        inside = match line {
            _ if line.contains("panicked at") => true,
            _ if line.starts_with("note: ") => false,
            _ => inside,
        };
        if inside && !line.trim().is_empty() {
            out.push(format!("  {line}"));
        }
    }
    out.join("\n")
}

/// The comparisons that a test program printed; of equal ones the largest difference.
fn lines(printed: &str) -> anyhow::Result<BTreeMap<Comparison, Largest>> {
    let mut found: BTreeMap<Comparison, Largest> = BTreeMap::new();
    // With one thread libtest puts the name of the test before it.
    for line in printed.lines().filter_map(|l| l.split_once("parity | ")) {
        let cells: Vec<&str> = line.1.split(" | ").collect();
        let parsed = match cells[..] {
            [what, against, difference, bound] => difference
                .parse()
                .ok()
                .zip(bound.parse().ok())
                .map(|(difference, bound)| ((what, against), Largest { difference, bound })),
            _ => None,
        };
        let Some(((what, against), line)) = parsed else {
            bail!("a test printed `{}`, which is no comparison", line.1);
        };
        let key = (what.to_owned(), against.to_owned());
        let so_far = found.entry(key).or_insert(line);
        so_far.difference = so_far.difference.max(line.difference);
        so_far.bound = so_far.bound.max(line.bound);
    }
    Ok(found)
}

fn table(lines: &BTreeMap<Comparison, Largest>) -> String {
    let mut out = String::from("| what | against | largest difference | bound |\n");
    out.push_str("| --- | --- | ---: | ---: |\n");
    for ((what, against), line) in lines {
        let bound = match line.bound {
            0.0 => "none".to_owned(),
            bound => format!("{bound:.0e}"),
        };
        let difference = match line.difference {
            0.0 => "0".to_owned(),
            difference => format!("{difference:.1e}"),
        };
        let _ = writeln!(
            out,
            "| {} | {against} | {difference} | {bound} |",
            what.replace('|', "\\|")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_and_anything_else_is_refused() {
        let printed = "running 2 tests\ntest a ... parity | x, 1 − |cos| | y | 1.0e-12 | 1e-10\n\
                       parity | x, 1 − |cos| | y | 3.0e-12 | 1e-10\nok\n";
        let found = lines(printed).unwrap();
        let key = ("x, 1 − |cos|".to_owned(), "y".to_owned());
        let expect = Largest {
            difference: 3e-12,
            bound: 1e-10,
        };
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(key, expect)]);
        for bad in ["parity | x | y | much | 1e-10", "parity | x | 1e-3"] {
            assert!(lines(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_table_says_none_for_what_must_be_equal() {
        let printed = "parity | a \\ |b| | c | 0.0e0 | 0e0\nparity | d | e | 2.5e-9 | 1e-6";
        let table = table(&lines(printed).unwrap());
        assert!(table.ends_with("| d | e | 2.5e-9 | 1e-6 |\n"), "{table}");
        assert!(table.contains("\\|b\\| | c | 0 | none |"), "{table}");
    }

    #[test]
    fn a_failure_names_the_message_the_script_and_the_seed() {
        let said = "thread 'inlp' panicked at golden.rs:1:2:\nINLP: 1 > 0\nnote: run with\n\
                    test inlp ... FAILED\n";
        let text = failure(&PROGRAMS[0], Some(21), &panics(said));
        for part in [
            "INLP: 1 > 0",
            "debias_golden.py --seed 21 --out DIR",
            "--test golden",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("FAILED"), "{text}");
    }

    #[test]
    fn the_program_of_the_right_package_is_taken() {
        let line = |package: &str| {
            format!(
                "{{\"manifest_path\":\"/w/{package}/Cargo.toml\",\"target\":{{\"name\":\"golden\"}},\
                 \"executable\":\"/t/{package}\"}}\n"
            )
        };
        let messages = line("crates/debias") + &line("crates/metrics");
        let found = executable(&messages, Path::new("/w/crates/metrics"), "golden");
        assert_eq!(found, Some("/t/crates/metrics".into()));
        assert_eq!(executable(&messages, Path::new("/w/tests"), "golden"), None);
    }

    #[test]
    fn every_program_and_script_is_there() {
        for program in PROGRAMS {
            let test = workspace()
                .join(program.package)
                .join("tests")
                .join(program.test);
            assert!(test.with_extension("rs").is_file(), "{}", test.display());
            for script in program.generators {
                let script = workspace().join("tests/generators").join(script);
                assert!(script.is_file(), "{}", script.display());
            }
        }
    }
}
