/* An embedded store leaves no thread, no descriptor and no lock. argv: a store in a directory. */
#include "check.h"

#include <dirent.h>

static int count_of(const char *path) {
    DIR *dir = opendir(path);
    int entries = 0;
    CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        entries++;
    }
    closedir(dir);
    return entries;
}

static void use(int count, char **given) {
    coffer_queue queue = {0};
    coffer_watch watch = {0}, blocking = {0};
    coffer_keeper keeper = {0};
    coffer_call call = coffer_call_init();
    coffer_key_range range = coffer_all();
    coffer_result result = coffer_result_init();
    coffer_store store = open_given(count - 1, given + 1);
    EXPECT(COFFER_OK, coffer_queue_new(&queue, &error));
    call.queue = queue;
    EXPECT(COFFER_OK, coffer_lease_grant(store, 100, 0, NULL, &result, &error));
    int64_t lease = result.lease;
    EXPECT(COFFER_OK, coffer_keeper_open(store, lease, &call, &keeper, &error));
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, NULL, &call, &watch, &error));
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, NULL, NULL, &blocking, &error));
    for (int number = 0; number < 50; number++) {
        call.tag = (uint64_t)number;
        call.timeout_ms = 60000;
        EXPECT(COFFER_OK, coffer_put(store, coffer_text("k"), coffer_text("v"), NULL, &call, NULL, &error));
    }
    put(store, "k", "w");
    EXPECT(COFFER_OK, coffer_lease_revoke(store, lease, NULL, NULL, &error));
    EXPECT(COFFER_OK, coffer_close(store, &error));
    coffer_status seen;
    do {
        seen = coffer_watch_next(blocking, -1, &result, NULL);
        EXPECT(COFFER_OK, coffer_result_free(&result));
    } while (seen == COFFER_OK);
    CHECK(seen == COFFER_STOPPED);
    EXPECT(COFFER_OK, coffer_watch_close(blocking, &error));
    EXPECT(COFFER_OK, coffer_watch_close(watch, &error));
    EXPECT(COFFER_OK, coffer_keeper_close(keeper, &error));
    EXPECT(COFFER_OK, coffer_queue_close(queue, &error));
}

int main(int count, char **given) {
    int threads = count_of("/proc/self/task"), descriptors = count_of("/proc/self/fd");
    for (int round = 0; round < 5; round++) {
        use(count, given);
        /* A thread that was joined leaves /proc a moment later. */
        for (int patience = 0; count_of("/proc/self/task") > threads; patience++) {
            CHECK(patience < 1000000);
        }
        CHECK(count_of("/proc/self/fd") == descriptors);
    }
    return 0;
}
