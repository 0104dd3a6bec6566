/* Threads that share a store and a queue, and that close what others use. argv: a store. */
#include "check.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 200 };

static coffer_store store;
static coffer_queue queue;
static coffer_watch watch;
static coffer_iter iter;

static void *count_up(void *unused) {
    (void)unused;
    coffer_result result = coffer_result_init();
    coffer_error error = {0};
    coffer_key_range range = coffer_key(coffer_text("n"));
    for (int round = 0; round < ROUNDS; round++) {
        coffer_status done = COFFER_OK;
        do {
            char number[24] = "0";
            int64_t seen = 0;
            coffer_txn txn = {0};
            CHECK(coffer_get(store, coffer_text("n"), NULL, NULL, &result, &error) <= COFFER_NOT_FOUND);
            if (result.kv_count == 1) {
                memcpy(number, result.kvs[0].value.data, result.kvs[0].value.len);
                number[result.kvs[0].value.len] = 0;
                seen = result.kvs[0].mod_revision;
            }
            CHECK(coffer_result_free(&result) == COFFER_OK);
            snprintf(number, sizeof number, "%d", atoi(number) + 1);
            CHECK(coffer_txn_new(&txn, &error) == COFFER_OK);
            CHECK(coffer_txn_compare(txn, &range, COFFER_COMPARE_MOD, COFFER_IS_EQUAL, seen,
                                     coffer_bytes_of(NULL, 0), &error) == COFFER_OK);
            CHECK(coffer_txn_put(txn, COFFER_THEN, coffer_text("n"), coffer_text(number), NULL, &error) == COFFER_OK);
            done = coffer_txn_commit(store, txn, NULL, &result, &error);
            CHECK(done == COFFER_OK && coffer_txn_close(txn, &error) == COFFER_OK);
            done = result.flags == COFFER_RESULT_SUCCEEDED ? COFFER_OK : COFFER_NOTHING;
            CHECK(coffer_result_free(&result) == COFFER_OK);
        } while (done != COFFER_OK);
    }
    return NULL;
}

static void *take_completions(void *taken) {
    coffer_completion completion = coffer_completion_init();
    coffer_status status;
    while ((status = coffer_queue_next(queue, -1, &completion, NULL)) == COFFER_OK) {
        ++*(int *)taken;
        CHECK(completion.status == COFFER_OK);
        CHECK(coffer_result_free(&completion.result) == COFFER_OK);
    }
    CHECK(status == COFFER_BAD_HANDLE);
    return NULL;
}

static void *wait_for_changes(void *seen) {
    coffer_result result = coffer_result_init();
    coffer_status status;
    /* Another thread looks in now and then, to be told that this one is there. */
    while ((status = coffer_watch_next(watch, -1, &result, NULL)) == COFFER_OK || status == COFFER_BUSY) {
        *(size_t *)seen += result.event_count;
        CHECK(coffer_result_free(&result) == COFFER_OK);
    }
    /* Closed while this thread waited, or a moment before it came back. */
    CHECK(status == COFFER_END || status == COFFER_BAD_HANDLE);
    return NULL;
}

static void *read_until_closed(void *unused) {
    (void)unused;
    coffer_result result = coffer_result_init();
    coffer_status status;
    do {
        status = coffer_get(store, coffer_text("n"), NULL, NULL, &result, NULL);
        if (status == COFFER_OK) {
            CHECK(coffer_result_free(&result) == COFFER_OK);
        }
    } while (status == COFFER_OK);
    CHECK(status == COFFER_BAD_HANDLE || status == COFFER_STOPPED);
    return NULL;
}

static void *write_until_closed(void *unused) {
    (void)unused;
    coffer_status status;
    do {
        status = coffer_put(store, coffer_text("n"), coffer_text("v"), NULL, NULL, NULL, NULL);
    } while (status == COFFER_OK);
    CHECK(status == COFFER_BAD_HANDLE || status == COFFER_STOPPED || status == COFFER_OUTCOME_UNKNOWN ||
          status == COFFER_CONNECTION_LOST);
    return NULL;
}

static void start(pthread_t *thread, void *(*work)(void *), void *with) {
    CHECK(pthread_create(thread, NULL, work, with) == 0);
}

int main(int count, char **given) {
    pthread_t threads[THREADS], others[2 * THREADS + 1];
    static int taken[THREADS];
    size_t seen = 0;
    coffer_result result = coffer_result_init();
    coffer_key_range range = coffer_key(coffer_text("n"));
    store = open_given(count - 1, given + 1);
    EXPECT(COFFER_OK, coffer_queue_new(&queue, &error));
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, NULL, NULL, &watch, &error));
    start(&others[0], wait_for_changes, &seen);
    for (int at = 0; at < THREADS; at++) {
        start(&threads[at], count_up, NULL);
    }
    for (int at = 0; at < THREADS; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    EXPECT(COFFER_OK, coffer_get(store, coffer_text("n"), NULL, NULL, &result, &error));
    CHECK(is_text(result.kvs[0].value, "1600") && result.kvs[0].version == THREADS * ROUNDS);
    int64_t last = result.kvs[0].mod_revision, resume = 0;
    EXPECT(COFFER_OK, coffer_result_free(&result));
    /* The watch is read by one thread at a time, and closed by another while it waits. */
    do {
        EXPECT(COFFER_OK, coffer_watch_resume(watch, &resume, &error));
    } while (resume <= last);
    coffer_status busy;
    do {
        busy = coffer_watch_next(watch, 0, &result, NULL);
    } while (busy == COFFER_NOTHING);
    CHECK(busy == COFFER_BUSY);
    EXPECT(COFFER_OK, coffer_watch_close(watch, &error));
    CHECK(pthread_join(others[0], NULL) == 0 && seen == THREADS * ROUNDS);

    /* Many take from one queue, until it is closed. */
    for (int at = 0; at < THREADS; at++) {
        start(&threads[at], take_completions, &taken[at]);
    }
    coffer_call call = coffer_call_init();
    call.queue = queue;
    for (int number = 0; number < 1000; number++) {
        EXPECT(COFFER_OK, coffer_get(store, coffer_text("n"), NULL, &call, NULL, &error));
    }
    /* One that waits is answered after all that were before it. */
    int all = 0;
    while (all < 1000) {
        all = 0;
        for (int at = 0; at < THREADS; at++) {
            all += __atomic_load_n(&taken[at], __ATOMIC_RELAXED);
        }
    }
    EXPECT(COFFER_OK, coffer_queue_close(queue, &error));
    for (int at = 0; at < THREADS; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }

    /* Closing while others read and write. */
    for (int at = 0; at < THREADS; at++) {
        start(&others[at], read_until_closed, NULL);
        start(&others[THREADS + at], write_until_closed, NULL);
    }
    for (int number = 0; number < 50; number++) {
        put(store, "m", "v");
    }
    EXPECT(COFFER_OK, coffer_iter_open(store, &range, NULL, &iter, &error));
    EXPECT(COFFER_OK, coffer_close(store, &error));
    for (int at = 0; at < 2 * THREADS; at++) {
        CHECK(pthread_join(others[at], NULL) == 0);
    }
    EXPECT(COFFER_STOPPED, coffer_iter_next(iter, NULL, &result, &error));
    EXPECT(COFFER_OK, coffer_iter_close(iter, &error));
    return 0;
}
