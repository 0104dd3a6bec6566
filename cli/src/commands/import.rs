//! `import`: puts the keys and values of JSON lines.
//!
//! Many puts are under way at a time, but their lines are acknowledged in order: that line N is acknowledged means that
//! every line up to N is stored. Puts of one key keep their order, because a line waits while its key is under way.

use super::{lines, progress, stdin};
use crate::args::store::ImportOptions;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use bytes::Bytes;
use coffer::request::{PutRequest, PutResponse};
use coffer::{Client, Error};
use futures_util::future::{self, BoxFuture, Either};
use futures_util::stream::{FuturesOrdered, StreamExt};
use indicatif::ProgressBar;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::pin::pin;

/// Most puts under way.
const PUTS_MAX: usize = 512;
/// Most bytes of keys and values under way; one put may exceed it.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest line that is read. A value of 1.5 MiB takes at most 9 MiB as JSON.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Where an import stands that has not begun.
pub(super) const NONE_ACKNOWLEDGED: &str = "no line was acknowledged";

pub(crate) async fn run(client: &Client, options: ImportOptions, output: &mut Output) -> Result<(), Failure> {
    let (input, total) = open(&options.file)?;
    let acked = match &options.acked {
        Some(path) => {
            Some(File::create(path).map_err(|error| Failure::file("create", path.display(), &error))?)
        }
        None => None,
    };
    let bar = progress::bar(total, true);
    let mut import = Import { client, acked, bar, window: Window::default(), last_acked: 0, lines: 0 };
    let done = import.run(input).await;
    import.bar.finish_and_clear();
    done.map_err(|failure| failure.note(import.standing()))?;
    match output.format {
        Format::Json => output.json(&serde_json::json!({ "imported": import.lines }))?,
        Format::Simple | Format::Table => output.line(format_args!("imported {} keys", import.lines))?,
    }
    Ok(())
}

type Lines = async_channel::Receiver<io::Result<stdin::NumberedLine>>;

/// Opens the input; gives its size as well if it is known.
fn open(path: &Path) -> Result<(Lines, Option<u64>), Failure> {
    let lines = if path == Path::new("-") {
        stdin::lines(BufReader::with_capacity(1 << 16, io::stdin()), LINE_BYTES_MAX)
            .map(|lines| (lines, None))
    } else {
        let file = File::open(path).map_err(|error| Failure::file("open", path.display(), &error))?;
        let total = file.metadata().ok().map(|metadata| metadata.len()).filter(|&length| length > 0);
        stdin::lines(BufReader::with_capacity(1 << 16, file), LINE_BYTES_MAX).map(|lines| (lines, total))
    };
    lines.map_err(|error| Failure::file("read", path.display(), &error))
}

/// An import under way.
struct Import<'a> {
    client: &'a Client,
    acked: Option<File>,
    bar: ProgressBar,
    window: Window<'a>,
    /// Number of the last acknowledged line; 0 if none.
    last_acked: u64,
    /// How many lines were acknowledged; empty lines have none.
    lines: u64,
}

/// The puts under way, in the order of their lines.
#[derive(Default)]
struct Window<'a> {
    puts: FuturesOrdered<BoxFuture<'a, Answer>>,
    keys: HashSet<Bytes>,
    bytes: usize,
    /// Number of the last line that was sent.
    last_sent: u64,
}

/// The answer to one put.
struct Answer {
    line: u64,
    end: u64,
    key: Bytes,
    bytes: usize,
    result: Result<PutResponse, Error>,
}

impl Import<'_> {
    async fn run(&mut self, input: Lines) -> Result<(), Failure> {
        while let Some(line) = self.next_line(&input).await? {
            if line.text.trim_ascii().is_empty() {
                continue;
            }
            let (key, value) = match lines::parse(&line.text) {
                Ok(pair) => pair,
                Err(reason) => {
                    self.drain().await?;
                    return Err(Failure::usage(format_args!("line {}: {reason}", line.number)));
                }
            };
            let bytes = key.len() + value.len();
            while self.window.is_full(bytes) || self.window.keys.contains(&key) {
                self.acknowledge_oldest().await?;
            }
            self.send(line.number, line.end, key, value);
        }
        self.drain().await
    }

    /// The next line of the input; acknowledges what is answered while it waits for it.
    async fn next_line(&mut self, input: &Lines) -> Result<Option<stdin::NumberedLine>, Failure> {
        let mut line = pin!(input.recv());
        let received = loop {
            if self.window.puts.is_empty() {
                break line.await;
            }
            // The puts first: that is what sends the newest of them.
            match future::select(self.window.puts.next(), line.as_mut()).await {
                Either::Left((Some(answer), _)) => self.acknowledge(answer)?,
                Either::Left((None, _)) => {}
                Either::Right((received, _)) => break received,
            }
        };
        match received {
            Ok(Ok(line)) => Ok(Some(line)),
            Ok(Err(error)) => {
                self.drain().await?;
                Err(Failure::new(Exit::Failed, format_args!("cannot read the input: {error}")))
            }
            Err(_) => Ok(None),
        }
    }

    fn send(&mut self, line: u64, end: u64, key: Bytes, value: Bytes) {
        let bytes = key.len() + value.len();
        self.window.keys.insert(key.clone());
        self.window.bytes += bytes;
        self.window.last_sent = line;
        let client = self.client;
        self.window.puts.push_back(Box::pin(async move {
            let request = PutRequest { key: key.clone(), value, ..PutRequest::default() };
            let result = client.put_request(request).await;
            Answer { line, end, key, bytes, result }
        }));
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        while !self.window.puts.is_empty() {
            self.acknowledge_oldest().await?;
        }
        Ok(())
    }

    async fn acknowledge_oldest(&mut self) -> Result<(), Failure> {
        match self.window.puts.next().await {
            Some(answer) => self.acknowledge(answer),
            None => Ok(()),
        }
    }

    /// Takes the answer to the oldest put.
    fn acknowledge(&mut self, answer: Answer) -> Result<(), Failure> {
        self.window.keys.remove(&answer.key);
        self.window.bytes -= answer.bytes;
        answer
            .result
            .map_err(|error| Failure::of_change(error).context(format_args!("line {}", answer.line)))?;
        self.last_acked = answer.line;
        self.lines += 1;
        if let Some(file) = &mut self.acked {
            // One write, unbuffered: the number is in the file before anything else happens.
            file.write_all(format!("{}\n", answer.line).as_bytes())
                .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot write --acked: {error}")))?;
        }
        self.bar.set_position(answer.end);
        Ok(())
    }

    /// Where the import stands, for the message of a failure.
    fn standing(&self) -> String {
        let last = match self.last_acked {
            0 => NONE_ACKNOWLEDGED.to_owned(),
            line => format!("line {line} was the last acknowledged"),
        };
        match self.window.last_sent > self.last_acked {
            true => {
                format!("{last}, what follows up to line {} may be stored as well", self.window.last_sent)
            }
            false => last,
        }
    }
}

impl Window<'_> {
    fn is_full(&self, more_bytes: usize) -> bool {
        self.puts.len() >= PUTS_MAX || (!self.puts.is_empty() && self.bytes + more_bytes > BYTES_MAX)
    }
}
