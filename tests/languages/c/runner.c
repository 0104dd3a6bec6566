/* The C runner: reads commands from standard input, one a line, and answers each on standard output. README.md, one folder up,
 * says which commands there are and how words are written. */
#include <coffer.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 32
#define THREADS_MAX 64
#define PATIENCE_MS 60000
#define LOCK_TTL_S 10

/* A word of a command, decoded, with a zero byte behind it that does not count. */
typedef struct word {
    char *data;
    size_t len;
} word;

/* A lock that is held: a key of our own under its name, which lives as long as we do. */
typedef struct lock {
    int64_t lease;
    coffer_keeper keeper;
    char key[512];
    int64_t fence;
} lock;

/* What a background thread does: raises a number, under a lock if one is named. */
typedef struct job {
    pthread_t thread;
    coffer_store store;
    char *lock_name;
    word key;
    long times;
    coffer_status status;
} job;

static coffer_store store;
static coffer_txn txn;
static char then_kinds[WORDS_MAX], else_kinds[WORDS_MAX];
static coffer_watch watch;
static coffer_result news;
static size_t news_next;
static coffer_keeper keeper;
static lock held;
static job jobs[THREADS_MAX];
static size_t job_count;

/* Words. */

static coffer_bytes bytes(word it) { return coffer_bytes_of(it.data, it.len); }

static int64_t number(word it) { return strtoll(it.data, NULL, 10); }

static int is(word it, const char *text) { return strcmp(it.data, text) == 0; }

static void *allocate(size_t len) {
    void *it = malloc(len);
    if (it == NULL) {
        abort();
    }
    return it;
}

/* `@LENGTH:SEED` stands for so many bytes, `%XX` for one, a lone `%` for none. */
static word decode(const char *text) {
    word it;
    unsigned long long len, seed;
    if (sscanf(text, "@%llu:%llu", &len, &seed) == 2) {
        uint64_t state = seed;
        it.len = len;
        it.data = allocate(len + 1);
        for (size_t i = 0; i < len; i++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            it.data[i] = (char)(state >> 56);
        }
        it.data[len] = 0;
        return it;
    }
    it.len = 0;
    it.data = allocate(strlen(text) + 1);
    for (; *text != 0; text++) {
        unsigned value;
        if (*text != '%') {
            it.data[it.len++] = *text;
        } else if (sscanf(text + 1, "%2x", &value) == 1) {
            it.data[it.len++] = (char)value;
            text += 2;
        }
    }
    it.data[it.len] = 0;
    return it;
}

static uint64_t digest(uint64_t sum, coffer_bytes it) {
    for (size_t i = 0; i < it.len; i++) {
        sum = (sum ^ it.data[i]) * UINT64_C(1099511628211);
    }
    return sum;
}

#define DIGEST_BEGIN UINT64_C(14695981039346656037)

static void print_bytes(coffer_bytes it) {
    if (it.len > 256) {
        printf("#%zu:%016" PRIx64, it.len, digest(DIGEST_BEGIN, it));
        return;
    }
    if (it.len == 0) {
        printf("%%");
    }
    for (size_t i = 0; i < it.len; i++) {
        unsigned char byte = it.data[i];
        int plain = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
                    (byte != 0 && strchr("/._~-", byte) != NULL);
        printf(plain ? "%c" : "%%%02X", byte);
    }
}

/* Prints the answer of a failed call, and why on standard error. Answers below 100 are no failures. */
static int failed(coffer_status status, coffer_error *error) {
    if (status < 100) {
        return 0;
    }
    coffer_error_info info = coffer_error_info_init();
    if (error != NULL && coffer_error_get(*error, &info) == COFFER_OK) {
        fprintf(stderr, "%s: %s\n", info.context, info.message);
        coffer_error_free(error);
    }
    printf("error %s\n", coffer_status_name(status) + strlen("COFFER_"));
    return 1;
}

/* Raising numbers. */

static coffer_status commit_put(coffer_store at, coffer_bytes condition_key, uint32_t target, int64_t seen, coffer_bytes key,
                                coffer_bytes value, int64_t lease, coffer_result *result) {
    coffer_txn raise;
    coffer_key_range range = coffer_key(condition_key);
    coffer_put_options options = coffer_put_options_init();
    options.lease = lease;
    coffer_status status = coffer_txn_new(&raise, NULL);
    if (status != COFFER_OK) {
        return status;
    }
    status = coffer_txn_compare(raise, &range, target, COFFER_IS_EQUAL, seen, coffer_text(""), NULL);
    if (status == COFFER_OK) {
        status = coffer_txn_put(raise, COFFER_THEN, key, value, &options, NULL);
    }
    if (status == COFFER_OK) {
        status = coffer_txn_commit(at, raise, NULL, result, NULL);
    }
    coffer_txn_close(raise, NULL);
    return status;
}

static coffer_status read_number(coffer_store at, coffer_bytes key, long *number, int64_t *mod_revision) {
    coffer_result found = coffer_result_init();
    coffer_status status = coffer_get(at, key, NULL, NULL, &found, NULL);
    *number = 0;
    *mod_revision = 0;
    if (status == COFFER_OK) {
        char text[24];
        snprintf(text, sizeof text, "%.*s", (int)found.kvs[0].value.len, (const char *)found.kvs[0].value.data);
        *number = strtol(text, NULL, 10);
        *mod_revision = found.kvs[0].mod_revision;
    }
    coffer_result_free(&found);
    return status == COFFER_NOT_FOUND ? COFFER_OK : status;
}

/* Adds one, if nobody wrote the number since it was read; else again. */
static coffer_status add_one(coffer_store at, coffer_bytes key) {
    for (;;) {
        long number;
        int64_t seen;
        char text[24];
        coffer_status status = read_number(at, key, &number, &seen);
        if (status != COFFER_OK) {
            return status;
        }
        snprintf(text, sizeof text, "%ld", number + 1);
        coffer_result done = coffer_result_init();
        status = commit_put(at, key, COFFER_COMPARE_MOD, seen, key, coffer_text(text), 0, &done);
        int succeeded = done.flags & COFFER_RESULT_SUCCEEDED;
        coffer_result_free(&done);
        if (status != COFFER_OK || succeeded) {
            return status;
        }
    }
}

/* Locks. */

/* Waits until `key`, as it was at `revision`, is deleted. */
static coffer_status wait_deleted(coffer_store at, coffer_bytes key, int64_t revision) {
    coffer_watch waiting;
    coffer_key_range range = coffer_key(key);
    coffer_watch_options options = coffer_watch_options_init();
    options.flags = COFFER_WATCH_NO_PUT;
    options.start_revision = revision + 1;
    coffer_status status = coffer_watch_open(at, &range, &options, NULL, &waiting, NULL);
    if (status != COFFER_OK) {
        return status;
    }
    for (size_t events = 0; status == COFFER_OK && events == 0;) {
        coffer_result seen = coffer_result_init();
        status = coffer_watch_next(waiting, PATIENCE_MS, &seen, NULL);
        events = seen.event_count;
        coffer_result_free(&seen);
    }
    coffer_watch_close(waiting, NULL);
    return status;
}

/* Waits until nobody is in front of us. */
static coffer_status wait_turn(coffer_store at, const char *name, const lock *it) {
    char prefix[256];
    snprintf(prefix, sizeof prefix, "%s/", name);
    for (;;) {
        coffer_key_range range = coffer_prefix(coffer_text(prefix));
        coffer_read_options options = coffer_read_options_init();
        options.limit = 1;
        options.sort = COFFER_SORT_CREATE;
        options.order = COFFER_ORDER_DESCEND;
        options.max_create_revision = it->fence - 1;
        coffer_result before = coffer_result_init();
        coffer_status status = coffer_range(at, &range, &options, NULL, &before, NULL);
        if (status == COFFER_OK && before.kv_count > 0) {
            status = wait_deleted(at, before.kvs[0].key, before.revision);
        } else if (status == COFFER_OK) {
            status = COFFER_END;
        }
        coffer_result_free(&before);
        if (status != COFFER_OK) {
            return status == COFFER_END ? COFFER_OK : status;
        }
    }
}

static void unlock(coffer_store at, lock *it) {
    coffer_keeper_close(it->keeper, NULL);
    (void)!coffer_lease_revoke(at, it->lease, NULL, NULL, NULL);
}

static coffer_status take_lock(coffer_store at, const char *name, lock *it) {
    coffer_result lease = coffer_result_init();
    coffer_status status = coffer_lease_grant(at, LOCK_TTL_S, 0, NULL, &lease, NULL);
    it->lease = lease.lease;
    coffer_result_free(&lease);
    if (status == COFFER_OK) {
        status = coffer_keeper_open(at, it->lease, NULL, &it->keeper, NULL);
    }
    if (status != COFFER_OK) {
        return status;
    }
    snprintf(it->key, sizeof it->key, "%s/%" PRIx64, name, (uint64_t)it->lease);
    coffer_result done = coffer_result_init();
    coffer_bytes key = coffer_text(it->key);
    status = commit_put(at, key, COFFER_COMPARE_CREATE, 0, key, coffer_text(""), it->lease, &done);
    it->fence = done.revision;
    coffer_result_free(&done);
    if (status == COFFER_OK) {
        status = wait_turn(at, name, it);
    }
    if (status != COFFER_OK) {
        unlock(at, it);
    }
    return status;
}

/* Writes if the lock is still ours. */
static coffer_status put_fenced(coffer_store at, const lock *it, coffer_bytes key, coffer_bytes value, coffer_result *result) {
    return commit_put(at, coffer_text(it->key), COFFER_COMPARE_CREATE, it->fence, key, value, 0, result);
}

/* Adds one without looking whether somebody else writes: the lock keeps them out. */
static coffer_status add_one_locked(coffer_store at, const char *name, coffer_bytes key) {
    lock mine;
    long number;
    int64_t seen;
    char text[24];
    coffer_status status = take_lock(at, name, &mine);
    if (status != COFFER_OK) {
        return status;
    }
    status = read_number(at, key, &number, &seen);
    if (status == COFFER_OK) {
        snprintf(text, sizeof text, "%ld", number + 1);
        coffer_result done = coffer_result_init();
        status = put_fenced(at, &mine, key, coffer_text(text), &done);
        if (status == COFFER_OK && !(done.flags & COFFER_RESULT_SUCCEEDED)) {
            status = COFFER_LEASE_NOT_FOUND;
        }
        coffer_result_free(&done);
    }
    unlock(at, &mine);
    return status;
}

static void *work(void *argument) {
    job *it = argument;
    for (long i = 0; i < it->times && it->status == COFFER_OK; i++) {
        it->status = it->lock_name == NULL ? add_one(it->store, bytes(it->key))
                                           : add_one_locked(it->store, it->lock_name, bytes(it->key));
    }
    return NULL;
}

/* Commands: each gets its words, without the name. */

static void run_open(word *words, size_t count) {
    coffer_option options[WORDS_MAX];
    for (size_t i = 1; i < count; i++) {
        char *value = strchr(words[i].data, '=');
        if (value == NULL) {
            abort();
        }
        *value = 0;
        options[i - 1].name = words[i].data;
        options[i - 1].value = value + 1;
    }
    coffer_error error = {0};
    coffer_store opened = {0};
    if (!failed(coffer_open(COFFER_ABI_VERSION, words[0].data, options, count - 1, &opened, &error), &error)) {
        store = opened;
        puts("ok");
    }
}

static void run_close(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    if (!failed(coffer_close(store, &error), &error)) {
        puts("ok");
    }
}

static void run_put(word *words, size_t count) {
    coffer_error error = {0};
    coffer_result done = coffer_result_init();
    coffer_put_options options = coffer_put_options_init();
    options.lease = count > 2 ? number(words[2]) : 0;
    if (!failed(coffer_put(store, bytes(words[0]), bytes(words[1]), &options, NULL, &done, &error), &error)) {
        printf("ok %" PRId64 "\n", done.revision);
    }
    coffer_result_free(&done);
}

static void run_swap(word *words, size_t count) {
    (void)count;
    coffer_error error = {0};
    coffer_result done = coffer_result_init();
    coffer_put_options options = coffer_put_options_init();
    options.flags = COFFER_PUT_PREVIOUS;
    if (!failed(coffer_put(store, bytes(words[0]), bytes(words[1]), &options, NULL, &done, &error), &error)) {
        printf("ok %" PRId64 " ", done.revision);
        if (done.kv_count > 0) {
            print_bytes(done.kvs[0].value);
        } else {
            printf("none");
        }
        puts("");
    }
    coffer_result_free(&done);
}

static void run_get(word *words, size_t count) {
    coffer_error error = {0};
    coffer_result found = coffer_result_init();
    coffer_read_options options = coffer_read_options_init();
    options.revision = count > 1 ? number(words[1]) : 0;
    coffer_status status = coffer_get(store, bytes(words[0]), &options, NULL, &found, &error);
    if (status == COFFER_NOT_FOUND) {
        puts("none");
    } else if (!failed(status, &error)) {
        const coffer_kv *kv = &found.kvs[0];
        print_bytes(kv->value);
        printf(" %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", kv->create_revision, kv->mod_revision, kv->version, kv->lease);
    }
    coffer_result_free(&found);
}

static void run_range(word *words, size_t count) {
    coffer_error error = {0};
    coffer_result found = coffer_result_init();
    coffer_key_range range = coffer_prefix(bytes(words[0]));
    coffer_read_options options = coffer_read_options_init();
    options.limit = count > 1 ? number(words[1]) : 0;
    if (!failed(coffer_range(store, &range, &options, NULL, &found, &error), &error)) {
        for (size_t i = 0; i < found.kv_count; i++) {
            print_bytes(found.kvs[i].key);
            printf(" ");
            print_bytes(found.kvs[i].value);
            puts("");
        }
        printf("end %" PRId64 " %s\n", found.count, found.flags & COFFER_RESULT_MORE ? "more" : "all");
    }
    coffer_result_free(&found);
}

static void run_scan(word *words, size_t count) {
    (void)count;
    coffer_error error = {0};
    coffer_iter pages;
    coffer_key_range range = coffer_prefix(bytes(words[0]));
    if (failed(coffer_iter_open(store, &range, NULL, &pages, &error), &error)) {
        return;
    }
    uint64_t sum = DIGEST_BEGIN;
    size_t keys = 0;
    coffer_status status;
    do {
        coffer_result page = coffer_result_init();
        status = coffer_iter_next(pages, NULL, &page, &error);
        for (size_t i = 0; i < page.kv_count; i++) {
            sum = digest(digest(sum, page.kvs[i].key), page.kvs[i].value);
        }
        keys += page.kv_count;
        coffer_result_free(&page);
    } while (status == COFFER_OK);
    if (!failed(status, &error)) {
        printf("end %zu %016" PRIx64 "\n", keys, sum);
    }
    coffer_iter_close(pages, NULL);
}

static void delete_range(coffer_key_range range) {
    coffer_error error = {0};
    coffer_result done = coffer_result_init();
    if (!failed(coffer_delete(store, &range, 0, NULL, &done, &error), &error)) {
        printf("ok %" PRId64 " %" PRId64 "\n", done.revision, done.count);
    }
    coffer_result_free(&done);
}

static void run_delete(word *words, size_t count) {
    (void)count;
    delete_range(coffer_key(bytes(words[0])));
}

static void run_delete_prefix(word *words, size_t count) {
    (void)count;
    delete_range(coffer_prefix(bytes(words[0])));
}

static void run_txn(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    then_kinds[0] = else_kinds[0] = 0;
    if (!failed(coffer_txn_new(&txn, &error), &error)) {
        puts("ok");
    }
}

static void run_if(word *words, size_t count) {
    (void)count;
    static const char *const targets[] = {"version", "create", "mod", "value", "lease"};
    static const char relations[] = "=><!";
    coffer_error error = {0};
    coffer_key_range range = coffer_key(bytes(words[0]));
    uint32_t target = 0, relation = 0;
    while (!is(words[1], targets[target])) {
        target++;
    }
    while (words[2].data[0] != relations[relation]) {
        relation++;
    }
    int of_value = target == COFFER_COMPARE_VALUE;
    coffer_bytes value = of_value ? bytes(words[3]) : coffer_text("");
    int64_t against = of_value ? 0 : number(words[3]);
    if (!failed(coffer_txn_compare(txn, &range, target, relation, against, value, &error), &error)) {
        puts("ok");
    }
}

static void add_operation(uint32_t branch, char *kinds, word *words) {
    coffer_error error = {0};
    coffer_key_range range = coffer_key(bytes(words[1]));
    coffer_status status = is(words[0], "put") ? coffer_txn_put(txn, branch, bytes(words[1]), bytes(words[2]), NULL, &error)
                           : is(words[0], "get") ? coffer_txn_range(txn, branch, &range, NULL, &error)
                                                 : coffer_txn_delete(txn, branch, &range, 0, &error);
    size_t len = strlen(kinds);
    kinds[len] = words[0].data[0];
    kinds[len + 1] = 0;
    if (!failed(status, &error)) {
        puts("ok");
    }
}

static void run_then(word *words, size_t count) {
    (void)count;
    add_operation(COFFER_THEN, then_kinds, words);
}

static void run_else(word *words, size_t count) {
    (void)count;
    add_operation(COFFER_ELSE, else_kinds, words);
}

static void run_commit(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    coffer_result done = coffer_result_init();
    if (!failed(coffer_txn_commit(store, txn, NULL, &done, &error), &error)) {
        int succeeded = (done.flags & COFFER_RESULT_SUCCEEDED) != 0;
        const char *kinds = succeeded ? then_kinds : else_kinds;
        printf("%s %" PRId64 "\n", succeeded ? "yes" : "no", done.revision);
        for (size_t i = 0; i < done.part_count; i++) {
            const coffer_result *part = &done.parts[i];
            if (kinds[i] == 'p') {
                puts("put");
            } else if (kinds[i] == 'd') {
                printf("delete %" PRId64 "\n", part->count);
            } else if (part->kv_count == 0) {
                puts("get none");
            } else {
                printf("get ");
                print_bytes(part->kvs[0].value);
                puts("");
            }
        }
    }
    coffer_result_free(&done);
    coffer_txn_close(txn, NULL);
}

static void run_watch(word *words, size_t count) {
    coffer_error error = {0};
    coffer_key_range range = coffer_prefix(bytes(words[0]));
    coffer_watch_options options = coffer_watch_options_init();
    options.start_revision = count > 1 ? number(words[1]) : 0;
    coffer_result_free(&news);
    news_next = 0;
    if (!failed(coffer_watch_open(store, &range, &options, NULL, &watch, &error), &error)) {
        puts("ok");
    }
}

static void run_next(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    while (news_next == news.event_count) {
        coffer_result_free(&news);
        news_next = 0;
        coffer_status status = coffer_watch_next(watch, PATIENCE_MS, &news, &error);
        if (status == COFFER_END || status == COFFER_NOTHING) {
            puts(status == COFFER_END ? "end" : "nothing");
            return;
        }
        if (failed(status, &error)) {
            return;
        }
    }
    const coffer_event *event = &news.events[news_next++];
    printf(event->kind == COFFER_EVENT_PUT ? "put " : "delete ");
    print_bytes(event->kv.key);
    if (event->kind == COFFER_EVENT_PUT) {
        printf(" ");
        print_bytes(event->kv.value);
    }
    printf(" %" PRId64 "\n", event->kv.mod_revision);
}

static void run_resume(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    int64_t revision;
    if (!failed(coffer_watch_resume(watch, &revision, &error), &error)) {
        printf("%" PRId64 "\n", revision);
    }
}

static void run_unwatch(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    coffer_result_free(&news);
    news_next = 0;
    if (!failed(coffer_watch_close(watch, &error), &error)) {
        puts("ok");
    }
}

static void run_grant(word *words, size_t count) {
    coffer_error error = {0};
    coffer_result lease = coffer_result_init();
    int64_t id = count > 1 ? number(words[1]) : 0;
    if (!failed(coffer_lease_grant(store, number(words[0]), id, NULL, &lease, &error), &error)) {
        printf("ok %" PRId64 " %" PRId64 "\n", lease.lease, lease.ttl_s);
    }
    coffer_result_free(&lease);
}

static void run_revoke(word *words, size_t count) {
    (void)count;
    coffer_error error = {0};
    if (!failed(coffer_lease_revoke(store, number(words[0]), NULL, NULL, &error), &error)) {
        puts("ok");
    }
}

static void run_renew(word *words, size_t count) {
    (void)count;
    coffer_error error = {0};
    coffer_result lease = coffer_result_init();
    if (!failed(coffer_lease_renew(store, number(words[0]), NULL, &lease, &error), &error)) {
        printf("ok %" PRId64 "\n", lease.ttl_s);
    }
    coffer_result_free(&lease);
}

static void run_lease(word *words, size_t count) {
    (void)count;
    coffer_error error = {0};
    coffer_result lease = coffer_result_init();
    if (!failed(coffer_lease_time_to_live(store, number(words[0]), 1, NULL, &lease, &error), &error)) {
        if (lease.ttl_s <= 0) {
            puts("none");
        } else {
            printf("ok %" PRId64, lease.granted_ttl_s);
            for (size_t i = 0; i < lease.kv_count; i++) {
                printf(" ");
                print_bytes(lease.kvs[i].key);
            }
            puts("");
        }
    }
    coffer_result_free(&lease);
}

static void run_keep(word *words, size_t count) {
    (void)count;
    coffer_error error = {0};
    if (!failed(coffer_keeper_open(store, number(words[0]), NULL, &keeper, &error), &error)) {
        puts("ok");
    }
}

static void run_lost(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    if (!failed(coffer_keeper_wait(keeper, PATIENCE_MS, &error), &error)) {
        puts("kept");
    }
}

static void run_unkeep(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    if (!failed(coffer_keeper_close(keeper, &error), &error)) {
        puts("ok");
    }
}

static void start_job(char *lock_name, word key, word times) {
    job *it = &jobs[job_count];
    if (job_count == THREADS_MAX) {
        abort();
    }
    it->store = store;
    it->lock_name = lock_name;
    it->key = key;
    it->times = (long)number(times);
    it->status = COFFER_OK;
    if (pthread_create(&it->thread, NULL, work, it) != 0) {
        abort();
    }
    job_count++;
    puts("ok");
}

static char *copy(word it) { return memcpy(allocate(it.len + 1), it.data, it.len + 1); }

static void run_add(word *words, size_t count) {
    (void)count;
    word key = {copy(words[0]), words[0].len};
    start_job(NULL, key, words[1]);
}

static void run_add_locked(word *words, size_t count) {
    (void)count;
    word key = {copy(words[1]), words[1].len};
    start_job(copy(words[0]), key, words[2]);
}

static void run_join(word *words, size_t count) {
    (void)words, (void)count;
    coffer_status status = COFFER_OK;
    while (job_count > 0) {
        job *it = &jobs[--job_count];
        pthread_join(it->thread, NULL);
        status = it->status == COFFER_OK ? status : it->status;
        free(it->lock_name);
        free(it->key.data);
    }
    if (!failed(status, NULL)) {
        puts("ok");
    }
}

static void run_lock(word *words, size_t count) {
    (void)count;
    if (!failed(take_lock(store, words[0].data, &held), NULL)) {
        printf("ok %" PRId64 "\n", held.fence);
    }
}

static void run_put_fenced(word *words, size_t count) {
    (void)count;
    coffer_result done = coffer_result_init();
    if (!failed(put_fenced(store, &held, bytes(words[0]), bytes(words[1]), &done), NULL)) {
        if (done.flags & COFFER_RESULT_SUCCEEDED) {
            printf("ok %" PRId64 "\n", done.revision);
        } else {
            puts("lost");
        }
    }
    coffer_result_free(&done);
}

static void run_unlock(word *words, size_t count) {
    (void)words, (void)count;
    unlock(store, &held);
    puts("ok");
}

static void run_compact(word *words, size_t count) {
    (void)count;
    coffer_error error = {0};
    if (!failed(coffer_compact(store, number(words[0]), 0, NULL, NULL, &error), &error)) {
        puts("ok");
    }
}

static void run_hash(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    coffer_result found = coffer_result_init();
    if (!failed(coffer_hash_kv(store, 0, NULL, &found, &error), &error)) {
        printf("%" PRIu32 "\n", found.hash);
    }
    coffer_result_free(&found);
}

static void run_keys(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    coffer_result found = coffer_result_init();
    if (!failed(coffer_key_status(store, &found, &error), &error)) {
        printf("ok");
        for (size_t i = 0; i < found.keys->slot_count; i++) {
            printf(" %s", found.keys->slots[i].kind);
        }
        puts("");
    }
    coffer_result_free(&found);
}

static void run_rotate_data(word *words, size_t count) {
    (void)words, (void)count;
    coffer_error error = {0};
    if (!failed(coffer_key_rotate_data(store, COFFER_ROTATE_REWRITE, NULL, &error), &error)) {
        puts("ok");
    }
}

static void run_rotate_key(word *words, size_t count) {
    (void)count;
    coffer_error error = {0};
    coffer_option option = {"seal-key-file", words[0].data};
    if (!failed(coffer_key_rotate_kek(store, 0, &option, 1, NULL, &error), &error)) {
        puts("ok");
    }
}

static const struct {
    const char *name;
    void (*run)(word *words, size_t count);
} commands[] = {
    {"open", run_open},       {"close", run_close},
    {"put", run_put},         {"swap", run_swap},
    {"get", run_get},         {"range", run_range},
    {"scan", run_scan},       {"delete", run_delete},
    {"delete-prefix", run_delete_prefix},
    {"txn", run_txn},         {"if", run_if},
    {"then", run_then},       {"else", run_else},
    {"commit", run_commit},   {"watch", run_watch},
    {"next", run_next},       {"resume", run_resume},
    {"unwatch", run_unwatch}, {"grant", run_grant},
    {"revoke", run_revoke},   {"renew", run_renew},
    {"lease", run_lease},     {"keep", run_keep},
    {"lost", run_lost},       {"unkeep", run_unkeep},
    {"add", run_add},         {"add-locked", run_add_locked},
    {"join", run_join},       {"lock", run_lock},
    {"put-fenced", run_put_fenced},
    {"unlock", run_unlock},   {"compact", run_compact},
    {"hash", run_hash},       {"keys", run_keys},
    {"rotate-data", run_rotate_data},
    {"rotate-key", run_rotate_key},
};

static void run(char *line) {
    word words[WORDS_MAX];
    size_t count = 0, command = 0;
    for (char *text = strtok(line, " "); text != NULL && count < WORDS_MAX; text = strtok(NULL, " ")) {
        words[count++] = decode(text);
    }
    while (command < sizeof commands / sizeof commands[0] && !(count > 0 && is(words[0], commands[command].name))) {
        command++;
    }
    if (command == sizeof commands / sizeof commands[0]) {
        puts("error UNKNOWN_COMMAND");
    } else {
        commands[command].run(words + 1, count - 1);
    }
    while (count > 0) {
        free(words[--count].data);
    }
}

int main(void) {
    static char line[1 << 20];
    news = coffer_result_init();
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        run(line);
        fflush(stdout);
    }
    coffer_result_free(&news);
    return 0;
}
