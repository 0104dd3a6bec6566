//! Long work on a thread that has other work: a request that looks at many keys gives the others their turn.

use std::cmp::Ordering;

/// What is done in one turn, in keys that the index shows: some tenths of a millisecond.
const TURN_KEYS: usize = 4096;
/// What reading a record weighs beside looking at a key.
const RECORD_KEYS: usize = 16;

/// How far the turn of a request has got.
#[derive(Debug)]
pub(super) struct Turns {
    left: usize,
}

impl Turns {
    /// The first turn begins.
    pub(super) fn new() -> Self {
        Self { left: TURN_KEYS }
    }

    /// Work like looking at `keys` was done: the others may go first before there is more.
    pub(super) async fn worked(&mut self, keys: usize) {
        self.left = self.left.saturating_sub(keys);
        if self.left == 0 {
            self.left = TURN_KEYS;
            coffer_runtime::yield_now().await;
        }
    }

    /// Records of so many bytes were read.
    pub(super) async fn read(&mut self, records: usize, bytes: usize) {
        self.worked(records * RECORD_KEYS + bytes / 256).await;
    }

    /// Sorts like [`slice::sort_by`], where comparing two items weighs as much as looking at `weight` keys.
    pub(super) async fn sort<T>(
        &mut self,
        items: &mut Vec<T>,
        weight: usize,
        compare: impl Fn(&T, &T) -> Ordering,
    ) {
        let run_items = (TURN_KEYS / weight).max(1);
        let mut rest = std::mem::take(items).into_iter();
        let mut runs = Vec::new();
        while rest.len() > 0 {
            let mut run: Vec<T> = rest.by_ref().take(run_items).collect();
            run.sort_by(&compare);
            self.worked(run.len() * weight).await;
            runs.push(run);
        }
        // Neighbours are merged, so that what is equal stays in its order.
        while runs.len() > 1 {
            let mut unmerged = std::mem::take(&mut runs).into_iter();
            while let Some(first) = unmerged.next() {
                runs.push(match unmerged.next() {
                    Some(second) => self.merge(first, second, weight, &compare).await,
                    None => first,
                });
            }
        }
        *items = runs.pop().unwrap_or_default();
    }

    async fn merge<T>(
        &mut self,
        first: Vec<T>,
        second: Vec<T>,
        weight: usize,
        compare: &impl Fn(&T, &T) -> Ordering,
    ) -> Vec<T> {
        let mut merged = Vec::with_capacity(first.len() + second.len());
        let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
        loop {
            let next = match (first.peek(), second.peek()) {
                (Some(a), Some(b)) if compare(a, b).is_le() => first.next(),
                (_, Some(_)) => second.next(),
                (_, None) => first.next(),
            };
            let Some(next) = next else { return merged };
            merged.push(next);
            self.worked(weight).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_runtime::block_on;
    use futures_util::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    /// What `work` comes to, and how many turns it took.
    pub(crate) fn turns<T>(work: impl Future<Output = T>) -> (T, usize) {
        let mut work = pin!(work);
        let mut turns = 0;
        let done = block_on(poll_fn(|context| {
            turns += 1;
            match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => Poll::Pending,
            }
        }));
        (done, turns)
    }

    #[test]
    fn sorting_in_turns_is_sorting() {
        for (count, weight) in [(0, 1), (1, 1), (5_000, 1), (100_000, 1), (1_000, 64), (777, 5_000)] {
            let numbers = (0..count).map(|number: u64| (number.wrapping_mul(0x9e37_79b9) % 1000, number));
            let mut expected: Vec<_> = numbers.collect();
            let mut sorted = expected.clone();
            expected.sort_by_key(|(key, _)| *key);
            let ((), taken) = turns(Turns::new().sort(&mut sorted, weight, |a, b| a.0.cmp(&b.0)));
            assert_eq!(sorted, expected);
            assert!(taken > count as usize * weight / TURN_KEYS, "{taken} turns");
        }
    }
}
