//! `cargo xtask data` from manifest to verified files, with a server in the test itself.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

const TEXT: &str = "en\tnl\nOne house.\tEen huis.\nTwo houses.\tTwee huizen.\n";
/// SHA-256 of [`TEXT`].
const SHA256: &str = "4f3de3ddfb262dce89c535007938cdafd1caf26c8478a1950e3363f3d1e26fed";

/// Serves the same bytes to every request; returns the address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
            while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                TEXT.len()
            );
            let _ = stream.write_all(format!("{head}{TEXT}").as_bytes());
        }
    });
    format!("http://{address}")
}

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
    manifest("houses", &serve());
    // Nothing listens on the port of a listener that is gone.
    let gone = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port");
    manifest("ruins", &format!("http://{gone}"));
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
    with(&["fetch", "houses"], 0, &[]);
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
