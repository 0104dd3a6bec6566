@0xd5a1c07e3b924f68;
# Coffer: what members say to each other. The bootstrap capability of a peer connection is `PeerGate`; frames are limited
# to 64 KiB until `hello` was answered. A member opens up to four connections to each other one, a lane each, so that a
# heartbeat never waits behind entries or a snapshot.

interface PeerGate {
  hello @0 Hello -> HelloAnswer;
  roster @1 () -> Roster;
  # For somebody who belongs to no cluster yet.
}

struct Roster {
  clusterId @0 :UInt64;
  members @1 :List(Member);
  # Empty while the cluster is not founded.

  struct Member {
    id @0 :UInt64;
    description @1 :Data;
  }
}

struct Hello {
  protocol @0 :UInt32;
  # The newest version that the speaker knows. Grows when the meaning of something changes.
  clusterId @1 :UInt64;
  from @2 :UInt64;
  # The member that speaks.
  boot @3 :UInt64;
  # Drawn by its process at the start. Two live ones of one member are refused.
  to @4 :UInt64;
  # The member that it wants.
  lane @5 :Lane;
  pinger @6 :Pinger;
  # With it the answering side can tell a living process from one that is gone.
  membership @7 :UInt64;
  # One more than the index of the newest committed membership that names the speaker; 0 if it knows of none. One that is
  # committed later and does not name it has removed it.
  protocolMin @8 :UInt32;
  # The oldest version that it still speaks; 0 is 1. Both sides use the newest that both know; without one it is refused.
}

interface Pinger {
  ping @0 () -> ();
}

enum Lane {
  entries @0;
  heartbeats @1;
  snapshots @2;
  calls @3;
}

struct HelloAnswer {
  boot @0 :UInt64;
  # Of the answering process.
  protocol @3 :UInt32;
  # The version that is used from here on; 0 is 1.
  union {
    peer @1 :Peer;
    refused @2 :Refusal;
  }
}

struct Refusal {
  reason @0 :Reason;
  message @1 :Text;

  enum Reason {
    unknown @0;
    protocol @1;
    otherCluster @2;
    otherMember @3;
    removed @4;
    twin @5;
    # Another process with the same member id is connected and alive.
    stopped @6;
  }
}

interface Peer extends(Pinger) {
  vote @0 VoteRequest -> VoteAnswer;
  append @1 AppendRequest -> AppendAnswer;
  # Several calls may be under way; they are carried out and answered in order. After a conflict or a higher vote the
  # sender begins anew.
  transfer @2 TransferRequest -> (refused :Text);
  # Empty: accepted.
  snapshot @3 SnapshotHeader -> (sink :SnapshotSink);
  readIndex @4 () -> IndexAnswer;
  propose @5 (payload :Data) -> IndexAnswer;
  change @6 MemberChange -> ChangeAnswer;
  ask @7 (question :Data) -> (known :Bool, answer :Data);
  # What only the leader's state machine knows, in its own encoding. Not known: this member does not lead.
}

struct LogId {
  present @0 :Bool;
  term @1 :UInt64;
  index @2 :UInt64;
}

struct Vote {
  term @0 :UInt64;
  candidate @1 :UInt64;
  committed @2 :Bool;
}

struct VoteRequest {
  vote @0 :Vote;
  last @1 :LogId;
  preVote @2 :Bool;
  transfer @3 :Bool;
}

struct VoteAnswer {
  vote @0 :Vote;
  granted @1 :Bool;
  last @2 :LogId;
}

struct Entry {
  term @0 :UInt64;
  index @1 :UInt64;
  kind @2 :Kind;
  payload @3 :Data;

  enum Kind {
    blank @0;
    normal @1;
    membership @2;
  }
}

struct AppendRequest {
  vote @0 :Vote;
  prev @1 :LogId;
  entries @2 :List(Entry);
  committed @3 :LogId;
}

struct AppendAnswer {
  union {
    matched @0 :LogId;
    conflict @1 :LogId;
    higherVote @2 :Vote;
  }
}

struct TransferRequest {
  from @0 :Vote;
  to @1 :UInt64;
  last @2 :LogId;
}

struct SnapshotHeader {
  vote @0 :Vote;
  last @1 :LogId;
  membershipAt @2 :LogId;
  membership @3 :Data;
}

interface SnapshotSink {
  # Dropping it lets go of what was sent.
  write @0 (chunk :Data) -> ();
  finish @1 (bytes :UInt64, crc32c :UInt32) -> (vote :Vote);
  # Of all chunks together. Answered when the snapshot is installed.
}

struct IndexAnswer {
  union {
    at @0 :LogId;
    error @1 :Failure;
  }
}

struct Failure {
  reason @0 :Reason;
  leader @1 :UInt64;
  # With notLeader: who leads, 0 if unknown.
  message @2 :Text;

  enum Reason {
    unknown @0;
    # Whether it happened is open.
    notLeader @1;
    noLeader @2;
    overloaded @3;
    stopped @4;
  }
}

struct MemberChange {
  member @0 :UInt64;
  kind @1 :Kind;
  description @2 :Data;

  enum Kind {
    addLearner @0;
    promote @1;
    remove @2;
    describe @3;
  }
}

struct ChangeAnswer {
  outcome @0 :Outcome;
  message @1 :Text;

  enum Outcome {
    unknown @0;
    done @1;
    noLeader @2;
    notLeader @3;
    inProgress @4;
    notFound @5;
    exists @6;
    lastVoter @7;
    refused @8;
    unhealthy @9;
    notInSync @10;
  }
}
