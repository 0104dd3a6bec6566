//! Progress bars: on stderr, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines that tell how far it is.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// A bar for `total` of something, or a counter where the total is unknown. Draws nothing unless stderr is a terminal.
pub(crate) fn bar(total: Option<u64>, bytes: bool) -> ProgressBar {
    let target = match io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr_with_hz(8),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(total, target);
    let template = match (total.is_some(), bytes) {
        (true, true) => "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}",
        (false, true) => "{spinner} {bytes} {bytes_per_sec} {msg}",
        (true, false) => "{bar:30} {pos}/{len} {per_sec} eta {eta} {msg}",
        (false, false) => "{spinner} {pos} {per_sec} {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// How far the reading of many bytes is, on stderr: a bar on a terminal; elsewhere, if it was asked for, lines.
pub(crate) struct Shown {
    bar: ProgressBar,
    lines: bool,
    told: Option<Instant>,
}

impl Shown {
    /// Nothing is shown where stderr is no terminal, unless `always`.
    pub(crate) fn new(always: bool) -> Self {
        Self { bar: bar(Some(0), true), lines: always && !io::stderr().is_terminal(), told: None }
    }

    pub(crate) fn at(&mut self, done: u64, total: u64, damage: u64) {
        // What is expected is an estimate.
        let total = total.max(done);
        self.bar.set_length(total);
        self.bar.set_position(done);
        if damage > 0 {
            self.bar.set_message(format!("{damage} damaged"));
        }
        if self.lines && self.told.is_none_or(|told| told.elapsed() >= LINE_INTERVAL) {
            self.told = Some(Instant::now());
            // Whoever closed stderr does not want to know.
            let _ = writeln!(io::stderr(), "verified {done} of {total} bytes, {damage} damaged");
        }
    }

    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}
