@0xf09b2776da307772;
# Coffer: keys and values. Meanings and defaults are those of etcd's v3 API.

using Types = import "types.capnp";

interface Kv {
  range @0 RangeRequest -> RangeResult;
  put @1 PutRequest -> PutResult;
  deleteRange @2 DeleteRangeRequest -> DeleteRangeResult;
  txn @3 TxnRequest -> TxnResult;
  compact @4 CompactRequest -> CompactResult;
  rangeStream @5 (request :RangeRequest, sink :RangeSink) -> (result :RangeResult);
  # A range of any size at one revision, in pieces. The pieces go to `sink`; the result comes after the last one was
  # taken, with everything but the pairs.
}

interface RangeSink {
  chunk @0 (kvs :List(Types.KeyValue), revision :Int64) -> stream;
  # In order, all at `revision`.
}

struct KeyRange {
  # An empty `end` means the key alone, one zero byte means every key from `key` on, anything else is exclusive.
  key @0 :Data;
  end @1 :Data;
}

struct RangeRequest {
  range @0 :KeyRange;
  limit @1 :Int64;
  revision @2 :Int64;
  sortOrder @3 :SortOrder;
  sortTarget @4 :SortTarget;
  serializable @5 :Bool;
  keysOnly @6 :Bool;
  countOnly @7 :Bool;
  minModRevision @8 :Int64;
  maxModRevision @9 :Int64;
  minCreateRevision @10 :Int64;
  maxCreateRevision @11 :Int64;
  deadlineMs @12 :UInt32;
  # How long the caller waits; 0 leaves it to the server. So in every request that has this field.

  enum SortOrder { none @0; ascend @1; descend @2; }
  enum SortTarget { key @0; version @1; create @2; mod @3; value @4; }
}

struct RangeResponse {
  header @0 :Types.Header;
  kvs @1 :List(Types.KeyValue);
  more @2 :Bool;
  count @3 :Int64;
}

struct RangeResult { union { ok @0 :RangeResponse; err @1 :Types.Error; } }

struct PutRequest {
  key @0 :Data;
  value @1 :Data;
  lease @2 :Int64;
  prevKv @3 :Bool;
  ignoreValue @4 :Bool;
  ignoreLease @5 :Bool;
  deadlineMs @6 :UInt32;
}

struct PutResponse {
  header @0 :Types.Header;
  prevKv @1 :Types.KeyValue;
  # Absent unless asked for and present.
}

struct PutResult { union { ok @0 :PutResponse; err @1 :Types.Error; } }

struct DeleteRangeRequest {
  range @0 :KeyRange;
  prevKv @1 :Bool;
  deadlineMs @2 :UInt32;
}

struct DeleteRangeResponse {
  header @0 :Types.Header;
  deleted @1 :Int64;
  prevKvs @2 :List(Types.KeyValue);
}

struct DeleteRangeResult { union { ok @0 :DeleteRangeResponse; err @1 :Types.Error; } }

struct Compare {
  range @0 :KeyRange;
  result @1 :Result;
  target :union {
    version @2 :Int64;
    create @3 :Int64;
    mod @4 :Int64;
    value @5 :Data;
    lease @6 :Int64;
  }

  enum Result { equal @0; greater @1; less @2; notEqual @3; }
}

struct TxnOp {
  union {
    none @0 :Void;
    # An empty operation; always refused.
    range @1 :RangeRequest;
    put @2 :PutRequest;
    deleteRange @3 :DeleteRangeRequest;
    txn @4 :TxnRequest;
  }
}

struct TxnRequest {
  compare @0 :List(Compare);
  success @1 :List(TxnOp);
  failure @2 :List(TxnOp);
  deadlineMs @3 :UInt32;
}

struct TxnOpResponse {
  union {
    none @0 :Void;
    range @1 :RangeResponse;
    put @2 :PutResponse;
    deleteRange @3 :DeleteRangeResponse;
    txn @4 :TxnResponse;
  }
}

struct TxnResponse {
  header @0 :Types.Header;
  succeeded @1 :Bool;
  responses @2 :List(TxnOpResponse);
}

struct TxnResult { union { ok @0 :TxnResponse; err @1 :Types.Error; } }

struct CompactRequest {
  revision @0 :Int64;
  physical @1 :Bool;
  deadlineMs @2 :UInt32;
}

struct CompactResponse { header @0 :Types.Header; }

struct CompactResult { union { ok @0 :CompactResponse; err @1 :Types.Error; } }
