//! What pieces of long runs did: one line of JSON each, appended to one file, and their sums.
//!
//! A piece counts for the code that it tested: the commit, and a name for the content of the folders that the tested
//! code comes from, so that a commit that changes documentation only takes nothing back.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// What came of flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Refused, with file and reason.
    pub refused: u64,
    /// Said something; the truth was shown all the same.
    pub repaired: u64,
    /// Said nothing.
    pub harmless: u64,
    /// The last group of a log that was not closed passed for torn.
    pub torn: u64,
}

impl Outcomes {
    /// All flips.
    pub fn total(&self) -> u64 {
        self.refused + self.repaired + self.harmless + self.torn
    }

    fn add(&mut self, other: &Self) {
        self.refused += other.refused;
        self.repaired += other.repaired;
        self.harmless += other.harmless;
        self.torn += other.torn;
    }
}

/// One piece of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The commit that was tested.
    pub commit: String,
    /// The tested content of it.
    pub code: String,
    /// The backend.
    pub backend: String,
    /// Whether it was sealed.
    pub sealed: bool,
    /// What was done.
    pub mode: String,
    /// The first history.
    pub first_seed: u64,
    /// Histories.
    pub seeds: u64,
    /// States that a power cut left and that were recovered and compared.
    pub crash_points: u64,
    /// Bits that were flipped.
    pub flips: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Operations of the medium, as far as it counts them.
    pub operations: u64,
    /// Changes that callers were told of.
    pub acknowledged: u64,
    /// How often which fault struck a cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub struck: BTreeMap<String, u64>,
    /// How often which faults struck a cluster together, or one alone: `kill`, `kill+pause`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<String, u64>,
    /// Outcomes of flips by kind of file and part.
    pub outcomes: BTreeMap<String, BTreeMap<String, Outcomes>>,
    /// Broken promises.
    pub violations: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Piece {
    fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.crash_points += other.crash_points;
        self.flips += other.flips;
        self.faults += other.faults;
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.violations += other.violations;
        self.seconds += other.seconds;
        for (fault, times) in &other.struck {
            *self.struck.entry(fault.clone()).or_default() += times;
        }
        for (step, times) in &other.steps {
            *self.steps.entry(step.clone()).or_default() += times;
        }
        for (kind, parts) in &other.outcomes {
            for (part, outcomes) in parts {
                self.outcomes.entry(kind.clone()).or_default().entry(part.clone()).or_default().add(outcomes);
            }
        }
    }

    /// The history after the last one.
    fn end(&self) -> u64 {
        self.first_seed + self.seeds
    }
}

/// Appends a piece to a report.
///
/// # Errors
/// The file cannot be written.
pub fn append(path: &Path, piece: &Piece) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut line = serde_json::to_string(piece)?;
    line.push('\n');
    // One write: pieces that end at the same time do not mix.
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

/// Every piece of a report; none if there is no such file.
///
/// # Errors
/// The file cannot be read, or is no report.
pub fn read(path: &Path) -> io::Result<Vec<Piece>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

/// The first history that no piece of the same kind tried.
pub fn next_seed(pieces: &[Piece], like: &Piece) -> u64 {
    let same = |piece: &&Piece| {
        (&piece.code, &piece.mode, &piece.backend, piece.sealed)
            == (&like.code, &like.mode, &like.backend, like.sealed)
    };
    pieces.iter().filter(same).map(Piece::end).max().unwrap_or(0)
}

/// Sums of the pieces that tested `code`, or a commit that begins with it, as a table.
pub fn summary(pieces: &[Piece], code: &str) -> String {
    let mut sums: BTreeMap<(String, String, bool), (Piece, usize)> = BTreeMap::new();
    for piece in pieces.iter().filter(|piece| piece.code == code || piece.commit.starts_with(code)) {
        let key = (piece.mode.clone(), piece.backend.clone(), piece.sealed);
        let (sum, count) = sums.entry(key).or_default();
        sum.add(piece);
        *count += 1;
    }
    let mut text =
        String::from("| mode | backend | pieces | histories | crash points | flips | faults struck | ");
    text += "operations | violations | seconds |\n|---|---|---|---|---|---|---|---|---|---|\n";
    for ((mode, backend, sealed), (sum, count)) in &sums {
        let backend = format!("{backend}{}", if *sealed { ", sealed" } else { "" });
        let _ = writeln!(
            text,
            "| {mode} | {backend} | {count} | {} | {} | {} | {} | {} | {} | {:.0} |",
            sum.seeds, sum.crash_points, sum.flips, sum.faults, sum.operations, sum.violations, sum.seconds
        );
    }
    text += &struck(sums.values().map(|(sum, _)| sum));
    for ((mode, backend, sealed), (sum, _)) in sums.iter().filter(|(_, (sum, _))| !sum.outcomes.is_empty()) {
        let backend = format!("{backend}{}", if *sealed { ", sealed" } else { "" });
        let _ = writeln!(
            text,
            "\n{mode}, {backend}:\n\n| file | part | flips | refused | repaired | harmless | torn |"
        );
        text += "|---|---|---|---|---|---|---|\n";
        for (kind, parts) in &sum.outcomes {
            let mut all = Outcomes::default();
            parts.values().for_each(|outcomes| all.add(outcomes));
            let lines = parts.iter().map(|(part, outcomes)| (part.as_str(), *outcomes));
            for (part, outcomes) in lines.chain([("all", all)]) {
                let Outcomes { refused, repaired, harmless, torn } = outcomes;
                let total = outcomes.total();
                let _ = writeln!(
                    text,
                    "| {kind} | {part} | {total} | {refused} | {repaired} | {harmless} | {torn} |"
                );
            }
        }
    }
    text
}

/// How often which fault struck clusters, as a table; nothing if none did.
fn struck<'a>(sums: impl Iterator<Item = &'a Piece>) -> String {
    let mut struck: BTreeMap<&str, u64> = BTreeMap::new();
    let mut steps: BTreeMap<&str, u64> = BTreeMap::new();
    for sum in sums {
        sum.struck.iter().for_each(|(fault, times)| *struck.entry(fault).or_default() += times);
        sum.steps.iter().for_each(|(step, times)| *steps.entry(step).or_default() += times);
    }
    let lines = struck.iter().map(|(fault, times)| format!("| {fault} | {times} |\n"));
    match struck.is_empty() {
        true => String::new(),
        false => {
            format!("\n| fault | struck |\n|---|---|\n{}\n{}", lines.collect::<String>(), told(&steps))
        }
    }
}

/// How many faults struck alone and how many pairs together, and how often at least.
fn told(steps: &BTreeMap<&str, u64>) -> String {
    let of = |pairs: bool| {
        let times = steps.iter().filter(|(step, _)| step.contains('+') == pairs).map(|(_, times)| *times);
        (times.clone().count(), times.min().unwrap_or(0))
    };
    let ((alone, alone_min), (pairs, pairs_min)) = (of(false), of(true));
    format!(
        "{alone} faults struck alone, each {alone_min} times or more; {pairs} pairs, each {pairs_min} times or more\n"
    )
}
