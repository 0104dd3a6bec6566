//! The log in the shape that etcd's has: zap's JSON lines, or its console lines.
//!
//! ```text
//! {"level":"info","ts":"2026-11-21T14:00:00.000000Z","caller":"serve/daemon.rs:50","msg":"…","key":"value"}
//! 2026-11-21T14:00:00.000000Z <tab> info <tab> serve/daemon.rs:50 <tab> … <tab> {"key": "value"}
//! ```

use crate::serve::LogLevel;
use serde_json::Value;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What is logged, how, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
    pub(crate) outputs: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Json,
    Console,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Json, outputs: vec!["default".into()] }
    }
}

impl LogSettings {
    /// Begins to log. The error names the file that can not be written.
    pub(crate) fn start(&self) -> Result<(), String> {
        let sinks = self.outputs.iter().map(|output| Sink::open(output)).collect::<Result<Vec<_>, _>>()?;
        let sinks = Sinks(Arc::new(sinks));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(self.level.filter())
            .with_ansi(false)
            .event_format(Zap { format: self.format })
            .with_writer(move || sinks.clone());
        subscriber.try_init().map_err(|error| error.to_string())
    }
}

/// One place that lines are written to.
#[derive(Debug)]
enum Sink {
    Stderr,
    Stdout,
    File(File),
}

impl Sink {
    fn open(output: &str) -> Result<Self, String> {
        match output {
            // Under systemd what is written to standard error is in the journal.
            "default" | "stderr" | "systemd/journal" => Ok(Self::Stderr),
            "stdout" => Ok(Self::Stdout),
            path => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.map(Self::File).map_err(|error| format!("cannot write the log to {path}: {error}"))
            }
        }
    }
}

/// Every place. A line is written whole to each.
#[derive(Clone, Debug)]
struct Sinks(Arc<Vec<Sink>>);

impl Write for Sinks {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for sink in self.0.iter() {
            match sink {
                Sink::Stderr => io::stderr().write_all(line)?,
                Sink::Stdout => io::stdout().write_all(line)?,
                Sink::File(file) => (&*file).write_all(line)?,
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Writes events as zap does.
struct Zap {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Zap
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let caller = caller(metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, "{}", line(self.format, level(*metadata.level()), &time, &caller, &fields))
    }
}

fn line(format: LogFormat, level: &str, time: &str, caller: &str, fields: &Fields) -> String {
    match format {
        LogFormat::Json => {
            let head = [("level", level), ("ts", time), ("caller", caller), ("msg", &fields.message)];
            let head = head.map(|(key, value)| (key.to_owned(), Value::from(value)));
            // A field of the same name would hide one of the head.
            let others = fields.others.iter().filter(|(key, _)| head.iter().all(|(name, _)| name != key));
            object(head.iter().chain(others))
        }
        LogFormat::Console if fields.others.is_empty() => {
            format!("{time}\t{level}\t{caller}\t{}", fields.message)
        }
        LogFormat::Console => {
            format!("{time}\t{level}\t{caller}\t{}\t{}", fields.message, object(fields.others.iter()))
        }
    }
}

/// A JSON object with its keys in this order.
fn object<'a>(fields: impl Iterator<Item = &'a (String, Value)>) -> String {
    let fields: Vec<_> =
        fields.map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
    format!("{{{}}}", fields.join(","))
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

/// The last folder, the file and the line: `serve/daemon.rs:50`.
fn caller(file: &str, line: u32) -> String {
    let from = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    format!("{}:{line}", &file[from..])
}

/// What an event carries.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        // etcd's fields are written with dashes.
        self.others.push((field.name().replace('_', "-"), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.add(field, format!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.into(),
            _ => self.add(field, value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let others = [("listen", "a\"b"), ("msg", "hidden"), ("n", "7")];
        let others = others.map(|(key, value)| (key.to_owned(), Value::from(value)));
        Fields { message: "ready to serve".into(), others: others.to_vec() }
    }

    #[test]
    fn json_lines_begin_as_those_of_zap() {
        assert_eq!(
            line(LogFormat::Json, "info", "2026-11-21T14:00:00.000000Z", "serve/daemon.rs:7", &fields()),
            r#"{"level":"info","ts":"2026-11-21T14:00:00.000000Z","caller":"serve/daemon.rs:7","msg":"ready to serve","listen":"a\"b","n":"7"}"#
        );
    }

    #[test]
    fn console_lines_are_separated_by_tabs() {
        let found = line(LogFormat::Console, "warn", "T", "c", &fields());
        assert_eq!(
            found,
            "T\twarn\tc\tready to serve\t{\"listen\":\"a\\\"b\",\"msg\":\"hidden\",\"n\":\"7\"}"
        );
        assert_eq!(
            line(LogFormat::Console, "info", "T", "c", &Fields { message: "m".into(), ..Fields::default() }),
            "T\tinfo\tc\tm"
        );
    }

    #[test]
    fn callers_are_short() {
        assert_eq!(caller("cli/src/serve/daemon.rs", 7), "serve/daemon.rs:7");
        assert_eq!(caller("main.rs", 7), "main.rs:7");
    }

    #[test]
    fn a_file_that_can_not_be_written_is_named() {
        let error = Sink::open("/nonexistent/etcd.log").expect_err("no such folder");
        assert!(error.contains("/nonexistent/etcd.log"), "{error}");
    }
}
