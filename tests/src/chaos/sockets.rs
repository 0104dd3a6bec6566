//! Whose a TCP socket on loopback is, as `/proc` tells: so that a proxy knows which member connects to it, whatever is said on
//! the connection, and which port a member was given.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A line of `/proc/net/tcp`.
struct Socket {
    local: SocketAddrV4,
    remote: SocketAddrV4,
    is_listening: bool,
    inode: u64,
}

const LISTENING: &str = "0A";

fn sockets() -> Vec<Socket> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().skip(1).filter_map(parse).collect()
}

/// `  0: 0100007F:1F90 0100007F:C350 01 … uid timeout inode …`, addresses as the machine stores them.
fn parse(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some(Socket {
        local: address(fields.get(1)?)?,
        remote: address(fields.get(2)?)?,
        is_listening: *fields.get(3)? == LISTENING,
        inode: fields.get(9)?.parse().ok()?,
    })
}

fn address(text: &str) -> Option<SocketAddrV4> {
    let (ip, port) = text.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
    Some(SocketAddrV4::new(Ipv4Addr::from(ip), u16::from_str_radix(port, 16).ok()?))
}

fn owns(pid: u32, inode: u64) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let name = format!("socket:[{inode}]");
    files
        .filter_map(Result::ok)
        .any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == name.as_str()))
}

/// Which of these processes connected from `from` to `to`.
pub fn owner(from: SocketAddrV4, to: SocketAddrV4, pids: &[u32]) -> Option<u32> {
    let socket = sockets().into_iter().find(|socket| (socket.local, socket.remote) == (from, to))?;
    pids.iter().copied().find(|pid| owns(*pid, socket.inode))
}

/// The ports on which a process listens.
pub fn listening(pid: u32) -> Vec<u16> {
    let listeners = sockets().into_iter().filter(|socket| socket.is_listening && owns(pid, socket.inode));
    listeners.map(|socket| socket.local.port()).collect()
}
