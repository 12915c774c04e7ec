//! `cargo xtask bench` from a clean checkout: small inputs, nothing beside it, never a time asserted.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("bench")
        .args(arguments)
        .env_remove("INTERLINGUA_SHARED")
        .output()
        .expect("the program starts")
}

#[test]
fn every_kind_of_work_is_timed_without_data_or_python() {
    let page = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(page.path(), "<!-- begin bench -->\n<!-- end bench -->\n").unwrap();
    let path = page.path().to_str().unwrap();
    let work = "score-small,capture,autoencoder,leace,inlp";
    let share = "200,capture=100";
    let flags = ["--quick", "--runs", "1", "--share", share, "--page", path];
    let output = bench(&[&[work][..], &flags].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let text = String::from_utf8(output.stdout).unwrap();
    for row in [
        "| scoring, 4 blocks of 256, ",
        "| mean states at 3 hook points, ",
        "| autoencoder, ",
        "| LEACE, ",
        "| INLP, ",
    ] {
        assert_eq!(text.matches(row).count(), 1, "{row}: {text}");
    }
    assert!(text.contains("Texts: the testbed's"), "{text}");
    let written = std::fs::read_to_string(page.path()).unwrap();
    assert!(written.contains(text.trim()), "{written}");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for (arguments, told) in [
        (&["--peers"][..], "--python"),
        (&["sorting"], "score-small"),
        (&["leace", "--runs", "0"], "--runs"),
        (&["--share", "4,leace=0"], "from 1 on"),
        (&["--share", "sorting=4"], "sorting"),
        (&["leace", "--device", "abacus"], "abacus"),
        (&["score", "--precision", "f8"], "bf16"),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(told), "{arguments:?}: {text}");
    }
    let output = bench(&["leace", "--quick", "--peers", "--python", "no-such-python"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("cannot start `no-such-python`"), "{text}");
}
