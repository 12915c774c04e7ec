//! Manifests and downloads, against a server on the loopback interface.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::*;
use interlingua_data::manifest::RemoteFile;
use interlingua_data::{DataError, FetchOptions, FileState, Manifest, fetch, verify};
use sha2::{Digest, Sha256};

/// How the server behaves.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Full answers, ranges honoured.
    Good,
    /// Ignores the range header.
    NoRange,
    /// Answers any range with 416.
    BadRange,
    /// Announces everything and breaks off half-way.
    BreakOff,
    /// Sends a byte every twenty milliseconds.
    Creep,
    /// This status.
    Status(u16),
}

struct Server {
    url: String,
    ranges: Arc<Mutex<Vec<Option<u64>>>>,
}

fn serve(body: Vec<u8>, mode: Mode) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let seen = ranges.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut start = None;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                let lower = line.to_lowercase();
                if let Some(range) = lower.strip_prefix("range: bytes=") {
                    start = range.trim().trim_end_matches('-').parse::<u64>().ok();
                }
                line.clear();
            }
            seen.lock().unwrap().push(start);
            let length = body.len();
            let from = start.unwrap_or(0) as usize;
            let _ = match mode {
                Mode::Status(code) => write!(
                    stream,
                    "HTTP/1.1 {code} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                ),
                Mode::BadRange if start.is_some() => {
                    write!(
                        stream,
                        "HTTP/1.1 416 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                }
                Mode::Good if start.is_some() => {
                    let _ = write!(
                        stream,
                        "HTTP/1.1 206 Part\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{length}\r\nConnection: close\r\n\r\n",
                        length - from,
                        length - 1
                    );
                    stream.write_all(&body[from..])
                }
                Mode::Creep => {
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    body.iter().try_for_each(|&byte| {
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        stream.write_all(&[byte])
                    })
                }
                mode => {
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    let end = if mode == Mode::BreakOff {
                        length / 2
                    } else {
                        length
                    };
                    stream.write_all(&body[..end])
                }
            };
        }
    });
    Server { url, ranges }
}

fn body() -> Vec<u8> {
    (0..200_000u32)
        .map(|i| (i.wrapping_mul(2654435761) >> 13) as u8)
        .collect()
}

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn manifest(url: &str, body: &[u8]) -> Manifest {
    let file = RemoteFile {
        name: "file.bin".into(),
        url: url.into(),
        sha256: sha(body),
        bytes: body.len() as u64,
        unpack: None,
    };
    Manifest {
        name: "set".into(),
        description: String::new(),
        licence: "none".into(),
        licence_note: String::new(),
        homepage: String::new(),
        format: None,
        languages: vec![],
        columns: vec![],
        files: vec![file],
    }
}

fn quiet(manifest: &Manifest, cache: &Path) -> Result<std::path::PathBuf, DataError> {
    fetch(manifest, cache, &FetchOptions::default(), &mut |_| {})
}

#[test]
fn downloads_verifies_and_caches() {
    let server = serve(body(), Mode::Good);
    let folder = Folder::new();
    let manifest = manifest(&server.url, &body());
    let mut last = 0;
    let options = FetchOptions::default();
    let at = fetch(&manifest, folder.path(), &options, &mut |p| {
        assert!(p.received >= last && !p.cached);
        last = p.received;
    })
    .unwrap();
    assert_eq!(
        (last, std::fs::read(at.join("file.bin")).unwrap()),
        (200_000, body())
    );
    assert_eq!(verify(&manifest, &at).unwrap()[0].state, FileState::Ok);
    let mut cached = false;
    fetch(&manifest, folder.path(), &options, &mut |p| {
        cached = p.cached
    })
    .unwrap();
    assert!(cached);
    assert_eq!(server.ranges.lock().unwrap().len(), 1);
    // A file that changed on disk is seen, kept, and fetched again only when that is asked for.
    std::fs::write(at.join("file.bin"), b"other").unwrap();
    assert_eq!(
        verify(&manifest, &at).unwrap()[0].state,
        FileState::Mismatch {
            actual: sha(b"other")
        }
    );
    let parts = ["file.bin", &sha(b"other"), &sha(&body()), "--force"];
    check_error(quiet(&manifest, folder.path()), &parts);
    assert_eq!(std::fs::read(at.join("file.bin")).unwrap(), b"other");
    let replace = FetchOptions {
        replace: true,
        ..options
    };
    fetch(&manifest, folder.path(), &replace, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(at.join("file.bin")).unwrap(), body());
    std::fs::remove_file(at.join("file.bin")).unwrap();
    assert_eq!(verify(&manifest, &at).unwrap()[0].state, FileState::Missing);
}

#[test]
fn a_broken_transfer_is_resumed() {
    let folder = Folder::new();
    let broken = serve(body(), Mode::BreakOff);
    let error = check_error(
        quiet(&manifest(&broken.url, &body()), folder.path()),
        &["100000 of 200000", "resume"],
    );
    assert!(matches!(error, DataError::Truncated { .. }));
    assert!(!folder.path().join("set/file.bin").exists());
    let good = serve(body(), Mode::Good);
    let at = quiet(&manifest(&good.url, &body()), folder.path()).unwrap();
    assert_eq!(*good.ranges.lock().unwrap(), [Some(100_000)]);
    assert_eq!(std::fs::read(at.join("file.bin")).unwrap(), body());
    assert!(!at.join("file.bin.part").exists());
}

#[test]
fn servers_without_ranges() {
    for (mode, requests) in [
        (Mode::NoRange, vec![Some(5)]),
        (Mode::BadRange, vec![Some(5), None]),
    ] {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("set")).unwrap();
        folder.write("set/file.bin.part", b"wrong");
        let server = serve(body(), mode);
        let at = quiet(&manifest(&server.url, &body()), folder.path()).unwrap();
        assert_eq!(*server.ranges.lock().unwrap(), requests);
        assert_eq!(std::fs::read(at.join("file.bin")).unwrap(), body());
    }
}

#[test]
fn wrong_hash_says_both_and_removes_the_copy() {
    let folder = Folder::new();
    let server = serve(body(), Mode::Good);
    let mut manifest = manifest(&server.url, &body());
    manifest.files[0].sha256 = sha(b"what it should be");
    check_error(
        quiet(&manifest, folder.path()),
        &[&sha(&body()), &sha(b"what it should be"), &server.url],
    );
    assert_eq!(
        std::fs::read_dir(folder.path().join("set"))
            .unwrap()
            .count(),
        0
    );
    // A server that sends more than announced in the manifest is cut off and fails the same way.
    manifest.files[0].bytes = 1000;
    check_error(quiet(&manifest, folder.path()), &["sha256"]);
}

#[test]
fn server_errors_and_no_network() {
    let folder = Folder::new();
    for (status, hint) in [
        (404, "moved or removed"),
        (403, "restricted"),
        (503, "try again later"),
    ] {
        let server = serve(body(), Mode::Status(status));
        let error = check_error(
            quiet(&manifest(&server.url, &body()), folder.path()),
            &[&status.to_string(), hint, &server.url],
        );
        assert!(matches!(error, DataError::Http { .. }));
    }
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/x", listener.local_addr().unwrap())
    };
    let error = check_error(
        quiet(&manifest(&closed, &body()), folder.path()),
        &["can't reach", "file.bin", "by hand"],
    );
    assert!(matches!(error, DataError::Offline { .. }));
}

/// Each is left as it is, also where --force would replace a file; a pipe is not waited for.
#[test]
fn what_is_no_file_is_left_alone() {
    let replace = FetchOptions {
        replace: true,
        ..FetchOptions::default()
    };
    for name in ["file.bin", "file.bin.part"] {
        for kind in ["pipe", "device", "dangling", "folder"] {
            let folder = Folder::new();
            let path = folder.path().join("set").join(name);
            std::fs::create_dir(folder.path().join("set")).unwrap();
            match kind {
                "pipe" => {
                    let made = std::process::Command::new("mkfifo").arg(&path).status();
                    assert!(made.unwrap().success());
                }
                "device" => std::os::unix::fs::symlink("/dev/null", &path).unwrap(),
                "dangling" => std::os::unix::fs::symlink("nowhere", &path).unwrap(),
                _ => std::fs::create_dir(&path).unwrap(),
            }
            let server = serve(body(), Mode::Good);
            let manifest = manifest(&server.url, &body());
            for options in [FetchOptions::default(), replace.clone()] {
                let found = fetch(&manifest, folder.path(), &options, &mut |_| {});
                check_error(found, &[name, "no regular file"]);
            }
            assert!(!path.is_file(), "{name}: {kind}");
            assert!(std::fs::symlink_metadata(&path).is_ok(), "{name}: {kind}");
        }
    }
}

#[test]
fn a_server_that_creeps_is_given_up_and_what_came_is_kept() {
    let server = serve(body(), Mode::Creep);
    let folder = Folder::new();
    let options = FetchOptions {
        patience: std::time::Duration::from_millis(300),
        ..FetchOptions::default()
    };
    let manifest = manifest(&server.url, &body());
    let began = std::time::Instant::now();
    let found = fetch(&manifest, folder.path(), &options, &mut |_| {});
    let error = check_error(found, &[&server.url, "given up", "0.3 s", "kept"]);
    assert!(matches!(error, DataError::TooSlow { .. }));
    assert!(began.elapsed().as_secs() < 20);
    let came = std::fs::read(folder.path().join("set/file.bin.part")).unwrap();
    assert!(!came.is_empty() && body().starts_with(&came));
}

#[test]
fn two_at_once_take_turns() {
    let server = serve(body(), Mode::Good);
    let folder = Folder::new();
    let manifest = manifest(&server.url, &body());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| quiet(&manifest, folder.path()).unwrap());
        }
    });
    let found = std::fs::read(folder.path().join("set/file.bin")).unwrap();
    assert_eq!(found, body());
    assert_eq!(server.ranges.lock().unwrap().len(), 1);
}

#[test]
fn a_member_is_unpacked() {
    let folder = Folder::new();
    let archive = zip(&[("x/_about.txt", b"about"), ("x/inner.txt", b"text")]);
    let server = serve(archive.clone(), Mode::Good);
    let mut manifest = manifest(&server.url, &archive);
    manifest.files[0].unpack = Some("x/inner.txt".into());
    let at = quiet(&manifest, folder.path()).unwrap();
    assert_eq!(std::fs::read(at.join("inner.txt")).unwrap(), b"text");
    // The same again is no conflict, another file of that name is.
    quiet(&manifest, folder.path()).unwrap();
    folder.write("set/inner.txt", b"mine");
    check_error(quiet(&manifest, folder.path()), &["inner.txt", "--force"]);
    assert_eq!(std::fs::read(at.join("inner.txt")).unwrap(), b"mine");
    std::fs::remove_file(at.join("inner.txt")).unwrap();
    manifest.files[0].unpack = Some("x/none.txt".into());
    check_error(quiet(&manifest, folder.path()), &["file.bin", "x/none.txt"]);
}

#[test]
fn our_manifests_are_sound() {
    let manifests =
        Manifest::load_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets")).unwrap();
    assert!(manifests.len() >= 10);
    for manifest in &manifests {
        assert!(
            !manifest.licence.is_empty() && !manifest.licence_note.is_empty(),
            "{}",
            manifest.name
        );
        assert!(manifest.bytes() > 0, "{}", manifest.name);
        let mut names: Vec<&str> = manifest.files.iter().map(|f| f.name.as_str()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), manifest.files.len(), "{}", manifest.name);
        // Where the data is at hand, it must be what the manifest says.
        if let Some(folder) = shared(&manifest.name) {
            for (status, file) in verify(manifest, &folder)
                .unwrap()
                .iter()
                .zip(&manifest.files)
            {
                assert_eq!(status.state, FileState::Ok, "{}", status.path.display());
                assert_eq!(
                    std::fs::metadata(&status.path).unwrap().len(),
                    file.bytes,
                    "{}",
                    file.name
                );
            }
        }
    }
}

#[test]
fn bad_manifests() {
    let folder = Folder::new();
    let good = "name = \"a\"\ndescription = \"d\"\nlicence = \"none\"\nhomepage = \"h\"\n";
    for (text, parts) in [
        (
            format!("{good}licenze = 1\n"),
            &["bad.toml", "licenze", "line 5"][..],
        ),
        (good.replace("\"a\"", "\"../a\""), &["bad.toml", "../a"]),
        (
            format!(
                "{good}[[file]]\nname = \"x\"\nurl = \"https://e\"\nsha256 = \"12\"\nbytes = 1\n"
            ),
            &["sha256", "64"],
        ),
        (
            format!(
                "{good}[[file]]\nname = \"x\"\nurl = \"ftp://e\"\nsha256 = \"{}\"\nbytes = 1\n",
                sha(b"")
            ),
            &["https://"],
        ),
        ("name = ".to_owned(), &["bad.toml"]),
    ] {
        let file = folder.write("bad.toml", text);
        check_error(Manifest::load(&file), parts);
    }
    let (one, two) = (Folder::new(), good);
    one.write("a.toml", two);
    one.write("b.toml", two);
    check_error(Manifest::load_all(one.path()), &["b.toml", "named `a` too"]);
}
