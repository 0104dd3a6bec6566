//! Hands what the library logs to the hook.
//!
//! The library speaks by `tracing`, whose listener is one for the process and is set once. So this one is set with the first
//! hook, and asks for the hook whenever there is something to say.

use crate::failure::Failure;
use crate::log::{COFFER_LOG_DEBUG, COFFER_LOG_ERROR, COFFER_LOG_INFO, COFFER_LOG_WARN, coffer_log_fn};
use crate::status::COFFER_UNSUPPORTED;
use parking_lot::{Mutex, RwLock};
use std::ffi::{CString, c_void};
use std::fmt::{Debug, Write};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Level, Metadata, Subscriber};

/// Who listens, and to what.
struct Hook {
    hook: coffer_log_fn,
    user: *mut c_void,
    level: LevelFilter,
}

// SAFETY: the pointer is the caller's, who promised that any thread may hand it to the hook.
unsafe impl Send for Hook {}
// SAFETY: as above.
unsafe impl Sync for Hook {}

static HOOK: RwLock<Hook> =
    RwLock::new(Hook { hook: None, user: std::ptr::null_mut(), level: LevelFilter::OFF });

/// Whether the listener of the process is this one.
static INSTALLED: Mutex<bool> = Mutex::new(false);

/// Has the hook called for what is logged at `level` and above it.
pub(crate) fn set(hook: coffer_log_fn, user: *mut c_void, level: LevelFilter) -> Result<(), Failure> {
    let mut installed = INSTALLED.lock();
    if !*installed {
        if hook.is_none() {
            return Ok(());
        }
        set_global_default(Listener).map_err(|_| {
            Failure::plain(COFFER_UNSUPPORTED, "this program has a tracing subscriber of its own")
        })?;
        *installed = true;
    }
    *HOOK.write() = Hook { hook, user, level };
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

struct Listener;

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= HOOK.read().level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(HOOK.read().level)
    }

    fn event(&self, event: &Event<'_>) {
        let (hook, user) = {
            let hook = HOOK.read();
            match hook.hook {
                Some(call) if *event.metadata().level() <= hook.level => (call, hook.user),
                _ => return,
            }
        };
        let mut line = Line::default();
        event.record(&mut line);
        let text = |text: String| CString::new(text.replace('\0', "?")).unwrap_or_default();
        let (target, message) =
            (text(event.metadata().target().to_owned()), text(line.message + &line.fields));
        let level = match *event.metadata().level() {
            Level::ERROR => COFFER_LOG_ERROR,
            Level::WARN => COFFER_LOG_WARN,
            Level::INFO => COFFER_LOG_INFO,
            _ => COFFER_LOG_DEBUG,
        };
        // SAFETY: whoever set the hook promised that it can be called so, from any thread; the strings live for the call.
        unsafe { hook(user, level, target.as_ptr(), message.as_ptr()) };
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // Spans are not listened to; all of them may be the same.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// One message: the text, then `name=value` of what belongs to it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
