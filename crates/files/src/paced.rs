//! A reader that stops a transfer that has become too slow.

use std::fmt::{Display, Formatter};
use std::io::{Error, Read, Result};
use std::time::{Duration, Instant};

/// Bytes that must come within the patience of a transfer: 1 KiB a second with a patience of a minute.
const FEWEST: u64 = 60 << 10;

/// The error of a [`Paced`] reader whose transfer was too slow.
#[derive(Debug)]
pub struct Crept {
    /// The number of bytes that came within the time limit.
    pub bytes: u64,
    /// The time limit.
    pub patience: Duration,
}

impl Display for Crept {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let seconds = self.patience.as_secs_f64();
        write!(f, "only {} bytes came in {seconds} s", self.bytes)
    }
}

impl std::error::Error for Crept {}

/// A reader that gives up if fewer than 60 KiB come within a time limit, even if they come steadily.
///
/// It does not notice a reader that waits forever for the next byte; the timeout of a single read is for that.
#[derive(Debug)]
pub struct Paced<R> {
    inner: R,
    patience: Duration,
    since: Instant,
    bytes: u64,
}

impl<R> Paced<R> {
    /// Wraps a reader; the time limit starts now.
    pub fn new(inner: R, patience: Duration) -> Paced<R> {
        Paced {
            inner,
            patience,
            since: Instant::now(),
            bytes: 0,
        }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes >= FEWEST {
            (self.since, self.bytes) = (Instant::now(), 0);
        } else if count > 0 && self.since.elapsed() > self.patience {
            return Err(Error::other(Crept {
                bytes: self.bytes,
                patience: self.patience,
            }));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes at a time, each after a pause, without end.
    struct Source(usize, Duration);

    impl Read for Source {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            std::thread::sleep(self.1);
            let count = self.0.min(buffer.len());
            buffer[..count].fill(1);
            Ok(count)
        }
    }

    #[test]
    fn what_creeps_is_given_up_and_what_flows_is_not() {
        let patience = Duration::from_millis(50);
        let mut slow = Paced::new(Source(1, Duration::from_millis(5)), patience);
        let error = std::io::copy(&mut slow, &mut std::io::sink()).unwrap_err();
        assert!(error.get_ref().is_some_and(|e| e.is::<Crept>()), "{error}");
        // On a busy machine a thread may stand still for longer than any patience that a test would wait for.
        let fast = Paced::new(Source(1 << 16, Duration::ZERO), Duration::from_secs(600));
        let mut whole = fast.take(20 << 16);
        assert_eq!(
            std::io::copy(&mut whole, &mut std::io::sink()).unwrap(),
            20 << 16
        );
    }
}
