//! `cargo xtask data` from manifest to verified files, with a server on this machine.

use std::path::Path;
use std::process::{Command, Output};

use interlingua_tests::server::{Answer, Server};

const TEXT: &str = "en\tnl\nOne house.\tEen huis.\nTwo houses.\tTwee huizen.\n";
/// SHA-256 of [`TEXT`].
const SHA256: &str = "4f3de3ddfb262dce89c535007938cdafd1caf26c8478a1950e3363f3d1e26fed";

fn xtask(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("data")
        .args(words)
        .current_dir(folder)
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("the program starts")
}

fn check(folder: &Path, words: &[&str], code: i32, expect: &[&str]) {
    let output = xtask(folder, words);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{words:?}:\n{text}");
    for part in expect {
        assert!(text.contains(part), "{words:?} lacks {part:?}:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn from_manifest_to_verified_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    std::fs::create_dir(folder.join("manifests")).expect("a folder");
    let manifest = |name: &str, server: &str| {
        let text = format!(
            "name = \"{name}\"\ndescription = \"Houses in two languages\"\nlicence = \"CC-BY-4.0\"\n\
             licence-note = \"Name the source.\"\nhomepage = \"https://example.org\"\nformat = \"tsv\"\n\
             languages = [\"en\", \"nl\"]\n\n[[file]]\nname = \"houses.tsv\"\nurl = \"{server}/houses.tsv\"\n\
             sha256 = \"{SHA256}\"\nbytes = {}\n",
            TEXT.len()
        );
        std::fs::write(folder.join("manifests").join(format!("{name}.toml")), text)
            .expect("a file");
    };
    let server = Server::start(|_| Answer::new(200, TEXT));
    manifest("houses", server.url());
    manifest("ruins", &Server::none());
    let places = ["--manifests", "manifests"];
    let with = |words: &[&str], code, expect: &[&str]| {
        check(folder, &[words, &places].concat(), code, expect);
    };

    with(&["list"], 0, &["houses", "CC-BY-4.0", "not here"]);
    with(&["verify"], 1, &["no data set", "--cache", "data fetch"]);
    with(
        &["verify", "houses"],
        1,
        &["houses.tsv: missing", "data fetch"],
    );
    with(&["fetch", "huts"], 1, &["`huts`", "houses, ruins"]);
    with(
        &["fetch", "houses"],
        0,
        &["licence: CC-BY-4.0. Name the source.", "in data/houses"],
    );
    with(&["verify"], 0, &["1 of 1 files are right"]);
    // One that fails does not keep the other from coming, and is the exit code's business.
    std::fs::remove_dir_all(folder.join("data")).expect("a folder");
    with(
        &["fetch"],
        1,
        &["in data/houses", "1 of 2", "ruins", "check the network"],
    );
    with(&["list"], 0, &[" here"]);
    let file = folder.join("data/houses/houses.tsv");
    check(
        folder,
        &["describe", "data/houses/houses.tsv"],
        0,
        &["2 rows", "nl"],
    );
    check(
        folder,
        &["describe", "data/houses/houses.tsv", "--json"],
        0,
        &["\"rows\": 2"],
    );
    std::fs::write(&file, TEXT.replace("Two", "Too")).expect("a file");
    with(
        &["verify"],
        1,
        &["houses.tsv: sha256 is", SHA256, "data fetch"],
    );
    // What is there may be somebody's own; it is replaced only when that is said.
    with(&["fetch", "houses"], 1, &["other bytes", SHA256, "--force"]);
    with(&["fetch", "houses", "--force"], 0, &[]);
    with(&["verify", "houses"], 0, &["1 of 1 files are right"]);
    check(
        folder,
        &["describe", "nothing.tsv"],
        1,
        &["nothing.tsv: no such file"],
    );
    check(
        folder,
        &["list", "--manifests", "nowhere"],
        1,
        &["nowhere", "--manifests"],
    );
}
