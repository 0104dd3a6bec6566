//! `watch`: shows changes as they happen.

use super::kv::key_range;
use super::stdin;
use crate::args::kv::WatchOptions;
use crate::failure::{Exit, Failure};
use crate::output::json::WatchJson;
use crate::output::{Format, Output};
use crate::quote::{quote, words};
use clap::Parser;
use coffer::request::Header;
use coffer::{Client, Error, Event, EventKind, Update, Watch};
use futures_util::future::{self, Either};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::ffi::OsString;
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::pin::pin;
use std::process;

/// The longest line of an interactive watch.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

pub(crate) async fn run(client: &Client, options: WatchOptions, output: &mut Output) -> Result<(), Failure> {
    // JSON shows who answers, which the updates do not carry.
    let header = match output.format {
        Format::Json => client.status().await?.header,
        Format::Simple | Format::Table => Header::default(),
    };
    let mut printer = Printer { header, output };
    if options.interactive {
        return interactive(client, &mut printer).await;
    }
    let command = options.command.clone();
    let mut watch = match start(client, options).await {
        Ok(watch) => watch,
        Err(error) => return Err(printer.canceled(&error)),
    };
    while let Some(update) = watch.next().await {
        match update {
            Ok(update) => printer.update(&update, &command)?,
            Err(error) => return Err(printer.canceled(&error)),
        }
    }
    Err(printer.canceled(&Error::Stopped))
}

async fn start(client: &Client, options: WatchOptions) -> Result<Watch, Error> {
    let key = options.key.unwrap_or_default();
    let range = key_range(key, options.extent);
    let mut watch = client.watch(range).from_revision(options.rev);
    if options.prev_kv {
        watch = watch.prev_kv();
    }
    if options.progress_notify {
        watch = watch.progress_notify();
    }
    watch.start().await
}

/// Shows updates.
struct Printer<'a> {
    header: Header,
    output: &'a mut Output,
}

impl Printer<'_> {
    fn update(&mut self, update: &Update, command: &[OsString]) -> Result<(), Failure> {
        if self.output.format == Format::Json {
            self.output.json(&WatchJson::update(&self.header, update))?;
        } else if update.events.is_empty() {
            self.output.line(format_args!("progress notify: {}", update.revision))?;
        }
        for event in &update.events {
            if self.output.format != Format::Json {
                self.event(event)?;
            }
            if !command.is_empty() {
                self.output.flush()?;
                execute(command, event, update.revision)?;
            }
        }
        Ok(self.output.flush()?)
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.output.line(name(event.kind))?;
        if let Some(prev_kv) = &event.prev_kv {
            self.output.pair(prev_kv)?;
        }
        self.output.pair(&event.kv)
    }

    /// Shows the end of a watch, as far as the format does, and gives the failure for it.
    fn canceled(&mut self, error: &Error) -> Failure {
        if self.output.format == Format::Json {
            let compact_revision = match error {
                Error::Compacted { compact_revision } => *compact_revision,
                _ => 0,
            };
            let shown = self.output.json(&WatchJson::canceled(&self.header, compact_revision));
            if let Err(error) = shown.and_then(|()| self.output.flush()) {
                return error.into();
            }
        }
        Failure::from(error.clone()).context("the watch ended")
    }
}

fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Put => "PUT",
        EventKind::Delete => "DELETE",
    }
}

/// Runs the command that was given for each event, and waits for it.
fn execute(command: &[OsString], event: &Event, revision: i64) -> Result<(), Failure> {
    let [program, arguments @ ..] = command else { return Ok(()) };
    let status = process::Command::new(program)
        .args(arguments)
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", quote(name(event.kind).as_bytes()))
        .env("ETCD_WATCH_KEY", quote(&event.kv.key))
        .env("ETCD_WATCH_VALUE", quote(&event.kv.value))
        .status()
        .map_err(|error| Failure::file("run", program.display(), &error))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, format_args!("{} failed: {status}", program.display()))),
    }
}

/// One line of an interactive watch.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_subcommand = true, disable_help_flag = true)]
enum Line {
    Watch(WatchOptions),
    Progress,
}

/// What came of waiting for one watch.
type Awaited = (Watch, Vec<OsString>, Option<Result<Update, Error>>);

/// Starts a watch for each line of standard input. After the end of the input the watches go on.
async fn interactive(client: &Client, printer: &mut Printer<'_>) -> Result<(), Failure> {
    let lines = stdin::lines(BufReader::new(io::stdin()), LINE_BYTES_MAX)
        .map_err(|error| Failure::file("read", "the watches", &error))?;
    let mut lines = Some(lines);
    let mut watches = FuturesUnordered::new();
    loop {
        let line = async {
            match &lines {
                Some(lines) => lines.recv().await.ok(),
                None => future::pending().await,
            }
        };
        if watches.is_empty() && lines.is_none() {
            return Ok(());
        }
        let update = async {
            match watches.next().await {
                Some(awaited) => awaited,
                None => future::pending().await,
            }
        };
        let event = match future::select(pin!(line), pin!(update)).await {
            Either::Left((line, _)) => Either::Left(line),
            Either::Right((awaited, _)) => Either::Right(awaited),
        };
        match event {
            Either::Left(None) => lines = None,
            Either::Left(Some(line)) => {
                let line = line.map_err(|error| Failure::file("read", "the watches", &error))?;
                match parse(&line.text)? {
                    None => {}
                    Some(Line::Progress) => progress(client, printer).await?,
                    Some(Line::Watch(options)) => {
                        let command = options.command.clone();
                        let watch = start(client, options).await.map_err(|error| printer.canceled(&error))?;
                        watches.push(wait(watch, command));
                    }
                }
            }
            Either::Right((watch, command, update)) => match update {
                Some(Ok(update)) => {
                    printer.update(&update, &command)?;
                    watches.push(wait(watch, command));
                }
                Some(Err(error)) => return Err(printer.canceled(&error)),
                None => return Err(printer.canceled(&Error::Stopped)),
            },
        }
    }
}

async fn wait(mut watch: Watch, command: Vec<OsString>) -> Awaited {
    let update = watch.next().await;
    (watch, command, update)
}

/// Shows the newest revision.
async fn progress(client: &Client, printer: &mut Printer<'_>) -> Result<(), Failure> {
    let revision = client.status().await?.header.revision;
    printer.update(&Update { revision, events: Vec::new(), fragment: false }, &[])
}

fn parse(line: &[u8]) -> Result<Option<Line>, Failure> {
    let text = std::str::from_utf8(line).map_err(|_| Failure::usage("a line is not UTF-8"))?;
    let words = words(text).map_err(Failure::usage)?;
    if words.is_empty() {
        return Ok(None);
    }
    let expected = "expected `watch [options] key [range_end] [-- command…]` or `progress`";
    let line = Line::try_parse_from(words.into_iter().map(OsString::from_vec))
        .map_err(|_| Failure::usage(format_args!("`{text}` is no watch: {expected}")))?;
    match line {
        Line::Watch(WatchOptions { interactive: true, .. }) => {
            Err(Failure::usage(format_args!("`{text}` is no watch: {expected}")))
        }
        line => Ok(Some(line)),
    }
}
