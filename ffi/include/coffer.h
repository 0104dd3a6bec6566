/* Coffer: an encrypted, replicated key-value store, embedded or behind a socket. Licence: Apache-2.0.
 *
 * This file is made from the Rust sources (ffi/src) and is the manual of the C interface. docs/embedding.md teaches it.
 *
 * RULES THAT HOLD EVERYWHERE
 *
 * Statuses. What can fail returns a coffer_status: COFFER_OK (0), one of three answers below 100 that are no failures
 *   (COFFER_END, COFFER_NOT_FOUND, COFFER_NOTHING), or a failure from 100 on. Its hundreds say what to do about it:
 *   coffer_status_group(). Numbers never change their meaning; new ones may come.
 *
 * Errors. The last parameter `error` may always be NULL. Else it is set: to zero, or on failure to an error object, which
 *   coffer_error_free() frees. No thread has a "last error". What `error` pointed to before is not freed.
 *
 * Handles (coffer_store, coffer_queue, ...) are small values that may be copied. Zero is no handle. One that was closed, of
 *   another kind or made up gives COFFER_BAD_HANDLE and is never mistaken for a later one. If a call panics, which is a bug
 *   in Coffer, it returns COFFER_PANICKED and its handle is good for nothing but being closed: COFFER_POISONED.
 *
 * Memory. What is passed in is borrowed for the call; the library keeps copies. What comes out in a coffer_result belongs to
 *   the result until coffer_result_free(), which wipes it. Nothing here is passed to free(), and nothing that the caller
 *   allocated is freed here. A pointer that may be NULL is named in the comment of its function; any other NULL gives
 *   COFFER_NULL. Bytes of length 0 may have NULL data. Strings end with a zero byte and are UTF-8.
 *
 * Structs that begin with `size` want it set to sizeof of the struct: coffer_result_init() and its like, at the end of
 *   this file, do that and leave the rest zero. A size that the library does not know
 *   gives COFFER_BAD_SIZE, a flag that it does not know COFFER_INVALID_ARGUMENT.
 *
 * Threads. Stores and queues may be used by any number of threads at once. Transactions, iterators, watches and keepers may
 *   move between threads, but serve one call at a time: a second one gives COFFER_BUSY. A coffer_result is a plain struct
 *   of the caller's. Closing is allowed at any time, from any thread; calls that wait return.
 *
 * Calls that take a coffer_call wait for their answer if it is NULL, or names no queue. With a queue they return at once:
 *   COFFER_OK says that a completion with this tag will come there, exactly one; a failure says that none will. `result`
 *   is not touched then, and may be NULL.
 *
 * Processes. No signal handler is installed, and signals are blocked on the library's threads; no callback is made but the
 *   log hook's; no allocator is replaced; nothing is done when the library is loaded. After fork() without exec the library is
 *   of no use in the child if the parent had a handle by then: every call that takes or makes one returns COFFER_FORKED. The
 *   library must not be unloaded while a handle is open. An embedded store leaves no thread and no descriptor once it is
 *   closed; the first remote store, or the first key of a KMS plugin, starts a helper thread with three descriptors that
 *   stay for the process's life.
 */
#ifndef COFFER_H
#define COFFER_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define COFFER_MUST_USE __attribute__((warn_unused_result))
#else
#define COFFER_MUST_USE
#endif

/**
 * Group 0: no failure.
 */
#define COFFER_GROUP_NONE 0

/**
 * Group 1: the request can never succeed as it is.
 */
#define COFFER_GROUP_FIX_REQUEST 1

/**
 * Group 2: the caller is not known or not allowed.
 */
#define COFFER_GROUP_AUTHENTICATE 2

/**
 * Group 3: nothing happened; the same request may succeed later.
 */
#define COFFER_GROUP_RETRY 3

/**
 * Group 4: it may or may not have happened, or what came of it is not told. Read before deciding.
 */
#define COFFER_GROUP_OUTCOME_UNKNOWN 4

/**
 * Group 5: this store can not go on; another member of its cluster, or the store opened anew, may.
 */
#define COFFER_GROUP_STOP_NODE 5

/**
 * Group 6: stored data is damaged.
 */
#define COFFER_GROUP_REPAIR_DATA 6

/**
 * The version of this interface. It changes when a program that was compiled against an older header would break, and is
 * part of the library's file name: libcoffer.so.COFFER_ABI_VERSION.
 */
#define COFFER_ABI_VERSION 0

/**
 * The key `start`, and no other.
 */
#define COFFER_RANGE_KEY 0

/**
 * Every key that begins with `start`. An empty `start` means every key.
 */
#define COFFER_RANGE_PREFIX 1

/**
 * The keys from `start` on, below `end`.
 */
#define COFFER_RANGE_BETWEEN 2

/**
 * The keys from `start` on.
 */
#define COFFER_RANGE_FROM 3

/**
 * Every key. `start` and `end` must be empty.
 */
#define COFFER_RANGE_ALL 4

/**
 * The key was written.
 */
#define COFFER_EVENT_PUT 0

/**
 * The key was deleted, or its lease ended.
 */
#define COFFER_EVENT_DELETE 1

/**
 * The member has no vote.
 */
#define COFFER_MEMBER_LEARNER 1

/**
 * The member leads.
 */
#define COFFER_MEMBER_LEADER 2

/**
 * The store is sealed.
 */
#define COFFER_STORE_SEALED 1

/**
 * The member that answers has no vote.
 */
#define COFFER_STORE_LEARNER 2

/**
 * The store has no room: an alarm says so.
 */
#define COFFER_STORE_NO_SPACE 4

/**
 * Members differ: an alarm says so.
 */
#define COFFER_STORE_CORRUPT 8

/**
 * The snapshot is sealed.
 */
#define COFFER_SNAPSHOT_SEALED 1

/**
 * New data is sealed with this key.
 */
#define COFFER_DATA_KEY_ACTIVE 1

/**
 * Something needs this key now.
 */
#define COFFER_DATA_KEY_IN_USE 2

/**
 * There is more than the limit let through.
 */
#define COFFER_RESULT_MORE 1

/**
 * All conditions of the transaction held.
 */
#define COFFER_RESULT_SUCCEEDED 2

/**
 * More events of the same revision follow with the next result.
 */
#define COFFER_RESULT_FRAGMENT 4

/**
 * No change, but the news that everything up to `revision` was delivered.
 */
#define COFFER_RESULT_PROGRESS 8

/**
 * The watch has begun: what happens from now on is delivered.
 */
#define COFFER_RESULT_STARTED 16

/**
 * A call that was made with a queue is over.
 */
#define COFFER_COMPLETION_CALL 1

/**
 * A watch has news; with a failure or COFFER_END in `status` it is over.
 */
#define COFFER_COMPLETION_WATCH 2

/**
 * A keeper can no longer keep its lease; `status` says why.
 */
#define COFFER_COMPLETION_KEEPER 3

/**
 * Answer with the pair, or the pairs, before the change.
 */
#define COFFER_PUT_PREVIOUS 1

/**
 * Keep the value that the key has; the given one must be empty.
 */
#define COFFER_PUT_KEEP_VALUE 2

/**
 * Keep the lease that the key has; the given one must be 0.
 */
#define COFFER_PUT_KEEP_LEASE 4

/**
 * Let one member answer from what it has, which may be old.
 */
#define COFFER_READ_SERIALIZABLE 1

/**
 * Leave values and leases out.
 */
#define COFFER_READ_KEYS_ONLY 2

/**
 * Only count.
 */
#define COFFER_READ_COUNT_ONLY 4

/**
 * By key. The default.
 */
#define COFFER_SORT_KEY 0

/**
 * By version.
 */
#define COFFER_SORT_VERSION 1

/**
 * By the revision of creation.
 */
#define COFFER_SORT_CREATE 2

/**
 * By the revision of the last write.
 */
#define COFFER_SORT_MOD 3

/**
 * By value.
 */
#define COFFER_SORT_VALUE 4

/**
 * As the store has them: in ascending order of keys. The default.
 */
#define COFFER_ORDER_NONE 0

/**
 * Ascending.
 */
#define COFFER_ORDER_ASCEND 1

/**
 * Descending.
 */
#define COFFER_ORDER_DESCEND 2

/**
 * Answer with the pairs that were deleted.
 */
#define COFFER_DELETE_PREVIOUS 1

/**
 * How often a key was written since it was created; 0 if it does not exist. Compared with `number`.
 */
#define COFFER_COMPARE_VERSION 0

/**
 * The revision at which a key was created; 0 if it does not exist. Compared with `number`.
 */
#define COFFER_COMPARE_CREATE 1

/**
 * The revision at which a key was last written; 0 if it does not exist. Compared with `number`.
 */
#define COFFER_COMPARE_MOD 2

/**
 * The value of a key, which must exist. Compared with `value`.
 */
#define COFFER_COMPARE_VALUE 3

/**
 * The lease of a key; 0 if it has none or does not exist. Compared with `number`.
 */
#define COFFER_COMPARE_LEASE 4

/**
 * It is equal.
 */
#define COFFER_IS_EQUAL 0

/**
 * It is greater.
 */
#define COFFER_IS_GREATER 1

/**
 * It is less.
 */
#define COFFER_IS_LESS 2

/**
 * It is not equal.
 */
#define COFFER_IS_NOT_EQUAL 3

/**
 * The operations that run if all conditions hold.
 */
#define COFFER_THEN 0

/**
 * The operations that run if a condition does not hold.
 */
#define COFFER_ELSE 1

/**
 * Deliver the pair before each change.
 */
#define COFFER_WATCH_PREVIOUS 1

/**
 * Tell now and then, while nothing happens, up to which revision everything was delivered.
 */
#define COFFER_WATCH_PROGRESS 2

/**
 * Leave puts out.
 */
#define COFFER_WATCH_NO_PUT 4

/**
 * Leave deletes out.
 */
#define COFFER_WATCH_NO_DELETE 8

/**
 * Large revisions may come in several results: COFFER_RESULT_FRAGMENT.
 */
#define COFFER_WATCH_FRAGMENTS 16

/**
 * Return once the space was reclaimed.
 */
#define COFFER_COMPACT_PHYSICAL 1

/**
 * Carry what older keys sealed over to the new one, in the background, and then destroy the older ones.
 */
#define COFFER_ROTATE_REWRITE 1

/**
 * What is wrong.
 */
#define COFFER_LOG_ERROR 1

/**
 * What might become wrong.
 */
#define COFFER_LOG_WARN 2

/**
 * What an operator wants to know.
 */
#define COFFER_LOG_INFO 3

/**
 * What a developer wants to know.
 */
#define COFFER_LOG_DEBUG 4

/**
 * What a call returns: COFFER_OK, another answer below 100, or a failure. `status / 100` is its group.
 */
typedef int32_t coffer_status;

/**
 * Why a call failed. Zero: it did not. Freed by coffer_error_free().
 */
typedef struct coffer_error {
    /**
     * Opaque.
     */
    uint64_t id;
} coffer_error;

/**
 * What an error says. Filled by coffer_error_get(); the texts live until the error is freed.
 */
typedef struct coffer_error_info {
    /**
     * sizeof(coffer_error_info), set by the caller.
     */
    uint32_t size;
    /**
     * The status that the call returned.
     */
    coffer_status status;
    /**
     * One of COFFER_GROUP_*.
     */
    uint32_t group;
    /**
     * As coffer_is_retryable().
     */
    int32_t retryable;
    /**
     * As coffer_is_maybe_committed().
     */
    int32_t maybe_committed;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * With COFFER_COMPACTED the oldest revision that can be read; else 0.
     */
    int64_t compact_revision;
    /**
     * What happened, for people. Holds neither keys nor values.
     */
    const char *message;
    /**
     * Which call failed, such as "coffer_put".
     */
    const char *context;
} coffer_error_info;

/**
 * One option: a name and a value, as in flags, environment and configuration of the program. Names that nothing knows, and
 * values that make no sense, are refused with a message that says what is expected. A name may be given once.
 *
 * name                             value                                            stores
 * backend                          segment, sqlite                                  file:
 * create                           true, false: whether a new store may be made     file:
 * seal-key-file                    path of a file with a key                        file:
 * seal-passphrase-file             path of a file with a passphrase                 file:
 * seal-passphrase                  the passphrase itself                            file:
 * seal-command                     program that wraps and unwraps keys              file:
 * seal-kms-socket                  unix:///path of a Kubernetes KMS v2 plugin       file:
 * unsealed                         true: nothing seals it                           file:
 * quota-backend-bytes              bytes such as 2GiB; 0 for none                   file:, mem:
 * max-request-bytes                bytes, 1KiB to 64MiB                             file:, mem:
 * max-txn-ops                      number                                           file:, mem:
 * heartbeat-interval               milliseconds                                     file:, mem:
 * election-timeout                 milliseconds                                     file:, mem:
 * watch-progress-notify-interval   duration such as 10m                             file:, mem:
 * scrub-interval                   duration; 0 for never                            file:
 * scrub-rate                       bytes in a second                                file:
 * command-timeout                  duration that a call may take; 0 for no limit    all
 *
 * What seals a store is one of the six seal options; one in the URI goes before it. What does not apply to the kind of
 * store that is opened is checked and ignored.
 */
typedef struct coffer_option {
    /**
     * The name. Not NULL.
     */
    const char *name;
    /**
     * The value. Not NULL.
     */
    const char *value;
} coffer_option;

/**
 * Some bytes. `data` may be NULL if `len` is 0. Binary: zero bytes are as good as others.
 */
typedef struct coffer_bytes {
    /**
     * The first byte.
     */
    const uint8_t *data;
    /**
     * How many there are.
     */
    size_t len;
} coffer_bytes;

/**
 * A key and its value.
 */
typedef struct coffer_kv {
    /**
     * The key.
     */
    struct coffer_bytes key;
    /**
     * The value. Empty if it was not asked for.
     */
    struct coffer_bytes value;
    /**
     * The revision at which the key was created; 0 of one that was deleted.
     */
    int64_t create_revision;
    /**
     * The revision at which it was last written.
     */
    int64_t mod_revision;
    /**
     * How often it was written since it was created; 0 of one that was deleted.
     */
    int64_t version;
    /**
     * The lease that it ends with; 0 for none.
     */
    int64_t lease;
} coffer_kv;

/**
 * One change of one key.
 */
typedef struct coffer_event {
    /**
     * COFFER_EVENT_PUT or COFFER_EVENT_DELETE.
     */
    uint32_t kind;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * The pair as it is now; of a deleted one only the key and `mod_revision`.
     */
    struct coffer_kv kv;
    /**
     * The pair before, if it was asked for, existed and is still readable; else NULL.
     */
    const struct coffer_kv *previous;
} coffer_event;

/**
 * How the member that answers sees its store.
 */
typedef struct coffer_store_info {
    /**
     * COFFER_STORE_* or-ed.
     */
    uint32_t flags;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * The version of the program or library that has the store open.
     */
    const char *version;
    /**
     * "segment", "sqlite" or "memory".
     */
    const char *backend;
    /**
     * What does not work, a line each; empty if all does.
     */
    const char *errors;
    /**
     * Bytes that the store takes.
     */
    uint64_t size_bytes;
    /**
     * Bytes of it that are in use.
     */
    uint64_t in_use_bytes;
    /**
     * Its quota; 0 for none.
     */
    uint64_t quota_bytes;
    /**
     * The member that leads; 0 if none is known.
     */
    uint64_t leader;
    /**
     * Index of the newest log entry.
     */
    uint64_t raft_index;
    /**
     * Index of the newest applied log entry.
     */
    uint64_t raft_applied_index;
    /**
     * The oldest revision that can be read is the one above it.
     */
    int64_t compact_revision;
    /**
     * Keys that exist.
     */
    uint64_t keys;
    /**
     * Leases that exist.
     */
    uint64_t leases;
    /**
     * Watches that are open.
     */
    uint64_t watchers;
} coffer_store_info;

/**
 * A member of a cluster.
 */
typedef struct coffer_member {
    /**
     * Its id.
     */
    uint64_t id;
    /**
     * COFFER_MEMBER_* or-ed.
     */
    uint32_t flags;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Its name.
     */
    const char *name;
    /**
     * Where other members reach it, separated by commas.
     */
    const char *peer_urls;
    /**
     * Where clients reach it, separated by commas.
     */
    const char *client_urls;
} coffer_member;

/**
 * What a snapshot file holds, or what was made of it.
 */
typedef struct coffer_snapshot_info {
    /**
     * COFFER_SNAPSHOT_* or-ed.
     */
    uint32_t flags;
    /**
     * Of a restored store its hash, as coffer_hash_kv() tells it; else 0.
     */
    uint32_t hash;
    /**
     * The cluster that it was taken of, or that was founded.
     */
    uint64_t cluster_id;
    /**
     * The member that took it, or that was founded.
     */
    uint64_t member_id;
    /**
     * The revision that it holds all of.
     */
    int64_t revision;
    /**
     * The oldest revision in it.
     */
    int64_t compact_revision;
    /**
     * When it was taken, in seconds since 1970; 0 of a restored store.
     */
    uint64_t created_s;
    /**
     * Its size in bytes.
     */
    uint64_t bytes;
    /**
     * How many records it holds; 0 of one that was saved just now.
     */
    uint64_t records;
    /**
     * How many keys a restored store has; else 0.
     */
    uint64_t keys;
    /**
     * How many leases it holds; 0 of one that was saved just now.
     */
    uint64_t leases;
} coffer_snapshot_info;

/**
 * A key that opens a store.
 */
typedef struct coffer_key_slot {
    /**
     * Its id, never used twice in a store.
     */
    uint32_t id;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * "passphrase", "key-file", "command" or "kms".
     */
    const char *kind;
    /**
     * What its owner calls it.
     */
    const char *label;
    /**
     * When it was made or last rewrapped, in seconds since 1970.
     */
    uint64_t created_s;
} coffer_key_slot;

/**
 * A key that data is sealed with.
 */
typedef struct coffer_data_key {
    /**
     * Its id.
     */
    uint32_t id;
    /**
     * COFFER_DATA_KEY_* or-ed.
     */
    uint32_t flags;
    /**
     * When it was made, in seconds since 1970.
     */
    uint64_t created_s;
    /**
     * Bytes that were sealed with it.
     */
    uint64_t sealed_bytes;
} coffer_data_key;

/**
 * The keys of a store. None of it is secret.
 */
typedef struct coffer_keys_info {
    /**
     * 1 while data of older keys is being carried over to the active one.
     */
    uint32_t rewriting;
    /**
     * The slot or the data key that the call made or changed; 0 of a mere look.
     */
    uint32_t changed_id;
    /**
     * Bytes of records that older data keys sealed.
     */
    uint64_t outdated_bytes;
    /**
     * What opens the store, ascending by id.
     */
    const struct coffer_key_slot *slots;
    /**
     * How many slots there are.
     */
    size_t slot_count;
    /**
     * What its data is sealed with, oldest first.
     */
    const struct coffer_data_key *data_keys;
    /**
     * How many data keys there are.
     */
    size_t data_key_count;
} coffer_keys_info;

/**
 * The answer of a call. The caller's struct: begin with coffer_result_init(), free what it holds with coffer_result_free(),
 * after which it can be used again. A call refuses one that still holds an answer (COFFER_INVALID_ARGUMENT).
 *
 * Everything that it points to lives until coffer_result_free(). Which fields are set, the function says; all others are
 * zero. `cluster_id` to `revision` are set by every call that the store answers.
 */
typedef struct coffer_result {
    /**
     * sizeof(coffer_result), set by the caller.
     */
    uint32_t size;
    /**
     * COFFER_RESULT_* or-ed.
     */
    uint32_t flags;
    /**
     * What coffer_result_free() frees; 0 if that is nothing. Opaque.
     */
    uint64_t owner;
    /**
     * The cluster that answers.
     */
    uint64_t cluster_id;
    /**
     * The member that answers.
     */
    uint64_t member_id;
    /**
     * Its term.
     */
    uint64_t raft_term;
    /**
     * The store's revision at the answer; of a watch the one up to which everything was delivered, this result included.
     */
    int64_t revision;
    /**
     * Keys in the range (also those that a limit left out), or keys that were deleted.
     */
    int64_t count;
    /**
     * Pairs that were read, or pairs before the change.
     */
    const struct coffer_kv *kvs;
    /**
     * How many pairs there are.
     */
    size_t kv_count;
    /**
     * Changes that a watch saw.
     */
    const struct coffer_event *events;
    /**
     * How many changes there are.
     */
    size_t event_count;
    /**
     * Answers to the operations of a transaction, in order. They belong to this result and are not freed.
     */
    const struct coffer_result *parts;
    /**
     * How many answers there are.
     */
    size_t part_count;
    /**
     * The lease.
     */
    int64_t lease;
    /**
     * What it has left in seconds; 0 or less if there is no such lease.
     */
    int64_t ttl_s;
    /**
     * What it was granted with.
     */
    int64_t granted_ttl_s;
    /**
     * All leases.
     */
    const int64_t *leases;
    /**
     * How many leases there are.
     */
    size_t lease_count;
    /**
     * The oldest revision that can still be read is the one above it.
     */
    int64_t compact_revision;
    /**
     * A hash over the content.
     */
    uint32_t hash;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * How the store is.
     */
    const struct coffer_store_info *store;
    /**
     * Members of the cluster.
     */
    const struct coffer_member *members;
    /**
     * How many members there are.
     */
    size_t member_count;
    /**
     * A snapshot.
     */
    const struct coffer_snapshot_info *snapshot;
    /**
     * Keys of the store.
     */
    const struct coffer_keys_info *keys;
} coffer_result;

/**
 * A completion queue. Zero is none. May be shared by stores and threads. Closed by coffer_queue_close().
 */
typedef struct coffer_queue {
    /**
     * Opaque.
     */
    uint64_t id;
} coffer_queue;

/**
 * What came to a queue.
 */
typedef struct coffer_completion {
    /**
     * sizeof(coffer_completion), set by the caller.
     */
    uint32_t size;
    /**
     * One of COFFER_COMPLETION_*.
     */
    uint32_t kind;
    /**
     * The tag of the call.
     */
    uint64_t tag;
    /**
     * What the call would have returned had it waited.
     */
    coffer_status status;
    /**
     * 1 if nothing more comes for this call: always of calls and keepers, of a watch with its end.
     */
    uint32_t last;
    /**
     * Why it failed; to be freed by coffer_error_free(). Zero if it did not.
     */
    struct coffer_error error;
    /**
     * The answer; to be freed by coffer_result_free().
     */
    struct coffer_result result;
} coffer_completion;

/**
 * An open store. Zero is none. May be used by any number of threads at once. Closed by coffer_close().
 */
typedef struct coffer_store {
    /**
     * Opaque.
     */
    uint64_t id;
} coffer_store;

/**
 * How a key is written.
 */
typedef struct coffer_put_options {
    /**
     * sizeof(coffer_put_options).
     */
    uint32_t size;
    /**
     * COFFER_PUT_* or-ed.
     */
    uint32_t flags;
    /**
     * The lease that the key ends with; 0 for none.
     */
    int64_t lease;
} coffer_put_options;

/**
 * How one call is made. NULL instead means: wait, with the store's timeout.
 */
typedef struct coffer_call {
    /**
     * sizeof(coffer_call).
     */
    uint32_t size;
    /**
     * Zero.
     */
    uint32_t flags;
    /**
     * How long the call may take, in milliseconds; 0 for the store's `command-timeout`, negative for no limit. A read whose
     * time is up fails with COFFER_TIMEOUT; a change with COFFER_OUTCOME_UNKNOWN, unless it surely did not begin. On a
     * remote store the `command-timeout` bounds each request besides.
     */
    int64_t timeout_ms;
    /**
     * Where the completion goes; zero to wait for the answer.
     */
    struct coffer_queue queue;
    /**
     * What the completion bears, for the caller to know it by. Need not be unique, but coffer_cancel() ends all that bear it.
     */
    uint64_t tag;
} coffer_call;

/**
 * How keys are read.
 */
typedef struct coffer_read_options {
    /**
     * sizeof(coffer_read_options).
     */
    uint32_t size;
    /**
     * COFFER_READ_* or-ed.
     */
    uint32_t flags;
    /**
     * Read as of this revision; 0 for the newest.
     */
    int64_t revision;
    /**
     * At most so many keys; 0 for all.
     */
    int64_t limit;
    /**
     * One of COFFER_SORT_*.
     */
    uint32_t sort;
    /**
     * One of COFFER_ORDER_*.
     */
    uint32_t order;
    /**
     * Only keys last written at or after this revision; 0 for no bound. So the other three.
     */
    int64_t min_mod_revision;
    /**
     * Only keys last written at or before this revision.
     */
    int64_t max_mod_revision;
    /**
     * Only keys created at or after this revision.
     */
    int64_t min_create_revision;
    /**
     * Only keys created at or before this revision.
     */
    int64_t max_create_revision;
} coffer_read_options;

/**
 * Some keys. Passed by pointer, and borrowed for the call with the bytes that it names.
 */
typedef struct coffer_key_range {
    /**
     * sizeof(coffer_key_range).
     */
    uint32_t size;
    /**
     * One of COFFER_RANGE_*.
     */
    uint32_t kind;
    /**
     * The key, the prefix, or the first key.
     */
    struct coffer_bytes start;
    /**
     * The first key above COFFER_RANGE_BETWEEN; else empty.
     */
    struct coffer_bytes end;
} coffer_key_range;

/**
 * A range that is being read. Zero is none. Serves one call at a time. Closed by coffer_iter_close().
 */
typedef struct coffer_iter {
    /**
     * Opaque.
     */
    uint64_t id;
} coffer_iter;

/**
 * A transaction that is being put together. Zero is none. Serves one call at a time; belongs to no store, and can be
 * committed more than once. Closed by coffer_txn_close(), which wipes it.
 */
typedef struct coffer_txn {
    /**
     * Opaque.
     */
    uint64_t id;
} coffer_txn;

/**
 * What is watched for.
 */
typedef struct coffer_watch_options {
    /**
     * sizeof(coffer_watch_options).
     */
    uint32_t size;
    /**
     * COFFER_WATCH_* or-ed.
     */
    uint32_t flags;
    /**
     * Begin with the changes of this revision; 0 for what happens after the start.
     */
    int64_t start_revision;
} coffer_watch_options;

/**
 * A watch. Zero is none. Serves one call at a time. Closed by coffer_watch_close().
 */
typedef struct coffer_watch {
    /**
     * Opaque.
     */
    uint64_t id;
} coffer_watch;

/**
 * A lease that is kept alive in the background. Zero is none. Closed by coffer_keeper_close().
 */
typedef struct coffer_keeper {
    /**
     * Opaque.
     */
    uint64_t id;
} coffer_keeper;

/**
 * Takes one message: its level, the module that says it, and the text, which holds neither keys nor values. The strings
 * live for the call. Called by any thread, also by several at once; must return soon, and must not call the library.
 */
typedef void (*coffer_log_fn)(void *user, uint32_t level, const char *target, const char *message);

/**
 * It worked.
 */
#define COFFER_OK 0

/**
 * There is no more: of an iterator, or of a watch that was closed.
 */
#define COFFER_END 1

/**
 * The key does not exist.
 */
#define COFFER_NOT_FOUND 2

/**
 * Nothing came within the time that was given for waiting.
 */
#define COFFER_NOTHING 3

/**
 * An argument has no meaning; the error says which.
 */
#define COFFER_INVALID_ARGUMENT 101

/**
 * A pointer that must not be NULL is.
 */
#define COFFER_NULL 102

/**
 * No handle: zero, closed, of another kind, or made up.
 */
#define COFFER_BAD_HANDLE 103

/**
 * A struct has a size that this library does not know, or the program was compiled for another interface.
 */
#define COFFER_BAD_SIZE 104

/**
 * The handle serves one call at a time, and another one is under way.
 */
#define COFFER_BUSY 105

/**
 * This process was forked from the one that uses the library.
 */
#define COFFER_FORKED 106

/**
 * The caller cancelled, and the request did not happen.
 */
#define COFFER_CANCELED 107

/**
 * The store can not be opened: in use by another process, wrong key, wrong format, no permission. The error says which.
 */
#define COFFER_CANNOT_OPEN 108

/**
 * This kind of store does not offer it.
 */
#define COFFER_UNSUPPORTED 109

/**
 * A key is needed and was empty.
 */
#define COFFER_EMPTY_KEY 110

/**
 * A put that keeps the value or the lease of a key names one that does not exist.
 */
#define COFFER_KEY_MISSING 111

/**
 * A put that keeps the value has a value.
 */
#define COFFER_VALUE_PROVIDED 112

/**
 * A put that keeps the lease has a lease.
 */
#define COFFER_LEASE_PROVIDED 113

/**
 * A transaction has more conditions or operations than the store takes.
 */
#define COFFER_TOO_MANY_OPS 114

/**
 * A transaction puts a key twice, or puts a key that it deletes.
 */
#define COFFER_DUPLICATE_KEY 115

/**
 * An unknown order or target of sorting.
 */
#define COFFER_INVALID_SORT 116

/**
 * A transaction would look at too many keys.
 */
#define COFFER_TXN_TOO_LARGE 117

/**
 * The answer is larger than one answer may be; nothing was changed.
 */
#define COFFER_ANSWER_TOO_LARGE 118

/**
 * The revision was compacted; the error tells the oldest that is readable.
 */
#define COFFER_COMPACTED 119

/**
 * The revision has not happened yet.
 */
#define COFFER_FUTURE_REVISION 120

/**
 * There is no such lease.
 */
#define COFFER_LEASE_NOT_FOUND 121

/**
 * The chosen id of a lease is taken.
 */
#define COFFER_LEASE_EXISTS 122

/**
 * A lease can not live that long.
 */
#define COFFER_LEASE_TTL_TOO_LARGE 123

/**
 * The request is larger than the store takes.
 */
#define COFFER_REQUEST_TOO_LARGE 124

/**
 * The key is longer than the store keeps.
 */
#define COFFER_KEY_TOO_LARGE 125

/**
 * A range that is watched can never hold a key.
 */
#define COFFER_EMPTY_WATCH_RANGE 126

/**
 * The caller is not known or not allowed.
 */
#define COFFER_UNAUTHENTICATED 201

/**
 * Too much waits already.
 */
#define COFFER_TOO_MANY_REQUESTS 301

/**
 * No leader is known.
 */
#define COFFER_NO_LEADER 302

/**
 * The member that was asked is not the leader.
 */
#define COFFER_NOT_LEADER 303

/**
 * The time was up before anything happened.
 */
#define COFFER_TIMEOUT 304

/**
 * No endpoint could be reached.
 */
#define COFFER_UNAVAILABLE 305

/**
 * The store was closed, or is being closed.
 */
#define COFFER_STOPPED 306

/**
 * The store has reached its quota, or the disk is full. What frees space is still taken.
 */
#define COFFER_NO_SPACE 307

/**
 * The system refused a thread, a descriptor or the like; or there are too many handles.
 */
#define COFFER_NO_RESOURCES 308

/**
 * The time was up, or the caller cancelled, after a change began.
 */
#define COFFER_OUTCOME_UNKNOWN 401

/**
 * The leader changed while the request waited.
 */
#define COFFER_LEADER_CHANGED 402

/**
 * The connection broke after a request that changes something was sent.
 */
#define COFFER_CONNECTION_LOST 403

/**
 * The change was made, but the answer that was asked for with it is too large for one answer. Do not repeat it.
 */
#define COFFER_DONE_ANSWER_TOO_LARGE 404

/**
 * A fault stopped the store: a failed sync, a broken invariant. Close it and open it again.
 */
#define COFFER_FATAL 501

/**
 * The call panicked, which is a bug in Coffer. Its handle can only be closed.
 */
#define COFFER_PANICKED 502

/**
 * An earlier call on this handle panicked. This one did nothing.
 */
#define COFFER_POISONED 503

/**
 * Stored data is damaged; the error names the place.
 */
#define COFFER_CORRUPT 601

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The name of a status, such as "COFFER_OK"; "unknown status" for a number that is none. Lives for ever.
 *
 * Threads: any. Never fails.
 */
const char *coffer_status_name(coffer_status status);

/**
 * What a status asks of the caller: one of COFFER_GROUP_*. COFFER_GROUP_STOP_NODE for a number that is no status.
 *
 * Threads: any. Never fails.
 */
uint32_t coffer_status_group(coffer_status status);

/**
 * 1 if the same request may be made again because nothing happened; else 0.
 *
 * Threads: any. Never fails.
 */
int32_t coffer_is_retryable(coffer_status status);

/**
 * 1 if the request may have happened although it failed; else 0.
 *
 * Threads: any. Never fails.
 */
int32_t coffer_is_maybe_committed(coffer_status status);

/**
 * The interface that the loaded library has: compare it with COFFER_ABI_VERSION, which the program was compiled with.
 * coffer_open() does so by itself.
 *
 * Threads: any. Never fails.
 */
uint32_t coffer_abi_version(void);

/**
 * The version of the loaded library as text, such as "0.1.0". Lives for ever; not to be freed.
 *
 * Threads: any. Never fails.
 */
const char *coffer_version(void);

/**
 * Tells what an error says.
 *
 * Ownership: the texts belong to the error, until coffer_error_free(). NULL: `info` must not be.
 * Threads: any. Fails with COFFER_BAD_HANDLE, COFFER_BAD_SIZE.
 */
coffer_status coffer_error_get(struct coffer_error error, struct coffer_error_info *info);

/**
 * Frees an error and sets it to zero. NULL and zero are good, and do nothing. A copy of a freed one gives
 * COFFER_BAD_HANDLE.
 *
 * Threads: any, but no two at once with the same error.
 */
coffer_status coffer_error_free(struct coffer_error *error);

/**
 * Checks options without opening anything.
 *
 * NULL: `options` may be if `count` is 0. Threads: any. Fails with COFFER_INVALID_ARGUMENT, which says what is wrong.
 */
coffer_status coffer_options_check(const struct coffer_option *options, size_t count, struct coffer_error *error);

/**
 * Frees what a result holds and wipes it: every pointer in it, and copied from it, is dead. Sets it to
 * what coffer_result_init() makes, so that it can be used and freed again. NULL does nothing. A copy of a freed one gives
 * COFFER_BAD_HANDLE.
 *
 * Threads: any, but no two at once with the same result.
 */
coffer_status coffer_result_free(struct coffer_result *result);

/**
 * Makes a queue.
 *
 * Ownership: the caller's, to be closed by coffer_queue_close(). NULL: `queue` must not be. Threads: any.
 * Fails with COFFER_NO_RESOURCES.
 */
COFFER_MUST_USE coffer_status coffer_queue_new(struct coffer_queue *queue, struct coffer_error *error);

/**
 * The descriptor of a queue: readable (POLLIN, EPOLLIN; level-triggered) exactly while a completion waits. For poll, epoll
 * and event loops only: it must not be read, written or closed.
 *
 * Ownership: the queue's, until coffer_queue_close(). NULL: `descriptor` must not be. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_queue_fd(struct coffer_queue queue,
                              int32_t *descriptor,
                              struct coffer_error *error);

/**
 * Takes the next completion, in the order in which they came. Waits up to `timeout_ms` for one: 0 does not wait, a negative
 * number waits for ever. Returns COFFER_OK with a completion, and COFFER_NOTHING without.
 *
 * `completion->size` must be set; what else is in it is overwritten, not freed.
 *
 * Ownership: the completion's error and result are the caller's to free. NULL: `completion` must not be.
 * Threads: any number at once; each completion goes to one of them. Waiting ends with COFFER_BAD_HANDLE when the queue is
 * closed.
 */
COFFER_MUST_USE
coffer_status coffer_queue_next(struct coffer_queue queue,
                                int64_t timeout_ms,
                                struct coffer_completion *completion,
                                struct coffer_error *error);

/**
 * Ends all calls, watches and keepers with this queue and tag that are under way. Each still completes, exactly once: with
 * its answer if that was quicker; with COFFER_CANCELED if it did not happen; with COFFER_OUTCOME_UNKNOWN if it is a change
 * that had begun. Returns COFFER_NOT_FOUND if there is none, which may have completed already.
 *
 * Threads: any.
 */
coffer_status coffer_cancel(struct coffer_queue queue,
                            uint64_t tag,
                            struct coffer_error *error);

/**
 * Closes a queue. What is under way with it is cancelled; completions that wait are freed and wiped; its descriptor is
 * closed; threads that wait in coffer_queue_next() return. Returns when nothing uses the queue any more.
 *
 * Threads: any. A second time gives COFFER_BAD_HANDLE.
 */
coffer_status coffer_queue_close(struct coffer_queue queue,
                                 struct coffer_error *error);

/**
 * Opens a store. `abi_version` is COFFER_ABI_VERSION. `uri` says where it is:
 *
 * file:///dir                       in that directory, in this process; made if there is none
 * mem:                              new, in memory of this process; gone when it is closed
 * unix:///path                      behind the socket of a daemon
 * coffer://host:port,host:port      behind one or more members of a cluster
 *
 * A new store in a directory wants to be told what seals it, or that nothing does: an option, or in the URI as in
 * file:///dir?seal-key-file=/path. A directory is open once: a second opening, here or in another process, fails with
 * COFFER_CANNOT_OPEN and says which process has it. Waits until the store can answer; a remote one is connected to.
 *
 * Ownership: the caller's, to be closed by coffer_close(). `uri` and `options` are borrowed for the call.
 * NULL: `options` may be if `count` is 0. `uri` and `store` must not be. Threads: any.
 * Fails with COFFER_BAD_SIZE for another interface, COFFER_INVALID_ARGUMENT, COFFER_CANNOT_OPEN, COFFER_CORRUPT,
 * COFFER_UNAVAILABLE.
 */
COFFER_MUST_USE
coffer_status coffer_open(uint32_t abi_version,
                          const char *uri,
                          const struct coffer_option *options,
                          size_t count,
                          struct coffer_store *store,
                          struct coffer_error *error);

/**
 * Closes a store. Calls that are under way are ended: with their answer, with COFFER_STOPPED, or with
 * COFFER_OUTCOME_UNKNOWN if they are changes that had begun; completions still come. Its watches, iterators and keepers
 * end with COFFER_STOPPED, and are still to be closed. What was acknowledged is on the disk. When this returns, no call
 * uses the store, and of an embedded one no thread, descriptor or lock is left.
 *
 * Threads: any. A second time, and every other call from its beginning on, gives COFFER_BAD_HANDLE.
 */
coffer_status coffer_close(struct coffer_store store,
                           struct coffer_error *error);

/**
 * Writes a key. Durable on a quorum when it is answered.
 *
 * Result: the pair before in `kvs` if it was asked for and there was one.
 * Ownership: `key` and `value` are borrowed for the call, also with a queue; their copies are wiped.
 * NULL: `options`, `call`, `result`. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_put(struct coffer_store store,
                         struct coffer_bytes key,
                         struct coffer_bytes value,
                         const struct coffer_put_options *options,
                         const struct coffer_call *call,
                         struct coffer_result *result,
                         struct coffer_error *error);

/**
 * Reads one key. COFFER_NOT_FOUND if it does not exist.
 *
 * Result: the pair in `kvs[0]`; with COFFER_READ_COUNT_ONLY only `count`. Of the options `limit`, `sort` and `order` are of
 * no use.
 * Ownership: `key` is borrowed for the call. NULL: `options`, `call`; `result` with a queue. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_get(struct coffer_store store,
                         struct coffer_bytes key,
                         const struct coffer_read_options *options,
                         const struct coffer_call *call,
                         struct coffer_result *result,
                         struct coffer_error *error);

/**
 * Reads a range of keys in one answer. For large ranges see coffer_iter_open().
 *
 * Result: the pairs in `kvs`, how many keys there are in `count`, COFFER_RESULT_MORE in `flags` if the limit left some out.
 * Ownership: `range` is borrowed for the call. NULL: `options`, `call`; `result` with a queue. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_range(struct coffer_store store,
                           const struct coffer_key_range *range,
                           const struct coffer_read_options *options,
                           const struct coffer_call *call,
                           struct coffer_result *result,
                           struct coffer_error *error);

/**
 * Deletes a range of keys, in one revision. `flags` is COFFER_DELETE_PREVIOUS or 0.
 *
 * Result: how many were deleted in `count`; the pairs in `kvs` if they were asked for.
 * Ownership: `range` is borrowed for the call. NULL: `call`, `result`. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_delete(struct coffer_store store,
                            const struct coffer_key_range *range,
                            uint32_t flags,
                            const struct coffer_call *call,
                            struct coffer_result *result,
                            struct coffer_error *error);

/**
 * Begins to read a range in pages. Nothing is read yet. All pages show the revision of the first one, or the one that the
 * options name; in ascending order of keys: neither another order, nor bounds on revisions, nor COFFER_READ_COUNT_ONLY.
 *
 * Ownership: the caller's, to be closed by coffer_iter_close(). `range` is borrowed for the call.
 * NULL: `options`. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_iter_open(struct coffer_store store,
                               const struct coffer_key_range *range,
                               const struct coffer_read_options *options,
                               struct coffer_iter *iter,
                               struct coffer_error *error);

/**
 * Reads the next page: some pairs, a few hundred KiB or one larger pair. COFFER_END after the last one. After a failure
 * the iterator is at its end, except after COFFER_BUSY: with COFFER_TIMEOUT and COFFER_CANCELED too.
 *
 * Result: pairs in `kvs`, the revision of all pages in `revision`.
 * NULL: `call`; `result` with a queue. Threads: one call at a time.
 */
COFFER_MUST_USE
coffer_status coffer_iter_next(struct coffer_iter iter,
                               const struct coffer_call *call,
                               struct coffer_result *result,
                               struct coffer_error *error);

/**
 * Closes an iterator. Pages that were read stay as they are. A call that is under way ends with COFFER_CANCELED.
 *
 * Threads: any. A second time gives COFFER_BAD_HANDLE.
 */
coffer_status coffer_iter_close(struct coffer_iter iter, struct coffer_error *error);

/**
 * Begins a transaction without conditions and operations.
 *
 * Ownership: the caller's, to be closed by coffer_txn_close(), or given to another one by coffer_txn_nest().
 * NULL: `txn` must not be. Threads: any.
 */
COFFER_MUST_USE coffer_status coffer_txn_new(struct coffer_txn *txn, struct coffer_error *error);

/**
 * Adds a condition: `target` (COFFER_COMPARE_*) of every key in `range` is (COFFER_IS_*) `number`, or `value`. The one that
 * the target does not use must be 0, or empty.
 *
 * Ownership: `range` and `value` are borrowed for the call. NULL: none. Threads: one call at a time.
 */
COFFER_MUST_USE
coffer_status coffer_txn_compare(struct coffer_txn txn,
                                 const struct coffer_key_range *range,
                                 uint32_t target,
                                 uint32_t relation,
                                 int64_t number,
                                 struct coffer_bytes value,
                                 struct coffer_error *error);

/**
 * Adds an operation to `branch` (COFFER_THEN, COFFER_ELSE): writes a key, as coffer_put().
 *
 * Ownership: `key` and `value` are borrowed for the call. NULL: `options`. Threads: one call at a time.
 */
COFFER_MUST_USE
coffer_status coffer_txn_put(struct coffer_txn txn,
                             uint32_t branch,
                             struct coffer_bytes key,
                             struct coffer_bytes value,
                             const struct coffer_put_options *options,
                             struct coffer_error *error);

/**
 * Adds an operation: reads a range, as coffer_range(). It sees what operations before it did.
 *
 * Ownership: `range` is borrowed for the call. NULL: `options`. Threads: one call at a time.
 */
COFFER_MUST_USE
coffer_status coffer_txn_range(struct coffer_txn txn,
                               uint32_t branch,
                               const struct coffer_key_range *range,
                               const struct coffer_read_options *options,
                               struct coffer_error *error);

/**
 * Adds an operation: deletes a range, as coffer_delete().
 *
 * Ownership: `range` is borrowed for the call. NULL: none. Threads: one call at a time.
 */
COFFER_MUST_USE
coffer_status coffer_txn_delete(struct coffer_txn txn,
                                uint32_t branch,
                                const struct coffer_key_range *range,
                                uint32_t flags,
                                struct coffer_error *error);

/**
 * Adds an operation: runs `inner`, whose conditions look at the store as it was before the outermost transaction.
 *
 * Ownership: `inner` is taken if the call succeeds; its handle is then closed. Threads: one call at a time on both.
 */
COFFER_MUST_USE
coffer_status coffer_txn_nest(struct coffer_txn txn,
                              uint32_t branch,
                              struct coffer_txn inner,
                              struct coffer_error *error);

/**
 * Runs a transaction. All of its changes are one revision; if it fails none was made, unless
 * coffer_is_maybe_committed(). That conditions did not hold is no failure.
 *
 * Result: COFFER_RESULT_SUCCEEDED in `flags` if all conditions held; in `parts` an answer to each operation that ran, with
 * the fields that coffer_put(), coffer_range(), coffer_delete() and this call set.
 * Ownership: the transaction stays the caller's and may be changed or closed as soon as the call has returned, also with a
 * queue. NULL: `call`, `result`. Threads: one call at a time on the transaction.
 */
COFFER_MUST_USE
coffer_status coffer_txn_commit(struct coffer_store store,
                                struct coffer_txn txn,
                                const struct coffer_call *call,
                                struct coffer_result *result,
                                struct coffer_error *error);

/**
 * Closes a transaction and wipes what it holds.
 *
 * Threads: any. A second time gives COFFER_BAD_HANDLE.
 */
coffer_status coffer_txn_close(struct coffer_txn txn, struct coffer_error *error);

/**
 * Begins to watch a range.
 *
 * Without a queue it waits until the watch has begun; what it sees is then taken with coffer_watch_next().
 * With a queue, in `call`, it returns at once, and what the watch sees comes there, each as a completion of kind
 * COFFER_COMPLETION_WATCH with the call's tag: first one with COFFER_RESULT_STARTED, then changes, at last (`last` is 1) one
 * that says why it ended: COFFER_END after coffer_watch_close(), COFFER_CANCELED after coffer_cancel(), COFFER_STOPPED after
 * coffer_close(), COFFER_COMPACTED if it fell behind a compaction. A few completions of a watch wait at most; then it
 * waits until they are taken. The call's timeout is for the beginning alone.
 *
 * A remote watch survives lost connections without loss or repetition. After an end begin another one with the
 * `start_revision` of coffer_watch_resume().
 *
 * Ownership: the caller's, to be closed by coffer_watch_close(). `range` is borrowed for the call.
 * NULL: `options`, `call`. Threads: any. Fails with COFFER_COMPACTED, COFFER_EMPTY_WATCH_RANGE.
 */
COFFER_MUST_USE
coffer_status coffer_watch_open(struct coffer_store store,
                                const struct coffer_key_range *range,
                                const struct coffer_watch_options *options,
                                const struct coffer_call *call,
                                struct coffer_watch *watch,
                                struct coffer_error *error);

/**
 * Takes what a watch without a queue sees next; waits up to `timeout_ms` for it: 0 does not wait, a negative number waits
 * for ever. COFFER_NOTHING if nothing came. After any failure but COFFER_BUSY the watch is over.
 *
 * Result: changes in `events`, of whole revisions unless COFFER_RESULT_FRAGMENT is set; or COFFER_RESULT_PROGRESS.
 * NULL: none. Threads: one call at a time. Waiting ends with COFFER_END when the watch is closed, with COFFER_STOPPED when
 * the store is. Fails with COFFER_COMPACTED, COFFER_UNSUPPORTED for a watch with a queue.
 */
COFFER_MUST_USE
coffer_status coffer_watch_next(struct coffer_watch watch,
                                int64_t timeout_ms,
                                struct coffer_result *result,
                                struct coffer_error *error);

/**
 * Asks for COFFER_RESULT_PROGRESS as soon as everything that has happened was delivered.
 *
 * Threads: any.
 */
coffer_status coffer_watch_request_progress(struct coffer_watch watch, struct coffer_error *error);

/**
 * Tells the `start_revision` with which another watch goes on where this one is: one above the last revision that was
 * delivered as a whole, or where it began. Also after its end.
 *
 * NULL: `revision` must not be. Threads: any.
 */
coffer_status coffer_watch_resume(struct coffer_watch watch, int64_t *revision, struct coffer_error *error);

/**
 * Ends and closes a watch. With a queue its last completion still comes, with COFFER_END.
 *
 * Threads: any. A second time gives COFFER_BAD_HANDLE.
 */
coffer_status coffer_watch_close(struct coffer_watch watch, struct coffer_error *error);

/**
 * Creates a lease that lives for `ttl_s` seconds; the store may raise it to its minimum. `lease` chooses its id; 0 lets
 * the store choose.
 *
 * Result: `lease`, `ttl_s`. NULL: `call`, `result`. Threads: any.
 * Fails with COFFER_LEASE_EXISTS, COFFER_LEASE_TTL_TOO_LARGE.
 */
COFFER_MUST_USE
coffer_status coffer_lease_grant(struct coffer_store store,
                                 int64_t ttl_s,
                                 int64_t lease,
                                 const struct coffer_call *call,
                                 struct coffer_result *result,
                                 struct coffer_error *error);

/**
 * Ends a lease and deletes its keys, in one revision.
 *
 * NULL: `call`, `result`. Threads: any. Fails with COFFER_LEASE_NOT_FOUND.
 */
COFFER_MUST_USE
coffer_status coffer_lease_revoke(struct coffer_store store,
                                  int64_t lease,
                                  const struct coffer_call *call,
                                  struct coffer_result *result,
                                  struct coffer_error *error);

/**
 * Renews a lease once.
 *
 * Result: `lease`, `ttl_s`. NULL: `call`, `result`. Threads: any. Fails with COFFER_LEASE_NOT_FOUND.
 */
COFFER_MUST_USE
coffer_status coffer_lease_renew(struct coffer_store store,
                                 int64_t lease,
                                 const struct coffer_call *call,
                                 struct coffer_result *result,
                                 struct coffer_error *error);

/**
 * Tells what is left of a lease, and with `with_keys` not 0 its keys. An unknown lease is no failure: `ttl_s` is -1.
 *
 * Result: `lease`, `ttl_s`, `granted_ttl_s`; keys in `kvs`, without anything else of them. NULL: `call`; `result` with a
 * queue. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_lease_time_to_live(struct coffer_store store,
                                        int64_t lease,
                                        int32_t with_keys,
                                        const struct coffer_call *call,
                                        struct coffer_result *result,
                                        struct coffer_error *error);

/**
 * Lists all leases.
 *
 * Result: `leases`. NULL: `call`; `result` with a queue. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_lease_list(struct coffer_store store,
                                const struct coffer_call *call,
                                struct coffer_result *result,
                                struct coffer_error *error);

/**
 * Keeps a lease alive in the background, by renewing it at a third of its time, until the keeper or the store is closed.
 * If that becomes impossible (it was revoked, or no renewal succeeded for its whole time), a completion of kind
 * COFFER_COMPLETION_KEEPER tells so at the queue of `call`; without a queue coffer_keeper_wait() does. After
 * coffer_keeper_close() no completion comes, unless it came before; coffer_cancel() lets one come with COFFER_CANCELED.
 *
 * Ownership: the caller's, to be closed by coffer_keeper_close(). NULL: `call`. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_keeper_open(struct coffer_store store,
                                 int64_t lease,
                                 const struct coffer_call *call,
                                 struct coffer_keeper *keeper,
                                 struct coffer_error *error);

/**
 * Waits up to `timeout_ms` (negative: for ever) until a lease is lost, and then returns why: COFFER_LEASE_NOT_FOUND,
 * COFFER_STOPPED after coffer_close(), or what kept it from being renewed. COFFER_NOTHING while it is kept.
 *
 * Threads: one call at a time. Waiting ends with COFFER_END when the keeper is closed. Fails with COFFER_UNSUPPORTED for a
 * keeper with a queue.
 */
COFFER_MUST_USE
coffer_status coffer_keeper_wait(struct coffer_keeper keeper,
                                 int64_t timeout_ms,
                                 struct coffer_error *error);

/**
 * Ceases to keep a lease: it runs out unless it is renewed otherwise.
 *
 * Threads: any. A second time gives COFFER_BAD_HANDLE.
 */
coffer_status coffer_keeper_close(struct coffer_keeper keeper, struct coffer_error *error);

/**
 * Makes revisions below `revision` unreadable, and lets their space be reclaimed in the background. `flags` is
 * COFFER_COMPACT_PHYSICAL or 0.
 *
 * NULL: `call`, `result`. Threads: any. Fails with COFFER_COMPACTED if it is done already, COFFER_FUTURE_REVISION.
 */
COFFER_MUST_USE
coffer_status coffer_compact(struct coffer_store store,
                             int64_t revision,
                             uint32_t flags,
                             const struct coffer_call *call,
                             struct coffer_result *result,
                             struct coffer_error *error);

/**
 * Tells how the member that answers sees its store.
 *
 * Result: `store`. NULL: `call`; `result` with a queue. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_store_status(struct coffer_store store,
                                  const struct coffer_call *call,
                                  struct coffer_result *result,
                                  struct coffer_error *error);

/**
 * Tells a hash over the content up to `revision` (0 for the newest), equal to etcd's HashKV for equal content.
 *
 * Result: `hash`, `compact_revision`; in `revision` the one that was hashed up to.
 * NULL: `call`; `result` with a queue. Threads: any. Fails with COFFER_COMPACTED, COFFER_FUTURE_REVISION.
 */
COFFER_MUST_USE
coffer_status coffer_hash_kv(struct coffer_store store,
                             int64_t revision,
                             const struct coffer_call *call,
                             struct coffer_result *result,
                             struct coffer_error *error);

/**
 * Lists who belongs to the cluster: with `linearizable` not 0 as of now, else as the member that answers knows it.
 *
 * Result: `members`. NULL: `call`; `result` with a queue. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_member_list(struct coffer_store store,
                                 int32_t linearizable,
                                 const struct coffer_call *call,
                                 struct coffer_result *result,
                                 struct coffer_error *error);

/**
 * Saves all of a store, at one revision, whatever is written meanwhile, to a new file that only its owner may read. It is
 * sealed as the store is, and opens with the store's keys. Under the name is a whole snapshot or nothing. Without a timeout
 * in `call` it takes as long as it takes.
 *
 * Result: `snapshot`. Ownership: `path` is borrowed for the call. NULL: `call`, `result`. Threads: any.
 * Fails with COFFER_CANNOT_OPEN if the file exists or cannot be written, COFFER_UNSUPPORTED for a store in memory.
 */
COFFER_MUST_USE
coffer_status coffer_snapshot_save(struct coffer_store store,
                                   const char *path,
                                   const struct coffer_call *call,
                                   struct coffer_result *result,
                                   struct coffer_error *error);

/**
 * Reads all of a snapshot file, and tells what it holds if it is whole. The seal options say what opens it, if it is
 * sealed.
 *
 * Result: `snapshot`, and in `keys` the slots of a sealed one. Ownership: `path` and `options` are borrowed for the call.
 * NULL: `options` if `count` is 0. Threads: any. Fails with COFFER_CANNOT_OPEN, COFFER_CORRUPT.
 */
COFFER_MUST_USE
coffer_status coffer_snapshot_status(const char *path,
                                     const struct coffer_option *options,
                                     size_t count,
                                     struct coffer_result *result,
                                     struct coffer_error *error);

/**
 * Makes a new store in the directory `dir`, the only member of a new cluster, from a snapshot file. The options say what
 * opens the snapshot and, as nothing else is said, what seals the store: the same. `new-key-file`, `new-passphrase-file`,
 * `new-command`, `new-kms-socket` and `new-unsealed` (true) seal it otherwise. Under `dir` is a whole store or nothing.
 *
 * Result: `snapshot`. Ownership: all that is passed is borrowed for the call. NULL: `options` if `count` is 0; `result`.
 * Threads: any. Fails with COFFER_CANNOT_OPEN if `dir` holds something, COFFER_CORRUPT.
 */
COFFER_MUST_USE
coffer_status coffer_snapshot_restore(const char *path,
                                      const char *dir,
                                      const struct coffer_option *options,
                                      size_t count,
                                      struct coffer_result *result,
                                      struct coffer_error *error);

/**
 * Draws a key and writes it to a new file that only its owner may read; `seal-key-file` names it then. Durable when it
 * returns.
 *
 * Ownership: `path` is borrowed for the call. NULL: none. Threads: any. Fails with COFFER_CANNOT_OPEN if the file exists
 * or cannot be written.
 */
COFFER_MUST_USE
coffer_status coffer_key_generate(const char *path,
                                  struct coffer_error *error);

/**
 * Tells which keys open a store, and which ones its data is sealed with. Of a store in a directory that this process has
 * open; so are all that follow.
 *
 * Result: `keys`. NULL: none. Threads: any. Fails with COFFER_UNSUPPORTED for other stores, and for one that is not
 * sealed.
 */
COFFER_MUST_USE
coffer_status coffer_key_status(struct coffer_store store,
                                struct coffer_result *result,
                                struct coffer_error *error);

/**
 * Adds a key that opens the store: one seal option, such as `seal-key-file`. `label` is what its owner calls it. Durable
 * when it returns.
 *
 * Result: `keys`, with the slot in `changed_id`. Ownership: all that is passed is borrowed for the call. NULL: `label`,
 * `result`. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_key_add(struct coffer_store store,
                             const struct coffer_option *options,
                             size_t count,
                             const char *label,
                             struct coffer_result *result,
                             struct coffer_error *error);

/**
 * Takes away the key of a slot: it opens the store no longer. The last one stays. Durable when it returns.
 *
 * Result: `keys`. NULL: `result`. Threads: any. Fails with COFFER_CANNOT_OPEN if there is no such slot, or no other.
 */
COFFER_MUST_USE
coffer_status coffer_key_remove(struct coffer_store store,
                                uint32_t slot,
                                struct coffer_result *result,
                                struct coffer_error *error);

/**
 * Replaces the key of a slot; slot 0 is the only one there is. One seal option names the new key. Durable when it
 * returns.
 *
 * Result: `keys`, with the slot in `changed_id`. Ownership: `options` is borrowed for the call. NULL: `result`.
 * Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_key_rotate_kek(struct coffer_store store,
                                    uint32_t slot,
                                    const struct coffer_option *options,
                                    size_t count,
                                    struct coffer_result *result,
                                    struct coffer_error *error);

/**
 * Makes a new data key, which seals everything that is written from now on. `flags` is COFFER_ROTATE_REWRITE or 0;
 * coffer_key_status() tells how far a rewrite is. Durable when it returns.
 *
 * Result: `keys`, with the data key in `changed_id`. NULL: `result`. Threads: any.
 */
COFFER_MUST_USE
coffer_status coffer_key_rotate_data(struct coffer_store store,
                                     uint32_t flags,
                                     struct coffer_result *result,
                                     struct coffer_error *error);

/**
 * Has everything that the library logs, down to `level` (COFFER_LOG_*), told to `hook`, in place of an earlier one; NULL
 * for nobody, as in the beginning. One hook for the process. A call of an earlier hook may still be under way when this
 * returns.
 *
 * Ownership: `user` is handed to the hook and else not touched; it must live as long as the hook may be called.
 * NULL: `hook`, `user`. Threads: any. Fails with COFFER_UNSUPPORTED in a Rust program that has a tracing subscriber of its
 * own.
 */
coffer_status coffer_set_log(coffer_log_fn hook,
                             void *user,
                             uint32_t level,
                             struct coffer_error *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* Values to begin with. They set `size`; everything else is zero, which is the default of every field. */

#ifdef __cplusplus
#define COFFER_ZERO {}
#else
#define COFFER_ZERO {0}
#endif

static inline coffer_result coffer_result_init(void) {
    coffer_result it = COFFER_ZERO;
    it.size = (uint32_t)sizeof it;
    return it;
}

static inline coffer_call coffer_call_init(void) {
    coffer_call it = COFFER_ZERO;
    it.size = (uint32_t)sizeof it;
    return it;
}

static inline coffer_completion coffer_completion_init(void) {
    coffer_completion it = COFFER_ZERO;
    it.size = (uint32_t)sizeof it;
    return it;
}

static inline coffer_error_info coffer_error_info_init(void) {
    coffer_error_info it = COFFER_ZERO;
    it.size = (uint32_t)sizeof it;
    return it;
}

static inline coffer_put_options coffer_put_options_init(void) {
    coffer_put_options it = COFFER_ZERO;
    it.size = (uint32_t)sizeof it;
    return it;
}

static inline coffer_read_options coffer_read_options_init(void) {
    coffer_read_options it = COFFER_ZERO;
    it.size = (uint32_t)sizeof it;
    return it;
}

static inline coffer_watch_options coffer_watch_options_init(void) {
    coffer_watch_options it = COFFER_ZERO;
    it.size = (uint32_t)sizeof it;
    return it;
}

/* Bytes, borrowed. */
static inline coffer_bytes coffer_bytes_of(const void *data, size_t len) {
    coffer_bytes it;
    it.data = (const uint8_t *)data;
    it.len = len;
    return it;
}

/* The bytes of a string without the zero byte at its end, borrowed. */
static inline coffer_bytes coffer_text(const char *text) {
    size_t len = 0;
    while (text[len] != 0) {
        len++;
    }
    return coffer_bytes_of(text, len);
}

/* COFFER_RANGE_* of `start` and, for COFFER_RANGE_BETWEEN, `end`. */
static inline coffer_key_range coffer_range_of(uint32_t kind, coffer_bytes start, coffer_bytes end) {
    coffer_key_range it;
    it.size = (uint32_t)sizeof it;
    it.kind = kind;
    it.start = start;
    it.end = end;
    return it;
}

/* One key. */
static inline coffer_key_range coffer_key(coffer_bytes key) {
    return coffer_range_of(COFFER_RANGE_KEY, key, coffer_bytes_of(NULL, 0));
}

/* Every key that begins with `prefix`. */
static inline coffer_key_range coffer_prefix(coffer_bytes prefix) {
    return coffer_range_of(COFFER_RANGE_PREFIX, prefix, coffer_bytes_of(NULL, 0));
}

/* Every key. */
static inline coffer_key_range coffer_all(void) {
    return coffer_range_of(COFFER_RANGE_ALL, coffer_bytes_of(NULL, 0), coffer_bytes_of(NULL, 0));
}

#endif /* COFFER_H */
