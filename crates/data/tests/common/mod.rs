//! What the tests share.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use interlingua_data::{
    BiasOptions, BiasSet, DataError, Language, OnBadRow, ParallelCorpus, ParallelOptions, Report,
};

pub const EN: Language = Language::EN;
pub const FR: Language = Language::FR;
pub const DE: Language = Language::DE;
pub const NL: Language = Language::NL;

pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

pub fn parallel(
    path: &Path,
    languages: &[Language],
    policy: OnBadRow,
) -> Result<(ParallelCorpus, Report), DataError> {
    interlingua_data::load_parallel(path, &ParallelOptions::new(languages, policy))
}

pub fn bias(
    path: &Path,
    languages: &[Language],
    policy: OnBadRow,
) -> Result<(BiasSet, Report), DataError> {
    interlingua_data::load_bias(path, &BiasOptions::new(languages, policy))
}

/// The text of the error, which has to hold all the parts.
pub fn check_error<T: std::fmt::Debug>(result: Result<T, DataError>, parts: &[&str]) -> DataError {
    let error = result.expect_err("this must fail");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
    error
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::{Cursor, Write};
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub fn tar_gz(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    gzip(&builder.into_inner().unwrap())
}

/// A test set file of one talk per entry.
pub fn ted(talks: &[(&str, &[&str])]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<mteval>\n<srcset setid=\"s\" srclang=\"x\">\n".to_owned();
    for (talk, segments) in talks {
        text.push_str(&format!(
            "<doc docid=\"{talk}\" genre=\"lectures\">\n<url>u</url>\n<talkid>{talk}</talkid>\n"
        ));
        for (i, segment) in segments.iter().enumerate() {
            text.push_str(&format!("<seg id=\"{}\"> {segment}  </seg>\n", i + 1));
        }
        text.push_str("</doc>\n");
    }
    text + "</srcset>\n</mteval>\n"
}

pub fn tmx(units: &[&[(&str, &str)]]) -> String {
    let mut text =
        "<?xml version=\"1.0\"?>\n<tmx version=\"1.4\"><header srclang=\"en\"/><body>\n".to_owned();
    for unit in units {
        text.push_str("<tu>");
        for (language, segment) in *unit {
            text.push_str(&format!(
                "<tuv xml:lang=\"{language}\"><seg>{segment}</seg></tuv>"
            ));
        }
        text.push_str("</tu>\n");
    }
    text + "</body></tmx>\n"
}

/// The folder of the real data, or `None` with a line that says so.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("INTERLINGUA_SHARED") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let path = root.join("data").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {name} isn't on this machine");
    None
}
