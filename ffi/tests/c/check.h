/* What the programs of these tests share, each of which uses some of it. */
#ifndef CHECK_H
#define CHECK_H

#include "coffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with the place if it does not hold. */
#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

/* Ends the program if a call returns anything else. The error, if the call told one, is shown and freed. */
#define EXPECT(expected, call)                                                                            \
    do {                                                                                                  \
        coffer_status is_ = (call);                                                                       \
        coffer_status shall_ = (expected);                                                                \
        if (is_ != shall_) {                                                                              \
            coffer_error_info info_ = coffer_error_info_init();                                           \
            const char *text_ = "";                                                                       \
            if (coffer_error_get(error, &info_) == COFFER_OK) {                                           \
                text_ = info_.message;                                                                    \
            }                                                                                             \
            fprintf(stderr, "%s:%d: %s: %s instead of %s: %s\n", __FILE__, __LINE__, #call,               \
                    coffer_status_name(is_), coffer_status_name(shall_), text_);                          \
            exit(1);                                                                                      \
        }                                                                                                 \
        check_error(__LINE__, is_);                                                                       \
    } while (0)

/* Every call tells its error here. */
static coffer_error error;

/* A failure has an error that says the same, anything else has none. */
static inline void check_error(int line, coffer_status status) {
    if (status >= 100 && error.id != 0) {
        coffer_error_info info = coffer_error_info_init();
        if (coffer_error_get(error, &info) != COFFER_OK || info.status != status || info.message[0] == 0 ||
            strncmp(info.context, "coffer_", 7) != 0 || info.group != coffer_status_group(status) ||
            info.retryable != coffer_is_retryable(status) ||
            info.maybe_committed != coffer_is_maybe_committed(status)) {
            fprintf(stderr, "line %d: the error does not tell what the status does\n", line);
            exit(1);
        }
    } else if (status < 100 && error.id != 0) {
        fprintf(stderr, "line %d: an error without a failure\n", line);
        exit(1);
    }
    if (coffer_error_free(&error) != COFFER_OK || error.id != 0) {
        fprintf(stderr, "line %d: the error is not freed\n", line);
        exit(1);
    }
}

/* Whether bytes are this text. */
static inline int is_text(coffer_bytes bytes, const char *text) {
    return bytes.len == strlen(text) && (bytes.len == 0 || memcmp(bytes.data, text, bytes.len) == 0);
}

/* Opens what the program was told to: a URI, then names and values of options. */
static inline coffer_store open_given(int count, char **given) {
    coffer_option options[16];
    size_t used = 0;
    coffer_store store = {0};
    CHECK(count >= 1 && count % 2 == 1 && count < 30);
    for (int at = 1; at + 1 < count; at += 2) {
        options[used].name = given[at];
        options[used].value = given[at + 1];
        used++;
    }
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, given[0], options, used, &store, &error));
    CHECK(store.id != 0);
    return store;
}

/* Writes a text. */
static inline int64_t put(coffer_store store, const char *key, const char *value) {
    coffer_result result = coffer_result_init();
    EXPECT(COFFER_OK, coffer_put(store, coffer_text(key), coffer_text(value), NULL, NULL, &result, &error));
    int64_t revision = result.revision;
    CHECK(revision > 1);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    return revision;
}

#endif
