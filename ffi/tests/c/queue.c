/* Calls that do not wait: completions through poll(2), cancellation, deadlines, watches and keepers. argv: a store. */
#include "check.h"

#include <poll.h>

static coffer_store store;
static coffer_queue queue;

static coffer_call tagged(uint64_t tag) {
    coffer_call call = coffer_call_init();
    call.queue = queue;
    call.tag = tag;
    return call;
}

static int readable(int timeout_ms) {
    struct pollfd waits = {-1, POLLIN, 0};
    EXPECT(COFFER_OK, coffer_queue_fd(queue, &waits.fd, &error));
    int ready = poll(&waits, 1, timeout_ms);
    CHECK(ready >= 0 && (ready == 0 || waits.revents == POLLIN));
    return ready;
}

/* The next completion, which the descriptor announces. */
static coffer_completion next(void) {
    coffer_completion completion = coffer_completion_init();
    CHECK(readable(60000) == 1);
    EXPECT(COFFER_OK, coffer_queue_next(queue, 0, &completion, &error));
    CHECK(completion.size == sizeof completion);
    CHECK((completion.status >= 100) == (completion.error.id != 0));
    return completion;
}

static void drop(coffer_completion *completion) {
    EXPECT(COFFER_OK, coffer_result_free(&completion->result));
    EXPECT(COFFER_OK, coffer_error_free(&completion->error));
}

static void many_calls(void) {
    enum { CALLS = 1000 };
    static unsigned char seen[CALLS];
    char name[16];
    coffer_completion completion = coffer_completion_init();
    CHECK(readable(0) == 0);
    EXPECT(COFFER_NOTHING, coffer_queue_next(queue, 0, &completion, &error));
    EXPECT(COFFER_NOTHING, coffer_queue_next(queue, 10, &completion, &error));
    for (int number = 0; number < CALLS; number++) {
        coffer_call call = tagged((uint64_t)number << 40);
        snprintf(name, sizeof name, "q/%d", number);
        EXPECT(COFFER_OK, coffer_put(store, coffer_text(name), coffer_text(name), NULL, &call, NULL, &error));
    }
    for (int number = 0; number < CALLS; number++) {
        completion = next();
        CHECK(completion.kind == COFFER_COMPLETION_CALL && completion.last == 1);
        CHECK(completion.status == COFFER_OK && completion.result.revision > 1);
        CHECK((completion.tag & (((uint64_t)1 << 40) - 1)) == 0 && !seen[completion.tag >> 40]);
        seen[completion.tag >> 40] = 1;
        drop(&completion);
    }
    CHECK(readable(0) == 0);
    EXPECT(COFFER_NOT_FOUND, coffer_cancel(queue, 7, &error));
}

static void every_kind_of_call(void) {
    coffer_key_range range = coffer_prefix(coffer_text("q/"));
    coffer_call call = tagged(5);
    coffer_completion completion;
    coffer_iter iter = {0};
    coffer_txn txn = {0};

    EXPECT(COFFER_OK, coffer_get(store, coffer_text("q/7"), NULL, &call, NULL, &error));
    completion = next();
    CHECK(completion.tag == 5 && completion.result.kv_count == 1 && is_text(completion.result.kvs[0].value, "q/7"));
    drop(&completion);
    EXPECT(COFFER_OK, coffer_get(store, coffer_text("none"), NULL, &call, NULL, &error));
    completion = next();
    CHECK(completion.status == COFFER_NOT_FOUND && completion.result.kv_count == 0);
    drop(&completion);
    EXPECT(COFFER_OK, coffer_get(store, coffer_bytes_of(NULL, 0), NULL, &call, NULL, &error));
    completion = next();
    CHECK(completion.status == COFFER_EMPTY_KEY && completion.result.owner == 0);
    coffer_error_info info = coffer_error_info_init();
    EXPECT(COFFER_OK, coffer_error_get(completion.error, &info));
    CHECK(info.status == COFFER_EMPTY_KEY && strcmp(info.context, "coffer_get") == 0);
    drop(&completion);

    EXPECT(COFFER_OK, coffer_range(store, &range, NULL, &call, NULL, &error));
    completion = next();
    CHECK(completion.result.count == 1000 && completion.result.kv_count == 1000);
    drop(&completion);
    EXPECT(COFFER_OK, coffer_iter_open(store, &range, NULL, &iter, &error));
    size_t keys = 0;
    do {
        EXPECT(COFFER_OK, coffer_iter_next(iter, &call, NULL, &error));
        completion = next();
        keys += completion.result.kv_count;
        drop(&completion);
    } while (completion.status == COFFER_OK);
    CHECK(completion.status == COFFER_END && keys == 1000);
    EXPECT(COFFER_OK, coffer_iter_close(iter, &error));

    EXPECT(COFFER_OK, coffer_txn_new(&txn, &error));
    EXPECT(COFFER_OK, coffer_txn_delete(txn, COFFER_THEN, &range, 0, &error));
    EXPECT(COFFER_OK, coffer_txn_commit(store, txn, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_txn_close(txn, &error));
    completion = next();
    CHECK(completion.result.part_count == 1 && completion.result.parts[0].count == 1000);
    drop(&completion);
    EXPECT(COFFER_OK, coffer_delete(store, &range, 0, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_store_status(store, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_hash_kv(store, 0, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_member_list(store, 1, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_lease_grant(store, 100, 31, &call, NULL, &error));
    for (int number = 0; number < 5; number++) {
        completion = next();
        CHECK(completion.status == COFFER_OK);
        drop(&completion);
    }
    EXPECT(COFFER_OK, coffer_lease_renew(store, 31, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_lease_time_to_live(store, 31, 1, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_lease_list(store, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_compact(store, 3, 0, &call, NULL, &error));
    for (int number = 0; number < 4; number++) {
        completion = next();
        CHECK(completion.status == COFFER_OK);
        drop(&completion);
    }
    EXPECT(COFFER_OK, coffer_lease_revoke(store, 31, &call, NULL, &error));
    completion = next();
    CHECK(completion.status == COFFER_OK);
    drop(&completion);
}

static void watches(void) {
    coffer_key_range range = coffer_prefix(coffer_text("qw/"));
    coffer_call call = tagged(11);
    coffer_watch watch = {0}, second = {0};
    coffer_completion completion;
    coffer_result result = coffer_result_init();
    int64_t resume = 0;
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, NULL, &call, &watch, &error));
    completion = next();
    CHECK(completion.kind == COFFER_COMPLETION_WATCH && completion.tag == 11 && completion.last == 0);
    CHECK(completion.result.flags == COFFER_RESULT_STARTED);
    drop(&completion);
    EXPECT(COFFER_UNSUPPORTED, coffer_watch_next(watch, 0, &result, &error));

    /* More changes than are held for a watch: all come, in order. */
    int64_t first = 0;
    for (int number = 0; number < 100; number++) {
        int64_t revision = put(store, "qw/k", "v");
        first = first == 0 ? revision : first;
    }
    int64_t expected = first;
    while (expected < first + 100) {
        completion = next();
        CHECK(completion.status == COFFER_OK && completion.last == 0);
        for (size_t at = 0; at < completion.result.event_count; at++) {
            CHECK(completion.result.events[at].kv.mod_revision == expected++);
        }
        drop(&completion);
    }
    EXPECT(COFFER_OK, coffer_watch_resume(watch, &resume, &error));
    CHECK(resume == first + 100);
    EXPECT(COFFER_OK, coffer_watch_request_progress(watch, &error));
    completion = next();
    CHECK(completion.result.flags == COFFER_RESULT_PROGRESS);
    drop(&completion);
    EXPECT(COFFER_OK, coffer_watch_close(watch, &error));
    completion = next();
    CHECK(completion.status == COFFER_END && completion.last == 1);
    drop(&completion);

    /* One that is cancelled, and one that can not begin. */
    call.tag = 12;
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, NULL, &call, &watch, &error));
    completion = next();
    drop(&completion);
    EXPECT(COFFER_OK, coffer_cancel(queue, 12, &error));
    completion = next();
    CHECK(completion.status == COFFER_CANCELED && completion.last == 1 && completion.tag == 12);
    drop(&completion);
    EXPECT(COFFER_OK, coffer_watch_close(watch, &error));
    coffer_watch_options options = coffer_watch_options_init();
    options.start_revision = 2;
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, &options, &call, &second, &error));
    do {
        completion = next();
        CHECK(completion.last == (completion.status != COFFER_OK));
        drop(&completion);
    } while (completion.last == 0);
    CHECK(completion.status == COFFER_COMPACTED);
    EXPECT(COFFER_OK, coffer_watch_close(second, &error));
}

static void keepers(void) {
    coffer_call call = tagged(21);
    coffer_keeper keeper = {0};
    coffer_completion completion;
    EXPECT(COFFER_OK, coffer_lease_grant(store, 100, 41, NULL, NULL, &error));
    EXPECT(COFFER_OK, coffer_keeper_open(store, 41, &call, &keeper, &error));
    EXPECT(COFFER_UNSUPPORTED, coffer_keeper_wait(keeper, 0, &error));
    EXPECT(COFFER_OK, coffer_cancel(queue, 21, &error));
    completion = next();
    CHECK(completion.kind == COFFER_COMPLETION_KEEPER && completion.status == COFFER_CANCELED);
    CHECK(completion.last == 1 && completion.tag == 21);
    drop(&completion);
    EXPECT(COFFER_OK, coffer_keeper_close(keeper, &error));
    EXPECT(COFFER_OK, coffer_keeper_open(store, 41, &call, &keeper, &error));
    EXPECT(COFFER_OK, coffer_keeper_close(keeper, &error));
    EXPECT(COFFER_OK, coffer_keeper_open(store, 99, &call, &keeper, &error));
    completion = next();
    CHECK(completion.status == COFFER_LEASE_NOT_FOUND);
    drop(&completion);
    EXPECT(COFFER_OK, coffer_keeper_close(keeper, &error));
    CHECK(readable(50) == 0);
}

static void deadlines(void) {
    coffer_call call = coffer_call_init();
    coffer_result result = coffer_result_init();
    coffer_watch_options options = coffer_watch_options_init();
    coffer_key_range range = coffer_all();
    coffer_watch watch = {0};
    /* An hour is enough, and for ever is too. */
    call.timeout_ms = 3600000;
    EXPECT(COFFER_NOT_FOUND, coffer_get(store, coffer_text("none"), NULL, &call, &result, &error));
    call.timeout_ms = INT64_MAX;
    EXPECT(COFFER_NOT_FOUND, coffer_get(store, coffer_text("none"), NULL, &call, &result, &error));
    call.timeout_ms = -1;
    EXPECT(COFFER_OK, coffer_put(store, coffer_text("k"), coffer_text("v"), NULL, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, &options, &call, &watch, &error));
    EXPECT(COFFER_NOTHING, coffer_watch_next(watch, 30, &result, &error));
    EXPECT(COFFER_OK, coffer_watch_close(watch, &error));
}

int main(int count, char **given) {
    coffer_completion completion = coffer_completion_init();
    store = open_given(count - 1, given + 1);
    EXPECT(COFFER_OK, coffer_queue_new(&queue, &error));
    many_calls();
    every_kind_of_call();
    watches();
    keepers();
    deadlines();

    /* A store that is closed completes what is under way; a queue that is closed is none any more. */
    coffer_key_range range = coffer_all();
    coffer_call call = tagged(31);
    coffer_watch watch = {0};
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, NULL, &call, &watch, &error));
    completion = next();
    drop(&completion);
    EXPECT(COFFER_OK, coffer_close(store, &error));
    completion = next();
    CHECK(completion.status == COFFER_STOPPED && completion.last == 1 && completion.tag == 31);
    EXPECT(COFFER_OK, coffer_watch_close(watch, &error));
    EXPECT(COFFER_OK, coffer_queue_close(queue, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_queue_close(queue, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_queue_next(queue, 0, &completion, &error));
    drop(&completion);
    return 0;
}
