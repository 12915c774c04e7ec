//! Makes requests to the hub: it follows redirects, sends the token only to the hub, repeats failed requests, and
//! resumes files.
//!
//! The transfer of the `hf-hub` crate (0.5.0) is not used, for these reasons. It sends the token to whatever host the
//! hub redirects to. Its `Debug` output shows the token. It resumes a broken file without checking that the server
//! does. It checks neither length nor hash. It repeats only failed bodies, not a status 503.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use interlingua_files::{Crept, Paced};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderValue, Response, Uri};

use super::{FileFacts, HubName, HubOptions, MAX_SMALL};
use crate::ModelError;

const MAX_REDIRECTS: usize = 10;

/// A connection to one hub.
pub(super) struct Client<'o> {
    agent: ureq::Agent,
    options: &'o HubOptions,
    name: &'o HubName,
    hub: Origin,
    bearer: Option<HeaderValue>,
}

/// Scheme, host and port: what a token belongs to.
#[derive(PartialEq, Eq)]
struct Origin(String, String, u16);

/// A failure, and whether another attempt may help.
enum Failure {
    Final(ModelError),
    Passing(ModelError),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
}

impl<'o> Client<'o> {
    pub fn new(options: &'o HubOptions, name: &'o HubName) -> Result<Client<'o>, ModelError> {
        let hub = origin(&options.endpoint).ok_or(ModelError::HubSetting {
            variable: "HF_ENDPOINT",
            problem: "is not an address",
        })?;
        let bearer =
            options.token.as_ref().map(|token| {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret()))
                    .map_err(|_| ModelError::HubSetting {
                        variable: "HF_TOKEN",
                        problem: "(or the token file) holds characters that no token has",
                    })?;
                value.set_sensitive(true);
                Ok(value)
            });
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here, so that the token stays with the hub.
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .accept_encoding("identity")
            .user_agent(concat!("interlingua/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Client {
            agent,
            options,
            name,
            hub,
            bearer: bearer.transpose()?,
        })
    }

    /// Requests a small text, such as the list of files.
    pub fn text(&self, url: &str) -> Result<String, ModelError> {
        self.retried(|| {
            let mut response = self.send(Method::Get, url, 0)?;
            let body = response.body_mut().with_config().limit(MAX_SMALL);
            let mut text = String::new();
            Paced::new(body.reader(), self.options.patience)
                .read_to_string(&mut text)
                .map_err(|e| self.broken(url, &e))?;
            Ok(text)
        })
    }

    /// Requests what the hub says about a file.
    pub fn facts(&self, url: &str) -> Result<FileFacts, ModelError> {
        self.retried(|| {
            let response = self.send(Method::Head, url, 0)?;
            let answer = |problem: &str| {
                Failure::Final(ModelError::HubAnswer {
                    url: url.to_owned(),
                    problem: problem.to_owned(),
                })
            };
            let etag = header(&response, "x-linked-etag")
                .or_else(|| header(&response, "etag"))
                .ok_or_else(|| answer("no ETag; is HF_ENDPOINT a hub?"))?;
            let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
            // It becomes a file name.
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if etag.is_empty() || etag.len() > 128 || !etag.chars().all(plain) {
                return Err(answer("the ETag is no plain name"));
            }
            // A redirect's own length says nothing about the file.
            let own = if response.status().is_redirection() {
                None
            } else {
                header(&response, "content-length")
            };
            let size = header(&response, "x-linked-size").or(own);
            let size = size
                .map(|s| s.parse().map_err(|_| answer("the length is no number")))
                .transpose()?;
            Ok(FileFacts { etag, size })
        })
    }

    /// Downloads a file to `part`, resuming where `part` ends, and checks its length and, if `etag` is a SHA-256, its
    /// hash. `progress` is called with the number of bytes that are there.
    pub fn download(
        &self,
        url: &str,
        part: &Path,
        facts: &FileFacts,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ModelError> {
        let length = || std::fs::metadata(part).map_or(0, |m| m.len());
        let mut furthest = length();
        let mut failures = 0;
        loop {
            let failure = match self
                .transfer(url, part, facts.size, progress)
                .and_then(|()| verify(url, part, &facts.etag))
            {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => error,
            };
            // An attempt that got further is no failure, for a long file may break often; one that crept is.
            if length() > furthest && matches!(failure, ModelError::HubTruncated { .. }) {
                furthest = length();
                failures = 0;
            }
            failures += 1;
            if failures >= self.options.attempts {
                return Err(failure);
            }
            self.wait(failures);
        }
    }

    fn transfer(
        &self,
        url: &str,
        part: &Path,
        size: Option<u64>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let io = |source| {
            Failure::Final(ModelError::Io {
                path: part.to_owned(),
                source,
            })
        };
        let answer = |problem: String| ModelError::HubAnswer {
            url: url.to_owned(),
            problem,
        };
        let mut have = std::fs::metadata(part).map_or(0, |m| m.len());
        if size.is_some_and(|size| have > size) {
            std::fs::remove_file(part).map_err(io)?;
            have = 0;
        }
        if have > 0 && size == Some(have) {
            progress(have);
            return Ok(());
        }
        let mut response = match self.send(Method::Get, url, have) {
            // What is there is not a beginning of what the server has.
            Err(Failure::Final(ModelError::HubStatus { status: 416, .. })) if have > 0 => {
                std::fs::remove_file(part).map_err(io)?;
                let problem = format!("nothing follows byte {have}");
                return Err(Failure::Passing(answer(problem)));
            }
            other => other?,
        };
        let range = header(&response, "content-range").and_then(range_of);
        let own = header(&response, "content-length").and_then(|l| l.parse::<u64>().ok());
        let resumed = response.status().as_u16() == 206;
        if resumed && range.is_none_or(|(start, _)| start != have) {
            // Without a range the next attempt cannot be misunderstood.
            std::fs::remove_file(part).map_err(io)?;
            let problem = format!("bytes from {have} were asked for, others came");
            return Err(Failure::Passing(answer(problem)));
        }
        let whole = if resumed {
            range.and_then(|(_, all)| all)
        } else {
            own
        };
        let expected = match (size, whole) {
            (Some(size), Some(whole)) if size != whole => {
                let problem = format!("the file has {whole} bytes, the hub announced {size}");
                return Err(Failure::Final(answer(problem)));
            }
            (Some(bytes), _) | (None, Some(bytes)) => bytes,
            (None, None) => {
                return Err(Failure::Final(answer("the length is not said".into())));
            }
        };
        let mut received = if resumed { have } else { 0 };
        let mut output = OpenOptions::new();
        output.create(true);
        if resumed {
            output.append(true);
        } else {
            output.write(true).truncate(true);
        }
        let mut output = output.open(part).map_err(io)?;
        // One byte more than expected is enough to know that the file is another one.
        let most = expected.saturating_sub(received).saturating_add(1);
        let body = response.body_mut().with_config().limit(u64::MAX);
        let mut input = Paced::new(body.reader(), self.options.patience).take(most);
        let mut buffer = vec![0; 1 << 17];
        loop {
            let count = match input.read(&mut buffer) {
                Ok(count @ 1..) => count,
                Err(e) if e.get_ref().is_some_and(|e| e.is::<Crept>()) => {
                    return Err(self.broken(url, &e));
                }
                // A broken transfer ends like a short one: what came is on disk, and the next attempt goes on.
                Ok(0) | Err(_) => break,
            };
            output.write_all(&buffer[..count]).map_err(io)?;
            received += count as u64;
            progress(received.min(expected));
        }
        output.sync_all().map_err(io)?;
        if received > expected {
            std::fs::remove_file(part).map_err(io)?;
            let problem = format!("more than the {expected} bytes announced came");
            return Err(Failure::Final(answer(problem)));
        }
        if received < expected {
            return Err(Failure::Passing(ModelError::HubTruncated {
                url: url.to_owned(),
                received,
                expected,
            }));
        }
        Ok(())
    }

    /// One request. Redirects are followed, but a HEAD stays with the hub: only its own answer describes the file.
    fn send(&self, method: Method, url: &str, from: u64) -> Result<Response<ureq::Body>, Failure> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let home = origin(&at).is_some_and(|o| o == self.hub);
            let mut request = match method {
                Method::Get => self.agent.get(&at),
                Method::Head => self.agent.head(&at),
            };
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            if let Some(bearer) = self.bearer.as_ref().filter(|_| home) {
                request = request.header("Authorization", bearer);
            }
            let response = request.call().map_err(|e| self.network(url, &e))?;
            if !response.status().is_redirection() {
                return self.judged(url, response, home);
            }
            let Some(next) = header(&response, "location").and_then(|l| absolute(&at, l)) else {
                break;
            };
            if method == Method::Head && origin(&next).is_none_or(|o| o != self.hub) {
                return Ok(response);
            }
            if at.starts_with("https://") && !next.starts_with("https://") {
                break;
            }
            at = next;
        }
        Err(Failure::Final(ModelError::HubAnswer {
            url: url.to_owned(),
            problem: "redirects lead nowhere, or from https to http".to_owned(),
        }))
    }

    /// Lets success through and makes an error of every other status.
    fn judged(
        &self,
        url: &str,
        response: Response<ureq::Body>,
        home: bool,
    ) -> Result<Response<ureq::Body>, Failure> {
        let status = response.status().as_u16();
        let error = ModelError::HubStatus {
            url: url.to_owned(),
            status,
        };
        match status {
            200 | 206 => return Ok(response),
            // Links to storage expire; the hub gives a new one.
            401 | 403 | 404 if !home => return Err(Failure::Passing(error)),
            408 | 429 | 500 | 502..=504 => return Err(Failure::Passing(error)),
            _ => {}
        }
        let code = header(&response, "x-error-code").unwrap_or_default();
        let HubName { repo, revision } = self.name;
        let (repo, revision) = (repo.clone(), revision.clone());
        // The hub does not tell strangers whether a private repository exists.
        if code == "RepoNotFound" || (matches!(status, 404 | 410) && code != "RevisionNotFound") {
            return Err(Failure::Final(ModelError::HubNotFound {
                repo,
                revision,
                token: self.token_sent(),
                url: url.to_owned(),
            }));
        }
        Err(Failure::Final(match status {
            401 | 403 => ModelError::HubAccess {
                page: format!("{}/{repo}", self.options.endpoint),
                repo,
                status,
                token: self.token_sent(),
            },
            404 => ModelError::HubRevision { repo, revision },
            _ => error,
        }))
    }

    fn token_sent(&self) -> &'static str {
        match self.bearer {
            Some(_) => "the token that was sent does not open it",
            None => "no token was sent",
        }
    }

    fn broken(&self, url: &str, error: &std::io::Error) -> Failure {
        Failure::Passing(ModelError::HubNetwork {
            url: url.to_owned(),
            message: error.to_string(),
        })
    }

    fn network(&self, url: &str, error: &ureq::Error) -> Failure {
        Failure::Passing(ModelError::HubNetwork {
            url: url.to_owned(),
            message: error.to_string(),
        })
    }

    fn retried<T>(&self, mut work: impl FnMut() -> Result<T, Failure>) -> Result<T, ModelError> {
        let mut failures = 0;
        loop {
            match work() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => {
                    failures += 1;
                    if failures >= self.options.attempts {
                        return Err(error);
                    }
                }
            }
            self.wait(failures);
        }
    }

    fn wait(&self, failures: u32) {
        let doublings = (failures - 1).min(10);
        std::thread::sleep(self.options.first_wait * (1 << doublings));
    }
}

/// A file of other bytes is removed, so that the next attempt starts anew.
fn verify(url: &str, part: &Path, etag: &str) -> Result<(), Failure> {
    let hash = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if etag.len() != 64 || !etag.chars().all(hash) {
        return Ok(());
    }
    let digest = || {
        let mut digest = Sha256::new();
        std::io::copy(&mut File::open(part)?, &mut digest)?;
        Ok(digest.finalize())
    };
    let io = |source| {
        Failure::Final(ModelError::Io {
            path: part.to_owned(),
            source,
        })
    };
    let actual: String = digest()
        .map_err(io)?
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    if actual == etag {
        return Ok(());
    }
    std::fs::remove_file(part).map_err(io)?;
    Err(Failure::Passing(ModelError::HubHash {
        url: url.to_owned(),
        expected: etag.to_owned(),
        actual,
    }))
}

fn header<'r>(response: &'r Response<ureq::Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name).and_then(|v| v.to_str().ok())
}

/// First byte and length of the whole, of `bytes 10-99/100`.
fn range_of(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split('-').next()?.trim().parse().ok()?;
    Some((start, whole.trim().parse().ok()))
}

fn origin(url: &str) -> Option<Origin> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri
        .port_u16()
        .unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some(Origin(scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// The address that a `Location` means.
fn absolute(base: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    let uri: Uri = base.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{scheme}://{authority}{folder}/{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_relative_to_where_they_stand() {
        for (location, expect) in [
            ("https://b.example/x?k=1", "https://b.example/x?k=1"),
            ("//b.example/x", "http://b.example/x"),
            ("/x/y", "http://a.example:81/x/y"),
            ("y", "http://a.example:81/o/n/y"),
        ] {
            let found = absolute("http://a.example:81/o/n/file?query", location);
            assert_eq!(found.as_deref(), Some(expect));
        }
    }

    #[test]
    fn another_port_is_another_origin() {
        let same = |a, b| origin(a) == origin(b);
        assert!(same("https://A.example/x", "https://a.example:443/y"));
        assert!(!same("https://a.example", "http://a.example"));
        assert!(!same("http://a.example:81", "http://a.example:82"));
        assert!(!same("https://a.example", "https://a.example.org"));
    }

    #[test]
    fn ranges() {
        for (text, expect) in [
            ("bytes 10-99/100", Some((10, Some(100)))),
            ("bytes 10-99/*", Some((10, None))),
            ("bytes */100", None),
            ("items 1-2/3", None),
        ] {
            assert_eq!(range_of(text), expect, "{text}");
        }
    }
}
