//! A reader that breaks off a transfer which creeps.

use std::fmt::{Display, Formatter};
use std::io::{Error, Read, Result};
use std::time::{Duration, Instant};

/// Bytes that must come within the patience of a transfer: 1 KiB a second with a patience of a minute.
const FEWEST: u64 = 60 << 10;

/// That a transfer was too slow; the source of the error that a [`Paced`] reader gives.
#[derive(Debug)]
pub struct Crept {
    /// What came within the patience.
    pub bytes: u64,
    /// The patience.
    pub patience: Duration,
}

impl Display for Crept {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let seconds = self.patience.as_secs_f64();
        write!(f, "only {} bytes came in {seconds} s", self.bytes)
    }
}

impl std::error::Error for Crept {}

/// A reader that gives up when less than 60 KiB come within its patience, however steadily they come.
///
/// A reader that waits for ever for its next byte is not seen here: that is for the timeout of a single read.
#[derive(Debug)]
pub struct Paced<R> {
    inner: R,
    patience: Duration,
    since: Instant,
    bytes: u64,
}

impl<R> Paced<R> {
    /// The patience begins now.
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
        let fast = Paced::new(Source(1 << 16, Duration::from_millis(5)), patience);
        let mut whole = fast.take(20 << 16);
        assert_eq!(
            std::io::copy(&mut whole, &mut std::io::sink()).unwrap(),
            20 << 16
        );
    }
}
