//! An external command that keeps the key: it wraps and unwraps a key-encryption key for us.
//!
//! The program is started anew for each request, gets one JSON object and a line break on its standard input, and
//! answers with one JSON object on its standard output. All bytes are base64.
//!
//! | `operation` | further members of the request | answer |
//! |---|---|---|
//! | `status` | | `key_id` |
//! | `wrap` | `key`: 32 bytes | `key_id`, `wrapped` |
//! | `unwrap` | `key_id`, `wrapped`, as they were answered | `key` |
//!
//! Each request also has `version` (1) and `store_id` (32 hexadecimal digits). An answer may be `{"error": "…"}` instead.
//! The exit status is 0, whatever the answer; any other is a failure, and what the program wrote to its standard error is
//! shown then.
//!
//! The program is not run by a shell unless that is asked for, has no terminal, runs in a process group of its own, and is
//! killed with that group when it takes too long. What we may have been given in `COFFER_SEAL_*` is not in its environment.

mod process;

use super::{KeyError, Parameters, encoded};
use crate::seal::secret::{KEY_BYTES, SecretKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use process::{Failure, Output};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

const VERSION: u32 = 1;
const KEY_ID_BYTES_MAX: usize = 1024;
const WRAPPED_BYTES_MAX: usize = 16 << 10;
const PROGRAM_BYTES_MAX: usize = 4096;
const SAID_CHARACTERS_MAX: usize = 600;

/// An external command that keeps the key.
pub struct KeyCommand {
    arguments: Vec<String>,
    timeout: Duration,
    origin: String,
}

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    operation: &'a str,
    store_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrapped: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    key_id: Option<String>,
    wrapped: Option<String>,
    key: Option<SecretText>,
    error: Option<String>,
}

/// Text that is wiped.
struct SecretText(Zeroizing<String>);

impl KeyCommand {
    /// How long a command may take, unless told otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// A program with its arguments.
    ///
    /// # Errors
    /// There is no program, or its name is longer than a path can be.
    pub fn new(arguments: Vec<String>) -> Result<Self, KeyError> {
        let Some(program) = arguments.first().filter(|program| !program.is_empty()) else {
            return Err(KeyError::source("key command", "names no program"));
        };
        if program.len() > PROGRAM_BYTES_MAX {
            return Err(KeyError::source("key command", "has a program with too long a name"));
        }
        let origin = format!("key command {program}");
        Ok(Self { arguments, timeout: Self::TIMEOUT, origin })
    }

    /// What one line of configuration means: `["program", "an argument"]`, or `program argument argument` parted at spaces,
    /// or, only with these words before it, `shell: anything that /bin/sh understands`.
    ///
    /// # Errors
    /// There is no program, or a list is no JSON.
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        let line = line.trim();
        if let Some(script) = line.strip_prefix("shell:") {
            return Self::new(vec!["/bin/sh".into(), "-c".into(), script.trim().into()]);
        }
        if line.starts_with('[') {
            let arguments = serde_json::from_str(line).map_err(|error| {
                KeyError::source("key command", format!("is no JSON list of strings: {error}"))
            })?;
            return Self::new(arguments);
        }
        Self::new(line.split_whitespace().map(str::to_owned).collect())
    }

    /// With another bound on how long a request may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The id of the key that the program wraps with now.
    pub(super) fn status(&self) -> Result<String, KeyError> {
        let answer = self.ask(&Request::new("status", &[0; 16]))?;
        self.key_id(answer.key_id)
    }

    pub(super) fn new_kek(&self, store_id: &[u8; 16]) -> Result<(Parameters, SecretKey), KeyError> {
        let kek = SecretKey::random()?;
        let text = encoded(&kek);
        let answer = self.ask(&Request { key: Some(&text), ..Request::new("wrap", store_id) })?;
        let key_id = self.key_id(answer.key_id)?;
        let wrapped = STANDARD.decode(answer.wrapped.unwrap_or_default()).unwrap_or_default();
        if wrapped.is_empty() || wrapped.len() > WRAPPED_BYTES_MAX {
            let reason = format!("its answer has no `wrapped` of 1 to {WRAPPED_BYTES_MAX} bytes in base64");
            return Err(self.refuses(reason));
        }
        if wrapped.windows(KEY_BYTES).any(|window| window == kek.expose()) {
            return Err(self.refuses("it gave the key back unwrapped"));
        }
        Ok((Parameters::Command { program: self.arguments[0].clone(), key_id, wrapped }, kek))
    }

    pub(super) fn unwrap(
        &self,
        store_id: &[u8; 16],
        key_id: &str,
        wrapped: &[u8],
    ) -> Result<SecretKey, KeyError> {
        let wrapped = STANDARD.encode(wrapped);
        let request =
            Request { key_id: Some(key_id), wrapped: Some(&wrapped), ..Request::new("unwrap", store_id) };
        let answer = self.ask(&request)?;
        let decoded = answer.key.and_then(|text| decoded(&text.0));
        decoded.ok_or_else(|| self.refuses(format!("its answer has no `key` of {KEY_BYTES} bytes in base64")))
    }

    fn ask(&self, request: &Request<'_>) -> Result<Answer, KeyError> {
        // Large enough that it is not moved while it grows.
        let mut input = Zeroizing::new(Vec::with_capacity(64 << 10));
        serde_json::to_writer(&mut *input, request).expect("a request is strings and a number");
        input.push(b'\n');
        let output =
            process::run(&self.arguments, &input, self.timeout).map_err(|failure| match failure {
                Failure::Start(error) => self.refuses(format!("cannot be started: {error}")),
                Failure::Io(error) => self.refuses(format!("cannot be talked to: {error}")),
                Failure::TooMuch => self.refuses("it answers more than 64 KiB"),
                Failure::Late { said } => {
                    let said = shown(&said, request.key, None);
                    self.refuses(format!("gave no answer within {:?} and was killed{said}", self.timeout))
                }
            })?;
        self.understand(request, &output)
    }

    fn understand(&self, request: &Request<'_>, output: &Output) -> Result<Answer, KeyError> {
        let answer = serde_json::from_slice::<Answer>(&output.answer);
        let key = answer.as_ref().ok().and_then(|answer| answer.key.as_ref()).map(|text| text.0.as_str());
        let said = shown(&output.said, request.key, key);
        if !output.status.success() {
            return Err(self.refuses(format!("failed: {}{said}", output.status)));
        }
        match answer {
            Ok(Answer { error: Some(error), .. }) => {
                let error = shown(error.as_bytes(), request.key, None);
                Err(self.refuses(format!("refused to {}{error}", request.operation)))
            }
            Ok(answer) => Ok(answer),
            // Without the parser's own words: they quote the answer, and it may be the key.
            Err(error) => {
                let place = format!("line {}, column {}", error.line(), error.column());
                Err(self.refuses(format!("its answer is not the JSON that was expected, at {place}{said}")))
            }
        }
    }

    fn key_id(&self, key_id: Option<String>) -> Result<String, KeyError> {
        key_id
            .filter(|id| (1..=KEY_ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control))
            .ok_or_else(|| {
                self.refuses(format!("its answer has no `key_id` of 1 to {KEY_ID_BYTES_MAX} bytes"))
            })
    }

    fn refuses(&self, reason: impl Into<String>) -> KeyError {
        KeyError::source(&*self.origin, reason)
    }
}

impl<'a> Request<'a> {
    fn new(operation: &'a str, store_id: &[u8; 16]) -> Self {
        let store_id = format!("{:032x}", u128::from_be_bytes(*store_id));
        Self { version: VERSION, operation, store_id, key: None, key_id: None, wrapped: None }
    }
}

fn decoded(text: &str) -> Option<SecretKey> {
    let mut room = Zeroizing::new([0; KEY_BYTES + 1]);
    let count = STANDARD.decode_slice(text, &mut *room).ok()?;
    SecretKey::filled(|key| {
        key.copy_from_slice(&room[..KEY_BYTES]);
        if count == KEY_BYTES { Ok(()) } else { Err(()) }
    })
    .ok()
}

/// What a program said, for people: the end of it, printable, and without the keys that were exchanged.
fn shown(said: &[u8], sent: Option<&str>, answered: Option<&str>) -> String {
    let mut text = String::from_utf8_lossy(said).into_owned();
    for key in [sent, answered].into_iter().flatten().filter(|key| !key.is_empty()) {
        text = text.replace(key, "(a key)");
    }
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let text: Vec<char> = text.trim().chars().map(printable).collect();
    let end = &text[text.len().saturating_sub(SAID_CHARACTERS_MAX)..];
    if end.is_empty() { String::new() } else { format!(": {}", end.iter().collect::<String>()) }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText(Zeroizing::new(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The program, without its arguments, which may be secret.
impl fmt::Debug for KeyCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCommand").field("origin", &self.origin).finish_non_exhaustive()
    }
}
