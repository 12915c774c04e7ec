//! Transfers one file over HTTP and resumes where an earlier transfer ended.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use interlingua_files::{Crept, Paced};

use super::FetchOptions;
use crate::error::DataError;
use crate::input::io_error;
use crate::manifest::RemoteFile;

/// Appends the rest of a file to `partial`, which already holds its first `have` bytes.
///
/// # Errors
/// Errors of the network, of the server and of the disk. The bytes that were received are kept.
pub(super) fn transfer(
    file: &RemoteFile,
    target: &Path,
    partial: &Path,
    have: u64,
    options: &FetchOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<(), DataError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .user_agent(concat!("interlingua/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut request = agent.get(&file.url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let offline = |error: ureq::Error| DataError::Offline {
        url: file.url.clone(),
        target: target.to_owned(),
        message: error.to_string(),
    };
    let mut response = request.call().map_err(offline)?;
    let status = response.status().as_u16();
    let resumed = match status {
        200 => false,
        206 => starts_at(&response, have),
        // The part on disk isn't a beginning of what the server has now.
        416 if have > 0 => {
            std::fs::remove_file(partial).map_err(|e| io_error(partial, e))?;
            return transfer(file, target, partial, 0, options, progress);
        }
        _ => {
            let hint = match status {
                404 | 410 => {
                    ": the file was moved or removed; look for it at the homepage in the manifest"
                }
                401 | 403 => ": access is restricted; fetch the file by hand",
                429 | 500..=599 => ": the server is busy or broken; try again later",
                _ => "",
            };
            return Err(DataError::Http {
                url: file.url.clone(),
                status,
                hint: hint.to_owned(),
            });
        }
    };
    if status == 206 && !resumed {
        std::fs::remove_file(partial).map_err(|e| io_error(partial, e))?;
        return transfer(file, target, partial, 0, options, progress);
    }
    let mut received = if resumed { have } else { 0 };
    let mut output = OpenOptions::new();
    output.create(true).write(true);
    if resumed {
        output.append(true)
    } else {
        output.truncate(true)
    };
    let mut output = output.open(partial).map_err(|e| io_error(partial, e))?;
    let body = response.body_mut();
    // One byte more than expected is enough to know that the file is another one.
    let most = file.bytes.saturating_sub(received).saturating_add(1);
    let body = body.with_config().limit(u64::MAX).reader();
    let mut input = Paced::new(body, options.patience).take(most);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.get_ref().is_some_and(|e| e.is::<Crept>()) => {
                return Err(DataError::TooSlow {
                    url: file.url.clone(),
                    message: e.to_string(),
                });
            }
            // What came is on disk; the next run goes on from there.
            Err(_) => break,
        };
        output
            .write_all(&buffer[..count])
            .map_err(|e| io_error(partial, e))?;
        received += count as u64;
        progress(received.min(file.bytes));
    }
    output.sync_all().map_err(|e| io_error(partial, e))?;
    if received < file.bytes {
        return Err(DataError::Truncated {
            url: file.url.clone(),
            received,
            expected: file.bytes,
        });
    }
    Ok(())
}

/// Whether the server goes on where the part on disk ends.
fn starts_at(response: &ureq::http::Response<ureq::Body>, have: u64) -> bool {
    let range = response
        .headers()
        .get("content-range")
        .and_then(|v| v.to_str().ok());
    let start = range
        .and_then(|r| r.trim().strip_prefix("bytes "))
        .and_then(|r| r.split('-').next());
    start.and_then(|s| s.trim().parse::<u64>().ok()) == Some(have)
}
