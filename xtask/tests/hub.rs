//! `cargo xtask reproduce` with a model of the hub, from `--dry-run` to the manifest of the run.

// Not everything of the experiment is needed here.
#[allow(dead_code)]
mod tiny;
mod tree;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use interlingua_tests::hub::{COMMIT, Hub, files_in};
use interlingua_tests::server::{Answer, Server};
use tiny::Tiny;

const SECRET: &str = "hf_secret";

/// The tiny experiment, its model on the hub alone.
fn experiment() -> (Tiny, Hub) {
    let tiny = Tiny::new();
    let models = tiny.path().join("models");
    let hub = Hub::with_trouble(
        files_in(&models.join("tiny")),
        |request, _, answer| match request.header("authorization") {
            None if request.path.contains("/own/") => {
                Answer::new(401, "gated").with("X-Error-Code", "GatedRepo")
            }
            _ => answer,
        },
    );
    std::fs::remove_dir_all(models).expect("a folder");
    tiny.replace("tiny.toml", "path = \"tiny\"", "path = \"own/tiny@v1\"");
    (tiny, hub)
}

/// `reproduce` in an environment that knows of no other hub.
fn command(tiny: &Tiny, flags: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = tiny.command(&[]);
    for name in [
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
    ] {
        command.env_remove(name);
    }
    command
        .args(flags)
        .env("HF_HOME", tiny.path().join("home"))
        .envs(variables.iter().copied());
    command
}

/// Runs the experiment with these flags and variables; returns the run's folder, if it has one.
fn check(
    tiny: &Tiny,
    flags: &[&str],
    variables: &[(&str, &str)],
    code: i32,
    expect: &[&str],
) -> Option<PathBuf> {
    let output = command(tiny, flags, variables)
        .output()
        .expect("the program starts");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{flags:?}:\n{text}");
    for part in expect {
        assert!(text.contains(part), "{flags:?} lacks {part:?}:\n{text}");
    }
    assert!(
        !text.contains("panicked") && !text.contains(SECRET),
        "{text}"
    );
    let mut folders = std::fs::read_dir(tiny.path().join("runs")).ok()?.flatten();
    let run = folders.find(|e| e.file_name().to_string_lossy().starts_with("tiny-"))?;
    Some(run.path())
}

#[test]
fn an_experiment_takes_its_model_from_the_hub() {
    let (tiny, hub) = experiment();
    let nobody = Server::none();
    let online = [("HF_ENDPOINT", hub.server.url()), ("HF_TOKEN", SECRET)];
    let offline = [("HF_ENDPOINT", nobody.as_str()), ("HF_HUB_OFFLINE", "1")];

    let planned = ["own/tiny@v1 (to be fetched: 3 files, 0.00 GB, into", COMMIT];
    check(&tiny, &["--dry-run"], &online, 0, &planned);
    let missing = ["own/tiny@v1 (MISSING", "HF_HUB_OFFLINE"];
    check(&tiny, &["--dry-run"], &offline, 0, &missing);
    let silent = [("HF_ENDPOINT", nobody.as_str())];
    let unknown = ["own/tiny@v1 (MISSING", "check the network"];
    check(&tiny, &["--dry-run"], &silent, 0, &unknown);
    assert!(!tiny.path().join("home").exists(), "nothing is fetched");
    assert!(hub.storage.seen().is_empty());

    check(
        &tiny,
        &[],
        &offline,
        1,
        &["own/tiny@v1", "unset HF_HUB_OFFLINE"],
    );
    let anybody = [("HF_ENDPOINT", hub.server.url())];
    let gated = [
        "accept the licence at",
        "/own/tiny",
        "HF_TOKEN",
        "no token was sent",
    ];
    check(&tiny, &[], &anybody, 1, &gated);
    let odd = [("HF_HUB_OFFLINE", "perhaps")];
    check(&tiny, &[], &odd, 1, &["HF_HUB_OFFLINE must be 1"]);

    let run = check(&tiny, &[], &online, 0, &["fetch own/tiny", "rows"]).expect("a run folder");
    let read = |name: &str| std::fs::read_to_string(run.join(name)).expect("a file");
    let manifest: serde_json::Value = serde_json::from_str(&read("manifest.json")).expect("JSON");
    assert_eq!(
        manifest["model"],
        serde_json::json!({"source": "hub", "repo": "own/tiny", "revision": "v1", "commit": COMMIT})
    );
    for page in ["report.md", "report.html"] {
        assert!(read(page).contains(&format!("own/tiny@{COMMIT}")), "{page}");
    }
    for (name, bytes) in tiny.results() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(SECRET), "{name} holds the token");
    }

    let cached = ["own/tiny@v1 (is in the cache:", COMMIT];
    check(&tiny, &["--dry-run"], &offline, 0, &cached);
    check(&tiny, &[], &offline, 0, &["fetch own/tiny"]);
}

#[test]
fn a_download_that_is_killed_goes_on_where_it_ended() {
    let tiny = Tiny::new();
    let models = tiny.path().join("models");
    let hub = Hub::with_trouble(
        files_in(&models.join("tiny")),
        |request, earlier, answer| {
            match earlier {
                0 if request.path.starts_with("/storage/") => answer.cut(700),
                1 if request.path.starts_with("/storage/") => {
                    // The process is killed while it waits for this.
                    std::thread::sleep(Duration::from_secs(600));
                    answer
                }
                _ => answer,
            }
        },
    );
    std::fs::remove_dir_all(models).expect("a folder");
    tiny.replace("tiny.toml", "path = \"tiny\"", "path = \"own/tiny\"");
    let variables = [("HF_ENDPOINT", hub.server.url())];

    let mut process = command(&tiny, &[], &variables)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while hub.storage.seen().len() < 2 {
        let ended = process.try_wait().expect("a process");
        assert!(ended.is_none(), "it ended before it was killed: {ended:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    process.kill().expect("a process");
    process.wait().expect("a process");

    check(&tiny, &[], &variables, 0, &["fetch own/tiny", "rows"]);
    let ranges: Vec<Option<String>> = hub
        .storage
        .seen()
        .iter()
        .map(|r| r.header("range").map(str::to_owned))
        .collect();
    let rest = Some("bytes=700-".to_owned());
    assert_eq!(ranges, [None, rest.clone(), rest]);
}
