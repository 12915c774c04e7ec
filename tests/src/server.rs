//! A small HTTP server on this machine, for tests of downloads.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request, as far as tests look at it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path with its query.
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The value of a header; names in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|h| h.0 == name);
        found.map(|h| h.1.as_str())
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    sent: usize,
    pause: Duration,
}

impl Answer {
    /// A status with a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        let body = body.into();
        Answer {
            status,
            headers: Vec::new(),
            sent: body.len(),
            body,
            pause: Duration::ZERO,
        }
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Answer {
        Answer::new(status, "").with("Location", location)
    }

    /// The part of the content that the request asks for.
    pub fn content(content: &[u8], request: &Request) -> Answer {
        let range = request.header("range").and_then(|r| {
            let (first, last) = r.strip_prefix("bytes=")?.split_once('-')?;
            let last = last.parse::<usize>().map_or(content.len(), |last| last + 1);
            Some((first.parse::<usize>().ok()?, last.min(content.len())))
        });
        match range {
            None => Answer::new(200, content),
            Some((first, last)) if first < last => Answer::new(206, &content[first..last]).with(
                "Content-Range",
                &format!("bytes {first}-{}/{}", last - 1, content.len()),
            ),
            Some(_) => {
                Answer::new(416, "").with("Content-Range", &format!("bytes */{}", content.len()))
            }
        }
    }

    /// With a header more, or instead of the one of this name; an empty value takes it away.
    pub fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.retain(|h| !h.0.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The connection breaks after so many bytes of the body; the announced length stays.
    pub fn cut(mut self, bytes: usize) -> Answer {
        self.sent = bytes.min(self.body.len());
        self
    }
}

impl Answer {
    /// The bytes of the body come one by one, so far apart.
    pub fn slow(mut self, pause: Duration) -> Answer {
        self.pause = pause;
        self
    }
}

/// A server that runs as long as the test.
pub struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that answers by this function; it runs for each request in a thread of its own.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Server { url, seen }
    }

    /// An address where nothing listens.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn none() -> String {
        // Nothing listens on the port of a listener that is gone.
        let gone = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        format!("http://{}", gone.expect("a port"))
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All requests so far.
    ///
    /// # Panics
    /// When a thread of the server has panicked.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("the requests").clone()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Answer) {
    let Some(request) = read(&stream) else { return };
    log.lock().expect("the requests").push(request.clone());
    let answer = answer(&request);
    let mut head = format!("HTTP/1.1 {} Answer\r\n", answer.status);
    if !answer
        .headers
        .iter()
        .any(|h| h.0.eq_ignore_ascii_case("content-length"))
    {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    for (name, value) in answer.headers.iter().filter(|h| !h.1.is_empty()) {
        head += &format!("{name}: {value}\r\n");
    }
    head += "Connection: close\r\n\r\n";
    let body = if request.method == "HEAD" {
        &[]
    } else {
        &answer.body[..answer.sent]
    };
    // A client that has gone is the test's business.
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    if answer.pause.is_zero() {
        let _ = stream.write_all(body);
        return;
    }
    for byte in body {
        std::thread::sleep(answer.pause);
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream.take(1 << 16)).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Request {
        method,
        path,
        headers,
    })
}
