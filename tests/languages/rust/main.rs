//! The Rust runner: reads commands from standard input, one a line, and answers each on standard output. README.md, one folder
//! up, says which commands there are and how words are written.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to whoever started it")]

mod lock;
#[path = "../driver/words.rs"]
mod words;

use coffer::request::{LeaseGrantRequest, LeaseTimeToLiveRequest, TxnOpResponse};
use coffer::{
    Client, Compare, Error, Event, EventKind, KeepAlive, KeyRange, LeaseId, Options, Seal, TxnOp, Watch,
    block_on,
};
use lock::Lock;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use words::{Digest, decode, encode};

fn main() {
    let mut runner = Runner::default();
    for line in std::io::stdin().lines() {
        let line = line.expect("the driver writes UTF-8");
        let mut words = line.split(' ').map(decode);
        let command = words.next().unwrap_or_default();
        let words: Vec<_> = words.collect();
        let command = String::from_utf8(command).expect("commands are text");
        match block_on(runner.run(&command, &words)) {
            Ok(answer) => println!("{answer}"),
            Err(error) => {
                eprintln!("{command}: {error}");
                println!("error {}", name_of(&error));
            }
        }
    }
}

type Words<'a> = &'a [Vec<u8>];
type Answer = Result<String, Error>;

#[derive(Default)]
struct Runner {
    store: Option<Client>,
    txn: Txn,
    watch: Option<Watched>,
    keep_alive: Option<KeepAlive>,
    lock: Option<Lock>,
    jobs: Vec<JoinHandle<Result<(), Error>>>,
}

/// A transaction that is being put together.
#[derive(Default)]
struct Txn {
    conditions: Vec<Compare>,
    then: Vec<TxnOp>,
    otherwise: Vec<TxnOp>,
}

/// A watch, one event at a time.
struct Watched {
    watch: Watch,
    events: VecDeque<Event>,
    resume: i64,
}

impl Runner {
    async fn run(&mut self, command: &str, words: Words<'_>) -> Answer {
        match command {
            "open" => self.open(words).await,
            "close" => self.close().await,
            "put" => self.put(words).await,
            "swap" => self.swap(words).await,
            "get" => self.get(words).await,
            "range" => self.range(words).await,
            "scan" => self.scan(words).await,
            "delete" => self.delete(KeyRange::single(words[0].clone())).await,
            "delete-prefix" => self.delete(KeyRange::prefix(words[0].clone())).await,
            "txn" => {
                self.txn = Txn::default();
                ok()
            }
            "if" => self.condition(words),
            "then" => {
                self.txn.then.push(operation(words));
                ok()
            }
            "else" => {
                self.txn.otherwise.push(operation(words));
                ok()
            }
            "commit" => self.commit().await,
            "watch" => self.watch(words).await,
            "next" => self.next().await,
            "resume" => Ok(self.watch.as_ref().expect("a watch").resume.to_string()),
            "unwatch" => {
                self.watch = None;
                ok()
            }
            "grant" => self.grant(words).await,
            "revoke" => self.store().lease_revoke(lease(&words[0])).await.and_then(|_| ok()),
            "renew" => self.renew(words).await,
            "lease" => self.lease(words).await,
            "keep" => {
                self.keep_alive = Some(self.store().keep_alive(lease(&words[0]))?);
                ok()
            }
            "lost" => Err(self.keep_alive.as_mut().expect("a lease is kept").lost().await),
            "unkeep" => {
                self.keep_alive = None;
                ok()
            }
            "add" => self.add(words),
            "add-locked" => self.add_locked(words),
            "join" => self.join(),
            "lock" => {
                let lock = Lock::take(self.store(), &words[0]).await?;
                let fence = lock.fence;
                self.lock = Some(lock);
                Ok(format!("ok {fence}"))
            }
            "put-fenced" => self.put_fenced(words).await,
            "unlock" => {
                self.lock.take().expect("a lock").release().await?;
                ok()
            }
            "compact" => self.store().compact(number(&words[0])).await.and_then(|_| ok()),
            "hash" => Ok(self.store().hash_kv(0).await?.hash.to_string()),
            "keys" => self.keys(),
            "rotate-data" => self.store_keys()?.rotate_data(true).and_then(|_| ok()),
            "rotate-key" => {
                let seal = Seal::KeyFile(PathBuf::from(text(&words[0])));
                self.store_keys()?.rotate_kek(None, &seal).and_then(|_| ok())
            }
            _ => Ok("error UNKNOWN_COMMAND".into()),
        }
    }

    fn store(&self) -> &Client {
        self.store.as_ref().expect("a store is open")
    }

    async fn open(&mut self, words: Words<'_>) -> Answer {
        let mut options = Options::default();
        for option in &words[1..] {
            let option = text(option);
            let (name, value) = option.split_once('=').expect("name=value");
            options = options.set(name, value)?;
        }
        self.store = Some(options.open(&text(&words[0])).await?);
        ok()
    }

    async fn close(&mut self) -> Answer {
        if let Some(store) = self.store.take() {
            store.close().await;
        }
        ok()
    }

    async fn put(&self, words: Words<'_>) -> Answer {
        let lease = words.get(2).map_or(LeaseId::NONE, |word| lease(word));
        let done = self.store().put(words[0].clone(), words[1].clone()).lease(lease).await?;
        Ok(format!("ok {}", done.header.revision))
    }

    async fn swap(&self, words: Words<'_>) -> Answer {
        let done = self.store().put(words[0].clone(), words[1].clone()).prev_kv().await?;
        let previous = done.prev_kv.map_or("none".into(), |kv| encode(&kv.value));
        Ok(format!("ok {} {previous}", done.header.revision))
    }

    async fn get(&self, words: Words<'_>) -> Answer {
        let mut get = self.store().get(words[0].clone());
        if let Some(revision) = words.get(1) {
            get = get.revision(number(revision));
        }
        Ok(match get.await? {
            Some(kv) => format!(
                "{} {} {} {} {}",
                encode(&kv.value),
                kv.create_revision,
                kv.mod_revision,
                kv.version,
                kv.lease.0
            ),
            None => "none".into(),
        })
    }

    async fn range(&self, words: Words<'_>) -> Answer {
        let mut range = self.store().range(KeyRange::prefix(words[0].clone()));
        if let Some(limit) = words.get(1) {
            range = range.limit(number(limit));
        }
        let found = range.await?;
        let mut answer = String::new();
        for kv in &found.kvs {
            answer += &format!("{} {}\n", encode(&kv.key), encode(&kv.value));
        }
        let whole = if found.more { "more" } else { "all" };
        Ok(format!("{answer}end {} {whole}", found.count))
    }

    async fn scan(&self, words: Words<'_>) -> Answer {
        let mut pages = self.store().range(KeyRange::prefix(words[0].clone())).pages();
        let (mut digest, mut keys) = (Digest::default(), 0);
        while let Some(page) = pages.next().await? {
            keys += page.len();
            for kv in page {
                digest.add(&kv.key);
                digest.add(&kv.value);
            }
        }
        Ok(format!("end {keys} {digest}"))
    }

    async fn delete(&self, range: KeyRange) -> Answer {
        let done = self.store().delete_range(range).await?;
        Ok(format!("ok {} {}", done.header.revision, done.deleted))
    }

    fn condition(&mut self, words: Words<'_>) -> Answer {
        let (key, target, relation) = (words[0].clone(), text(&words[1]), words[2][0]);
        self.txn.conditions.push(match target.as_str() {
            "version" => related(Compare::version(key), relation, number(&words[3])),
            "create" => related(Compare::created(key), relation, number(&words[3])),
            "mod" => related(Compare::modified(key), relation, number(&words[3])),
            "lease" => related(Compare::lease(key), relation, lease(&words[3])),
            _ => related(Compare::value(key), relation, words[3].clone()),
        });
        ok()
    }

    async fn commit(&mut self) -> Answer {
        let txn = std::mem::take(&mut self.txn);
        let commit = self.store().txn().when(txn.conditions).then(txn.then).otherwise(txn.otherwise);
        let done = commit.commit().await?;
        let mut answer = format!("{} {}", if done.succeeded { "yes" } else { "no" }, done.header.revision);
        for part in done.responses {
            answer += &match part {
                TxnOpResponse::Put(_) => "\nput".into(),
                TxnOpResponse::DeleteRange(deleted) => format!("\ndelete {}", deleted.deleted),
                TxnOpResponse::Range(found) => {
                    format!("\nget {}", found.kvs.first().map_or("none".into(), |kv| encode(&kv.value)))
                }
                TxnOpResponse::Txn(_) => "\ntxn".into(),
            };
        }
        Ok(answer)
    }

    async fn watch(&mut self, words: Words<'_>) -> Answer {
        let mut watch = self.store().watch(KeyRange::prefix(words[0].clone()));
        let revision = words.get(1).map_or(0, |revision| number(revision));
        if revision > 0 {
            watch = watch.from_revision(revision);
        }
        let watch = watch.start().await?;
        self.watch = Some(Watched { watch, events: VecDeque::new(), resume: revision });
        ok()
    }

    async fn next(&mut self) -> Answer {
        let watched = self.watch.as_mut().expect("a watch");
        while watched.events.is_empty() {
            match watched.watch.next().await {
                None => return Ok("end".into()),
                Some(update) => {
                    let update = update?;
                    watched.resume = update.revision + 1;
                    watched.events.extend(update.events);
                }
            }
        }
        let event = watched.events.pop_front().expect("one is there");
        let key = encode(&event.kv.key);
        Ok(match event.kind {
            EventKind::Put => format!("put {key} {} {}", encode(&event.kv.value), event.kv.mod_revision),
            EventKind::Delete => format!("delete {key} {}", event.kv.mod_revision),
        })
    }

    async fn grant(&self, words: Words<'_>) -> Answer {
        let id = words.get(1).map_or(LeaseId::NONE, |word| lease(word));
        let request = LeaseGrantRequest { ttl_s: number(&words[0]), id };
        let granted = self.store().lease_grant_request(request).await?;
        Ok(format!("ok {} {}", granted.id.0, granted.ttl_s))
    }

    async fn renew(&self, words: Words<'_>) -> Answer {
        let renewed = self.store().lease_keep_alive(lease(&words[0])).await?;
        if renewed.ttl_s <= 0 {
            return Err(Error::LeaseNotFound);
        }
        Ok(format!("ok {}", renewed.ttl_s))
    }

    async fn lease(&self, words: Words<'_>) -> Answer {
        let request = LeaseTimeToLiveRequest { id: lease(&words[0]), keys: true };
        let found = self.store().lease_time_to_live(request).await?;
        if found.ttl_s <= 0 {
            return Ok("none".into());
        }
        let keys: String = found.keys.iter().map(|key| format!(" {}", encode(key))).collect();
        Ok(format!("ok {}{keys}", found.granted_ttl_s))
    }

    fn add(&mut self, words: Words<'_>) -> Answer {
        let (store, key, times) = (self.store().clone(), words[0].clone(), number(&words[1]));
        self.start(times, move || block_on(add_one(&store, &key)))
    }

    fn add_locked(&mut self, words: Words<'_>) -> Answer {
        let (store, name, key) = (self.store().clone(), words[0].clone(), words[1].clone());
        self.start(number(&words[2]), move || block_on(add_one_locked(&store, &name, &key)))
    }

    fn start(&mut self, times: i64, once: impl Fn() -> Result<(), Error> + Send + 'static) -> Answer {
        self.jobs.push(thread::spawn(move || (0..times).try_for_each(|_| once())));
        ok()
    }

    fn join(&mut self) -> Answer {
        for job in self.jobs.drain(..) {
            job.join().expect("it does not panic")?;
        }
        ok()
    }

    async fn put_fenced(&self, words: Words<'_>) -> Answer {
        let lock = self.lock.as_ref().expect("a lock");
        Ok(match lock.put(&words[0], words[1].clone()).await? {
            Some(revision) => format!("ok {revision}"),
            None => "lost".into(),
        })
    }

    fn keys(&self) -> Answer {
        let status = self.store_keys()?.status();
        Ok(status.slots.iter().fold("ok".into(), |answer, slot| format!("{answer} {}", slot.kind)))
    }

    fn store_keys(&self) -> Result<std::sync::Arc<coffer::StoreKeys>, Error> {
        self.store().keys().ok_or_else(|| Error::Unsupported("the store has no keys".into()))
    }
}

fn ok() -> Answer {
    Ok("ok".into())
}

fn text(word: &[u8]) -> String {
    String::from_utf8(word.to_vec()).expect("this word is text")
}

fn number(word: &[u8]) -> i64 {
    text(word).parse().expect("this word is a number")
}

fn lease(word: &[u8]) -> LeaseId {
    LeaseId(number(word))
}

fn related<T>(field: coffer::Field<T>, relation: u8, given: impl Into<T>) -> Compare {
    match relation {
        b'=' => field.equals(given),
        b'!' => field.differs_from(given),
        b'>' => field.above(given),
        _ => field.below(given),
    }
}

fn operation(words: Words<'_>) -> TxnOp {
    let key = words[1].clone();
    match text(&words[0]).as_str() {
        "put" => TxnOp::put(key, words[2].clone()),
        "get" => TxnOp::get(key),
        _ => TxnOp::delete(key),
    }
}

/// The number under a key, and the revision that wrote it.
async fn read_number(store: &Client, key: &[u8]) -> Result<(i64, i64), Error> {
    let found = store.get(key).await?;
    Ok(found.map_or((0, 0), |kv| (number(&kv.value), kv.mod_revision)))
}

/// Adds one, if nobody wrote the number since it was read; else again.
async fn add_one(store: &Client, key: &[u8]) -> Result<(), Error> {
    loop {
        let (value, seen) = read_number(store, key).await?;
        let put = TxnOp::put(key, (value + 1).to_string());
        let done = store.txn().when([Compare::modified(key).equals(seen)]).then([put]).commit().await?;
        if done.succeeded {
            return Ok(());
        }
    }
}

/// Adds one without looking whether somebody else writes: the lock keeps them out.
async fn add_one_locked(store: &Client, name: &[u8], key: &[u8]) -> Result<(), Error> {
    let lock = Lock::take(store, name).await?;
    let (value, _) = read_number(store, key).await?;
    let put = lock.put(key, (value + 1).to_string().into_bytes()).await?;
    lock.release().await?;
    put.map(|_| ()).ok_or(Error::LeaseNotFound)
}

/// What the header of the C interface calls an error.
fn name_of(error: &Error) -> &'static str {
    match error {
        Error::EmptyKey => "EMPTY_KEY",
        Error::DuplicateKey => "DUPLICATE_KEY",
        Error::TooManyOps => "TOO_MANY_OPS",
        Error::Compacted { .. } => "COMPACTED",
        Error::FutureRevision => "FUTURE_REVISION",
        Error::LeaseNotFound => "LEASE_NOT_FOUND",
        Error::LeaseExists => "LEASE_EXISTS",
        Error::LeaseTtlTooLarge => "LEASE_TTL_TOO_LARGE",
        Error::RequestTooLarge => "REQUEST_TOO_LARGE",
        Error::KeyTooLarge => "KEY_TOO_LARGE",
        Error::Timeout => "TIMEOUT",
        Error::Unavailable(_) => "UNAVAILABLE",
        Error::Stopped => "STOPPED",
        Error::InvalidArgument(_) => "INVALID_ARGUMENT",
        Error::Unsupported(_) => "UNSUPPORTED",
        Error::Open(_) => "CANNOT_OPEN",
        Error::Corrupt(_) => "CORRUPT",
        _ => "OTHER",
    }
}
