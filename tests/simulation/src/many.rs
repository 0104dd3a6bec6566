//! Seed after seed, each in a process of its own: with the same memory from its first instruction on.

use crate::Arguments;
use crate::run::Ran;
use coffer_tests::report::{self, Piece};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Seeds that make a line of the report.
const PIECE: u64 = 100;

/// Runs of many seeds.
pub struct Many {
    arguments: Arguments,
}

/// What came of a child.
struct Child {
    ran: Option<Ran>,
    text: String,
}

impl Many {
    /// As the arguments say.
    pub fn new(arguments: Arguments) -> Self {
        Self { arguments }
    }

    /// Runs them.
    pub fn go(self) -> ExitCode {
        match self.arguments.seed {
            Some(seed) => self.one(seed),
            None => self.many(),
        }
    }

    /// Runs one seed twice and compares.
    fn one(&self, seed: u64) -> ExitCode {
        let first = self.child(seed, 0, true);
        println!("{}", first.text);
        let Some(ran) = first.ran else { return ExitCode::FAILURE };
        ran.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
        let second = self.child(seed, 0, false).ran;
        let same = second.as_ref().is_some_and(|again| again.trace == ran.trace);
        println!(
            "trace {}: {}",
            ran.trace,
            if same { "the second run is the same" } else { "THE SECOND RUN DIFFERS" }
        );
        if same && ran.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn many(&self) -> ExitCode {
        let from = self.arguments.from.unwrap_or_else(|| self.next_seed());
        let (mut first, end) = (from, from + self.arguments.seeds);
        let (mut total, mut clean) = (Sum::default(), true);
        let began = Instant::now();
        while first < end && (clean || !self.arguments.first) {
            let count = PIECE.min(end - first);
            let piece_began = Instant::now();
            let sum = self.piece(first, count);
            clean &= sum.violations == 0;
            if let Some(path) = &self.arguments.report
                && let Err(error) = report::append(path, &self.line(first, &sum, piece_began))
            {
                eprintln!("the report cannot be written: {error}");
                return ExitCode::FAILURE;
            }
            total.add(&sum);
            first += count;
            println!("{}", total.text(from, began));
        }
        if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn next_seed(&self) -> u64 {
        let Some(path) = &self.arguments.report else { return 0 };
        let pieces = report::read(path).unwrap_or_default();
        report::next_seed(&pieces, &self.like())
    }

    fn like(&self) -> Piece {
        Piece {
            commit: self.arguments.commit.clone(),
            code: self.arguments.code.clone(),
            backend: "segment".into(),
            mode: "simulation".into(),
            ..Piece::default()
        }
    }

    fn line(&self, first: u64, sum: &Sum, began: Instant) -> Piece {
        Piece {
            first_seed: first,
            seeds: sum.seeds,
            operations: sum.operations,
            acknowledged: sum.answered,
            faults: sum.struck.values().sum(),
            struck: sum.struck.clone(),
            violations: sum.violations,
            seconds: began.elapsed().as_secs_f64(),
            ..self.like()
        }
    }

    fn piece(&self, first: u64, count: u64) -> Sum {
        let (next, stop, sum) = (AtomicU64::new(first), AtomicBool::new(false), Mutex::new(Sum::default()));
        thread::scope(|scope| {
            for worker in 0..self.arguments.jobs.max(1) {
                let (next, stop, sum) = (&next, &stop, &sum);
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let seed = next.fetch_add(1, Ordering::SeqCst);
                        if seed >= first + count {
                            return;
                        }
                        let violations = self.seed(seed, worker, sum);
                        if violations > 0 && self.arguments.first {
                            stop.store(true, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        sum.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs a seed and adds it up; returns its violations.
    fn seed(&self, seed: u64, worker: usize, sum: &Mutex<Sum>) -> usize {
        let Child { ran, text } = self.child(seed, worker, false);
        let mut ran = ran.unwrap_or_else(|| {
            let violations = vec![format!("NotEnded: {text}")];
            Ran { seed, violations, ..Ran::default() }
        });
        if self.arguments.again > 0 && seed.is_multiple_of(self.arguments.again) {
            let again = self.child(seed, worker, false).ran.map(|again| again.trace);
            if again.as_ref() != Some(&ran.trace) {
                ran.violations.push(format!("NotRepeated: two runs differ: {} and {again:?}", ran.trace));
            }
        }
        let mut sum = sum.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        sum.take(&ran);
        for violation in ran.violations.iter().take(3) {
            let text: String = violation.chars().take(1500).collect();
            println!("seed {seed}: {text}");
        }
        if !ran.violations.is_empty() {
            println!("replay: tests/simulate --seed {seed}");
        }
        ran.violations.len()
    }

    /// Runs a seed in another process.
    fn child(&self, seed: u64, worker: usize, keeps: bool) -> Child {
        let Output { stdout, stderr, status } = match self.output(seed, worker, keeps) {
            Ok(output) => output,
            Err(error) => return Child { ran: None, text: error.to_string() },
        };
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        let (before, last) = stdout.trim_end().rsplit_once('\n').unwrap_or(("", stdout.trim_end()));
        let mut ran: Option<Ran> = serde_json::from_str(last).ok();
        if let (Some(ran), Some(panicked)) = (&mut ran, panic_in(&stderr)) {
            ran.violations.push(format!("Panicked: {panicked}"));
        }
        let text = match &ran {
            Some(_) => format!("{before}\n{stderr}{last}"),
            None => format!("{status}\n{stdout}\n{stderr}"),
        };
        Child { ran, text }
    }

    fn output(&self, seed: u64, worker: usize, keeps: bool) -> io::Result<Output> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--child").arg(seed.to_string()).stdin(Stdio::null());
        if self.arguments.log {
            command.arg("--log");
        }
        if let Some(keep) = self.arguments.keep.as_ref().filter(|_| keeps) {
            std::fs::create_dir_all(keep)?;
            let path: PathBuf = keep.join(format!("seed-{seed}.jsonl"));
            command.arg("--keep").arg(path);
        }
        // Everything that could differ from run to run, and one arena for all threads.
        command.env_clear().env("MALLOC_ARENA_MAX", "1");
        if let Some(planted) = std::env::var_os("COFFER_PLANTED") {
            command.env("COFFER_PLANTED", planted);
        }
        let processors = thread::available_parallelism().map_or(1, usize::from);
        // SAFETY: both calls may be made between fork and exec, and the set outlives them.
        unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(worker % processors, &mut one);
            command.pre_exec(move || {
                libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
                // One thread runs at a time: on one processor a turn passes several times faster.
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one);
                Ok(())
            })
        };
        command.output()
    }
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    operations: u64,
    answered: u64,
    virtual_ms: u64,
    turns: u64,
    checked: [u64; 4],
    moved: [u64; 3],
    struck: BTreeMap<String, u64>,
    violations: u64,
}

impl Sum {
    fn take(&mut self, ran: &Ran) {
        self.add(&Sum {
            seeds: 1,
            operations: ran.operations,
            answered: ran.answered,
            virtual_ms: ran.virtual_ms,
            turns: ran.turns,
            checked: ran.checked,
            moved: ran.moved,
            struck: ran.struck.clone(),
            violations: ran.violations.len() as u64,
        });
    }

    fn add(&mut self, other: &Sum) {
        self.seeds += other.seeds;
        self.operations += other.operations;
        self.answered += other.answered;
        self.virtual_ms += other.virtual_ms;
        self.turns += other.turns;
        self.checked.iter_mut().zip(other.checked).for_each(|(sum, more)| *sum += more);
        self.moved.iter_mut().zip(other.moved).for_each(|(sum, more)| *sum += more);
        other
            .struck
            .iter()
            .for_each(|(fault, times)| *self.struck.entry(fault.clone()).or_default() += times);
        self.violations += other.violations;
    }

    fn text(&self, from: u64, began: Instant) -> String {
        let Self { seeds, operations, answered, virtual_ms, turns, .. } = self;
        let [revisions, reads, changes, leases] = self.checked;
        let [messages, snapshots, lives] = self.moved;
        let faults: u64 = self.struck.values().sum();
        format!(
            "seeds {from} to {}: {seeds} in {:.0} s; {:.1} virtual hours, {turns} turns, {faults} faults, {lives} lives, \
             {messages} messages, {snapshots} snapshots; {operations} requests, {answered} answered; checked {revisions} \
             revisions, {reads} reads, {changes} events, {leases} leases; {} violations",
            from + seeds,
            began.elapsed().as_secs_f64(),
            *virtual_ms as f64 / 3_600_000.0,
            self.violations
        )
    }
}

/// What openraft asserts where it is built with debug assertions only, and what a leader that is being removed does not hold: it
/// is none any more by the membership that it has appended, and appends the second half of its change all the same.
const REMOVED_LEADER: &str = "Only leader is allowed to call update_effective_membership()";

/// The first panic, with its text, that a run must not have.
fn panic_in(text: &str) -> Option<String> {
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.contains("panicked at") {
            let why = lines.peek().copied().unwrap_or_default();
            if why != REMOVED_LEADER {
                return Some(format!("{line} {why}"));
            }
        }
    }
    None
}
