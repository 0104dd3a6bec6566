//! Scenarios: commands to actors, and what they answer.
//!
//! A file begins with a comment that says what it is about. A line of it is one of these:
//!
//! | line | meaning |
//! |---|---|
//! | `# text` | nothing |
//! | `in embedded`, `in cluster` | played only there |
//! | `a> words` | the actor `a` is sent a command |
//! | `a< words` | it answers with this line |
//! | `! words` | the driver does something: see [`super::play`] |
//!
//! Words may hold names: `$p` for the prefix of the scenario's keys, `$store` for what opens the store, and what answers bound:
//! an answer's word `$name` that is not bound yet matches any word and binds it; `_` matches any word and binds nothing.
//! `$name+1` is one more than a bound number. Letters that are not ASCII stand for their bytes.

use super::words::{decode, encode};
use std::collections::HashMap;
use std::path::Path;

/// A scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Its file, without folder and ending.
    pub(crate) name: String,
    /// The kind of place that it is for; none for all.
    pub(crate) kind: Option<String>,
    /// What happens, each with the number of its line.
    pub(crate) steps: Vec<(usize, Step)>,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An actor is sent a command.
    Send(char, String),
    /// An actor answers.
    Expect(char, String),
    /// The driver does something.
    Do(Vec<String>),
}

impl Scenario {
    /// Reads the file.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(name, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn parse(name: String, text: &str) -> Result<Self, String> {
        let mut scenario = Self { name, kind: None, steps: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(kind) = line.strip_prefix("in ") {
                scenario.kind = Some(kind.into());
                continue;
            }
            let step = match line.split_once(' ') {
                Some(("!", words)) => Step::Do(words.split(' ').map(str::to_owned).collect()),
                Some((who, words)) if who.len() == 2 => {
                    let actor = char::from(who.as_bytes()[0]);
                    match who.as_bytes()[1] {
                        b'>' => Step::Send(actor, words.into()),
                        b'<' => Step::Expect(actor, words.into()),
                        _ => return Err(format!("{}:{number}: neither > nor <", scenario.name)),
                    }
                }
                _ => return Err(format!("{}:{number}: not understood: {line}", scenario.name)),
            };
            scenario.steps.push((number, step));
        }
        Ok(scenario)
    }

    /// Whether it restarts members, so that nothing else should happen in their cluster.
    pub(crate) fn is_disruptive(&self) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step, Step::Do(words) if words[0].ends_with("member")))
    }
}

/// What words stand for.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    /// Lets a name stand for something.
    pub(crate) fn bind(&mut self, name: &str, text: impl Into<String>) {
        self.0.insert(name.into(), text.into());
    }

    /// The line with what its names stand for.
    ///
    /// # Errors
    /// A name stands for nothing.
    pub(crate) fn fill(&self, line: &str) -> Result<String, String> {
        let words: Result<Vec<_>, _> = line
            .split(' ')
            .map(|word| self.fill_word(word)?.ok_or_else(|| format!("{word} is not bound")))
            .collect();
        Ok(words?.join(" "))
    }

    /// Whether an answer is what a line expects; binds names that the line has first.
    ///
    /// # Errors
    /// It is not; says what was expected.
    pub(crate) fn matches(&mut self, expected: &str, answer: &str) -> Result<(), String> {
        let mut filled = Vec::new();
        let answered: Vec<&str> = answer.split(' ').collect();
        for (place, word) in expected.split(' ').enumerate() {
            let here = answered.get(place).copied().unwrap_or_default();
            match self.fill_word(word)? {
                _ if word == "_" => filled.push(here.to_owned()),
                None => {
                    self.bind(&word[1..], here);
                    filled.push(here.to_owned());
                }
                Some(text) if text.starts_with('@') => filled.push(encode(&decode(&text))),
                Some(text) => filled.push(text),
            }
        }
        if filled.iter().any(String::is_empty) || filled.join(" ") != answer {
            return Err(format!("expected {:?}, got {answer:?}", filled.join(" ")));
        }
        Ok(())
    }

    /// What a word stands for; nothing if it is a name that is not bound.
    fn fill_word(&self, word: &str) -> Result<Option<String>, String> {
        let Some((before, name)) = word.split_once('$') else { return Ok(Some(ascii(word))) };
        let length = name.find(|letter: char| !letter.is_ascii_lowercase()).unwrap_or(name.len());
        let (name, after) = name.split_at(length);
        let Some(value) = self.0.get(name) else {
            return if before.is_empty() && after.is_empty() {
                Ok(None)
            } else {
                Err(format!("{word}: ${name} is not bound"))
            };
        };
        if let Some(more) = after.strip_prefix('+') {
            let sum =
                value.parse::<i64>().ok().zip(more.parse::<i64>().ok()).map(|(value, more)| value + more);
            return sum.map(|sum| Some(sum.to_string())).ok_or_else(|| format!("{word}: not a sum: {value}"));
        }
        Ok(Some(format!("{before}{value}{}", ascii(after))))
    }
}

/// Letters that are not ASCII as their bytes.
fn ascii(word: &str) -> String {
    let letter = |letter: char| match letter {
        letter if letter.is_ascii() => letter.to_string(),
        letter => encode(letter.to_string().as_bytes()),
    };
    word.chars().map(letter).collect()
}
