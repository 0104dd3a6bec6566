/* To be loaded before a program (LD_PRELOAD): lets allocations fail.
 *
 *   FAIL_AT=n       the n-th of the process
 *   FAIL_FROM=n     the n-th and all later ones
 *   FAIL_REPORT=f   writes how many there were to a file, at the end */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void *(*real_aligned_alloc)(size_t, size_t);
static atomic_long count;
static long fail_at, fail_from;
static int ready;

/* dlsym() may allocate before its own answer is known. */
static char early[65536];
static size_t early_used;

static long from_environment(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? 0 : strtol(text, NULL, 10);
}

__attribute__((constructor)) static void find_real(void) {
    *(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&real_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&real_posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    *(void **)&real_aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    fail_at = from_environment("FAIL_AT");
    fail_from = from_environment("FAIL_FROM");
    ready = 1;
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("FAIL_REPORT");
    int file = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char text[32];
    if (file >= 0) {
        ssize_t written = write(file, text, (size_t)snprintf(text, sizeof text, "%ld\n", atomic_load(&count)));
        (void)written;
        close(file);
    }
}

static int fails(void) {
    if (!ready) {
        return 0;
    }
    long number = atomic_fetch_add(&count, 1) + 1;
    if (number == fail_at || (fail_from != 0 && number >= fail_from)) {
        errno = ENOMEM;
        return 1;
    }
    return 0;
}

static void *take_early(size_t len) {
    size_t at = (early_used + 15) & ~(size_t)15;
    if (at + len > sizeof early) {
        abort();
    }
    early_used = at + len;
    return early + at;
}

void *malloc(size_t len) {
    if (real_malloc == NULL) {
        return take_early(len);
    }
    return fails() ? NULL : real_malloc(len);
}

void *calloc(size_t n, size_t len) {
    if (real_calloc == NULL) {
        return take_early(n * len); /* zero: static */
    }
    return fails() ? NULL : real_calloc(n, len);
}

void *realloc(void *it, size_t len) {
    if ((char *)it >= early && (char *)it < early + sizeof early) {
        void *moved = malloc(len);
        return moved == NULL ? NULL : memcpy(moved, it, len < 4096 ? len : 4096);
    }
    return fails() ? NULL : real_realloc(it, len);
}

int posix_memalign(void **at, size_t alignment, size_t len) { return fails() ? ENOMEM : real_posix_memalign(at, alignment, len); }

void *aligned_alloc(size_t alignment, size_t len) { return fails() ? NULL : real_aligned_alloc(alignment, len); }

void free(void *it) {
    static void (*real_free)(void *);
    if ((char *)it >= early && (char *)it < early + sizeof early) {
        return;
    }
    if (real_free == NULL) {
        *(void **)&real_free = dlsym(RTLD_NEXT, "free");
    }
    real_free(it);
}
