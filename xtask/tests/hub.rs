//! `cargo xtask reproduce` with a model of the hub, from `--dry-run` to the manifest of the run.

// Not everything of the experiment is needed here.
#[allow(dead_code)]
mod tiny;
mod tree;

use std::path::PathBuf;

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

/// Runs the experiment with these flags and variables; returns the run's folder, if it has one.
fn check(
    tiny: &Tiny,
    flags: &[&str],
    variables: &[(&str, &str)],
    code: i32,
    expect: &[&str],
) -> Option<PathBuf> {
    let mut command = tiny.command(&[]);
    for name in [
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
    ] {
        command.env_remove(name);
    }
    let output = command
        .args(flags)
        .env("HF_HOME", tiny.path().join("home"))
        .envs(variables.iter().copied())
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
