//! Whose a TCP socket on loopback is, as `/proc` tells: so that a proxy knows which member connects to it, whatever is said on
//! the connection, and which port a member was given.

use std::collections::{HashMap, HashSet};
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

/// Which of these processes connected each of `connections`, given as from and to. The table is read once for all of them:
/// it also holds what every program here closed in the last minute, so that reading it takes up to tenths of a second.
pub fn owners(connections: &[(SocketAddrV4, SocketAddrV4)], pids: &[u32]) -> Vec<Option<u32>> {
    let wanted: HashSet<_> = connections.iter().copied().collect();
    let ends = |socket: &Socket| (socket.local, socket.remote);
    let inodes: HashMap<_, _> = sockets()
        .into_iter()
        .filter(|socket| wanted.contains(&ends(socket)))
        .map(|socket| (ends(&socket), socket.inode))
        .collect();
    let owner = |ends| {
        let inode = *inodes.get(ends)?;
        pids.iter().copied().find(|pid| owns(*pid, inode))
    };
    connections.iter().map(owner).collect()
}

/// The ports on which a process listens.
pub fn listening(pid: u32) -> Vec<u16> {
    let listeners = sockets().into_iter().filter(|socket| socket.is_listening && owns(pid, socket.inode));
    listeners.map(|socket| socket.local.port()).collect()
}
