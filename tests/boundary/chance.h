/* What a seed decides: numbers, and bytes that lie in a block of their own size, so that whoever reads past them or keeps them
 * is caught by a sanitizer. */
#ifndef CHANCE_H
#define CHANCE_H

#include <coffer.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct chance {
    uint64_t state;
} chance;

/* splitmix64 */
static inline uint64_t draw(chance *it) {
    uint64_t z = it->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number below `bound`. */
static inline uint64_t below(chance *it, uint64_t bound) { return draw(it) % bound; }

/* Once in `n` times. */
static inline int once_in(chance *it, uint64_t n) { return below(it, n) == 0; }

/* A block of its own; freed by the caller right after the call that borrowed it. */
static inline void *block(size_t len) {
    void *it = malloc(len == 0 ? 1 : len);
    if (it == NULL) {
        abort();
    }
    return it;
}

typedef struct blob {
    coffer_bytes bytes;
    void *block;
} blob;

static inline blob blob_of(chance *it, size_t len) {
    blob made;
    made.block = block(len);
    unsigned char *data = made.block;
    for (size_t i = 0; i < len; i++) {
        data[i] = (unsigned char)((i < 64) ? draw(it) : i);
    }
    /* Nothing may be read where there is nothing. */
    made.bytes = coffer_bytes_of(len == 0 && once_in(it, 2) ? NULL : made.block, len);
    return made;
}

/* Mostly one of few keys, so that calls meet. */
static inline blob key_blob(chance *it) {
    static const char *const names[] = {"a", "ab", "abc", "b", "b/1", "b/2", "c", "\xff", "\xff\xff", "d"};
    if (once_in(it, 12)) {
        return blob_of(it, once_in(it, 20) ? 1 + below(it, 70000) : below(it, 40));
    }
    const char *name = names[below(it, sizeof names / sizeof names[0])];
    blob made;
    made.block = block(strlen(name));
    memcpy(made.block, name, strlen(name));
    made.bytes = coffer_bytes_of(made.block, strlen(name));
    return made;
}

static inline blob value_blob(chance *it) {
    if (once_in(it, 3000)) {
        return blob_of(it, 1000000 + below(it, 3000000));
    }
    return blob_of(it, once_in(it, 50) ? below(it, 20000) : below(it, 100));
}

#endif
