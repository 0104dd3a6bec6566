//! Which request ids were applied, so that none is applied twice.
//!
//! Of each member the state keeps its newest boot and a window of the sequences of that boot: the newest one seen and
//! the [`WIDTH`] - 1 below it, one bit each. Ids of an older boot or from below the window are refused, because
//! nothing is known of them any more. The window is wider than a member can have in flight.
//!
//! A member that is replaced comes back under a new id, so that the ids only ever grow in number: of more than
//! [`MEMBERS_MAX`] those are forgotten whose process life began first. Of so many members at most a few can have a
//! proposal on its way, and those began last.
//!
//! # Invariants
//! - An id is admitted at most once, on every member at the same log entry.
//! - Which windows are kept depends on nothing but the order of the ids: every member forgets the same ones.
//! - The bit of sequence `s` is bit `s % WIDTH`; bits stand for `newest - WIDTH + 1 ..= newest` only.

use super::RequestId;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::planted::{Bug, planted};

/// Sequences that a window covers.
pub(super) const WIDTH: u64 = 65_536;
const WORDS: usize = (WIDTH / 64) as usize;
/// Many times the members that a cluster has at a time; their windows take 2 MiB.
const MEMBERS_MAX: usize = 256;

/// The windows of the members that proposed.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// In the order in which their boots began; a few, and the newest are asked for.
    members: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    member: u64,
    boot: u64,
    newest: u64,
    seen: Box<[u64; WORDS]>,
}

impl Windows {
    /// Whether `id` is new. Marks it as seen.
    pub(super) fn admit(&mut self, id: RequestId) -> bool {
        let Some(at) = self.position(id.member) else {
            if self.members.len() == MEMBERS_MAX {
                self.members.remove(0);
            }
            self.members.push(Window::new(id));
            return true;
        };
        if id.boot > self.members[at].boot {
            self.members[at..].rotate_left(1);
            self.members.last_mut().is_some_and(|window| window.admit(id))
        } else {
            self.members[at].admit(id)
        }
    }

    /// The newest boot of `member`, if it is known.
    pub(super) fn newest_boot(&self, member: u64) -> Option<u64> {
        Some(self.members[self.position(member)?].boot)
    }

    fn position(&self, member: u64) -> Option<usize> {
        self.members.iter().rposition(|window| window.member == member)
    }

    /// Writes `count (member boot newest run*)*` in the order in which the boots began. The runs give the number of
    /// sequences that are unseen, seen, unseen, … from the window's lowest up to `newest`.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u64(self.members.len() as u64);
        for window in &self.members {
            out.u64(window.member);
            out.u64(window.boot);
            out.u64(window.newest);
            window.runs(|length| out.u64(length));
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(input: &mut Decoder) -> Result<Self, Malformed> {
        let mut members: Vec<Window> = Vec::new();
        let count = input.count(4)?;
        if count > MEMBERS_MAX {
            return Err(Malformed("too many request windows"));
        }
        for _ in 0..count {
            let window = Window::decode(input)?;
            if members.iter().any(|other| other.member == window.member) {
                return Err(Malformed("two request windows of one member"));
            }
            members.push(window);
        }
        Ok(Self { members })
    }
}

impl Window {
    fn new(id: RequestId) -> Self {
        let mut window =
            Self { member: id.member, boot: id.boot, newest: id.sequence, seen: Box::new([0; WORDS]) };
        window.mark(id.sequence);
        window
    }

    fn admit(&mut self, id: RequestId) -> bool {
        if id.boot != self.boot {
            return self.begin_boot(id);
        }
        if id.sequence == self.newest.wrapping_add(1) {
            self.newest = id.sequence;
        } else if id.sequence > self.newest {
            self.advance(id.sequence);
        } else if self.newest - id.sequence >= WIDTH || self.is_seen(id.sequence) {
            return planted(Bug::RetryAppliedTwice);
        }
        self.mark(id.sequence);
        true
    }

    fn begin_boot(&mut self, id: RequestId) -> bool {
        let is_newer = id.boot > self.boot;
        if is_newer {
            self.boot = id.boot;
            self.newest = id.sequence;
            self.seen.fill(0);
            self.mark(id.sequence);
        }
        is_newer
    }

    /// Moves the window up to `newest`. What was skipped is unseen: it may still come.
    fn advance(&mut self, newest: u64) {
        if newest - self.newest >= WIDTH {
            self.seen.fill(0);
        } else {
            (self.newest + 1..newest).for_each(|sequence| self.clear(sequence));
        }
        self.newest = newest;
    }

    fn lowest(&self) -> u64 {
        self.newest.saturating_sub(WIDTH - 1)
    }

    fn is_seen(&self, sequence: u64) -> bool {
        self.seen[word(sequence)] & bit(sequence) != 0
    }

    fn mark(&mut self, sequence: u64) {
        self.seen[word(sequence)] |= bit(sequence);
    }

    fn clear(&mut self, sequence: u64) {
        self.seen[word(sequence)] &= !bit(sequence);
    }

    fn runs(&self, mut write: impl FnMut(u64)) {
        let mut seen = false;
        let mut length = 0;
        for sequence in self.lowest()..=self.newest {
            if self.is_seen(sequence) != seen {
                write(length);
                seen = !seen;
                length = 0;
            }
            length += 1;
        }
        write(length);
    }

    fn decode(input: &mut Decoder) -> Result<Self, Malformed> {
        let (member, boot, newest) = (input.u64()?, input.u64()?, input.u64()?);
        let mut window = Self { member, boot, newest, seen: Box::new([0; WORDS]) };
        let mut next = window.lowest();
        let mut left = newest - next + 1;
        let mut seen = false;
        while left > 0 {
            let length = input.u64()?;
            if length > left || (length == 0 && next != window.lowest()) {
                return Err(Malformed("request window does not add up"));
            }
            if seen {
                (0..length).for_each(|step| window.mark(next + step));
            }
            next = next.wrapping_add(length);
            left -= length;
            seen = !seen;
        }
        // The newest sequence is always seen, so the last run is one of seen ones.
        if seen { Err(Malformed("request window ends unseen")) } else { Ok(window) }
    }
}

fn word(sequence: u64) -> usize {
    (sequence % WIDTH / 64) as usize
}

fn bit(sequence: u64) -> u64 {
    1 << (sequence % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(boot: u64, sequence: u64) -> RequestId {
        RequestId { member: 7, boot, sequence }
    }

    fn encoded(windows: &Windows) -> bytes::Bytes {
        let mut out = Encoder::default();
        windows.encode(&mut out);
        out.finish()
    }

    #[test]
    fn each_sequence_is_admitted_once() {
        let mut windows = Windows::default();
        for sequence in [1, 2, 3, 10, 5, 4] {
            assert!(windows.admit(id(1, sequence)), "{sequence}");
            assert!(!windows.admit(id(1, sequence)), "{sequence} again");
        }
    }

    #[test]
    fn below_the_window_and_older_boots_are_refused() {
        let mut windows = Windows::default();
        assert!(windows.admit(id(5, WIDTH)));
        assert!(windows.admit(id(5, 1)));
        assert!(windows.admit(id(5, WIDTH + 1)));
        assert!(!windows.admit(id(5, 1)), "left the window");
        assert!(windows.admit(id(5, 2)), "the lowest inside");
        assert!(!windows.admit(id(4, WIDTH + 2)), "older boot");
        assert!(windows.admit(id(6, 1)), "newer boot");
        assert!(windows.admit(id(6, 2)));
        assert!(!windows.admit(id(5, WIDTH + 9)));
    }

    #[test]
    fn a_leap_forgets_what_was_seen_at_the_same_bits() {
        let mut windows = Windows::default();
        assert!(windows.admit(id(1, 3)));
        assert!(windows.admit(id(1, 10 * WIDTH)));
        assert!(windows.admit(id(1, 9 * WIDTH + 3)));
        assert!(windows.admit(id(1, u64::MAX)));
        assert!(windows.admit(id(1, u64::MAX - 1)));
    }

    #[test]
    fn a_window_without_gaps_is_small() {
        let mut windows = Windows::default();
        for sequence in 1..200_000 {
            windows.admit(id(1, sequence));
        }
        assert!(encoded(&windows).len() < 16);
    }

    #[test]
    fn of_too_many_members_those_are_forgotten_that_began_first() {
        let of = |member, boot, sequence| RequestId { member, boot, sequence };
        let count = MEMBERS_MAX as u64;
        let mut windows = Windows::default();
        for member in 1..=count {
            assert!(windows.admit(of(member, 1, 1)));
        }
        assert!(windows.admit(of(1, 2, 1)), "member 1 begins anew, and is the youngest now");
        assert!(windows.admit(of(2, 1, 2)), "member 2 goes on, and stays the oldest");
        assert!(windows.admit(of(count + 1, 1, 1)));
        assert_eq!([1, 2, 3, count + 1].map(|id| windows.newest_boot(id)), [Some(2), None, Some(1), Some(1)]);
        for member in count + 2..3 * count {
            assert!(windows.admit(of(member, 1, 1)));
        }
        let mut restored = Windows::decode(&mut Decoder::new(encoded(&windows))).unwrap();
        assert_eq!(encoded(&restored), encoded(&windows));
        for windows in [&mut windows, &mut restored] {
            assert!(!windows.admit(of(3 * count - 1, 1, 1)), "still known");
            assert!(windows.admit(of(3 * count, 1, 1)));
        }
        assert_eq!(encoded(&restored), encoded(&windows), "both have forgotten the same one");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn restored_windows_answer_alike(
            steps in proptest::collection::vec((1u64..3, 1u64..3, 0u64..70_000), 1..60),
            probes in proptest::collection::vec((1u64..3, 1u64..4, 0u64..140_000), 1..60),
        ) {
            let mut windows = Windows::default();
            let mut base = 0;
            for (member, boot, sequence) in steps {
                windows.admit(RequestId { member, boot, sequence: base + sequence });
                base += sequence / 7;
            }
            let bytes = encoded(&windows);
            let mut input = Decoder::new(bytes.clone());
            let mut restored = Windows::decode(&mut input).unwrap();
            prop_assert_eq!(input.finish(), Ok(()));
            prop_assert_eq!(encoded(&restored), bytes);
            for (member, boot, sequence) in probes {
                let id = RequestId { member, boot, sequence };
                prop_assert_eq!(windows.admit(id), restored.admit(id));
            }
        }

        #[test]
        fn any_input_is_read_or_refused(input: Vec<u8>) {
            let _ = Windows::decode(&mut Decoder::new(input.into()));
        }
    }
}
