//! Who runs, and what time it is.
//!
//! # Invariants
//! - The state is touched only by the thread that has the turn.
//! - A thread has the turn from `take_turn` on, and gives it away only in `switch` and, for good, in `ended`.
//! - Threads of a frozen [`Group`] are passed over, and their deadlines with them.

use super::random::{Random, mix};
use super::real::{self, Routine};
use libc::{c_int, c_void, pthread_attr_t, pthread_t};
use std::cell::{Cell, UnsafeCell};
use std::fmt::Write;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Threads that live and die together: those of one life of a member, or of the world (0). A thread belongs to the group
/// of the thread that started it.
pub type Group = u32;

/// When the machine starts: not at the beginning of time, so that one can look back.
const START_NS: u64 = 1_000_000_000_000;
/// 2026-11-22 on the wall.
const WALL_NS: u64 = 1_795_305_600_000_000_000;
/// What a look at the clock takes, so that who waits for a time by looking sees it come.
const LOOK_NS: u64 = 200;
/// Who looks so often without waiting for anything goes round in circles.
const LOOKS_MAX: u64 = 1_000_000;
/// What it takes to let others run.
const YIELD_NS: u64 = 1000;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// A futex.
    Word(usize),
    /// Nothing but its deadline.
    Time,
    /// The end of a thread.
    End(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Waits { on: On, deadline: Option<u64> },
    Ended,
}

struct Thread {
    state: State,
    /// 1 when it is given the turn.
    turn: &'static AtomicU32,
    group: Group,
    name: String,
    handle: pthread_t,
    value: *mut c_void,
    /// Whether its last wait ended by its deadline.
    timed_out: bool,
}

struct Kernel {
    now_ns: u64,
    threads: Vec<Thread>,
    /// Those that have not ended and are not dead.
    live: Vec<usize>,
    ready: Vec<usize>,
    current: usize,
    /// Whose turn it is.
    order: Random,
    /// Random bytes for the program.
    entropy: Random,
    /// How often, of a thousand, who wakes another lets somebody run at once.
    preemption: u64,
    frozen: Vec<Group>,
    wall_offsets: Vec<(Group, i64)>,
    /// Has ended, and may still be freeing what the C library gave it.
    departed: Option<pthread_t>,
    trace: u64,
    turns: u64,
    /// Looks at the clock in this turn.
    looks: u64,
    limit_ns: u64,
}

struct Global(UnsafeCell<Option<Kernel>>);

// SAFETY: only the thread that has the turn touches it.
unsafe impl Sync for Global {}

static KERNEL: Global = Global(UnsafeCell::new(None));

thread_local! {
    /// Whether the machine runs this thread.
    static MINE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is one of the machine's.
pub(super) fn is_mine() -> bool {
    MINE.get()
}

/// The state. The reference must not outlive the turn.
fn kernel() -> &'static mut Kernel {
    // SAFETY: the caller has the turn, and nobody keeps a reference over a call that could ask for another.
    unsafe { (*KERNEL.0.get()).as_mut() }.expect("the machine has been started")
}

/// Starts the machine. The calling thread becomes its first and has the turn. It halts for good after `limit`.
pub fn boot(seed: u64, limit: Duration) {
    let mut random = Random::new(seed);
    let first = Thread {
        state: State::Ready,
        turn: Box::leak(Box::new(AtomicU32::new(0))),
        group: 0,
        name: "main".into(),
        handle: 0,
        value: null_mut(),
        timed_out: false,
    };
    let kernel = Kernel {
        now_ns: START_NS,
        threads: vec![first],
        live: vec![0],
        ready: Vec::new(),
        current: 0,
        order: random.fork(),
        entropy: random.fork(),
        preemption: [0, 50, 300][random.below(3) as usize],
        frozen: Vec::new(),
        wall_offsets: Vec::new(),
        departed: None,
        trace: mix(seed),
        turns: 0,
        looks: 0,
        limit_ns: START_NS + limit.as_nanos() as u64,
    };
    // SAFETY: there is no other thread of the machine yet.
    unsafe { *KERNEL.0.get() = Some(kernel) };
    MINE.set(true);
}

impl Kernel {
    fn is_frozen(&self, thread: usize) -> bool {
        self.frozen.contains(&self.threads[thread].group)
    }

    /// Draws who runs next; lets time pass if nobody can.
    fn choose(&mut self) -> usize {
        loop {
            let (mut ready, mut next) = (std::mem::take(&mut self.ready), None::<u64>);
            ready.clear();
            for number in &self.live {
                if self.is_frozen(*number) {
                    continue;
                }
                let thread = &mut self.threads[*number];
                if let State::Waits { deadline: Some(deadline), .. } = thread.state {
                    if deadline <= self.now_ns {
                        (thread.state, thread.timed_out) = (State::Ready, true);
                    } else {
                        next = Some(next.map_or(deadline, |next| next.min(deadline)));
                    }
                }
                if thread.state == State::Ready {
                    ready.push(*number);
                }
            }
            self.ready = ready;
            if !self.ready.is_empty() {
                let chosen = match self.ready.len() {
                    1 => self.ready[0],
                    several => self.ready[self.order.below(several as u64) as usize],
                };
                return chosen;
            }
            let Some(next) = next else { halt("nobody can ever run again") };
            self.now_ns = next;
            if self.now_ns > self.limit_ns {
                halt("the time is up");
            }
        }
    }

    fn note(&mut self, what: u64) {
        self.trace = mix(self.trace.rotate_left(5) ^ what);
    }
}

/// Lets the next one run, and returns when it is this thread's turn again.
fn switch() {
    let (me, next, to) = {
        let kernel = kernel();
        let (me, next) = (kernel.current, kernel.choose());
        kernel.turns += 1;
        kernel.looks = 0;
        kernel.note(kernel.now_ns ^ (next as u64) << 48);
        kernel.current = next;
        (kernel.threads[me].turn, kernel.threads[next].turn, me != next)
    };
    if to {
        give(next);
        take_turn(me);
    }
}

fn give(turn: &AtomicU32) {
    turn.store(1, Ordering::Release);
    real::call(turn);
}

fn take_turn(turn: &AtomicU32) {
    while turn.swap(0, Ordering::Acquire) == 0 {
        real::wait(turn, 0);
    }
    if let Some(handle) = kernel().departed.take() {
        // SAFETY: it has ended, and nobody else joins it.
        unsafe { real::pthread_join(handle, null_mut()) };
    }
}

/// Waits; whether that ended otherwise than by the deadline.
pub(super) fn block(on: On, deadline: Option<u64>) -> bool {
    let me = {
        let kernel = kernel();
        let me = kernel.current;
        let thread = &mut kernel.threads[me];
        (thread.state, thread.timed_out) = (State::Waits { on, deadline }, false);
        me
    };
    switch();
    !kernel().threads[me].timed_out
}

/// Wakes up to `count` of those that wait for a word; how many it were.
pub(super) fn wake(word: usize, count: u32) -> u32 {
    let (woken, give_way) = {
        let kernel = kernel();
        let group = kernel.threads[kernel.current].group;
        let (mut woken, mut among_us) = (0, true);
        for number in &kernel.live {
            let thread = &mut kernel.threads[*number];
            if woken < count && matches!(thread.state, State::Waits { on: On::Word(at), .. } if at == word) {
                thread.state = State::Ready;
                woken += 1;
                among_us &= thread.group == group;
            }
        }
        // Who wakes another group may hold what both need, and may be killed before its next turn.
        let may_give_way = woken > 0 && among_us && kernel.preemption > 0;
        (woken, may_give_way && kernel.order.chance(kernel.preemption))
    };
    if give_way {
        switch();
    }
    woken
}

/// Lets others run, and a little time pass.
pub(super) fn give_way() {
    kernel().now_ns += YIELD_NS;
    switch();
}

/// The time, as the machine counts it.
pub(super) fn time() -> u64 {
    kernel().now_ns
}

/// A look at the clock.
pub(super) fn read_clock() -> u64 {
    let kernel = kernel();
    kernel.now_ns += LOOK_NS;
    kernel.looks += 1;
    if kernel.looks > LOOKS_MAX {
        halt("a thread does not give up its turn");
    }
    kernel.now_ns
}

/// A look at the clock on the wall, which each group has for itself.
pub(super) fn read_wall_clock() -> u64 {
    let now = read_clock() - START_NS + WALL_NS;
    let kernel = kernel();
    let group = kernel.threads[kernel.current].group;
    let offset = kernel.wall_offsets.iter().find(|(of, _)| *of == group).map_or(0, |(_, offset)| *offset);
    now.saturating_add_signed(offset)
}

/// Random bytes for the program.
pub(super) fn fill(bytes: &mut [u8]) {
    let entropy = &mut kernel().entropy;
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&entropy.next().to_le_bytes()[..chunk.len()]);
    }
}

struct Start {
    number: usize,
    routine: Routine,
    with: *mut c_void,
}

unsafe extern "C" {
    static __dso_handle: u8;
    fn __cxa_thread_atexit_impl(
        destructor: extern "C" fn(*mut c_void),
        of: *mut c_void,
        library: *const u8,
    ) -> c_int;
}

/// Starts a thread; the number that stands for it.
pub(super) unsafe fn spawn(
    attributes: *const pthread_attr_t,
    routine: Routine,
    with: *mut c_void,
) -> Result<usize, c_int> {
    let kernel = kernel();
    let number = kernel.threads.len();
    let start = Box::into_raw(Box::new(Start { number, routine, with }));
    let mut handle = 0;
    // SAFETY: `begin` takes the box that it is given; the attributes are the caller's.
    let error = unsafe { real::pthread_create(&mut handle, attributes, begin, start.cast()) };
    if error != 0 {
        // SAFETY: no thread took it.
        drop(unsafe { Box::from_raw(start) });
        return Err(error);
    }
    kernel.threads.push(Thread {
        state: State::Ready,
        turn: turn_of(number),
        group: kernel.threads[kernel.current].group,
        name: String::new(),
        handle,
        value: null_mut(),
        timed_out: false,
    });
    kernel.live.push(number);
    Ok(number)
}

/// Most threads that a run ever starts.
const THREADS_MAX: usize = 100_000;

/// The word by which a thread is given the turn: at a place of its own from the beginning, because it may look before it
/// is listed.
fn turn_of(number: usize) -> &'static AtomicU32 {
    static TURNS: [AtomicU32; THREADS_MAX] = [const { AtomicU32::new(0) }; THREADS_MAX];
    TURNS.get(number).unwrap_or_else(|| halt("too many threads"))
}

extern "C" fn begin(start: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` made the box for this thread; its content does not change any more.
    let number = unsafe { (*start.cast::<Start>()).number };
    take_turn(turn_of(number));
    MINE.set(true);
    // SAFETY: as above, and this thread has the turn.
    let Start { routine, with, .. } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    // SAFETY: destructors run in the reverse order, so that this one is the last: with it the thread gives up its turn.
    let error = unsafe { __cxa_thread_atexit_impl(ended, number as *mut c_void, &raw const __dso_handle) };
    assert_eq!(error, 0, "a destructor can be registered");
    let value = routine(with);
    kernel().threads[number].value = value;
    value
}

extern "C" fn ended(number: *mut c_void) {
    let number = number as usize;
    let next = {
        let kernel = kernel();
        kernel.threads[number].state = State::Ended;
        kernel.live.retain(|live| *live != number);
        for live in &kernel.live {
            let thread = &mut kernel.threads[*live];
            if matches!(thread.state, State::Waits { on: On::End(of), .. } if of == number) {
                thread.state = State::Ready;
            }
        }
        kernel.departed = Some(kernel.threads[number].handle);
        let next = kernel.choose();
        kernel.turns += 1;
        kernel.note(kernel.now_ns ^ (next as u64) << 48 ^ 1);
        kernel.current = next;
        kernel.threads[next].turn
    };
    MINE.set(false);
    give(next);
}

/// Waits for a thread's end; its value.
pub(super) fn join(number: usize) -> *mut c_void {
    if kernel().threads[number].state != State::Ended {
        block(On::End(number), None);
    }
    kernel().threads[number].value
}

/// Names the calling thread.
pub(super) fn set_name(name: String) {
    let kernel = kernel();
    kernel.threads[kernel.current].name = name;
}

/// The time since the start.
pub fn now() -> Duration {
    Duration::from_nanos(time() - START_NS)
}

/// The group of the calling thread.
fn group() -> Group {
    let kernel = kernel();
    kernel.threads[kernel.current].group
}

/// Runs `work` as a part of a group: threads that it starts belong to it.
pub fn in_group<T>(group: Group, work: impl FnOnce() -> T) -> T {
    let set = |group| {
        let kernel = kernel();
        std::mem::replace(&mut kernel.threads[kernel.current].group, group)
    };
    let before = set(group);
    let done = work();
    set(before);
    done
}

/// From now on no thread of a group runs.
pub fn freeze(group: Group) {
    assert_ne!(group, self::group(), "nobody freezes himself");
    kernel().frozen.push(group);
}

/// The threads of a group run again.
pub fn thaw(group: Group) {
    kernel().frozen.retain(|frozen| *frozen != group);
}

/// Threads of a group never run again, as if their process had been killed.
pub fn kill(group: Group) {
    assert_ne!(group, self::group(), "nobody kills himself");
    let kernel = kernel();
    let threads = &kernel.threads;
    kernel.live.retain(|number| threads[*number].group != group);
    kernel.frozen.retain(|frozen| *frozen != group);
}

/// Sets how far the clock on the wall of a group is ahead.
pub fn set_wall_offset(group: Group, nanoseconds: i64) {
    let offsets = &mut kernel().wall_offsets;
    offsets.retain(|(of, _)| *of != group);
    offsets.push((group, nanoseconds));
}

/// Has the trace depend on something that happened.
pub fn note(what: u64) {
    kernel().note(what);
}

/// A number that two runs have in common if everything happened in them in the same order and at the same time.
pub fn trace_hash() -> u64 {
    let kernel = kernel();
    mix(kernel.trace ^ kernel.now_ns)
}

/// How often it was somebody's turn.
pub fn turns() -> u64 {
    kernel().turns
}

/// Ends the process, and says who waits for what.
fn halt(why: &str) -> ! {
    let text = format!("machine halted at {:?}: {why}\n{}", now(), threads());
    // SAFETY: the text is a buffer of that length; the process ends at once.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(3)
    }
}

/// Ends the process at once, with everything that still waits in it.
pub fn exit(code: u8) -> ! {
    // SAFETY: nothing is in a buffer any more that somebody would miss.
    unsafe { libc::_exit(code.into()) }
}

/// Ends the process after so much real time.
pub fn end_after(time: Duration) {
    // SAFETY: nothing else uses the alarm of the process.
    unsafe { libc::alarm(time.as_secs() as libc::c_uint) };
}

/// All threads, and what each waits for.
pub fn threads() -> String {
    let kernel = kernel();
    let mut text = String::new();
    for number in &kernel.live {
        let thread = &kernel.threads[*number];
        // A string takes everything.
        let _ = writeln!(text, "  {number} {} of {}: {:?}", thread.name, thread.group, thread.state);
    }
    text
}
