//! Progress bars: on stderr, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};

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
