//! Replaces the data key of a sealed store from time to time, as `coffer key rotate-data` does by hand.
//!
//! # Why these limits
//! No key ever nears a limit of AES-GCM: each file is sealed under a key of its own, made of the data key and 32 random
//! bytes, and ends before its nonces do. What is bounded here is how much one stolen data key opens. By default that is what
//! was written in 90 days, and at most 1 TiB: 2^36 blocks, of which AES-GCM would bear 2^64 even under a single key.
//!
//! # Invariants
//! - A key under which nothing was sealed is not replaced: a store that rests gathers no keys.
//! - Older keys go once compaction has carried over what they sealed. If [`OLDER_KEYS_MAX`] of them have gathered, all that
//!   they sealed is carried over at once.
//! - A replacement is whole and durable or did not happen, whenever the process ends: it is one change of the keyring.

use coffer::{KeyState, KeyringStatus, StoreKeys, byte_count, duration};
use coffer_runtime::unblock;
use futures_util::future;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const AFTER: Duration = Duration::from_secs(90 * 24 * 3600);
const BYTES: u64 = 1 << 40;
/// Many more than a store has that compaction keeps up with.
const OLDER_KEYS_MAX: usize = 64;

/// When a data key has served long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    after: Option<Duration>,
    bytes: Option<u64>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { after: Some(AFTER), bytes: Some(BYTES) }
    }
}

impl Rotation {
    /// Reads the two settings; 0 is never, and what is not said has its default.
    pub(crate) fn read(after: Option<&str>, bytes: Option<&str>) -> Result<Self, String> {
        let after = match after {
            None => Some(AFTER),
            Some(text) => {
                let after = duration::parse(text).map_err(|reason| format!("seal-rotate-after: {reason}"))?;
                (!after.is_zero()).then_some(after)
            }
        };
        let bytes = match bytes {
            None => Some(BYTES),
            Some("0") => None,
            Some(text) => {
                Some(byte_count::parse(text).map_err(|reason| format!("seal-rotate-bytes: {reason}"))?)
            }
        };
        if after.is_some_and(|after| after < Duration::from_secs(1)) {
            return Err("seal-rotate-after must be at least 1s".into());
        }
        Ok(Self { after, bytes })
    }

    /// How often to look: a hundredth of the time, or as long as a quick disk takes for the bytes.
    fn interval(&self) -> Duration {
        let by_age = self.after.map_or(Duration::MAX, |after| after / 100);
        let by_volume = self.bytes.map_or(Duration::MAX, Duration::from_nanos);
        by_age.min(by_volume).clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    /// Whether the active key has served long enough at `now`.
    fn is_due(&self, keys: &KeyringStatus, now: SystemTime) -> bool {
        let active = keys.keys.iter().find(|key| key.state == KeyState::Active);
        active.is_some_and(|key| {
            // A clock that was put back says nothing.
            let age = now.duration_since(key.created).unwrap_or_default();
            key.sealed_bytes > 0
                && (self.after.is_some_and(|after| age >= after)
                    || self.bytes.is_some_and(|bytes| key.sealed_bytes >= bytes))
        })
    }
}

/// Replaces data keys for as long as the store is open; for ever nothing if it is not sealed.
pub(crate) async fn run(rotation: Rotation, keys: Option<Arc<StoreKeys>>) -> Infallible {
    let Some(keys) = keys.filter(|_| rotation.after.is_some() || rotation.bytes.is_some()) else {
        return future::pending().await;
    };
    loop {
        coffer_runtime::sleep(rotation.interval()).await;
        let status = keys.status().data;
        if !rotation.is_due(&status, SystemTime::now()) {
            continue;
        }
        let (held, rewrite) = (keys.clone(), status.keys.len() > OLDER_KEYS_MAX);
        match unblock(move || held.rotate_data(rewrite)).await {
            Ok(Ok(id)) => tracing::info!(
                id,
                rewrite,
                "a new data key was made, because the last one had served its time"
            ),
            Ok(Err(error)) => tracing::warn!(%error, "the data key could not be replaced; trying again"),
            Err(panic) => tracing::error!(%panic, "the data key could not be replaced"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer::KeyStatus;
    use std::time::UNIX_EPOCH;

    fn keyring(sealed_bytes: u64) -> KeyringStatus {
        let key = |id, state, sealed_bytes| KeyStatus {
            id,
            state,
            created: UNIX_EPOCH + Duration::from_secs(1000),
            sealed_bytes,
            in_use: true,
        };
        let keys = vec![key(1, KeyState::DecryptOnly, 1 << 50), key(2, KeyState::Active, sealed_bytes)];
        KeyringStatus { store_id: [0; 16], generation: 7, keys, rewriting: false, outdated_bytes: 0 }
    }

    #[test]
    fn the_settings_are_read() {
        let read = |after: &str, bytes: &str| Rotation::read(Some(after), Some(bytes));
        let expected = |after, bytes| Ok(Rotation { after, bytes });
        assert_eq!(Rotation::read(None, None), Ok(Rotation::default()));
        assert_eq!(read("0", "0"), expected(None, None));
        assert_eq!(read("36h", "3GiB"), expected(Some(Duration::from_secs(36 * 3600)), Some(3 << 30)));
        assert_eq!(read("90d", "1TiB"), expected(Some(AFTER), Some(BYTES)));
        for (after, bytes) in [
            ("soon", "1"),
            ("1s", "much"),
            ("1s", "-1"),
            ("1s", "1gb"),
            ("1s", "99999999TiB"),
            ("10ms", "1"),
            ("1s", ""),
        ] {
            let refused = read(after, bytes);
            assert!(matches!(&refused, Err(text) if text.starts_with("seal-rotate-")), "{refused:?}");
        }
    }

    #[test]
    fn a_key_is_replaced_by_age_or_by_volume() {
        let rotation = Rotation { after: Some(Duration::from_secs(60)), bytes: Some(100) };
        let due = |rotation: Rotation, bytes, now_s| {
            rotation.is_due(&keyring(bytes), UNIX_EPOCH + Duration::from_secs(now_s))
        };
        assert!(!due(rotation, 99, 1059));
        assert!(due(rotation, 99, 1060), "by age");
        assert!(due(rotation, 100, 1000), "by volume");
        assert!(!due(rotation, 0, 9999), "nothing was sealed with it");
        assert!(!due(rotation, 99, 10), "the clock was put back");
        assert!(!due(Rotation { after: None, ..rotation }, 99, 1 << 40));
        assert!(!due(Rotation { bytes: None, ..rotation }, 1 << 60, 1059));
        assert_eq!(Rotation::default().interval(), Duration::from_secs(60));
        assert_eq!(rotation.interval(), Duration::from_millis(100));
    }
}
