//! What is given back is whole or not there: a disk that fills, and a program that is killed at any time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use interlingua_models::made::random_checkpoint;

const PROGRAM: &str = env!("CARGO_BIN_EXE_interlingua");

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/models")
        .join(name)
}

/// Runs it where no file may grow beyond so many blocks of 512 or 1024 bytes, as the shell counts them.
fn bounded(blocks: u32, arguments: &[&str]) -> Output {
    // Without the trap, the signal would end the program before it can say anything.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh", PROGRAM]).args(arguments);
    shell.output().unwrap()
}

/// Every file under a folder, with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true => {
                let inner = files(&path).into_iter();
                found.extend(inner.map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
                found.insert(format!("{name}/"), Vec::new());
            }
            false => {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Every format says what did not fit, and leaves nothing under the name it was asked for.
#[test]
fn a_disk_that_fills_during_export_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let cohere = fixture("cohere-f32").display().to_string();
    let llama = fixture("gguf/llama.gguf").display().to_string();
    let edit = |model: &str, hook: &str, out: &str| {
        let typed = ["fit", model, "--method", "sentdebias", "--tokens", "all"];
        let output = Command::new(PROGRAM)
            .args(typed)
            .args(["--hook", hook, "--out", out])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    };
    edit(&cohere, "final_norm", &at("norm.safetensors"));
    edit(&llama, "block.0.mlp", &at("block.safetensors"));
    for (model, edit, format, blocks) in [
        (&cohere, "norm.safetensors", "hf", 1),
        (&cohere, "norm.safetensors", "peft", 1),
        (&llama, "block.safetensors", "gguf", 1),
        (&llama, "block.safetensors", "gguf-lora", 0),
    ] {
        let out = at(&format!("out-{format}"));
        let typed = [
            "export",
            model,
            "--edit",
            &at(edit),
            "--as",
            format,
            "--out",
            &out,
        ];
        let before = files(folder.path());
        let output = bounded(blocks, &typed);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{format}: {said}");
        assert!(said.contains("free some space"), "{format}: {said}");
        assert!(
            said.contains(&format!("out-{format}")),
            "{format} names no file: {said}"
        );
        let after: Vec<String> = files(folder.path()).into_keys().collect();
        assert_eq!(after, before.into_keys().collect::<Vec<_>>(), "{format}");
        // With room again, the same command gives what it would have given.
        let output = Command::new(PROGRAM).args(typed).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{format}: {said}");
    }
}

/// `debias` is killed later and later, until it ends by itself: at no time is there half a folder under the name that
/// was asked for, and what it gives is what it would have given.
#[test]
fn killed_in_any_phase_debias_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let words = ["The man opens the window.", "La femme ouvre la fenêtre."];
    random_checkpoint(&at("model"), words.into_iter(), 3).unwrap();
    let typed = |out: &str| {
        let mut command = Command::new(PROGRAM);
        command.arg("debias").arg(at("model"));
        command.args(["--languages", "en,fr", "--ranks", "1", "--strengths", "1"]);
        command.args(["--max-kl", "5", "--format", "hf", "--out"]);
        command
            .arg(at(out))
            .stderr(Stdio::piped())
            .stdout(Stdio::null());
        command
    };
    assert!(typed("whole").status().unwrap().success());
    let whole = files(&at("whole"));
    let (mut kills, mut wait) = (0, Duration::from_millis(20));
    loop {
        let mut child = typed("killed").spawn().unwrap();
        std::thread::sleep(wait);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "after {kills} kills: {status}");
            break;
        }
        child.kill().unwrap();
        // It may have ended just before.
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        // A folder under this name is whole, and the work is done.
        if at("killed").exists() {
            break;
        }
        wait += Duration::from_millis(40);
    }
    assert!(kills >= 3, "killed {kills} times only");
    let found = files(&at("killed"));
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        whole.keys().collect::<Vec<_>>()
    );
    // The card names its own folder; all else is the same to the byte.
    for (name, bytes) in whole.iter().filter(|(name, _)| !name.ends_with(".md")) {
        assert!(found[name] == *bytes, "{name} differs");
    }
    let left = files(folder.path());
    let left: Vec<&String> = left
        .keys()
        .filter(|name| name.contains(".partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
