//! The other side of a comparison: a Python process that does the same work.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use interlingua_backend::Precision;
use serde_json::{Value, json};

use super::Measured;

/// `tests/peers/peers.py`, started.
pub struct Peer {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    /// Where results and the process's own messages go.
    folder: PathBuf,
    threads: usize,
}

impl Peer {
    /// Starts the script; `folder` takes its files.
    ///
    /// # Errors
    /// A Python that cannot be started.
    pub fn start(python: &Path, script: &Path, folder: &Path) -> anyhow::Result<Peer> {
        let log = std::fs::File::create(folder.join("peer.log"))?;
        let threads = std::thread::available_parallelism()?.get();
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start `{}`; give a Python 3 with the packages that {} names",
                    python.display(),
                    script.display()
                )
            })?;
        Ok(Peer {
            requests: child.stdin.take().expect("piped"),
            replies: BufReader::new(child.stdout.take().expect("piped")),
            child,
            folder: folder.to_owned(),
            threads,
        })
    }

    /// Has it run models on a device, with weights and states of a type, from here on.
    ///
    /// # Errors
    /// A device that PyTorch does not have.
    pub fn settle(&mut self, device: &str, precision: Precision) -> anyhow::Result<()> {
        let precision = precision.to_string();
        self.ask(json!({"op": "settle", "device": device, "precision": precision}))?;
        Ok(())
    }

    fn ask(&mut self, mut request: Value) -> anyhow::Result<Value> {
        request["threads"] = json!(self.threads);
        writeln!(self.requests, "{request}").context("the Python process is gone")?;
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        let Ok(reply) = serde_json::from_str::<Value>(&line) else {
            let log = std::fs::read_to_string(self.folder.join("peer.log")).unwrap_or_default();
            let last = log.trim().lines().last().unwrap_or("it says nothing");
            bail!("the Python process stopped: {last}");
        };
        if let Some(error) = reply["error"].as_str() {
            bail!("the Python process: {error}");
        }
        Ok(reply)
    }

    /// Has one piece of work done.
    ///
    /// # Errors
    /// Whatever stopped it, in its words.
    pub fn measure(&mut self, request: &Value) -> anyhow::Result<Measured> {
        let path = self.folder.join("result.f64");
        let mut request = request.clone();
        request["out"] = json!(path);
        let reply = self.ask(request)?;
        let bytes = std::fs::read(&path)?;
        let (numbers, _) = bytes.as_chunks::<8>();
        Ok(Measured {
            seconds: reply["seconds"].as_f64().context("no seconds")?,
            result: numbers.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        })
    }

    /// What the libraries are, such as `torch 2.15.0, …`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn versions(&mut self) -> anyhow::Result<String> {
        let reply = self.ask(json!({"op": "versions"}))?;
        let all = reply["versions"].as_object().context("no versions")?;
        let all = all
            .iter()
            .map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or("?")));
        Ok(all.collect::<Vec<_>>().join(", "))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
