@0x8adfecb21f5a7ba1;
# Coffer: leases. Times are in seconds.

using Types = import "types.capnp";

interface Lease {
  grant @0 LeaseGrantRequest -> LeaseGrantResult;
  revoke @1 LeaseRevokeRequest -> LeaseRevokeResult;
  keepAlive @2 LeaseKeepAliveRequest -> LeaseKeepAliveResult;
  keepAliveMany @3 LeaseKeepAliveManyRequest -> LeaseKeepAliveManyResult;
  timeToLive @4 LeaseTimeToLiveRequest -> LeaseTimeToLiveResult;
  list @5 LeaseListRequest -> LeaseListResult;
}

struct LeaseGrantRequest {
  ttl @0 :Int64;
  id @1 :Int64;
  # 0 lets the store choose.
  deadlineMs @2 :UInt32;
}

struct LeaseGrantResponse {
  header @0 :Types.Header;
  id @1 :Int64;
  ttl @2 :Int64;
}

struct LeaseGrantResult { union { ok @0 :LeaseGrantResponse; err @1 :Types.Error; } }

struct LeaseRevokeRequest {
  id @0 :Int64;
  deadlineMs @1 :UInt32;
}

struct LeaseRevokeResponse { header @0 :Types.Header; }

struct LeaseRevokeResult { union { ok @0 :LeaseRevokeResponse; err @1 :Types.Error; } }

struct LeaseKeepAliveRequest {
  id @0 :Int64;
  deadlineMs @1 :UInt32;
}

struct LeaseKeepAliveResponse {
  header @0 :Types.Header;
  id @1 :Int64;
  ttl @2 :Int64;
  # 0 if there is no such lease.
}

struct LeaseKeepAliveResult { union { ok @0 :LeaseKeepAliveResponse; err @1 :Types.Error; } }

struct LeaseKeepAliveManyRequest {
  ids @0 :List(Int64);
  # At most 10000.
  deadlineMs @1 :UInt32;
}

struct LeaseKeepAliveManyResponse {
  results @0 :List(LeaseKeepAliveResult);
  # One for each id, in order.
}

struct LeaseKeepAliveManyResult { union { ok @0 :LeaseKeepAliveManyResponse; err @1 :Types.Error; } }

struct LeaseTimeToLiveRequest {
  id @0 :Int64;
  keys @1 :Bool;
  deadlineMs @2 :UInt32;
}

struct LeaseTimeToLiveResponse {
  header @0 :Types.Header;
  id @1 :Int64;
  ttl @2 :Int64;
  # -1 if there is no such lease.
  grantedTtl @3 :Int64;
  keys @4 :List(Data);
}

struct LeaseTimeToLiveResult { union { ok @0 :LeaseTimeToLiveResponse; err @1 :Types.Error; } }

struct LeaseListRequest { deadlineMs @0 :UInt32; }

struct LeaseListResponse {
  header @0 :Types.Header;
  leases @1 :List(Int64);
}

struct LeaseListResult { union { ok @0 :LeaseListResponse; err @1 :Types.Error; } }
