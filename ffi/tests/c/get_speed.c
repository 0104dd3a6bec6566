/* How long a get takes from C: of one key, and of many in random order. argv: gets to make, keys, then a store.
 *
 *   cargo build --release -p coffer-ffi
 *   cc -O2 -Iffi/include ffi/tests/c/get_speed.c -o /tmp/get_speed -Ltarget/release -l:libcoffer_ffi.a \
 *      -lgcc_s -lutil -lrt -lpthread -lm -ldl
 *   /tmp/get_speed 2000000 10000 file:///tmp/get-speed?unsealed
 */
#include "check.h"

#include <time.h>

static double now(void) {
    struct timespec at;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &at) == 0);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static size_t name_of(char *name, size_t room, long number) {
    return (size_t)snprintf(name, room, "config/service/%06ld", number);
}

static void fill(coffer_store store, long keys) {
    char name[32], value[100];
    memset(value, 'v', sizeof value);
    for (long first = 0; first < keys; first += 100) {
        coffer_txn txn = {0};
        EXPECT(COFFER_OK, coffer_txn_new(&txn, &error));
        for (long number = first; number < first + 100 && number < keys; number++) {
            coffer_bytes key = coffer_bytes_of(name, name_of(name, sizeof name, number));
            EXPECT(COFFER_OK, coffer_txn_put(txn, COFFER_THEN, key, coffer_bytes_of(value, sizeof value), NULL, &error));
        }
        EXPECT(COFFER_OK, coffer_txn_commit(store, txn, NULL, NULL, &error));
        EXPECT(COFFER_OK, coffer_txn_close(txn, &error));
    }
}

/* Nanoseconds for one get and the free of its result. */
static double measure(coffer_store store, long gets, long keys) {
    enum { NAME = 32, NAMES = 1 << 14 };
    static char names[NAMES][NAME];
    static size_t lengths[NAMES];
    coffer_result result = coffer_result_init();
    unsigned long random = 88172645463325252ul;
    for (int at = 0; at < NAMES; at++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        lengths[at] = name_of(names[at], NAME, (long)(random % (unsigned long)keys));
    }
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        double began = now();
        for (long get = 0; get < gets / 5; get++) {
            size_t at = (size_t)get & (NAMES - 1);
            CHECK(coffer_get(store, coffer_bytes_of(names[at], lengths[at]), NULL, NULL, &result, &error) == COFFER_OK);
            CHECK(result.kvs[0].value.len == 100);
            CHECK(coffer_result_free(&result) == COFFER_OK);
        }
        double took = (now() - began) / (double)(gets / 5) * 1e9;
        best = took < best ? took : best;
    }
    return best;
}

int main(int count, char **given) {
    CHECK(count >= 4);
    long gets = atol(given[1]), keys = atol(given[2]);
    coffer_store store = open_given(count - 3, given + 3);
    fill(store, keys);
    printf("1 key: %.0f ns, %ld keys: %.0f ns\n", measure(store, gets, 1), keys, measure(store, gets, keys));
    /* Once more from the disk: what is flushed is read through the cache of blocks. */
    EXPECT(COFFER_OK, coffer_close(store, &error));
    if (strncmp(given[3], "file:", 5) == 0) {
        store = open_given(count - 3, given + 3);
        printf("opened again: 1 key: %.0f ns, %ld keys: %.0f ns\n", measure(store, gets, 1), keys,
               measure(store, gets, keys));
        EXPECT(COFFER_OK, coffer_close(store, &error));
    }
    return 0;
}
