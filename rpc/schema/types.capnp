@0xef1e45b4bbe113b1;
# Coffer: what every interface shares.
#
# Rules of this schema: ordinals are never reused or renumbered; fields and methods are added at the end; zero means
# "not given"; keys and values are Data; an expected failure is the `err` side of a result, never an exception.
# Exceptions mean: overloaded (nothing happened), disconnected, unimplemented (an older server), failed (a bug).

struct Header {
  clusterId @0 :UInt64;
  memberId @1 :UInt64;
  revision @2 :Int64;
  # Of the write; for reads the newest revision of the store.
  raftTerm @3 :UInt64;
}

struct KeyValue {
  key @0 :Data;
  value @1 :Data;
  createRevision @2 :Int64;
  modRevision @3 :Int64;
  version @4 :Int64;
  lease @5 :Int64;
}

struct Error {
  code @0 :Code;
  message @1 :Text;
  # For people. Programs branch on the code.
  compactRevision @2 :Int64;
  # With `compacted`: the oldest revision that can still be read.
  leaderHint @3 :UInt64;
  # With `notLeader`: the member that leads, as far as known.
  retryAfterMs @4 :UInt32;
  # How long to wait before the same request makes sense again; 0 leaves it to the client.

  enum Code {
    unknown @0;
    # An error that this version of the schema has no code for. Treat its outcome as unknown.

    # Fix the request.
    emptyKey @1;
    keyNotFound @2;
    valueProvided @3;
    leaseProvided @4;
    tooManyOps @5;
    duplicateKey @6;
    invalidSortOption @7;
    compacted @8;
    futureRevision @9;
    leaseNotFound @10;
    leaseExists @11;
    leaseTtlTooLarge @12;
    requestTooLarge @13;
    keyTooLarge @14;
    duplicateWatchId @15;
    emptyWatchRange @16;
    invalidArgument @17;
    unsupported @18;
    canceled @19;
    open @20;

    # Nothing happened; the same request may succeed later.
    noSpace @21;
    tooManyRequests @22;
    noLeader @23;
    notLeader @24;
    timeout @25;
    unavailable @26;
    stopped @27;

    # It may or may not have happened.
    leaderChanged @28;
    outcomeUnknown @29;
    connectionLost @30;

    # This node can not go on.
    fatal @31;
    corrupt @32;

    replyTooLarge @33;
    # The answer would exceed what one message may hold: use `rangeStream`, or a limit. Nothing happened.

    txnTooLarge @34;
    # The txn would look at too many keys. Nothing happened: split it, or narrow or limit its ranges.
    doneAnswerTooLarge @35;
    # The change was made, but the answer that was asked for with it would exceed what one message may hold.
  }
}
