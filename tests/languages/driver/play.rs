//! Plays a scenario in a place, each actor in a language.
//!
//! What the driver does at a line `! words`:
//!
//! | words | meaning |
//! |---|---|
//! | `kill a` | kills the actor's process; its next command begins a new one |
//! | `key name` | makes a key file, and `$name` stands for its path |
//! | `absent word` | no file of the embedded store has these bytes in it |
//! | `kill-member n`, `start-member n` | of the cluster; then waits until the others serve, or it is whole again |

use super::place::{Place, write_key};
use super::runner::{Language, Runner};
use super::scenario::{Names, Scenario, Step};
use super::words::decode;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A scenario in a place, with a language for each actor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Play<'a> {
    /// What is played.
    pub(crate) scenario: &'a Scenario,
    /// Where.
    pub(crate) place: &'a Place,
    /// Who plays: the actor `a` is the first, `b` the second, and so on, around.
    pub(crate) cast: &'a [Language],
}

impl Play<'_> {
    /// What reports call it.
    pub(crate) fn name(&self) -> String {
        format!("{} in {}, {} first", self.scenario.name, self.place.name(), self.cast[0].name)
    }

    /// Plays it with its files in `dir`, and its keys below `prefix`.
    ///
    /// # Errors
    /// An answer is not the expected one, or somebody does not answer.
    pub(crate) fn run(&self, dir: &Path, prefix: &str) -> Result<(), String> {
        fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        write_key(&dir.join("key"), '5').map_err(|error| error.to_string())?;
        let mut stage = Stage { play: self, dir, names: Names::default(), runners: BTreeMap::new() };
        stage.names.bind("p", prefix);
        stage.names.bind("store", self.place.open_words(dir));
        stage.names.bind("uri", format!("file://{}/store", dir.to_string_lossy()));
        stage.names.bind("dir", dir.to_string_lossy());
        for (line, step) in &self.scenario.steps {
            stage.step(step).map_err(|error| format!("{}: line {line}: {error}", self.name()))?;
        }
        for (actor, runner) in std::mem::take(&mut stage.runners) {
            runner.end().map_err(|error| format!("{}: {actor}: {error}", self.name()))?;
        }
        Ok(())
    }
}

/// A play under way.
struct Stage<'a> {
    play: &'a Play<'a>,
    dir: &'a Path,
    names: Names,
    runners: BTreeMap<char, Runner>,
}

impl Stage<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(actor, words) => {
                let words = self.names.fill(words)?;
                self.runner(*actor)?.send(&words)
            }
            Step::Expect(actor, words) => {
                let answer = self.runner(*actor)?.answer()?;
                self.names.matches(words, &answer)
            }
            Step::Do(words) => self.act(words),
        }
    }

    fn runner(&mut self, actor: char) -> Result<&mut Runner, String> {
        if !self.runners.contains_key(&actor) {
            let place = actor as usize - 'a' as usize;
            let language = &self.play.cast[place % self.play.cast.len()];
            let runner = Runner::start(language, &self.dir.join(format!("{actor}-{}.log", language.name)))?;
            self.runners.insert(actor, runner);
        }
        self.runners.get_mut(&actor).ok_or_else(|| "no runner".into())
    }

    fn act(&mut self, words: &[String]) -> Result<(), String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (&words[..], self.play.place) {
            (["kill", actor], _) => {
                let actor = actor.chars().next().ok_or("who?")?;
                self.runners.remove(&actor).ok_or("nobody")?.kill();
                Ok(())
            }
            (["key", name], _) => {
                let path = self.dir.join(name);
                write_key(&path, 'd').map_err(|error| error.to_string())?;
                self.names.bind(name, path.to_string_lossy());
                Ok(())
            }
            (["absent", word], Place::Embedded(_)) => {
                let text = self.names.fill(word)?;
                absent(&self.dir.join("store"), &decode(&text))
            }
            (["kill-member", number], Place::Cluster(cluster)) => {
                cluster.kill_member(number.parse().map_err(|_| "which?")?);
                cluster.wait_serving()
            }
            (["start-member", number], Place::Cluster(cluster)) => {
                cluster.start_member(number.parse().map_err(|_| "which?")?)?;
                cluster.wait_whole()
            }
            _ => Err(format!("not understood: {words:?}")),
        }
    }
}

/// Checks that no file below a folder has these bytes in it, and that there are files.
fn absent(dir: &Path, bytes: &[u8]) -> Result<(), String> {
    let mut files = 0;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                files += 1;
                let content = fs::read(&path).map_err(|error| error.to_string())?;
                if content.windows(bytes.len()).any(|window| window == bytes) {
                    return Err(format!("{} has it in the clear", path.display()));
                }
            }
        }
    }
    if files == 0 { Err("the store has no files".into()) } else { Ok(()) }
}
