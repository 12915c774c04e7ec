//! `cargo xtask bench`: whole pieces of work, timed, and beside them the same work done with
//! PyTorch, transformers, concept-erasure and scikit-learn.

mod inputs;
mod jobs;
mod peer;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;
use interlingua_backend::device::{describe, is_plain_cpu};
use interlingua_backend::{Device, DeviceName};
use serde_json::{Value, json};

use crate::flags::{Bench, Work};
use crate::page;
use crate::parity::workspace;
use inputs::Texts;
use interlingua_cli::terminal::{print, tell};
use jobs::Setup;
use peer::Peer;

/// What one run of a piece of work took and gave.
pub struct Measured {
    /// Seconds, without loading models and data.
    pub seconds: f64,
    /// Numbers that another way must give too.
    pub result: Vec<f64>,
}

type Run = Box<dyn Fn() -> anyhow::Result<Measured>>;

/// A piece of work.
pub struct Job {
    /// In tables.
    title: String,
    /// How much it is.
    units: (f64, &'static str),
    /// Floating-point operations of its matrix products.
    operations: Option<f64>,
    /// Largest difference of the results, relative to them where they are above 1.
    tolerance: Option<f64>,
    /// What it is compared with.
    ways: Vec<Way>,
    ours: Run,
}

/// Another way of doing it.
pub struct Way {
    name: &'static str,
    /// How many times faster ours is meant to be.
    goal: Option<f64>,
    /// For the Python side.
    request: Option<Value>,
    /// Texts on which the best batch size is found.
    trial: Option<PathBuf>,
    /// For a way of our own.
    ours: Option<Run>,
}

impl Way {
    /// One text at a time.
    fn one(request: &Value, goal: f64) -> Way {
        let mut request = request.clone();
        request["way"] = json!("one");
        Way::plain(&request, "one at a time", goal)
    }

    /// In batches of the size that is fastest on `trial`.
    fn batched(request: &Value, trial: &Path, goal: f64) -> Way {
        let mut request = request.clone();
        request["way"] = json!("batched");
        Way {
            trial: Some(trial.to_owned()),
            ..Way::plain(&request, "best batches", goal)
        }
    }

    /// As the request says.
    fn plain(request: &Value, name: &'static str, goal: f64) -> Way {
        Way {
            name,
            goal: Some(goal),
            request: Some(request.clone()),
            trial: None,
            ours: None,
        }
    }
}

/// Carries out the command.
///
/// # Errors
/// Inputs that cannot be made, a Python side that fails, results that differ.
pub fn bench(flags: &Bench) -> anyhow::Result<()> {
    let work = match flags.work.as_slice() {
        [] => Work::value_variants().to_vec(),
        some => some.to_vec(),
    };
    let folder = tempfile::tempdir()?;
    let mut setup = Setup {
        folder: folder.path().to_owned(),
        share: None,
        device: flags.device.open()?,
        precision: flags.precision,
        model: flags.model.clone(),
        quick: flags.quick,
    };
    flags.precision.check(&setup.device)?;
    let shared = std::env::var_os(SHARED).map(PathBuf::from);
    let texts = Texts::load(shared.as_deref())?;
    let mut peer = match &flags.python {
        Some(python) if flags.peers => {
            let script = workspace().join("tests/peers/peers.py");
            let mut peer = Peer::start(python, &script, folder.path())?;
            peer.settle(&torch_device(flags.device, &setup.device), flags.precision)?;
            Some(peer)
        }
        _ => None,
    };
    let mut text = format!("Texts: {}.\n", texts.source);
    if let Some(peer) = &mut peer {
        let on = torch_device(flags.device, &setup.device);
        let _ = writeln!(text, "Beside it, on {on}: {}.", peer.versions()?);
    }
    let size = jobs::peak_size(&setup.device);
    let theirs = match &mut peer {
        Some(peer) => {
            let rate = peer.measure(&json!({"op": "matmul", "size": size, "times": 8}))?;
            format!(" (PyTorch, at the start: {:.0})", rate.result[0] / 1e9)
        }
        None => String::new(),
    };
    tell(text.trim_end());
    tell(&format!("\n{}", HEAD.trim_end()));
    // The machine may have others on it: what it can do is measured again and again.
    let (mut least, mut most) = (f64::INFINITY, 0.0f64);
    let mut table = HEAD.to_owned();
    for work in work {
        let rows = match work {
            Work::Start => {
                let rows = start(flags)?;
                tell(rows.trim_end());
                rows
            }
            _ => {
                tell(&format!("{} …", work.name()));
                setup.share = flags.share(work);
                let job = jobs::job(work, &texts, &setup)?;
                let mut rate = || {
                    let rate = jobs::peak(&setup);
                    (least, most) = (least.min(rate), most.max(rate));
                    rate
                };
                run(&job, peer.as_mut(), flags.runs as usize, &mut rate)?
            }
        };
        table.push_str(&rows);
    }
    let _ = write!(text, "Threads: {}. ", std::thread::available_parallelism()?);
    if most > 0.0 {
        let _ = write!(
            text,
            "{} matrix rate of {}, {size} × {size}, best of 8 before and after each piece of work: \
             {:.0} to {:.0} GFLOP/s{theirs}; shares are of the better of the two.",
            flags.precision,
            describe(&setup.device),
            least / 1e9,
            most / 1e9,
        );
    }
    let text = format!("{text}\n\n{table}");
    print(&format!("{text}\n"))?;
    if let Some(page) = &flags.page {
        page::replace(page, "bench", &text)?;
    }
    Ok(())
}

/// What PyTorch calls the device; for wgpu it has none.
fn torch_device(name: DeviceName, device: &Device) -> String {
    match name {
        DeviceName::Cuda(index) => format!("cuda:{index}"),
        DeviceName::Auto if !is_plain_cpu(device) => "cuda:0".to_owned(),
        _ => "cpu".to_owned(),
    }
}

/// The variable that names the folder of real data and checkpoints.
const SHARED: &str = "INTERLINGUA_SHARED";

const HEAD: &str = "\
| work | ours, s | rate | share of the matrix rate | beside it | s | times faster | goal |
| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |
";

/// Runs a piece of work beside every other way, in turn; returns the rows of the table, each of which is
/// told as soon as it is known. `rate`: the machine's matrix rate now.
fn run(
    job: &Job,
    mut peer: Option<&mut Peer>,
    runs: usize,
    rate: &mut dyn FnMut() -> f64,
) -> anyhow::Result<String> {
    let before = rate();
    let own = |ours: &[f64], peak: f64| {
        let mid = median(ours);
        let share = job
            .operations
            .map_or("–".into(), |o| format!("{:.0} %", 100.0 * o / mid / peak));
        format!(
            "{}, {:.0} {} | {} | {:.0} {}/s | {share}",
            job.title,
            job.units.0,
            job.units.1,
            spread(ours, 3),
            job.units.0 / mid,
            job.units.1
        )
    };
    // The first run warms our side up, and shows that both do the same.
    let first = (job.ours)()?;
    let mut out = String::new();
    for way in &job.ways {
        let request = match (&way.request, &mut peer) {
            (Some(request), Some(peer)) => Some(match &way.trial {
                Some(trial) => with_best_batch(request, trial, peer)?,
                None => request.clone(),
            }),
            (Some(_), None) => continue,
            (None, _) => None,
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=runs {
            if round > 0 {
                ours.push((job.ours)()?.seconds);
            }
            let measured = match (&request, &mut peer, &way.ours) {
                (Some(request), Some(peer), _) => peer.measure(request)?,
                (_, _, Some(run)) => run()?,
                _ => unreachable!("ways without a side are left out above"),
            };
            match round {
                0 => same(job, way.name, &first.result, &measured.result)?,
                _ => theirs.push(measured.seconds),
            }
        }
        let ratios: Vec<f64> = theirs.iter().zip(&ours).map(|(t, o)| t / o).collect();
        let batch = request.as_ref().and_then(|r| r["batch"].as_u64());
        let name = batch.map_or(way.name.to_owned(), |b| format!("{} of {b}", way.name));
        let head = match out.is_empty() {
            true => own(&ours, before.max(rate())),
            false => " | | | ".to_owned(),
        };
        let row = format!(
            "| {head} | {name} | {} | **{}** | {} |",
            spread(&theirs, 3),
            spread(&ratios, 2),
            way.goal.map_or(String::new(), |g| format!("{g:.2}"))
        );
        tell(&row);
        let _ = writeln!(out, "{row}");
    }
    if out.is_empty() {
        let ours: Vec<f64> = (0..runs)
            .map(|_| Ok((job.ours)()?.seconds))
            .collect::<anyhow::Result<_>>()?;
        let row = format!("| {} | – | | | |", own(&ours, before.max(rate())));
        tell(&row);
        let _ = writeln!(out, "{row}");
    }
    Ok(out)
}

/// Time that the search for a batch size may take; a measurement that is begun is ended.
const SEARCH: Duration = Duration::from_secs(30);

/// The request with the batch size that is fastest on a part of the texts.
fn with_best_batch(request: &Value, trial: &Path, peer: &mut Peer) -> anyhow::Result<Value> {
    let mut request = request.clone();
    let (batch, rounds) = best_batch(SEARCH, &mut |batch| {
        let mut request = request.clone();
        request["texts"] = json!(trial);
        request["batch"] = json!(batch);
        Ok(peer.measure(&request)?.seconds)
    })?;
    if rounds < ROUNDS {
        tell(&format!(
            "batches of {batch}: the best after {rounds} of {ROUNDS} rounds, for which there were {} s",
            SEARCH.as_secs()
        ));
    }
    request["batch"] = json!(batch);
    Ok(request)
}

/// Rounds of the search for a batch size.
const ROUNDS: usize = 4;

/// Tries batch sizes in rounds, the first of them to warm up: a size's time is its best, so that a busy
/// moment of the machine does not decide. When the time is up, the best size so far is taken. Returns
/// it with the number of whole rounds.
fn best_batch(
    limit: Duration,
    measure: &mut dyn FnMut(u64) -> anyhow::Result<f64>,
) -> anyhow::Result<(u64, usize)> {
    let start = Instant::now();
    // The usual ones first, in case that there is no time for the others.
    let sizes = [16u64, 32, 8, 64, 4, 128];
    measure(sizes[0])?;
    let mut least = [f64::INFINITY; 6];
    let mut whole = 0;
    'rounds: for round in 0..ROUNDS {
        // Times of the first round count only where there is no other.
        let mut times = least;
        if round == 1 {
            times = [f64::INFINITY; 6];
        }
        for (time, &batch) in times.iter_mut().zip(&sizes) {
            if start.elapsed() >= limit {
                // A round that is cut short has tried some sizes and not others.
                if whole == 0 {
                    least = times;
                }
                break 'rounds;
            }
            *time = time.min(measure(batch)?);
        }
        least = times;
        whole += 1;
    }
    let best = (0..sizes.len()).min_by(|&a, &b| least[a].total_cmp(&least[b]));
    Ok((sizes[best.expect("there are sizes")], whole))
}

/// Fails when the two ways do not give the same.
fn same(job: &Job, way: &str, ours: &[f64], theirs: &[f64]) -> anyhow::Result<()> {
    let Some(tolerance) = job.tolerance else {
        return Ok(());
    };
    // Ways that only take time give nothing to compare.
    if theirs.is_empty() {
        return Ok(());
    }
    if ours.len() != theirs.len() {
        bail!(
            "{}: {way}: {} results, ours has {}",
            job.title,
            theirs.len(),
            ours.len()
        );
    }
    let difference = |(a, b): (&f64, &f64)| (a - b).abs() / b.abs().max(1.0);
    // What is not a number must not be passed over.
    let larger = |most: f64, x: f64| if x <= most { most } else { x };
    let largest = ours.iter().zip(theirs).map(difference).fold(0.0, larger);
    tell(&format!("{way}: results differ by at most {largest:.1e}"));
    if largest.is_nan() || largest > tolerance {
        bail!(
            "{}: {way}: results differ by {largest:.1e}, more than {tolerance:.0e}",
            job.title
        );
    }
    Ok(())
}

fn start(flags: &Bench) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().to_string_lossy().into_owned();
    let reproduce = ["reproduce", "--quick", "--out", out.as_str()];
    tell("start: a quick run fills the cache …");
    jobs::start(&reproduce, 1)?;
    let mut text = String::new();
    for (arguments, title, goal) in [
        (&["--help"][..], "`--help`", "< 0.05 s"),
        (&["methods"], "`methods`", "–"),
        (&reproduce, "`reproduce --quick`, all of it cached", "< 2 s"),
    ] {
        let times = jobs::start(arguments, flags.runs.max(3) as usize)?;
        let _ = writeln!(
            text,
            "| {title}, whole process | {} | – | – | – | – | – | {goal} |",
            spread(&times, 3)
        );
    }
    Ok(text)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mid = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[mid],
        _ => (sorted[mid - 1] + sorted[mid]) / 2.0,
    }
}

/// Median, and in brackets the least and the most.
fn spread(values: &[f64], digits: usize) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!(
        "{:.digits$} [{least:.digits$}, {most:.digits$}]",
        median(values)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_between_the_ends() {
        assert_eq!(spread(&[3.0, 1.0, 2.0], 1), "2.0 [1.0, 3.0]");
        assert_eq!(spread(&[4.0, 1.0], 2), "2.50 [1.00, 4.00]");
    }

    /// The search took minutes before the first row.
    #[test]
    fn the_search_for_a_batch_size_has_a_bound() {
        let mut asked = 0;
        let slow = &mut |batch: u64| {
            asked += 1;
            std::thread::sleep(Duration::from_millis(20));
            Ok(if batch == 32 { 1.0 } else { 2.0 })
        };
        let (batch, rounds) = best_batch(Duration::from_millis(50), slow).unwrap();
        assert_eq!((batch, rounds), (32, 0));
        assert!(asked <= 4, "{asked} measurements");
        // With time, every size is tried in every round, and the first round does not decide.
        let mut asked = 0;
        let fast = &mut |batch: u64| {
            asked += 1;
            Ok(match (asked, batch) {
                (..=7, 128) => 0.1,
                (_, 64) => 1.0,
                _ => 2.0,
            })
        };
        let found = best_batch(Duration::from_secs(60), fast).unwrap();
        assert_eq!(found, (64, ROUNDS));
        assert_eq!(asked, 1 + 6 * ROUNDS);
    }

    #[test]
    fn results_that_differ_are_told() {
        let job = Job {
            title: "t".into(),
            units: (1.0, "texts"),
            operations: None,
            tolerance: Some(1e-3),
            ways: Vec::new(),
            ours: Box::new(|| bail!("never run")),
        };
        assert!(same(&job, "w", &[100.0], &[100.05]).is_ok());
        for bad in [&[100.2][..], &[f64::NAN], &[100.0, 100.0]] {
            let error = same(&job, "w", &[100.0], bad).unwrap_err().to_string();
            assert!(error.starts_with("t: w: "), "{error}");
        }
    }
}
