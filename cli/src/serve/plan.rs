//! What a daemon is to do, whoever was told: `coffer serve` or the program under the name `etcd`.

use super::compaction::AutoCompaction;
use super::rotation::Rotation;
use coffer::{MemberInfo, Options, Peering};
use coffer_etcd::server::ServerConfig as EtcdConfig;
use coffer_rpc::server::ServerConfig as RpcConfig;
use std::path::PathBuf;

/// What a daemon is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) data_dir: PathBuf,
    /// How the store is opened.
    pub(crate) options: Options,
    /// Where clients are served, in the order in which the ready line names them.
    pub(crate) listen: Vec<Listen>,
    /// How it finds other members; `None` for a store that stays alone.
    pub(crate) peering: Option<Peering>,
    /// What the cluster is told of this member, if it is one of several.
    pub(crate) own: MemberInfo,
    pub(crate) rpc: RpcConfig,
    pub(crate) etcd: EtcdConfig,
    pub(crate) auto_compaction: Option<AutoCompaction>,
    /// When the data key of a sealed store is replaced.
    pub(crate) rotation: Rotation,
}

/// A URL to listen on, and what is served there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) surface: Surface,
    pub(crate) url: String,
}

/// What can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Coffer's own protocol.
    CapnProto,
    /// etcd's API.
    Etcd,
}
