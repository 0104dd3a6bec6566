/* Point reads from C: `get URI KEYS SECONDS` reads the keys that `embedded fill` made, in a random order, and prints one line of
 * JSON: the mean of the first pass, when no value is cached, and the median of batches of a thousand reads after that. */
#define _POSIX_C_SOURCE 200809L
#include <coffer.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH 1000
#define BATCHES_MAX 1000000
#define NAME_SIZE 16

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void fail(const char *what, coffer_status status) {
    fprintf(stderr, "%s: %s\n", what, coffer_status_name(status));
    exit(1);
}

static size_t bytes_read;
static char (*names)[NAME_SIZE]; /* made beforehand: to write a number takes as long as to read a key */

static void get(coffer_store store, uint64_t number) {
    coffer_result found = coffer_result_init();
    coffer_status status = coffer_get(store, coffer_text(names[number]), NULL, NULL, &found, NULL);
    if (status != COFFER_OK) {
        fail("get", status);
    }
    bytes_read += found.kvs[0].value.len;
    coffer_result_free(&found);
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: get URI KEYS SECONDS\n");
        return 2;
    }
    uint64_t keys = strtoull(argv[2], NULL, 10);
    double end, seconds = strtod(argv[3], NULL);
    double *times = malloc(BATCHES_MAX * sizeof *times);
    names = malloc(keys * sizeof *names);
    if (names == NULL || times == NULL) {
        return 1;
    }
    for (uint64_t i = 0; i < keys; i++) {
        snprintf(names[i], NAME_SIZE, "key/%08" PRIu32, (uint32_t)i);
    }
    coffer_store store;
    coffer_status status = coffer_open(COFFER_ABI_VERSION, argv[1], NULL, 0, &store, NULL);
    if (status != COFFER_OK) {
        fail("open", status);
    }
    /* Once each, in an order that jumps: the step is a prime. */
    double began = now_ns();
    for (uint64_t i = 0; i < keys; i++) {
        get(store, i * UINT64_C(7919) % keys);
    }
    double first = (now_ns() - began) / (double)keys;

    size_t batches = 0;
    uint64_t state = 1;
    for (end = now_ns() + seconds * 1e9; now_ns() < end && batches < BATCHES_MAX;) {
        began = now_ns();
        for (int i = 0; i < BATCH; i++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            get(store, (state >> 33) % keys);
        }
        times[batches++] = (now_ns() - began) / BATCH;
    }
    qsort(times, batches, sizeof *times, ascending);
    printf("{\"bench\":\"embedded-get\",\"language\":\"c\",\"keys\":%" PRIu64 ",\"first_ns\":%.0f,\"p50_ns\":%.0f,\"p10_ns\":%.0f}\n",
           keys, first, times[batches / 2], times[batches / 10]);
    free(times);
    free(names);
    coffer_close(store, NULL);
    return bytes_read == 0;
}
