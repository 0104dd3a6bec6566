//! Writes the text that Prometheus reads, version 0.0.4.
//!
//! Own code, because etcd's names must be kept to the letter: counters that do not end in `_total`, gauges that do.
//! The values are read from the node at each scrape, so that a library's registry would have nothing to keep.

use coffer_core::metrics::HistogramSnapshot;
use std::fmt::{Display, Write};

/// What the text says it is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics that grows.
#[derive(Default)]
pub(super) struct Page(String);

/// Labels of a sample.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// Begins a family of counters.
    pub(super) fn counters(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// Begins a family of gauges.
    pub(super) fn gauges(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Begins a family of histograms.
    pub(super) fn histograms(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.counters(name, help).sample(&[], value);
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.gauges(name, help).sample(&[], value);
    }

    /// A histogram without labels, in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str, value: &HistogramSnapshot) {
        self.histograms(name, help).histogram(&[], value, 1.0);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: self, name }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(text);
    }
}

/// Metrics of one name.
pub(super) struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Family<'_> {
    /// One value.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// One histogram, in units of which there are `per_second`.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, value: &HistogramSnapshot, per_second: f64) {
        let mut count = 0;
        for (at, within) in value.counts.iter().enumerate() {
            count += within;
            let bound = value.bounds.get(at).map(|bound| (bound.as_secs_f64() * per_second).to_string());
            self.line("_bucket", labels, Some(bound.as_deref().unwrap_or("+Inf")), count);
        }
        self.line("_sum", labels, None, value.sum.as_secs_f64() * per_second);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        let name = self.name;
        self.page.push(format_args!("{name}{suffix}"));
        let bound = bound.map(|bound| ("le", bound));
        for (at, (label, value)) in labels.iter().copied().chain(bound).enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            self.page.push(format_args!("{before}{label}=\"{}\"", escaped(value)));
        }
        let after = if labels.is_empty() && bound.is_none() { "" } else { "}" };
        self.page.push(format_args!("{after} {value}\n"));
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_core::metrics::{DISK_BOUNDS, Histogram};
    use std::time::Duration;

    #[test]
    fn the_text_is_as_prometheus_describes_it() {
        let mut page = Page::default();
        page.counter("a_total", "Things.", 3);
        let mut family = page.gauges("b", "More.");
        family.sample(&[("x", "1"), ("y", "q\"\\\n")], 1.5);
        assert_eq!(
            page.finish(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total 3\n\
             # HELP b More.\n# TYPE b gauge\nb{x=\"1\",y=\"q\\\"\\\\\\n\"} 1.5\n"
        );
    }

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::new(&DISK_BOUNDS[..2]);
        for ms in [1, 2, 2, 500] {
            histogram.record(Duration::from_millis(ms));
        }
        let mut page = Page::default();
        page.histograms("h", "H.").histogram(&[("k", "v")], &histogram.snapshot(), 1.0);
        assert_eq!(
            page.finish(),
            "# HELP h H.\n# TYPE h histogram\n\
             h_bucket{k=\"v\",le=\"0.001\"} 1\nh_bucket{k=\"v\",le=\"0.002\"} 3\n\
             h_bucket{k=\"v\",le=\"+Inf\"} 4\nh_sum{k=\"v\"} 0.505\nh_count{k=\"v\"} 4\n"
        );
    }
}
