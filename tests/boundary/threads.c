/* Many threads over one store and one queue, for a sanitizer or a tool that watches threads: numbers come out exact, each
 * queued call completes once, a watch sees every change once, and whoever waits returns when the store is closed.
 *
 *   threads [URI [rounds]] */
#include <coffer.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDERS 2
#define WRITERS 2
#define TAKERS 2
#define WAIT_MS 60000

static coffer_store store;
static coffer_queue queue;
static long rounds = 100;
static atomic_uint completed[WRITERS * 10000];
static atomic_long taken, watched;

static void expect(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "threads: %s\n", what);
        abort();
    }
}

static void expect_status(coffer_status status, coffer_status expected, const char *what) {
    if (status != expected) {
        fprintf(stderr, "threads: %s: %s\n", what, coffer_status_name(status));
        abort();
    }
}

/* Adds one to a number, by comparing and swapping. */
static void add_one(void) {
    for (int done = 0; !done;) {
        coffer_bytes key = coffer_text("n");
        coffer_result before = coffer_result_init(), after = coffer_result_init();
        coffer_status status = coffer_get(store, key, NULL, NULL, &before, NULL);
        expect(status == COFFER_OK || status == COFFER_NOT_FOUND, "a number is read");
        int64_t seen = status == COFFER_OK ? before.kvs[0].mod_revision : 0;
        char text[24] = "0";
        if (status == COFFER_OK) {
            snprintf(text, sizeof text, "%.*s", (int)before.kvs[0].value.len, (const char *)before.kvs[0].value.data);
        }
        snprintf(text, sizeof text, "%ld", strtol(text, NULL, 10) + 1);
        coffer_txn txn;
        coffer_key_range range = coffer_key(key);
        expect_status(coffer_txn_new(&txn, NULL), COFFER_OK, "txn_new");
        expect_status(coffer_txn_compare(txn, &range, COFFER_COMPARE_MOD, COFFER_IS_EQUAL, seen, coffer_text(""), NULL), COFFER_OK,
                      "txn_compare");
        expect_status(coffer_txn_put(txn, COFFER_THEN, key, coffer_text(text), NULL, NULL), COFFER_OK, "txn_put");
        expect_status(coffer_txn_commit(store, txn, NULL, &after, NULL), COFFER_OK, "txn_commit");
        done = (after.flags & COFFER_RESULT_SUCCEEDED) != 0;
        coffer_txn_close(txn, NULL);
        coffer_result_free(&before);
        coffer_result_free(&after);
    }
}

static void *adder(void *unused) {
    for (long i = 0; i < rounds; i++) {
        add_one();
    }
    return unused;
}

static void *writer(void *argument) {
    size_t which = (size_t)argument;
    for (long i = 0; i < rounds; i++) {
        coffer_call call = coffer_call_init();
        char key[32];
        snprintf(key, sizeof key, "w/%zu/%ld", which, i);
        call.queue = queue;
        call.tag = which * 10000 + (uint64_t)i;
        expect_status(coffer_put(store, coffer_text(key), coffer_text(key), NULL, &call, NULL, NULL), COFFER_OK, "put");
        memset(key, 'x', sizeof key);
    }
    return NULL;
}

static void *taker(void *unused) {
    while (atomic_load(&taken) < WRITERS * rounds) {
        coffer_completion got = coffer_completion_init();
        coffer_status status = coffer_queue_next(queue, 50, &got, NULL);
        if (status == COFFER_NOTHING) {
            continue;
        }
        expect_status(status, COFFER_OK, "queue_next");
        expect_status(got.status, COFFER_OK, "a put that was queued");
        expect(got.kind == COFFER_COMPLETION_CALL && got.last == 1, "a completion of a call, the only one");
        expect(atomic_fetch_add(&completed[got.tag], 1) == 0, "a call completes once");
        atomic_fetch_add(&taken, 1);
        coffer_result_free(&got.result);
    }
    return unused;
}

static void *watcher(void *argument) {
    coffer_watch *watch = argument;
    while (atomic_load(&watched) < WRITERS * rounds) {
        coffer_result news = coffer_result_init();
        expect_status(coffer_watch_next(*watch, WAIT_MS, &news, NULL), COFFER_OK, "watch_next");
        for (size_t i = 0; i < news.event_count; i++) {
            const coffer_kv *kv = &news.events[i].kv;
            expect(kv->key.len == kv->value.len && memcmp(kv->key.data, kv->value.data, kv->key.len) == 0, "a key is its value");
        }
        atomic_fetch_add(&watched, (long)news.event_count);
        coffer_result_free(&news);
    }
    return NULL;
}

static void *reader(void *unused) {
    for (long i = 0; i < rounds; i++) {
        coffer_iter pages;
        coffer_key_range range = coffer_all();
        expect_status(coffer_iter_open(store, &range, NULL, &pages, NULL), COFFER_OK, "iter_open");
        coffer_status status;
        do {
            coffer_result page = coffer_result_init();
            status = coffer_iter_next(pages, NULL, &page, NULL);
            coffer_result_free(&page);
        } while (status == COFFER_OK);
        expect_status(status, COFFER_END, "iter_next");
        coffer_iter_close(pages, NULL);

        coffer_result lease = coffer_result_init();
        coffer_keeper keeper;
        expect_status(coffer_lease_grant(store, 100, 0, NULL, &lease, NULL), COFFER_OK, "lease_grant");
        expect_status(coffer_keeper_open(store, lease.lease, NULL, &keeper, NULL), COFFER_OK, "keeper_open");
        expect_status(coffer_lease_revoke(store, lease.lease, NULL, NULL, NULL), COFFER_OK, "lease_revoke");
        coffer_keeper_close(keeper, NULL);
        coffer_result_free(&lease);
    }
    return unused;
}

/* Threads that wait for ever, until what they wait for is closed. */

static void *wait_for_watch(void *argument) {
    coffer_result news = coffer_result_init();
    coffer_status status = coffer_watch_next(*(coffer_watch *)argument, -1, &news, NULL);
    expect(status == COFFER_STOPPED || status == COFFER_END, "a watch ends with its store");
    coffer_result_free(&news);
    return NULL;
}

static void *wait_for_queue(void *unused) {
    coffer_completion got = coffer_completion_init();
    expect_status(coffer_queue_next(queue, -1, &got, NULL), COFFER_BAD_HANDLE, "a queue that is closed");
    return unused;
}

static void *put_until_closed(void *unused) {
    coffer_status status;
    do {
        status = coffer_put(store, coffer_text("z"), coffer_text("z"), NULL, NULL, NULL, NULL);
    } while (status == COFFER_OK);
    expect(status == COFFER_STOPPED || status == COFFER_OUTCOME_UNKNOWN || status == COFFER_BAD_HANDLE, "a store that was closed");
    return unused;
}

static pthread_t threads[64];
static size_t thread_count;

static void start(void *(*work)(void *), void *argument) {
    expect(pthread_create(&threads[thread_count++], NULL, work, argument) == 0, "a thread");
}

static void join_all(void) {
    while (thread_count > 0) {
        pthread_join(threads[--thread_count], NULL);
    }
}

static coffer_watch watch_prefix(const char *prefix) {
    coffer_watch watch;
    coffer_key_range range = coffer_prefix(coffer_text(prefix));
    expect_status(coffer_watch_open(store, &range, NULL, NULL, &watch, NULL), COFFER_OK, "watch_open");
    return watch;
}

int main(int argc, char **argv) {
    rounds = argc > 2 ? strtol(argv[2], NULL, 10) : rounds;
    expect(rounds > 0 && rounds <= 10000, "1 to 10000 rounds");
    const char *uri = argc > 1 ? argv[1] : "mem:";
    expect_status(coffer_open(COFFER_ABI_VERSION, uri, NULL, 0, &store, NULL), COFFER_OK, "open");
    expect_status(coffer_queue_new(&queue, NULL), COFFER_OK, "queue_new");

    coffer_watch watch = watch_prefix("w/");
    start(watcher, &watch);
    start(reader, NULL);
    for (size_t i = 0; i < ADDERS; i++) {
        start(adder, NULL);
    }
    for (size_t i = 0; i < WRITERS; i++) {
        start(writer, (void *)i);
    }
    for (size_t i = 0; i < TAKERS; i++) {
        start(taker, NULL);
    }
    join_all();
    coffer_watch_close(watch, NULL);

    coffer_result found = coffer_result_init();
    expect_status(coffer_get(store, coffer_text("n"), NULL, NULL, &found, NULL), COFFER_OK, "get");
    char text[24];
    snprintf(text, sizeof text, "%.*s", (int)found.kvs[0].value.len, (const char *)found.kvs[0].value.data);
    expect(strtol(text, NULL, 10) == ADDERS * rounds, "the number is exact");
    coffer_result_free(&found);

    coffer_watch quiet = watch_prefix("quiet/");
    start(wait_for_watch, &quiet);
    start(wait_for_queue, NULL);
    start(put_until_closed, NULL);
    start(put_until_closed, NULL);
    expect_status(coffer_close(store, NULL), COFFER_OK, "close");
    expect_status(coffer_queue_close(queue, NULL), COFFER_OK, "queue_close");
    join_all();
    coffer_watch_close(quiet, NULL);
    printf("threads: %d numbers, %ld queued calls, %ld events\n", (int)(ADDERS * rounds), atomic_load(&taken), atomic_load(&watched));
    return 0;
}
