@0xed071b8fdb541834;
# Coffer: looking after members and the cluster.

using Types = import "types.capnp";

interface Maintenance {
  status @0 StatusRequest -> StatusResult;
  hashKv @1 HashKvRequest -> HashKvResult;
  snapshot @2 SnapshotRequest -> SnapshotResult;
}

# A snapshot file that is being made as it is asked for. Reclaiming is held back until it is released, or nothing of it is
# asked for during a minute.
interface SnapshotStream {
  next @0 () -> SnapshotChunk;
}

interface Cluster {
  info @0 () -> ClusterInfo;
  list @1 MemberListRequest -> MembersResult;
  change @2 MemberRequest -> MembersResult;
}

struct MemberListRequest {
  linearizable @0 :Bool;
  deadlineMs @1 :UInt32;
}

struct MemberRequest {
  union {
    add @0 :AddMember;
    promote @1 :UInt64;
    remove @2 :UInt64;
    update @3 :UpdateMember;
    moveLeader @4 :UInt64;
    replace @6 :UInt64;
  }
  deadlineMs @5 :UInt32;

  struct AddMember {
    peerUrls @0 :List(Text);
    learner @1 :Bool;
  }

  struct UpdateMember {
    id @0 :UInt64;
    peerUrls @1 :List(Text);
  }
}

struct MembersResponse {
  header @0 :Types.Header;
  members @1 :List(Member);
  leader @2 :UInt64;
  added @3 :UInt64;

  struct Member {
    id @0 :UInt64;
    name @1 :Text;
    peerUrls @2 :List(Text);
    clientUrls @3 :List(Text);
    votes @4 :Bool;
    wantsVote @5 :Bool;
  }
}

struct MembersResult { union { ok @0 :MembersResponse; err @1 :Types.Error; } }

struct StatusRequest { deadlineMs @0 :UInt32; }

struct StatusResponse {
  header @0 :Types.Header;
  version @1 :Text;
  dbSizeBytes @2 :UInt64;
  dbSizeInUseBytes @3 :UInt64;
  leader @4 :UInt64;
  raftIndex @5 :UInt64;
  raftAppliedIndex @6 :UInt64;
  raftTerm @7 :UInt64;
  isLearner @8 :Bool;
  compactRevision @9 :Int64;
  keys @10 :UInt64;
  leases @11 :UInt64;
  watchers @12 :UInt64;
  backend @13 :Text;
  sealed @14 :Bool;
  errors @15 :List(Text);
}

struct StatusResult { union { ok @0 :StatusResponse; err @1 :Types.Error; } }

struct HashKvRequest {
  revision @0 :Int64;
  deadlineMs @1 :UInt32;
}

struct HashKvResponse {
  header @0 :Types.Header;
  hash @1 :UInt32;
  compactRevision @2 :Int64;
  hashRevision @3 :Int64;
}

struct HashKvResult { union { ok @0 :HashKvResponse; err @1 :Types.Error; } }

struct SnapshotRequest { deadlineMs @0 :UInt32; }

struct SnapshotOpened {
  clusterId @0 :UInt64;
  memberId @1 :UInt64;
  revision @2 :Int64;
  compactRevision @3 :Int64;
  appliedTerm @4 :UInt64;
  appliedIndex @5 :UInt64;
  createdS @6 :UInt64;
  stream @7 :SnapshotStream;
}

struct SnapshotResult { union { ok @0 :SnapshotOpened; err @1 :Types.Error; } }

struct SnapshotChunk { union { bytes @0 :Data; end @1 :Void; err @2 :Types.Error; } }

struct ClusterInfo {
  header @0 :Types.Header;
  members @1 :List(Member);

  struct Member {
    id @0 :UInt64;
    clientUrls @1 :List(Text);
    isLearner @2 :Bool;
  }
}
