/* Random sequences of calls over the C interface, right ones and wrong ones: whatever comes, each gives a status that the
 * header knows, an error object that says the same, and nothing that a sanitizer minds.
 *
 *   calls [--seed S] [--sequences N] [--threads T] [--trace]
 *
 * Sequence i of seed S is what the seed S + i decides, so that `--seed <S + i> --sequences 1` replays it. With several threads
 * they share stores; what they do to each other is not replayed. */
#include "chance.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define CALLS_MAX 32
#define SLOTS 4
#define STORES 3
#define HELD 4
#define STORE_LIFE 400

enum kind { STORE, QUEUE, TXN, ITER, WATCH, KEEPER, KINDS };

static atomic_uint_fast64_t stores[STORES];
static atomic_uint_fast64_t calls_made, failures_seen, events_seen, completions_seen, log_lines;
static int tracing;

/* Where a thread is, for the report of a crash. */
static _Thread_local uint64_t current_seed;

void __asan_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void say_where(void) { fprintf(stderr, "calls: replay with --seed %" PRIu64 " --sequences 1 --trace\n", current_seed); }

static void wrong(const char *what, const char *call, coffer_status status) {
    fprintf(stderr, "calls: %s: %s (%d %s)\n", call, what, status, coffer_status_name(status));
    say_where();
    abort();
}

/* What a sequence has. */
typedef struct scene {
    chance *by;
    uint64_t handles[KINDS][SLOTS];
    uint64_t closed[8]; /* handles that are none any more */
    size_t closed_count;
    coffer_result held[HELD];
    int64_t leases[SLOTS];
    int64_t revision;
} scene;

/* Handles. */

static uint64_t any_handle(scene *it) {
    uint64_t kind = below(it->by, KINDS);
    return kind == STORE ? stores[below(it->by, STORES)] : it->handles[kind][below(it->by, SLOTS)];
}

static uint64_t a_live_one(scene *it, enum kind kind) {
    size_t from = below(it->by, SLOTS), i = 0;
    while (i < SLOTS && it->handles[kind][(from + i) % SLOTS] == 0) {
        i++;
    }
    return it->handles[kind][(from + i) % SLOTS];
}

/* Mostly one of the right kind; else none, a closed one, another one, or one that was made up. */
static uint64_t handle(scene *it, enum kind kind) {
    switch (below(it->by, 40)) {
    case 0:
        return 0;
    case 1:
        return it->closed_count == 0 ? 0 : it->closed[below(it->by, it->closed_count)];
    case 2:
        return any_handle(it);
    case 3:
        return draw(it->by);
    default:
        return kind == STORE ? stores[below(it->by, STORES)] : a_live_one(it, kind);
    }
}

static coffer_store a_store(scene *it) { return (coffer_store){handle(it, STORE)}; }

static uint64_t *slot(scene *it, enum kind kind) {
    uint64_t *found = &it->handles[kind][below(it->by, SLOTS)];
    return found;
}

static void bury(scene *it, uint64_t id) {
    it->closed[it->closed_count % 8] = id;
    it->closed_count = it->closed_count < 8 ? it->closed_count + 1 : 8;
}

static void close_handle(enum kind kind, uint64_t id) {
    switch (kind) {
    case STORE:
        coffer_close((coffer_store){id}, NULL);
        break;
    case QUEUE:
        coffer_queue_close((coffer_queue){id}, NULL);
        break;
    case TXN:
        coffer_txn_close((coffer_txn){id}, NULL);
        break;
    case ITER:
        coffer_iter_close((coffer_iter){id}, NULL);
        break;
    case WATCH:
        coffer_watch_close((coffer_watch){id}, NULL);
        break;
    default:
        coffer_keeper_close((coffer_keeper){id}, NULL);
    }
}

/* What comes out is looked at, all of it. */

static _Thread_local volatile uint64_t seen;

static void touch(coffer_bytes it) {
    for (size_t i = 0; i < it.len; i++) {
        seen += it.data[i];
    }
}

static void touch_text(const char *text) { seen += text == NULL ? 0 : strlen(text); }

static void touch_kvs(const coffer_kv *kvs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        touch(kvs[i].key);
        touch(kvs[i].value);
    }
}

static void touch_result(const coffer_result *it) {
    touch_kvs(it->kvs, it->kv_count);
    for (size_t i = 0; i < it->event_count; i++) {
        touch_kvs(&it->events[i].kv, 1);
        touch_kvs(it->events[i].previous, it->events[i].previous != NULL);
    }
    events_seen += it->event_count;
    for (size_t i = 0; i < it->part_count; i++) {
        touch_result(&it->parts[i]);
    }
    for (size_t i = 0; i < it->lease_count; i++) {
        seen += (uint64_t)it->leases[i];
    }
    for (size_t i = 0; i < it->member_count; i++) {
        touch_text(it->members[i].name);
        touch_text(it->members[i].peer_urls);
        touch_text(it->members[i].client_urls);
    }
    if (it->store != NULL) {
        touch_text(it->store->version);
        touch_text(it->store->backend);
        touch_text(it->store->errors);
    }
    if (it->keys != NULL) {
        for (size_t i = 0; i < it->keys->slot_count; i++) {
            touch_text(it->keys->slots[i].kind);
            touch_text(it->keys->slots[i].label);
        }
        seen += it->keys->data_key_count == 0 ? 0 : it->keys->data_keys[it->keys->data_key_count - 1].id;
    }
    seen += it->snapshot == NULL ? 0 : it->snapshot->bytes;
}

/* An answer is a status that the header knows; bugs and damage are none that may come of wrong calls. */
static void judge(const char *call, coffer_status status, coffer_error *error) {
    calls_made++;
    if (tracing) {
        printf("%s: %s\n", call, coffer_status_name(status));
        fflush(stdout);
    }
    if (strcmp(coffer_status_name(status), "unknown status") == 0) {
        wrong("a status that the header does not know", call, status);
    }
    uint32_t group = coffer_status_group(status);
    coffer_error_info said = coffer_error_info_init();
    if (tracing && error != NULL && error->id != 0 && coffer_error_get(*error, &said) == COFFER_OK) {
        printf("  %s\n", said.message);
        fflush(stdout);
    }
    if (group == COFFER_GROUP_STOP_NODE || group == COFFER_GROUP_REPAIR_DATA) {
        wrong("a bug", call, status);
    }
    if ((status < 100) != (group == COFFER_GROUP_NONE)) {
        wrong("a group that does not fit", call, status);
    }
    failures_seen += status >= 100;
    if (error == NULL) {
        return;
    }
    coffer_error_info info = coffer_error_info_init();
    if ((status < 100) != (error->id == 0)) {
        wrong("an error object without a failure, or none with one", call, status);
    }
    if (error->id != 0) {
        coffer_error copy = *error;
        if (coffer_error_get(*error, &info) != COFFER_OK || info.status != status || info.group != group) {
            wrong("an error object that says something else", call, status);
        }
        touch_text(info.message);
        touch_text(info.context);
        if (info.message[0] == 0 || info.context[0] == 0) {
            wrong("an error object that says nothing", call, status);
        }
        coffer_error_free(error);
        if (coffer_error_get(copy, &info) != COFFER_BAD_HANDLE || coffer_error_free(&copy) != COFFER_BAD_HANDLE) {
            wrong("a freed error that is still one", call, status);
        }
    }
}

static void expect_ok(const char *call, coffer_status status) {
    if (status != COFFER_OK) {
        wrong("it should work", call, status);
    }
}

/* Arguments. */

typedef struct arguments {
    coffer_error error, *error_or_null;
    coffer_result *result;
    int result_is_bad; /* one that a call must refuse */
    coffer_call call, *call_or_null;
    blob key, value, start, end;
    coffer_key_range range, *range_or_null;
    coffer_put_options put, *put_or_null;
    coffer_read_options read, *read_or_null;
} arguments;

static int64_t a_revision(scene *it) {
    switch (below(it->by, 6)) {
    case 0:
        return (int64_t)draw(it->by);
    case 1:
        return it->revision - (int64_t)below(it->by, 5);
    case 2:
        return 1;
    default:
        return 0;
    }
}

static int64_t a_lease(scene *it) {
    return once_in(it->by, 10) ? (int64_t)draw(it->by) : it->leases[below(it->by, SLOTS)];
}

static uint32_t a_size(scene *it, size_t right) {
    return once_in(it->by, 60) ? (uint32_t)below(it->by, 1000) : (uint32_t)right;
}

static uint32_t some_flags(scene *it, uint32_t known) {
    return once_in(it->by, 40) ? (uint32_t)draw(it->by) : (uint32_t)draw(it->by) & known;
}

/* Fills in everything that a call may want. */
static void arm(scene *it, arguments *a) {
    memset(a, 0, sizeof *a);
    a->error_or_null = once_in(it->by, 4) ? NULL : &a->error;
    a->key = key_blob(it->by);
    a->value = value_blob(it->by);
    a->start = key_blob(it->by);
    a->end = once_in(it->by, 2) ? key_blob(it->by) : blob_of(it->by, 0);
    a->range.size = a_size(it, sizeof a->range);
    a->range.kind = (uint32_t)below(it->by, 6);
    a->range.start = a->start.bytes;
    a->range.end = a->range.kind == COFFER_RANGE_BETWEEN || once_in(it->by, 20) ? a->end.bytes : coffer_bytes_of(NULL, 0);
    if (a->range.kind == COFFER_RANGE_ALL && !once_in(it->by, 8)) {
        a->range.start = coffer_bytes_of(NULL, 0);
    }
    a->range_or_null = once_in(it->by, 60) ? NULL : &a->range;
    a->put.size = a_size(it, sizeof a->put);
    a->put.flags = once_in(it->by, 4) ? some_flags(it, 7) : 0;
    a->put.lease = once_in(it->by, 4) ? a_lease(it) : 0;
    a->put_or_null = once_in(it->by, 2) ? NULL : &a->put;
    a->read.size = a_size(it, sizeof a->read);
    a->read.flags = some_flags(it, 7);
    a->read.revision = a_revision(it);
    a->read.limit = once_in(it->by, 10) ? (int64_t)draw(it->by) : (int64_t)below(it->by, 4);
    if (once_in(it->by, 4)) {
        a->read.sort = (uint32_t)below(it->by, 6);
        a->read.order = (uint32_t)below(it->by, 4);
        a->read.min_mod_revision = a_revision(it);
        a->read.max_create_revision = a_revision(it);
    }
    a->read_or_null = once_in(it->by, 2) ? NULL : &a->read;
    a->call.size = a_size(it, sizeof a->call);
    a->call.flags = once_in(it->by, 80) ? (uint32_t)draw(it->by) : 0;
    a->call.timeout_ms = once_in(it->by, 4) ? (int64_t)below(it->by, 20) - 1 : 0;
    if (once_in(it->by, 2)) {
        a->call.queue.id = handle(it, QUEUE);
        a->call.tag = below(it->by, 16);
    }
    a->call_or_null = once_in(it->by, 2) ? NULL : &a->call;
    a->result = once_in(it->by, 20) ? NULL : &it->held[below(it->by, HELD)];
    if (a->result != NULL && a->result->owner == 0) {
        *a->result = coffer_result_init();
        a->result->size = a_size(it, sizeof *a->result);
    }
    a->result_is_bad = a->result != NULL && (a->result->owner != 0 || a->result->size != sizeof *a->result);
}

static void disarm(arguments *a) {
    /* Scribbled over first: a library that still looks at them sees something else, also without a sanitizer. */
    blob *blobs[] = {&a->key, &a->value, &a->start, &a->end};
    for (size_t i = 0; i < 4; i++) {
        memset(blobs[i]->block, 0xee, blobs[i]->bytes.len);
        free(blobs[i]->block);
    }
}

/* What came of a call that may have a queue. */
static void settle(scene *it, const char *name, arguments *a, coffer_status status) {
    int queued = a->call_or_null != NULL && a->call.queue.id != 0;
    if (status < 100 && a->result != NULL && !queued) {
        if (a->result_is_bad) {
            wrong("a result that should have been refused", name, status);
        }
        touch_result(a->result);
        it->revision = a->result->revision != 0 ? a->result->revision : it->revision;
    }
    judge(name, status, a->error_or_null);
}

/* Calls. */

static void open_store(scene *it) {
    static const char *const uris[] = {"mem:", "mem:", "mem:", "mem:", "nonsense", "file:", "coffer://", "unix://", "mem:?x=1"};
    arguments a;
    arm(it, &a);
    coffer_option options[2] = {{"max-txn-ops", "16"}, {once_in(it->by, 8) ? "no-such" : "quota-backend-bytes", "256MiB"}};
    coffer_store made = {0};
    const char *uri = once_in(it->by, 40) ? NULL : uris[below(it->by, 9)];
    coffer_status status = coffer_open(once_in(it->by, 40) ? 77 : COFFER_ABI_VERSION, uri, once_in(it->by, 4) ? NULL : options,
                                       below(it->by, 3), once_in(it->by, 40) ? NULL : &made, a.error_or_null);
    if (status == COFFER_OK) {
        uint64_t former = atomic_exchange(&stores[below(it->by, STORES)], made.id);
        close_handle(STORE, former);
        bury(it, former);
    }
    judge("coffer_open", status, a.error_or_null);
    disarm(&a);
}

static void close_something(scene *it, arguments *a) {
    enum kind kind = (enum kind)(1 + below(it->by, KINDS - 1));
    uint64_t id = handle(it, kind);
    (void)a;
    close_handle(kind, id);
    bury(it, id);
    /* Mostly it is forgotten; else it is tried again where one is wanted. */
    for (size_t i = 0; i < SLOTS && !once_in(it->by, 4); i++) {
        it->handles[kind][i] = it->handles[kind][i] == id ? 0 : it->handles[kind][i];
    }
}

static void run_put(scene *it, arguments *a) {
    settle(it, "coffer_put", a,
           coffer_put(a_store(it), a->key.bytes, a->value.bytes, a->put_or_null, a->call_or_null, a->result, a->error_or_null));
}

static void run_get(scene *it, arguments *a) {
    settle(it, "coffer_get", a, coffer_get(a_store(it), a->key.bytes, a->read_or_null, a->call_or_null, a->result, a->error_or_null));
}

static void run_range(scene *it, arguments *a) {
    settle(it, "coffer_range", a,
           coffer_range(a_store(it), a->range_or_null, a->read_or_null, a->call_or_null, a->result, a->error_or_null));
}

static void run_delete(scene *it, arguments *a) {
    settle(it, "coffer_delete", a,
           coffer_delete(a_store(it), a->range_or_null, some_flags(it, 1), a->call_or_null, a->result, a->error_or_null));
}

static void run_txn_new(scene *it, arguments *a) {
    uint64_t *at = slot(it, TXN);
    coffer_txn made = {0};
    close_handle(TXN, *at);
    coffer_status status = coffer_txn_new(once_in(it->by, 40) ? NULL : &made, a->error_or_null);
    *at = made.id;
    judge("coffer_txn_new", status, a->error_or_null);
}

static void run_txn_compare(scene *it, arguments *a) {
    int of_value = once_in(it->by, 3);
    coffer_bytes none = coffer_bytes_of(NULL, 0);
    judge("coffer_txn_compare",
          coffer_txn_compare((coffer_txn){handle(it, TXN)}, a->range_or_null, of_value ? 3 : (uint32_t)below(it->by, 6),
                             (uint32_t)below(it->by, 5), of_value && !once_in(it->by, 20) ? 0 : a_revision(it),
                             of_value ? a->value.bytes : none, a->error_or_null),
          a->error_or_null);
}

static void run_txn_put(scene *it, arguments *a) {
    judge("coffer_txn_put",
          coffer_txn_put((coffer_txn){handle(it, TXN)}, (uint32_t)below(it->by, 20) % 3, a->key.bytes, a->value.bytes,
                         a->put_or_null, a->error_or_null),
          a->error_or_null);
}

static void run_txn_range(scene *it, arguments *a) {
    judge("coffer_txn_range",
          coffer_txn_range((coffer_txn){handle(it, TXN)}, (uint32_t)below(it->by, 2), a->range_or_null, a->read_or_null,
                           a->error_or_null),
          a->error_or_null);
}

static void run_txn_delete(scene *it, arguments *a) {
    judge("coffer_txn_delete",
          coffer_txn_delete((coffer_txn){handle(it, TXN)}, (uint32_t)below(it->by, 2), a->range_or_null, some_flags(it, 1),
                            a->error_or_null),
          a->error_or_null);
}

static void run_txn_nest(scene *it, arguments *a) {
    judge("coffer_txn_nest",
          coffer_txn_nest((coffer_txn){handle(it, TXN)}, (uint32_t)below(it->by, 2), (coffer_txn){handle(it, TXN)},
                          a->error_or_null),
          a->error_or_null);
}

static void run_txn_commit(scene *it, arguments *a) {
    settle(it, "coffer_txn_commit", a,
           coffer_txn_commit(a_store(it), (coffer_txn){handle(it, TXN)}, a->call_or_null, a->result, a->error_or_null));
}

static void run_iter_open(scene *it, arguments *a) {
    uint64_t *at = slot(it, ITER);
    coffer_iter made = {0};
    close_handle(ITER, *at);
    coffer_status status = coffer_iter_open(a_store(it), a->range_or_null, a->read_or_null, &made, a->error_or_null);
    *at = made.id;
    judge("coffer_iter_open", status, a->error_or_null);
}

static void run_iter_next(scene *it, arguments *a) {
    settle(it, "coffer_iter_next", a,
           coffer_iter_next((coffer_iter){handle(it, ITER)}, a->call_or_null, a->result, a->error_or_null));
}

static void run_watch_open(scene *it, arguments *a) {
    uint64_t *at = slot(it, WATCH);
    coffer_watch made = {0};
    coffer_watch_options options = coffer_watch_options_init();
    options.size = a_size(it, sizeof options);
    options.flags = some_flags(it, 31);
    options.start_revision = a_revision(it);
    close_handle(WATCH, *at);
    coffer_status status = coffer_watch_open(a_store(it), a->range_or_null, once_in(it->by, 2) ? NULL : &options,
                                             a->call_or_null, &made, a->error_or_null);
    *at = made.id;
    judge("coffer_watch_open", status, a->error_or_null);
}

static void run_watch_next(scene *it, arguments *a) {
    a->call_or_null = NULL;
    settle(it, "coffer_watch_next", a,
           coffer_watch_next((coffer_watch){handle(it, WATCH)}, (int64_t)below(it->by, 2), a->result, a->error_or_null));
}

static void run_watch_rest(scene *it, arguments *a) {
    int64_t revision;
    coffer_watch watch = {handle(it, WATCH)};
    if (once_in(it->by, 2)) {
        judge("coffer_watch_request_progress", coffer_watch_request_progress(watch, a->error_or_null), a->error_or_null);
    } else {
        judge("coffer_watch_resume", coffer_watch_resume(watch, once_in(it->by, 20) ? NULL : &revision, a->error_or_null),
              a->error_or_null);
    }
}

static void run_lease_grant(scene *it, arguments *a) {
    int64_t id = once_in(it->by, 4) ? a_lease(it) : 0;
    int64_t ttl = once_in(it->by, 20) ? (int64_t)draw(it->by) : (int64_t)below(it->by, 1000);
    coffer_status status = coffer_lease_grant(a_store(it), ttl, id, a->call_or_null, a->result, a->error_or_null);
    settle(it, "coffer_lease_grant", a, status);
    if (status == COFFER_OK && a->result != NULL && a->result->lease != 0) {
        it->leases[below(it->by, SLOTS)] = a->result->lease;
    }
}

static void run_lease_rest(scene *it, arguments *a) {
    coffer_store store = a_store(it);
    int64_t lease = a_lease(it);
    switch (below(it->by, 4)) {
    case 0:
        settle(it, "coffer_lease_revoke", a, coffer_lease_revoke(store, lease, a->call_or_null, a->result, a->error_or_null));
        break;
    case 1:
        settle(it, "coffer_lease_renew", a, coffer_lease_renew(store, lease, a->call_or_null, a->result, a->error_or_null));
        break;
    case 2:
        settle(it, "coffer_lease_time_to_live", a,
               coffer_lease_time_to_live(store, lease, (int32_t)below(it->by, 2), a->call_or_null, a->result, a->error_or_null));
        break;
    default:
        settle(it, "coffer_lease_list", a, coffer_lease_list(store, a->call_or_null, a->result, a->error_or_null));
    }
}

static void run_keeper(scene *it, arguments *a) {
    uint64_t *at = slot(it, KEEPER);
    coffer_keeper made = {0};
    if (once_in(it->by, 2)) {
        judge("coffer_keeper_wait", coffer_keeper_wait((coffer_keeper){handle(it, KEEPER)}, 0, a->error_or_null),
              a->error_or_null);
        return;
    }
    close_handle(KEEPER, *at);
    coffer_status status = coffer_keeper_open(a_store(it), a_lease(it), a->call_or_null, &made, a->error_or_null);
    *at = made.id;
    judge("coffer_keeper_open", status, a->error_or_null);
}

static void run_whole(scene *it, arguments *a) {
    coffer_store store = a_store(it);
    switch (below(it->by, 5)) {
    case 0:
        settle(it, "coffer_compact", a,
               coffer_compact(store, a_revision(it), some_flags(it, 1), a->call_or_null, a->result, a->error_or_null));
        break;
    case 1:
        settle(it, "coffer_store_status", a, coffer_store_status(store, a->call_or_null, a->result, a->error_or_null));
        break;
    case 2:
        settle(it, "coffer_hash_kv", a, coffer_hash_kv(store, a_revision(it), a->call_or_null, a->result, a->error_or_null));
        break;
    case 3:
        settle(it, "coffer_member_list", a,
               coffer_member_list(store, (int32_t)below(it->by, 2), a->call_or_null, a->result, a->error_or_null));
        break;
    default:
        settle(it, "coffer_snapshot_save", a,
               coffer_snapshot_save(store, "/nonexistent/snapshot", a->call_or_null, a->result, a->error_or_null));
    }
}

static void run_keys(scene *it, arguments *a) {
    coffer_store store = a_store(it);
    coffer_option option = {"seal-key-file", "/nonexistent/key"};
    a->call_or_null = NULL;
    switch (below(it->by, 5)) {
    case 0:
        settle(it, "coffer_key_status", a, coffer_key_status(store, a->result, a->error_or_null));
        break;
    case 1:
        settle(it, "coffer_key_add", a, coffer_key_add(store, &option, 1, NULL, a->result, a->error_or_null));
        break;
    case 2:
        settle(it, "coffer_key_remove", a, coffer_key_remove(store, (uint32_t)below(it->by, 3), a->result, a->error_or_null));
        break;
    case 3:
        settle(it, "coffer_key_rotate_kek", a, coffer_key_rotate_kek(store, 0, &option, 1, a->result, a->error_or_null));
        break;
    default:
        settle(it, "coffer_key_rotate_data", a, coffer_key_rotate_data(store, some_flags(it, 1), a->result, a->error_or_null));
    }
}

static void run_files(scene *it, arguments *a) {
    coffer_option options[] = {{"seal-key-file", "/nonexistent/key"}, {"unsealed", "perhaps"}, {"create", "true"}};
    a->call_or_null = NULL;
    switch (below(it->by, 4)) {
    case 0:
        settle(it, "coffer_snapshot_status", a,
               coffer_snapshot_status("/nonexistent/snapshot", options, below(it->by, 2), a->result, a->error_or_null));
        break;
    case 1:
        settle(it, "coffer_snapshot_restore", a,
               coffer_snapshot_restore("/nonexistent/snapshot", "/nonexistent/dir", options, below(it->by, 2), a->result,
                                       a->error_or_null));
        break;
    case 2:
        judge("coffer_key_generate", coffer_key_generate("/nonexistent/key", a->error_or_null), a->error_or_null);
        break;
    default:
        judge("coffer_options_check", coffer_options_check(options + below(it->by, 3), 1, a->error_or_null), a->error_or_null);
    }
}

static void run_queue_new(scene *it, arguments *a) {
    uint64_t *at = slot(it, QUEUE);
    coffer_queue made = {0};
    if (*at != 0 && !once_in(it->by, 6)) {
        return; /* mostly they live on */
    }
    close_handle(QUEUE, *at);
    coffer_status status = coffer_queue_new(&made, a->error_or_null);
    *at = made.id;
    judge("coffer_queue_new", status, a->error_or_null);
}

static void take_completion(scene *it, uint64_t queue, int64_t timeout_ms, coffer_error *error) {
    coffer_completion got = coffer_completion_init();
    got.size = a_size(it, sizeof got);
    coffer_status status = coffer_queue_next((coffer_queue){queue}, timeout_ms, &got, error);
    if (status == COFFER_OK) {
        completions_seen++;
        touch_result(&got.result);
        judge("a completion", got.status, &got.error);
        coffer_result copy = got.result;
        coffer_result_free(&got.result);
        if (copy.owner != 0 && coffer_result_free(&copy) != COFFER_BAD_HANDLE) {
            wrong("a freed result that is still one", "coffer_queue_next", status);
        }
    }
    judge("coffer_queue_next", status, error);
}

static void run_queue_next(scene *it, arguments *a) {
    take_completion(it, handle(it, QUEUE), (int64_t)below(it->by, 3), a->error_or_null);
}

static void run_queue_rest(scene *it, arguments *a) {
    int32_t descriptor = -1;
    if (once_in(it->by, 2)) {
        judge("coffer_cancel", coffer_cancel((coffer_queue){handle(it, QUEUE)}, below(it->by, 16), a->error_or_null),
              a->error_or_null);
        return;
    }
    coffer_status status = coffer_queue_fd((coffer_queue){handle(it, QUEUE)}, &descriptor, a->error_or_null);
    if ((status == COFFER_OK) != (descriptor >= 0)) {
        wrong("a queue without a descriptor, or one without a queue", "coffer_queue_fd", status);
    }
    judge("coffer_queue_fd", status, a->error_or_null);
}

static void run_result_free(scene *it, arguments *a) {
    coffer_result *result = &it->held[below(it->by, HELD)], copy = *result;
    (void)a;
    judge("coffer_result_free", coffer_result_free(result), NULL);
    if (copy.owner != 0 && coffer_result_free(&copy) != COFFER_BAD_HANDLE) {
        wrong("a freed result that is still one", "coffer_result_free", 0);
    }
    coffer_result_free(NULL);
    coffer_error_free(NULL);
}

static void log_line(void *user, uint32_t level, const char *target, const char *message) {
    atomic_fetch_add((atomic_uint_fast64_t *)user, 1);
    (void)level, (void)target, (void)message;
}

static void run_set_log(scene *it, arguments *a) {
    if (once_in(it->by, 20)) {
        coffer_log_fn hook = once_in(it->by, 2) ? log_line : NULL;
        judge("coffer_set_log", coffer_set_log(hook, &log_lines, (uint32_t)below(it->by, 6), a->error_or_null), a->error_or_null);
    }
}

static const struct {
    uint32_t weight;
    void (*run)(scene *it, arguments *a);
} calls[] = {
    {12, run_put},        {12, run_get},       {8, run_range},      {4, run_delete},     {4, run_txn_new},    {4, run_txn_compare},
    {6, run_txn_put},     {4, run_txn_range},  {3, run_txn_delete}, {2, run_txn_nest},   {6, run_txn_commit}, {4, run_iter_open},
    {6, run_iter_next},   {4, run_watch_open}, {6, run_watch_next}, {2, run_watch_rest}, {3, run_lease_grant}, {4, run_lease_rest},
    {2, run_keeper},      {3, run_whole},      {1, run_keys},       {1, run_files},      {6, run_queue_new},  {8, run_queue_next},
    {4, run_queue_rest},  {12, run_result_free}, {1, run_set_log},  {6, close_something},
};

static void one_call(scene *it) {
    uint32_t total = 0;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        total += calls[i].weight;
    }
    uint64_t drawn = below(it->by, total);
    size_t chosen = 0;
    while (drawn >= calls[chosen].weight) {
        drawn -= calls[chosen++].weight;
    }
    arguments a;
    arm(it, &a);
    calls[chosen].run(it, &a);
    disarm(&a);
}

static void sequence(uint64_t seed) {
    chance by = {seed};
    scene it = {0};
    current_seed = seed;
    it.by = &by;
    for (size_t i = 0; i < HELD; i++) {
        it.held[i] = coffer_result_init();
    }
    if (once_in(&by, STORE_LIFE)) {
        open_store(&it);
    }
    /* Mostly there is something to begin with. */
    if (!once_in(&by, 4)) {
        expect_ok("coffer_queue_new", coffer_queue_new((coffer_queue *)&it.handles[QUEUE][0], NULL));
        expect_ok("coffer_txn_new", coffer_txn_new((coffer_txn *)&it.handles[TXN][0], NULL));
    }
    for (uint64_t left = 1 + below(&by, CALLS_MAX); left > 0; left--) {
        one_call(&it);
    }
    /* Everything is given back, in any order; what was closed already says so. */
    for (size_t kind = 0; kind < KINDS; kind++) {
        size_t order = (kind + seed) % KINDS;
        for (size_t i = 0; order != STORE && i < SLOTS; i++) {
            close_handle((enum kind)order, it.handles[order][i]);
        }
    }
    for (size_t i = 0; i < HELD; i++) {
        coffer_result_free(&it.held[i]);
    }
}

/* Threads. */

static uint64_t first_seed = 1, sequences = 10000;
static atomic_uint_fast64_t next_sequence;

static void *work(void *argument) {
    (void)argument;
    for (uint64_t i; (i = atomic_fetch_add(&next_sequence, 1)) < sequences;) {
        sequence(first_seed + i);
        if (i % 100000 == 99999) {
            fprintf(stderr, "calls: %" PRIu64 " sequences\n", i + 1);
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    uint64_t thread_count = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0) {
            tracing = 1;
        } else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
            first_seed = strtoull(argv[++i], NULL, 10);
        } else if (i + 1 < argc && strcmp(argv[i], "--sequences") == 0) {
            sequences = strtoull(argv[++i], NULL, 10);
        } else if (i + 1 < argc && strcmp(argv[i], "--threads") == 0) {
            thread_count = strtoull(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: calls [--seed S] [--sequences N] [--threads T] [--trace]\n");
            return 2;
        }
    }
    if (__asan_set_death_callback != NULL) {
        __asan_set_death_callback(say_where);
    }
    printf("calls: seeds %" PRIu64 " to %" PRIu64 ", %" PRIu64 " threads\n", first_seed, first_seed + sequences - 1, thread_count);
    for (size_t i = 0; i < STORES; i++) {
        coffer_store made = {0};
        coffer_error error = {0};
        judge("coffer_open", coffer_open(COFFER_ABI_VERSION, "mem:", NULL, 0, &made, &error), &error);
        stores[i] = made.id;
    }
    pthread_t threads[64];
    for (uint64_t i = 0; i < thread_count && i < 64; i++) {
        if (pthread_create(&threads[i], NULL, work, NULL) != 0) {
            return 1;
        }
    }
    for (uint64_t i = 0; i < thread_count && i < 64; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < STORES; i++) {
        close_handle(STORE, stores[i]);
    }
    coffer_set_log(NULL, NULL, 0, NULL);
    printf("calls: %" PRIu64 " sequences, %" PRIu64 " calls, of which %" PRIu64 " failed as they should; %" PRIu64
           " completions, %" PRIu64 " events, %" PRIu64 " log lines\n",
           sequences, (uint64_t)calls_made, (uint64_t)failures_seen, (uint64_t)completions_seen, (uint64_t)events_seen,
           (uint64_t)log_lines);
    return 0;
}
