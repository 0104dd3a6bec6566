/* The log hook hears what the library says, until it is taken away. argv: a directory. */
#include "check.h"

static int heard;

static void hook(void *user, uint32_t level, const char *target, const char *message) {
    CHECK(user == &heard && level >= COFFER_LOG_ERROR && level <= COFFER_LOG_DEBUG);
    CHECK(strncmp(target, "coffer", 6) == 0 || target[0] != 0);
    CHECK(message[0] != 0 && strstr(message, "hidden-key") == NULL && strstr(message, "hidden-value") == NULL);
    __atomic_add_fetch(&heard, 1, __ATOMIC_RELAXED);
}

static void open_and_close(const char *dir) {
    char uri[512];
    coffer_store store = {0};
    snprintf(uri, sizeof uri, "file://%s/store?unsealed", dir);
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, uri, NULL, 0, &store, &error));
    put(store, "hidden-key", "hidden-value");
    EXPECT(COFFER_OK, coffer_close(store, &error));
}

int main(int count, char **given) {
    CHECK(count == 2);
    EXPECT(COFFER_OK, coffer_set_log(NULL, NULL, 0, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_set_log(hook, &heard, 9, &error));
    EXPECT(COFFER_OK, coffer_set_log(hook, &heard, COFFER_LOG_DEBUG, &error));
    open_and_close(given[1]);
    int first = __atomic_load_n(&heard, __ATOMIC_RELAXED);
    CHECK(first > 0);
    EXPECT(COFFER_OK, coffer_set_log(NULL, NULL, 0, &error));
    open_and_close(given[1]);
    CHECK(__atomic_load_n(&heard, __ATOMIC_RELAXED) == first);
    EXPECT(COFFER_OK, coffer_set_log(hook, &heard, COFFER_LOG_DEBUG, &error));
    open_and_close(given[1]);
    CHECK(__atomic_load_n(&heard, __ATOMIC_RELAXED) > first);
    return 0;
}
