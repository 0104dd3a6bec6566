/* What Go calls: the functions of coffer.h with their arguments flat and their answers by value.
 *
 * Go may pass pointers to its memory, but no struct that holds one, and what it passes a pointer to moves to the heap. So
 * bytes come as pointer and length, and what comes out is returned instead of written through a pointer. Nothing here keeps
 * a pointer, and nothing here knows a rule of the store.
 */
#ifndef COFFER_GO_NATIVE_H
#define COFFER_GO_NATIVE_H

#include <stdlib.h>
#include <string.h>

#include "coffer.h"

/* Where a call goes, and where its completion. A queue of 0 waits for the answer. */
typedef struct go_call {
    uint64_t store;
    uint64_t queue;
    uint64_t tag;
    int64_t timeout_ms;
} go_call;

/* How a call that answers nothing went. `error` is the id of an error object, or 0. */
typedef struct go_outcome {
    coffer_status status;
    uint64_t error;
} go_outcome;

/* The same of a call that makes a handle. */
typedef struct go_handle {
    coffer_status status;
    uint64_t error;
    uint64_t id;
} go_handle;

/* The same of a call that waits for its answer. */
typedef struct go_answer {
    coffer_status status;
    uint64_t error;
    coffer_result result;
} go_answer;

/* coffer_read_options without its size. */
typedef struct go_read {
    uint32_t flags;
    uint32_t sort;
    uint32_t order;
    int64_t revision;
    int64_t limit;
    int64_t min_mod_revision;
    int64_t max_mod_revision;
    int64_t min_create_revision;
    int64_t max_create_revision;
} go_read;

static inline coffer_store go_store_of(uint64_t id) {
    coffer_store it;
    it.id = id;
    return it;
}

static inline coffer_queue go_queue_of(uint64_t id) {
    coffer_queue it;
    it.id = id;
    return it;
}

static inline coffer_txn go_txn_of(uint64_t id) {
    coffer_txn it;
    it.id = id;
    return it;
}

static inline coffer_iter go_iter_of(uint64_t id) {
    coffer_iter it;
    it.id = id;
    return it;
}

static inline coffer_watch go_watch_of(uint64_t id) {
    coffer_watch it;
    it.id = id;
    return it;
}

static inline coffer_keeper go_keeper_of(uint64_t id) {
    coffer_keeper it;
    it.id = id;
    return it;
}

static inline coffer_call go_call_of(const go_call *call) {
    coffer_call it = coffer_call_init();
    it.timeout_ms = call->timeout_ms;
    it.queue = go_queue_of(call->queue);
    it.tag = call->tag;
    return it;
}

static inline coffer_read_options go_read_of(const go_read *read) {
    coffer_read_options it = coffer_read_options_init();
    it.flags = read->flags;
    it.sort = read->sort;
    it.order = read->order;
    it.revision = read->revision;
    it.limit = read->limit;
    it.min_mod_revision = read->min_mod_revision;
    it.max_mod_revision = read->max_mod_revision;
    it.min_create_revision = read->min_create_revision;
    it.max_create_revision = read->max_create_revision;
    return it;
}

static inline coffer_put_options go_put_of(uint32_t flags, int64_t lease) {
    coffer_put_options it = coffer_put_options_init();
    it.flags = flags;
    it.lease = lease;
    return it;
}

static inline go_outcome go_outcome_of(coffer_status status, coffer_error error) {
    go_outcome it;
    it.status = status;
    it.error = error.id;
    return it;
}

static inline go_handle go_handle_of(coffer_status status, coffer_error error, uint64_t id) {
    go_handle it;
    it.status = status;
    it.error = error.id;
    it.id = id;
    return it;
}

#define GO_RANGE uint32_t kind, const uint8_t *start, size_t start_len, const uint8_t *end, size_t end_len
#define GO_RANGE_HERE coffer_range_of(kind, coffer_bytes_of(start, start_len), coffer_bytes_of(end, end_len))

/* Errors. */

static inline coffer_status go_error_get(uint64_t id, coffer_error_info *info) {
    coffer_error error;
    error.id = id;
    *info = coffer_error_info_init();
    return coffer_error_get(error, info);
}

static inline void go_error_free(uint64_t id) {
    coffer_error error;
    error.id = id;
    (void)coffer_error_free(&error);
}

/* The log hook. */

extern void cofferGoLog(uint32_t level, char *target, char *message);

static inline void go_log(void *user, uint32_t level, const char *target, const char *message) {
    (void)user;
    cofferGoLog(level, (char *)target, (char *)message);
}

static inline go_outcome go_set_log(uint32_t level) {
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_set_log(level == 0 ? NULL : go_log, NULL, level, &error);
    return go_outcome_of(status, error);
}

/* Options: an array outside of Go's memory, of strings that are wiped, because one may be a passphrase. */

static inline coffer_option *go_options_new(size_t count) {
    return (coffer_option *)calloc(count, sizeof(coffer_option));
}

static inline void go_string_free(const char *text) {
    volatile char *at = (volatile char *)text;
    while (at != NULL && *at != 0) {
        *at++ = 0;
    }
    free((void *)text);
}

static inline void go_options_free(coffer_option *options, size_t count) {
    for (size_t i = 0; i < count; i++) {
        go_string_free(options[i].name);
        go_string_free(options[i].value);
    }
    free(options);
}

/* Stores and queues. */

static inline go_handle go_open(const char *uri, const coffer_option *options, size_t count) {
    coffer_store store = COFFER_ZERO;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_open(COFFER_ABI_VERSION, uri, options, count, &store, &error);
    return go_handle_of(status, error, store.id);
}

static inline go_outcome go_close(uint64_t store) {
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_close(go_store_of(store), &error);
    return go_outcome_of(status, error);
}

static inline go_handle go_queue_new(void) {
    coffer_queue queue = COFFER_ZERO;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_queue_new(&queue, &error);
    return go_handle_of(status, error, queue.id);
}

/* The descriptor is in `id`. */
static inline go_handle go_queue_fd(uint64_t queue) {
    int32_t descriptor = -1;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_queue_fd(go_queue_of(queue), &descriptor, &error);
    return go_handle_of(status, error, (uint64_t)(int64_t)descriptor);
}

/* Takes what has come, at most `max`; does not wait. Returns how many completions it wrote. */
static inline size_t go_queue_drain(uint64_t queue, coffer_completion *out, size_t max) {
    size_t count = 0;
    while (count < max) {
        out[count] = coffer_completion_init();
        if (coffer_queue_next(go_queue_of(queue), 0, &out[count], NULL) != COFFER_OK) {
            break;
        }
        count++;
    }
    return count;
}

static inline void go_cancel(uint64_t queue, uint64_t tag) {
    (void)coffer_cancel(go_queue_of(queue), tag, NULL);
}

static inline void go_queue_close(uint64_t queue) {
    (void)coffer_queue_close(go_queue_of(queue), NULL);
}

static inline void go_result_free(coffer_result result) {
    (void)coffer_result_free(&result);
}

/* Keys and values. */

static inline go_outcome go_put(go_call where, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len,
                                uint32_t flags, int64_t lease) {
    coffer_call call = go_call_of(&where);
    coffer_put_options options = go_put_of(flags, lease);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_put(go_store_of(where.store), coffer_bytes_of(key, key_len),
                                      coffer_bytes_of(value, value_len), &options, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_get(go_call where, const uint8_t *key, size_t key_len, go_read read) {
    coffer_call call = go_call_of(&where);
    coffer_read_options options = go_read_of(&read);
    coffer_error error = COFFER_ZERO;
    coffer_status status =
        coffer_get(go_store_of(where.store), coffer_bytes_of(key, key_len), &options, &call, NULL, &error);
    return go_outcome_of(status, error);
}

/* Waits for the answer. What says nothing, the options and the timeout, is left out: the library has a short way then. */
static inline go_answer go_get_now(uint64_t store, int64_t timeout_ms, const uint8_t *key, size_t key_len,
                                   int32_t with_options, go_read read) {
    coffer_call call = coffer_call_init();
    coffer_read_options options = go_read_of(&read);
    coffer_error error = COFFER_ZERO;
    go_answer it;
    call.timeout_ms = timeout_ms;
    it.result = coffer_result_init();
    it.status = coffer_get(go_store_of(store), coffer_bytes_of(key, key_len), with_options ? &options : NULL,
                           timeout_ms != 0 ? &call : NULL, &it.result, &error);
    it.error = error.id;
    return it;
}

static inline go_outcome go_range(go_call where, GO_RANGE, go_read read) {
    coffer_call call = go_call_of(&where);
    coffer_key_range range = GO_RANGE_HERE;
    coffer_read_options options = go_read_of(&read);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_range(go_store_of(where.store), &range, &options, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_delete(go_call where, GO_RANGE, uint32_t flags) {
    coffer_call call = go_call_of(&where);
    coffer_key_range range = GO_RANGE_HERE;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_delete(go_store_of(where.store), &range, flags, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_handle go_iter_open(uint64_t store, GO_RANGE, go_read read) {
    coffer_key_range range = GO_RANGE_HERE;
    coffer_read_options options = go_read_of(&read);
    coffer_iter iter = COFFER_ZERO;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_iter_open(go_store_of(store), &range, &options, &iter, &error);
    return go_handle_of(status, error, iter.id);
}

static inline go_outcome go_iter_next(go_call where, uint64_t iter) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_iter_next(go_iter_of(iter), &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline void go_iter_close(uint64_t iter) {
    (void)coffer_iter_close(go_iter_of(iter), NULL);
}

/* Transactions. */

static inline go_handle go_txn_new(void) {
    coffer_txn txn = COFFER_ZERO;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_txn_new(&txn, &error);
    return go_handle_of(status, error, txn.id);
}

static inline go_outcome go_txn_compare(uint64_t txn, GO_RANGE, uint32_t target, uint32_t relation, int64_t number,
                                        const uint8_t *value, size_t value_len) {
    coffer_key_range range = GO_RANGE_HERE;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_txn_compare(go_txn_of(txn), &range, target, relation, number,
                                              coffer_bytes_of(value, value_len), &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_txn_put(uint64_t txn, uint32_t branch, const uint8_t *key, size_t key_len,
                                    const uint8_t *value, size_t value_len, uint32_t flags, int64_t lease) {
    coffer_put_options options = go_put_of(flags, lease);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_txn_put(go_txn_of(txn), branch, coffer_bytes_of(key, key_len),
                                          coffer_bytes_of(value, value_len), &options, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_txn_range(uint64_t txn, uint32_t branch, GO_RANGE, go_read read) {
    coffer_key_range range = GO_RANGE_HERE;
    coffer_read_options options = go_read_of(&read);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_txn_range(go_txn_of(txn), branch, &range, &options, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_txn_delete(uint64_t txn, uint32_t branch, GO_RANGE, uint32_t flags) {
    coffer_key_range range = GO_RANGE_HERE;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_txn_delete(go_txn_of(txn), branch, &range, flags, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_txn_nest(uint64_t txn, uint32_t branch, uint64_t inner) {
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_txn_nest(go_txn_of(txn), branch, go_txn_of(inner), &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_txn_commit(go_call where, uint64_t txn) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_txn_commit(go_store_of(where.store), go_txn_of(txn), &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline void go_txn_close(uint64_t txn) {
    (void)coffer_txn_close(go_txn_of(txn), NULL);
}

/* Watches. */

static inline go_handle go_watch_open(go_call where, GO_RANGE, uint32_t flags, int64_t start_revision) {
    coffer_call call = go_call_of(&where);
    coffer_key_range range = GO_RANGE_HERE;
    coffer_watch_options options = coffer_watch_options_init();
    coffer_watch watch = COFFER_ZERO;
    coffer_error error = COFFER_ZERO;
    options.flags = flags;
    options.start_revision = start_revision;
    coffer_status status = coffer_watch_open(go_store_of(where.store), &range, &options, &call, &watch, &error);
    return go_handle_of(status, error, watch.id);
}

static inline go_outcome go_watch_request_progress(uint64_t watch) {
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_watch_request_progress(go_watch_of(watch), &error);
    return go_outcome_of(status, error);
}

static inline void go_watch_close(uint64_t watch) {
    (void)coffer_watch_close(go_watch_of(watch), NULL);
}

/* Leases. */

static inline go_outcome go_lease_grant(go_call where, int64_t ttl_s, int64_t lease) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_lease_grant(go_store_of(where.store), ttl_s, lease, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_lease_revoke(go_call where, int64_t lease) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_lease_revoke(go_store_of(where.store), lease, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_lease_renew(go_call where, int64_t lease) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_lease_renew(go_store_of(where.store), lease, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_lease_time_to_live(go_call where, int64_t lease, int32_t with_keys) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status =
        coffer_lease_time_to_live(go_store_of(where.store), lease, with_keys, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_lease_list(go_call where) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_lease_list(go_store_of(where.store), &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_handle go_keeper_open(go_call where, int64_t lease) {
    coffer_call call = go_call_of(&where);
    coffer_keeper keeper = COFFER_ZERO;
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_keeper_open(go_store_of(where.store), lease, &call, &keeper, &error);
    return go_handle_of(status, error, keeper.id);
}

static inline void go_keeper_close(uint64_t keeper) {
    (void)coffer_keeper_close(go_keeper_of(keeper), NULL);
}

/* The store as a whole. */

static inline go_outcome go_compact(go_call where, int64_t revision, uint32_t flags) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_compact(go_store_of(where.store), revision, flags, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_store_status(go_call where) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_store_status(go_store_of(where.store), &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_hash_kv(go_call where, int64_t revision) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_hash_kv(go_store_of(where.store), revision, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_member_list(go_call where, int32_t linearizable) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_member_list(go_store_of(where.store), linearizable, &call, NULL, &error);
    return go_outcome_of(status, error);
}

static inline go_outcome go_snapshot_save(go_call where, const char *path) {
    coffer_call call = go_call_of(&where);
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_snapshot_save(go_store_of(where.store), path, &call, NULL, &error);
    return go_outcome_of(status, error);
}

/* Those wait for their answer. */

static inline go_answer go_snapshot_status(const char *path, const coffer_option *options, size_t count) {
    coffer_error error = COFFER_ZERO;
    go_answer it;
    it.result = coffer_result_init();
    it.status = coffer_snapshot_status(path, options, count, &it.result, &error);
    it.error = error.id;
    return it;
}

static inline go_answer go_snapshot_restore(const char *path, const char *dir, const coffer_option *options,
                                            size_t count) {
    coffer_error error = COFFER_ZERO;
    go_answer it;
    it.result = coffer_result_init();
    it.status = coffer_snapshot_restore(path, dir, options, count, &it.result, &error);
    it.error = error.id;
    return it;
}

static inline go_outcome go_key_generate(const char *path) {
    coffer_error error = COFFER_ZERO;
    coffer_status status = coffer_key_generate(path, &error);
    return go_outcome_of(status, error);
}

static inline go_answer go_key_status(uint64_t store) {
    coffer_error error = COFFER_ZERO;
    go_answer it;
    it.result = coffer_result_init();
    it.status = coffer_key_status(go_store_of(store), &it.result, &error);
    it.error = error.id;
    return it;
}

static inline go_answer go_key_add(uint64_t store, const coffer_option *options, size_t count, const char *label) {
    coffer_error error = COFFER_ZERO;
    go_answer it;
    it.result = coffer_result_init();
    it.status = coffer_key_add(go_store_of(store), options, count, label, &it.result, &error);
    it.error = error.id;
    return it;
}

static inline go_answer go_key_remove(uint64_t store, uint32_t slot) {
    coffer_error error = COFFER_ZERO;
    go_answer it;
    it.result = coffer_result_init();
    it.status = coffer_key_remove(go_store_of(store), slot, &it.result, &error);
    it.error = error.id;
    return it;
}

static inline go_answer go_key_rotate_kek(uint64_t store, uint32_t slot, const coffer_option *options, size_t count) {
    coffer_error error = COFFER_ZERO;
    go_answer it;
    it.result = coffer_result_init();
    it.status = coffer_key_rotate_kek(go_store_of(store), slot, options, count, &it.result, &error);
    it.error = error.id;
    return it;
}

static inline go_answer go_key_rotate_data(uint64_t store, uint32_t flags) {
    coffer_error error = COFFER_ZERO;
    go_answer it;
    it.result = coffer_result_init();
    it.status = coffer_key_rotate_data(go_store_of(store), flags, &it.result, &error);
    it.error = error.id;
    return it;
}

#endif
