//! etcd's v3 API: gRPC, its JSON gateway, health and metrics, served from the same [`Node`](coffer_core::node::Node) as
//! every other surface.
#![forbid(unsafe_code)]

pub mod proto;
