@0xf3df58dd5924f489;
# Coffer: watching keys.

using Types = import "types.capnp";
using Kv = import "kv.capnp";

interface Watch {
  open @0 (sink :WatchSink) -> (stream :WatchStream);
  # Dropping the stream cancels all of its watchers. Fails as overloaded when the session has too many.
}

interface WatchStream {
  create @0 WatchCreateRequest -> WatchCreateResult;
  # The answer may overtake what the sink is told; the watcher's first response in the sink is `created`.
  cancel @1 (watchId :Int64) -> ();
  # The watcher's last response is `canceled`. Unknown ids are ignored.
  progress @2 () -> ();
  # Asks for one `progress` response for the whole stream (id -1), once every watcher is up to date.
}

interface WatchSink {
  # The client's side of a stream.
  responses @0 (responses :List(WatchResponse)) -> stream;
  # What happened, in order. The server waits for the client: about 64 KiB are under way at any time.
  end @1 (error :Types.Error) -> ();
  # The stream is over; nothing follows.
}

struct WatchCreateRequest {
  range @0 :Kv.KeyRange;
  startRevision @1 :Int64;
  progressNotify @2 :Bool;
  noPut @3 :Bool;
  noDelete @4 :Bool;
  prevKv @5 :Bool;
  watchId @6 :Int64;
  # 0 lets the server choose.
  fragment @7 :Bool;
}

struct WatchCreateResult { union { ok @0 :Int64; err @1 :Types.Error; } }

struct WatchEvent {
  type @0 :Type;
  kv @1 :Types.KeyValue;
  prevKv @2 :Types.KeyValue;

  enum Type { put @0; delete @1; }
}

struct WatchResponse {
  watchIds @0 :List(Int64);
  # Watchers of the stream that want exactly the same share a response.
  revision @1 :Int64;
  union {
    created @2 :Void;
    events :group {
      list @3 :List(WatchEvent);
      fragment @4 :Bool;
      # More of the same revision follows.
    }
    progress @5 :Void;
    canceled :group {
      error @6 :Types.Error;
      compactRevision @7 :Int64;
    }
  }
}
