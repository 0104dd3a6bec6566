//! Lines of a blocking input, for code that also waits for other things.

use async_channel::Receiver;
use std::io::{self, BufRead, Read};

/// A line and its number, from 1.
#[derive(Debug)]
pub(crate) struct NumberedLine {
    pub(crate) number: u64,
    /// Without the line's end.
    pub(crate) text: Vec<u8>,
    /// Bytes of the input up to the end of this line.
    pub(crate) end: u64,
}

/// Lines that are read ahead. Together with the longest line this bounds memory.
const LINES_AHEAD: usize = 8;

/// Reads lines of at most `line_bytes_max` bytes on a thread of its own. The channel closes at the end of the input,
/// and after an error.
pub(crate) fn lines(
    mut input: impl BufRead + Send + 'static,
    line_bytes_max: u64,
) -> io::Result<Receiver<io::Result<NumberedLine>>> {
    let (sender, receiver) = async_channel::bounded(LINES_AHEAD);
    // The thread is left to itself: it may wait for a terminal for ever, and the end of the process ends it.
    std::thread::Builder::new().name("coffer-input".into()).spawn(move || {
        let (mut number, mut end) = (0, 0);
        loop {
            let mut text = Vec::new();
            number += 1;
            let line = match input.by_ref().take(line_bytes_max + 1).read_until(b'\n', &mut text) {
                Ok(0) => return,
                Ok(length) if length as u64 > line_bytes_max => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {number} is longer than {line_bytes_max} bytes"),
                )),
                Ok(length) => {
                    end += length as u64;
                    if text.ends_with(b"\n") {
                        text.pop();
                    }
                    Ok(NumberedLine { number, text, end })
                }
                Err(error) => Err(error),
            };
            let failed = line.is_err();
            if sender.send_blocking(line).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_bounded() {
        let received = lines(&b"one\n\nthree\r\nfour is far too long\nfive\n"[..], 8).unwrap();
        let mut texts = Vec::new();
        let error = loop {
            match received.recv_blocking().unwrap() {
                Ok(line) => texts.push((line.number, line.text, line.end)),
                Err(error) => break error,
            }
        };
        assert_eq!(texts, [(1, b"one".to_vec(), 4), (2, b"".to_vec(), 5), (3, b"three\r".to_vec(), 12)]);
        assert_eq!(error.to_string(), "line 4 is longer than 8 bytes");
        assert!(received.recv_blocking().is_err());
    }

    #[test]
    fn a_last_line_needs_no_end() {
        let received = lines(&b"a\nb"[..], 8).unwrap();
        let texts: Vec<_> =
            std::iter::from_fn(|| received.recv_blocking().ok()).map(|l| l.unwrap().text).collect();
        assert_eq!(texts, [b"a", b"b"]);
    }
}
