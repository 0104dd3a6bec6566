//! Runs the real program: every command on a store in the process and against a daemon.
//!
//! Expected simple outputs were written by etcdctl 3.4 for the same commands, unless a test says otherwise.

mod bad_input;
mod cluster;
mod convert;
mod directories;
mod disk;
mod etcd;
mod home;
mod import_etcd;
mod import_export;
mod keys;
mod kill;
mod kms;
mod kv;
mod lease;
mod maintenance;
mod members;
mod real_etcd;
mod rotation;
mod seal;
mod serve;
mod snapshot;
mod support;
mod txn;
mod verify;
mod watch;
