@0xa94e209f99f82bb3;
# Coffer: the way in. The bootstrap capability of a connection is `Gate`; frames are limited to 64 KiB until `login`.

using Types = import "types.capnp";
using Kv = import "kv.capnp";
using Watch = import "watch.capnp";
using Lease = import "lease.capnp";
using Maintenance = import "maintenance.capnp";

interface Gate {
  info @0 () -> Info;
  login @1 LoginRequest -> (session :Session);
  # Fails with an exception; never answers with an absent session.
}

struct Info {
  version @0 :Text;
  # Of the server's software.
  protocol @1 :UInt32;
  # 1. Grows when the meaning of something changes; additions do not change it.
  clusterId @2 :UInt64;
  memberId @3 :UInt64;
  requestBytesMax @4 :UInt64;
  # Largest request that is accepted.
  frameBytesMax @5 :UInt64;
  # Largest message that is read after login; a larger one ends the connection.
}

struct LoginRequest {
  clientName @0 :Text;
  # For the operator: program and version.
  pinger @1 :Pinger;
  # May be absent. With it the server can tell a quiet client from a dead one.
}

interface Pinger {
  ping @0 () -> ();
}

interface Session extends(Pinger) {
  # Ends when it is dropped, and with it everything that was made from it.
  kv @0 () -> (kv :Kv.Kv);
  watch @1 () -> (watch :Watch.Watch);
  lease @2 () -> (lease :Lease.Lease);
  cluster @3 () -> (cluster :Maintenance.Cluster);
  maintenance @4 () -> (maintenance :Maintenance.Maintenance);
}
