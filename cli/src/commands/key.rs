//! `key`: the keys of sealed stores, of one that a daemon has open, or of a closed one.
//!
//! Whether a daemon has it open is found out by asking it (see [`key_admin`]); if nobody answers, the store is taken for
//! closed, and its lock tells if that is not so.

use super::progress;
use crate::args::Global;
use crate::args::key::{KeyCommand, KeyPlace};
use crate::connection;
use crate::failure::{Exit, Failure};
use crate::key_admin::{self, Answer, NewKey, Request, Status};
use crate::output::{Format, Output, human_bytes};
use crate::seal::NewKeyFlags;
use coffer::{Options, Seal, StoreKeys, Uri};
use futures_util::FutureExt;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Between two looks at a rewriting.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn run(global: &Global, command: KeyCommand) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    match command {
        KeyCommand::Generate { file } => {
            output.no_table("key generate")?;
            generate(&file)
        }
        KeyCommand::Status { place } => status(&Store::named(global, place)?, &mut output),
        KeyCommand::Add { place, key, label } => {
            output.no_table("key add")?;
            let store = Store::named(global, place)?;
            let key = new_key(&key)?;
            let slot = slot_of(store.ask(Request::Add { key, label })?)?;
            done(
                &mut output,
                &Changed { slot: Some(slot), data_key: None },
                &format!("slot {slot} was added"),
            )
        }
        KeyCommand::Remove { place, slot } => {
            output.no_table("key remove")?;
            Store::named(global, place)?.ask(Request::Remove { slot })?;
            let changed = Changed { slot: Some(slot), data_key: None };
            done(
                &mut output,
                &changed,
                &format!("slot {slot} was removed: its key opens the store no longer"),
            )
        }
        KeyCommand::RotateKek { place, key, slot } => {
            output.no_table("key rotate-kek")?;
            let store = Store::named(global, place)?;
            let key = new_key(&key)?;
            let slot = slot_of(store.ask(Request::RotateKek { slot, key })?)?;
            let text = format!("slot {slot} has the new key: the old one opens the store no longer");
            done(&mut output, &Changed { slot: Some(slot), data_key: None }, &text)
        }
        KeyCommand::RotateData { place, rewrite } => {
            output.no_table("key rotate-data")?;
            let store = Store::named(global, place)?;
            rotate_data(&store, rewrite, &mut output)
        }
        KeyCommand::Verify { place } => verify(&Store::named(global, place)?, &mut output),
    }
}

fn generate(file: &Path) -> Result<(), Failure> {
    Seal::generate_key_file(file)?;
    writeln!(
        io::stdout(),
        "a new key is in {}: keep a copy of it away from the stores that it seals, they are lost without it",
        file.display()
    )?;
    Ok(())
}

/// The store whose keys are meant.
struct Store<'a> {
    global: &'a Global,
    uri: Uri,
    dir: PathBuf,
}

impl<'a> Store<'a> {
    fn named(global: &'a Global, place: KeyPlace) -> Result<Self, Failure> {
        let uri = match (&place.data_dir, &global.store) {
            (Some(dir), None) => {
                let dir =
                    std::path::absolute(dir).map_err(|error| Failure::file("find", dir.display(), &error))?;
                Uri::File { dir, backend: None, seal: None }
            }
            (None, Some(store)) => store.parse().map_err(Failure::usage)?,
            (Some(_), Some(_)) => {
                return Err(Failure::usage("--data-dir and --store are given: name one store"));
            }
            (None, None) => {
                return Err(Failure::usage("name the store: --data-dir DIR, or --store file:///dir"));
            }
        };
        match uri.clone() {
            Uri::File { dir, .. } => Ok(Self { global, uri, dir }),
            _ => Err(Failure::usage(format_args!("{uri} has no keys: name a directory"))),
        }
    }

    /// The key that was given, to open the store with.
    fn seal(&self) -> Result<Option<Seal>, Failure> {
        match &self.uri {
            Uri::File { seal: Some(seal), .. } => Ok(Some(seal.clone())),
            _ => self.global.seal.resolve(None, Some(&self.dir)),
        }
    }

    fn needed_seal(&self) -> Result<Seal, Failure> {
        match self.seal()? {
            None | Some(Seal::Unsealed) => Err(Failure::new(
                Exit::Failed,
                format_args!(
                    "nobody has {} open, so that its key is needed: --seal-key-file FILE, or another of its kind",
                    self.dir.display()
                ),
            )),
            Some(seal) => Ok(seal),
        }
    }

    /// Has the daemon do it, or does it on the closed store.
    fn ask(&self, request: Request) -> Result<Answer, Failure> {
        // A store that is not sealed has no keys, whoever has it open.
        StoreKeys::slots_in(&self.dir)?;
        match key_admin::ask(&self.dir, &request)? {
            Some(answer) => Ok(answer),
            None => key_admin::carry_out(&StoreKeys::of_closed(&self.dir, &self.needed_seal()?)?, &request),
        }
    }
}

fn new_key(flags: &NewKeyFlags) -> Result<NewKey, Failure> {
    match flags.resolve()? {
        Some(seal) => NewKey::of(&seal),
        None => Err(Failure::usage("name the new key: --new-key-file FILE, or another of its kind")),
    }
}

fn slot_of(answer: Answer) -> Result<u32, Failure> {
    match answer {
        Answer::Slot(slot) => Ok(slot),
        other => Err(strange(&other)),
    }
}

fn strange(answer: &Answer) -> Failure {
    Failure::new(Exit::Failed, format_args!("the daemon gave an answer that does not fit: {answer:?}"))
}

/// What was changed.
#[derive(Serialize)]
struct Changed {
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_key: Option<u32>,
}

fn done(output: &mut Output, changed: &Changed, text: &str) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.json(changed)?,
        Format::Simple | Format::Table => output.line(text)?,
    }
    Ok(output.flush()?)
}

fn status(store: &Store<'_>, output: &mut Output) -> Result<(), Failure> {
    let slots = Status::of_slots(&StoreKeys::slots_in(&store.dir)?);
    let status = match key_admin::ask(&store.dir, &Request::Status)? {
        Some(Answer::Status(status)) => status,
        Some(other) => return Err(strange(&other)),
        None => match store.seal()? {
            None | Some(Seal::Unsealed) => slots,
            Some(seal) => StoreKeys::of_closed(&store.dir, &seal)?.status().into(),
        },
    };
    match output.format {
        Format::Json => output.json(&status)?,
        Format::Simple => {
            for slot in &status.slots {
                let label = if slot.label.is_empty() { String::new() } else { format!(", {}", slot.label) };
                let key_id = slot.key_id.as_ref().map_or(String::new(), |id| format!(" with {id}"));
                output.line(format_args!("slot {}, {}{key_id}{label}", slot.id, slot.kind))?;
            }
            for key in status.data.iter().flat_map(|data| &data.keys) {
                let state = if key.active { "active" } else { "opens only" };
                let sealed = human_bytes(key.sealed_bytes);
                output.line(format_args!("data key {}, {state}, sealed {sealed}", key.id))?;
            }
            if let Some(data) = status.data.as_ref().filter(|data| data.rewriting) {
                let left = human_bytes(data.outdated_bytes);
                output.line(format_args!("rewriting what older keys sealed, {left} left"))?;
            }
        }
        Format::Table => {
            let slots = status.slots.iter().map(|slot| {
                let key_id = slot.key_id.clone().unwrap_or_default();
                [slot.id.to_string(), slot.kind.clone(), slot.label.clone(), key_id]
            });
            output.table(["SLOT", "KIND", "LABEL", "KEY ID"], slots)?;
            let keys = status.data.iter().flat_map(|data| &data.keys).map(|key| {
                let state = if key.active { "active" } else { "opens only" };
                [key.id.to_string(), state.to_owned(), human_bytes(key.sealed_bytes)]
            });
            output.table(["DATA KEY", "STATE", "SEALED"], keys)?;
        }
    }
    Ok(output.flush()?)
}

fn rotate_data(store: &Store<'_>, rewrite: bool, output: &mut Output) -> Result<(), Failure> {
    let Answer::DataKey(id) = store.ask(Request::RotateData { rewrite })? else {
        return Err(Failure::new(Exit::Failed, "the daemon gave an answer that does not fit"));
    };
    if rewrite {
        wait_for_rewriting(store)?;
    }
    let text = match rewrite {
        true => format!("data key {id} seals everything; the older ones were destroyed"),
        false => format!("data key {id} seals what is written from now on"),
    };
    done(output, &Changed { slot: None, data_key: Some(id) }, &text)
}

/// Shows how far it is until it is done. Whoever does not wait takes nothing away: it goes on in the daemon, or when the
/// store is opened again.
fn wait_for_rewriting(store: &Store<'_>) -> Result<(), Failure> {
    let bar = progress::bar(Some(0), true);
    let mut total = 0;
    // Says whether it is done.
    let mut look = |data: &key_admin::Data| {
        total = total.max(data.outdated_bytes);
        bar.set_length(total);
        bar.set_position(total - data.outdated_bytes);
        !data.rewriting && data.keys.len() == 1
    };
    loop {
        match key_admin::ask(&store.dir, &Request::Status)? {
            Some(Answer::Status(Status { data: Some(data), .. })) => {
                if look(&data) {
                    break;
                }
            }
            Some(other) => return Err(strange(&other)),
            // Nobody has it open: it is opened here, and goes on by that.
            None => {
                rewrite_closed(store, &mut look)?;
                break;
            }
        }
        thread::park_timeout(LOOK);
    }
    bar.finish_and_clear();
    Ok(())
}

fn rewrite_closed(store: &Store<'_>, look: &mut dyn FnMut(&key_admin::Data) -> bool) -> Result<(), Failure> {
    let options: Options = connection::seal_options(store.global, &store.uri)?.create(false);
    let opened = coffer::block_on(options.open_store(&store.uri))?;
    let done = match &opened.keys {
        None => Ok(()),
        Some(keys) => loop {
            let status = Status::from(keys.status());
            if status.data.as_ref().is_none_or(&mut *look) {
                break Ok(());
            }
            if let Some(reason) = opened.node.stopped().now_or_never() {
                break Err(Failure::from(reason));
            }
            thread::park_timeout(LOOK);
        },
    };
    drop(opened.keys);
    opened.node.shutdown();
    done
}

/// What a key opens.
#[derive(Serialize)]
struct VerifiedJson {
    slot: u32,
    kind: String,
    data_keys: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    newer_key_id: Option<String>,
}

fn verify(store: &Store<'_>, output: &mut Output) -> Result<(), Failure> {
    output.no_table("key verify")?;
    let Some(seal) = store.seal()?.filter(|seal| *seal != Seal::Unsealed) else {
        return Err(Failure::usage("name the key to verify: --seal-key-file FILE, or another of its kind"));
    };
    let verified = StoreKeys::verify(&store.dir, &seal)?;
    let (slot, keys) = (&verified.slot, verified.data_keys);
    match output.format {
        Format::Json => output.json(&VerifiedJson {
            slot: slot.id.0,
            kind: slot.kind.to_string(),
            data_keys: keys,
            newer_key_id: verified.newer_key_id.clone(),
        })?,
        Format::Simple | Format::Table => {
            output
                .line(format_args!("it opens slot {}; slots and {keys} data keys are authentic", slot.id))?;
            if let Some(newer) = &verified.newer_key_id {
                output.line(format_args!(
                    "its source has a newer key, {newer}: `coffer key rotate-kek --slot {}` takes that",
                    slot.id
                ))?;
            }
        }
    }
    Ok(output.flush()?)
}
