/* Whatever a caller gets wrong gives a status. */
#include "check.h"

#include <stdint.h>

static coffer_store store;
static coffer_result result;
static coffer_key_range range;
static const coffer_bytes key = {(const uint8_t *)"k", 1};

/* No function takes a handle that is none. */
static void refuse(uint64_t id) {
    coffer_store no_store = {id};
    coffer_queue no_queue = {id};
    coffer_iter no_iter = {id}, iter;
    coffer_txn no_txn = {id};
    coffer_watch no_watch = {id}, watch;
    coffer_keeper no_keeper = {id}, keeper;
    coffer_error no_error = {id};
    coffer_completion completion = coffer_completion_init();
    coffer_error_info info = coffer_error_info_init();
    coffer_option option = {"seal-passphrase", "words"};
    int32_t descriptor = 0;
    int64_t revision = 0;
#define REFUSE(call) EXPECT(COFFER_BAD_HANDLE, call)
    REFUSE(coffer_put(no_store, key, key, NULL, NULL, &result, &error));
    REFUSE(coffer_get(no_store, key, NULL, NULL, &result, &error));
    REFUSE(coffer_range(no_store, &range, NULL, NULL, &result, &error));
    REFUSE(coffer_delete(no_store, &range, 0, NULL, &result, &error));
    REFUSE(coffer_iter_open(no_store, &range, NULL, &iter, &error));
    REFUSE(coffer_iter_next(no_iter, NULL, &result, &error));
    REFUSE(coffer_iter_close(no_iter, &error));
    REFUSE(coffer_txn_compare(no_txn, &range, 0, 0, 0, coffer_bytes_of(NULL, 0), &error));
    REFUSE(coffer_txn_put(no_txn, 0, key, key, NULL, &error));
    REFUSE(coffer_txn_range(no_txn, 0, &range, NULL, &error));
    REFUSE(coffer_txn_delete(no_txn, 0, &range, 0, &error));
    REFUSE(coffer_txn_commit(store, no_txn, NULL, &result, &error));
    REFUSE(coffer_txn_commit(no_store, no_txn, NULL, &result, &error));
    REFUSE(coffer_txn_close(no_txn, &error));
    REFUSE(coffer_watch_open(no_store, &range, NULL, NULL, &watch, &error));
    REFUSE(coffer_watch_next(no_watch, 0, &result, &error));
    REFUSE(coffer_watch_request_progress(no_watch, &error));
    REFUSE(coffer_watch_resume(no_watch, &revision, &error));
    REFUSE(coffer_watch_close(no_watch, &error));
    REFUSE(coffer_lease_grant(no_store, 10, 0, NULL, &result, &error));
    REFUSE(coffer_lease_revoke(no_store, 1, NULL, &result, &error));
    REFUSE(coffer_lease_renew(no_store, 1, NULL, &result, &error));
    REFUSE(coffer_lease_time_to_live(no_store, 1, 0, NULL, &result, &error));
    REFUSE(coffer_lease_list(no_store, NULL, &result, &error));
    REFUSE(coffer_keeper_open(no_store, 1, NULL, &keeper, &error));
    REFUSE(coffer_keeper_wait(no_keeper, 0, &error));
    REFUSE(coffer_keeper_close(no_keeper, &error));
    REFUSE(coffer_compact(no_store, 1, 0, NULL, &result, &error));
    REFUSE(coffer_store_status(no_store, NULL, &result, &error));
    REFUSE(coffer_hash_kv(no_store, 0, NULL, &result, &error));
    REFUSE(coffer_member_list(no_store, 0, NULL, &result, &error));
    REFUSE(coffer_snapshot_save(no_store, "/nowhere", NULL, &result, &error));
    REFUSE(coffer_key_status(no_store, &result, &error));
    REFUSE(coffer_key_add(no_store, &option, 1, NULL, &result, &error));
    REFUSE(coffer_key_remove(no_store, 1, &result, &error));
    REFUSE(coffer_key_rotate_kek(no_store, 0, &option, 1, &result, &error));
    REFUSE(coffer_key_rotate_data(no_store, 0, &result, &error));
    REFUSE(coffer_queue_fd(no_queue, &descriptor, &error));
    REFUSE(coffer_queue_next(no_queue, 0, &completion, &error));
    REFUSE(coffer_cancel(no_queue, 1, &error));
    REFUSE(coffer_queue_close(no_queue, &error));
    REFUSE(coffer_close(no_store, &error));
    REFUSE(coffer_error_get(no_error, &info));
    if (id != 0) {
        coffer_call call = coffer_call_init();
        call.queue = no_queue;
        REFUSE(coffer_get(store, key, NULL, &call, &result, &error));
        REFUSE(coffer_error_free(&no_error));
        result.owner = id;
        REFUSE(coffer_result_free(&result));
        result = coffer_result_init();
    }
}

/* Pointers that must not be NULL, and those that may. */
static void nulls(void) {
    coffer_txn txn = {0};
    coffer_watch watch = {0};
    coffer_iter iter = {0};
    coffer_queue queue = {0};
    coffer_keeper keeper = {0};
    const coffer_bytes none = {NULL, 1};
#define NULLS(call) EXPECT(COFFER_NULL, call)
    EXPECT(COFFER_OK, coffer_txn_new(&txn, &error));
    EXPECT(COFFER_OK, coffer_queue_new(&queue, &error));
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, NULL, NULL, &watch, &error));
    EXPECT(COFFER_OK, coffer_iter_open(store, &range, NULL, &iter, &error));
    NULLS(coffer_open(COFFER_ABI_VERSION, NULL, NULL, 0, &store, &error));
    NULLS(coffer_open(COFFER_ABI_VERSION, "mem:", NULL, 1, &store, &error));
    NULLS(coffer_open(COFFER_ABI_VERSION, "mem:", NULL, 0, NULL, &error));
    coffer_option option = {"backend", NULL};
    NULLS(coffer_options_check(&option, 1, &error));
    NULLS(coffer_options_check(NULL, 1, &error));
    EXPECT(COFFER_OK, coffer_options_check(NULL, 0, &error));
    NULLS(coffer_put(store, none, key, NULL, NULL, &result, &error));
    NULLS(coffer_put(store, key, none, NULL, NULL, &result, &error));
    NULLS(coffer_get(store, none, NULL, NULL, &result, &error));
    NULLS(coffer_get(store, key, NULL, NULL, NULL, &error));
    NULLS(coffer_range(store, NULL, NULL, NULL, &result, &error));
    NULLS(coffer_range(store, &range, NULL, NULL, NULL, &error));
    NULLS(coffer_delete(store, NULL, 0, NULL, &result, &error));
    NULLS(coffer_iter_open(store, NULL, NULL, &iter, &error));
    NULLS(coffer_iter_open(store, &range, NULL, NULL, &error));
    NULLS(coffer_iter_next(iter, NULL, NULL, &error));
    NULLS(coffer_txn_new(NULL, &error));
    NULLS(coffer_txn_compare(txn, NULL, 0, 0, 0, coffer_bytes_of(NULL, 0), &error));
    NULLS(coffer_txn_compare(txn, &range, COFFER_COMPARE_VALUE, 0, 0, none, &error));
    NULLS(coffer_txn_put(txn, 0, none, key, NULL, &error));
    NULLS(coffer_txn_range(txn, 0, NULL, NULL, &error));
    NULLS(coffer_txn_delete(txn, 0, NULL, 0, &error));
    NULLS(coffer_watch_open(store, NULL, NULL, NULL, &watch, &error));
    NULLS(coffer_watch_open(store, &range, NULL, NULL, NULL, &error));
    NULLS(coffer_watch_next(watch, 0, NULL, &error));
    NULLS(coffer_watch_resume(watch, NULL, &error));
    NULLS(coffer_keeper_open(store, 1, NULL, NULL, &error));
    NULLS(coffer_lease_list(store, NULL, NULL, &error));
    NULLS(coffer_lease_time_to_live(store, 1, 0, NULL, NULL, &error));
    NULLS(coffer_store_status(store, NULL, NULL, &error));
    NULLS(coffer_hash_kv(store, 0, NULL, NULL, &error));
    NULLS(coffer_member_list(store, 0, NULL, NULL, &error));
    NULLS(coffer_snapshot_save(store, NULL, NULL, NULL, &error));
    NULLS(coffer_snapshot_status(NULL, NULL, 0, &result, &error));
    NULLS(coffer_snapshot_restore(NULL, NULL, NULL, 0, NULL, &error));
    NULLS(coffer_key_generate(NULL, &error));
    NULLS(coffer_queue_new(NULL, &error));
    NULLS(coffer_queue_fd(queue, NULL, &error));
    NULLS(coffer_queue_next(queue, 0, NULL, &error));
    NULLS(coffer_error_get(error, NULL));
    EXPECT(COFFER_OK, coffer_error_free(NULL));
    EXPECT(COFFER_OK, coffer_result_free(NULL));

    /* Without an error object everything goes on. */
    CHECK(coffer_put(store, key, key, NULL, NULL, NULL, NULL) == COFFER_OK);
    CHECK(coffer_put(store, coffer_bytes_of(NULL, 0), key, NULL, NULL, NULL, NULL) == COFFER_EMPTY_KEY);
    CHECK(coffer_keeper_open(store, 1, NULL, &keeper, NULL) == COFFER_OK);
    CHECK(coffer_keeper_close(keeper, NULL) == COFFER_OK);
    EXPECT(COFFER_OK, coffer_watch_close(watch, &error));
    EXPECT(COFFER_OK, coffer_iter_close(iter, &error));
    EXPECT(COFFER_OK, coffer_txn_close(txn, &error));
    EXPECT(COFFER_OK, coffer_queue_close(queue, &error));
}

/* Structs of another size, flags of another time. */
static void sizes_and_flags(void) {
    coffer_put_options put_options = coffer_put_options_init();
    coffer_read_options read = coffer_read_options_init();
    coffer_watch_options watch_options = coffer_watch_options_init();
    coffer_call call = coffer_call_init();
    coffer_completion completion = coffer_completion_init();
    coffer_error_info info = coffer_error_info_init();
    coffer_queue queue = {0};
    coffer_watch watch = {0};
    EXPECT(COFFER_OK, coffer_queue_new(&queue, &error));
    EXPECT(COFFER_BAD_SIZE, coffer_open(COFFER_ABI_VERSION + 1, "mem:", NULL, 0, &store, &error));
    put_options.size++;
    EXPECT(COFFER_BAD_SIZE, coffer_put(store, key, key, &put_options, NULL, &result, &error));
    read.size--;
    EXPECT(COFFER_BAD_SIZE, coffer_get(store, key, &read, NULL, &result, &error));
    watch_options.size = 0;
    EXPECT(COFFER_BAD_SIZE, coffer_watch_open(store, &range, &watch_options, NULL, &watch, &error));
    call.size = 4;
    EXPECT(COFFER_BAD_SIZE, coffer_put(store, key, key, NULL, &call, &result, &error));
    coffer_result wrong = coffer_result_init();
    wrong.size = 0;
    EXPECT(COFFER_BAD_SIZE, coffer_put(store, key, key, NULL, NULL, &wrong, &error));
    EXPECT(COFFER_BAD_SIZE, coffer_result_free(&wrong));
    coffer_key_range wrong_range = range;
    wrong_range.size = UINT32_MAX;
    EXPECT(COFFER_BAD_SIZE, coffer_range(store, &wrong_range, NULL, NULL, &result, &error));
    completion.size = 1;
    EXPECT(COFFER_BAD_SIZE, coffer_queue_next(queue, 0, &completion, &error));
    info.size = 1;
    EXPECT(COFFER_BAD_SIZE, coffer_error_get(error, &info));

    put_options = coffer_put_options_init();
    put_options.flags = 1u << 31;
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_put(store, key, key, &put_options, NULL, &result, &error));
    read = coffer_read_options_init();
    read.flags = 64;
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_get(store, key, &read, NULL, &result, &error));
    read = coffer_read_options_init();
    read.sort = 9;
    EXPECT(COFFER_INVALID_SORT, coffer_get(store, key, &read, NULL, &result, &error));
    read = coffer_read_options_init();
    read.order = 9;
    EXPECT(COFFER_INVALID_SORT, coffer_range(store, &range, &read, NULL, &result, &error));
    watch_options = coffer_watch_options_init();
    watch_options.flags = 256;
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_watch_open(store, &range, &watch_options, NULL, &watch, &error));
    call = coffer_call_init();
    call.flags = 1;
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_put(store, key, key, NULL, &call, &result, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_delete(store, &range, 2, NULL, &result, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_key_rotate_data(store, 2, &result, &error));

    /* An answer that still holds something is not lost. */
    EXPECT(COFFER_OK, coffer_get(store, key, NULL, NULL, &result, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_get(store, key, NULL, NULL, &result, &error));
    coffer_result copy = result;
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_BAD_HANDLE, coffer_result_free(&copy));

    coffer_bytes huge = {key.data, SIZE_MAX};
    EXPECT(COFFER_REQUEST_TOO_LARGE, coffer_put(store, huge, key, NULL, NULL, NULL, &error));
    EXPECT(COFFER_REQUEST_TOO_LARGE, coffer_get(store, huge, NULL, NULL, &result, &error));
    EXPECT(COFFER_OK, coffer_queue_close(queue, &error));
}

static void options(void) {
    coffer_store other = {0};
#define OPTION(status, name, value)                                    \
    do {                                                               \
        coffer_option option = {name, value};                          \
        EXPECT(status, coffer_options_check(&option, 1, &error));      \
    } while (0)
    OPTION(COFFER_OK, "quota-backend-bytes", "2GiB");
    OPTION(COFFER_OK, "command-timeout", "0");
    OPTION(COFFER_INVALID_ARGUMENT, "colour", "red");
    OPTION(COFFER_INVALID_ARGUMENT, "backend", "tape");
    OPTION(COFFER_INVALID_ARGUMENT, "max-txn-ops", "0");
    OPTION(COFFER_INVALID_ARGUMENT, "backend", "\xff\xfe");
    coffer_option twice[] = {{"create", "true"}, {"create", "true"}};
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_options_check(twice, 2, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_options_check(twice, 1000, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_open(COFFER_ABI_VERSION, "nonsense", NULL, 0, &other, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_open(COFFER_ABI_VERSION, "ftp://x", NULL, 0, &other, &error));
    EXPECT(COFFER_CANNOT_OPEN, coffer_open(COFFER_ABI_VERSION, "file:///proc/none", NULL, 0, &other, &error));
    coffer_option quick = {"command-timeout", "100ms"};
    EXPECT(COFFER_UNAVAILABLE,
           coffer_open(COFFER_ABI_VERSION, "coffer://127.0.0.1:1", &quick, 1, &other, &error));
    CHECK(other.id == 0);
}

int main(void) {
    coffer_store other = {0};
    coffer_queue queue = {0};
    coffer_txn txn = {0};
    result = coffer_result_init();
    range = coffer_key(key);
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, "mem:", NULL, 0, &store, &error));
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, "mem:", NULL, 0, &other, &error));
    EXPECT(COFFER_OK, coffer_close(other, &error));
    EXPECT(COFFER_OK, coffer_queue_new(&queue, &error));
    EXPECT(COFFER_OK, coffer_queue_close(queue, &error));
    EXPECT(COFFER_OK, coffer_txn_new(&txn, &error));
    EXPECT(COFFER_OK, coffer_txn_close(txn, &error));
    refuse(0);
    refuse(other.id);
    refuse(queue.id);
    refuse(txn.id);
    refuse(UINT64_MAX);
    for (uint64_t kind = 0; kind < 16; kind++) {
        refuse(((uint64_t)1 << 32) | (0xfffff << 8) | kind);
    }
    nulls();
    sizes_and_flags();
    options();
    EXPECT(COFFER_UNSUPPORTED, coffer_key_status(store, &result, &error));
    EXPECT(COFFER_UNSUPPORTED, coffer_key_rotate_data(store, 0, &result, &error));
    coffer_option words = {"seal-passphrase", "words"};
    EXPECT(COFFER_UNSUPPORTED, coffer_key_add(store, &words, 1, "label", &result, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_key_add(store, NULL, 0, "label", &result, &error));
    EXPECT(COFFER_OK, coffer_close(store, &error));
    return 0;
}
