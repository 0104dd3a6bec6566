/* A panic inside gives a status and poisons the handle; the process goes on. */
#include "check.h"

static coffer_store panicking(const char *function) {
    coffer_option option = {"panics-in", function};
    coffer_store store = {0};
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, "mem:", &option, 1, &store, &error));
    return store;
}

static void is_poisoned(coffer_store store) {
    coffer_result result = coffer_result_init();
    EXPECT(COFFER_POISONED, coffer_put(store, coffer_text("k"), coffer_text("v"), NULL, NULL, NULL, &error));
    EXPECT(COFFER_POISONED, coffer_get(store, coffer_text("k"), NULL, NULL, &result, &error));
    EXPECT(COFFER_OK, coffer_close(store, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_close(store, &error));
}

int main(void) {
    coffer_result result = coffer_result_init();
    coffer_key_range range = coffer_all();
    coffer_bytes key = coffer_text("k");

    coffer_store store = panicking("coffer_get");
    put(store, "k", "v");
    EXPECT(COFFER_PANICKED, coffer_get(store, key, NULL, NULL, &result, &error));
    CHECK(coffer_is_maybe_committed(COFFER_PANICKED) && !coffer_is_maybe_committed(COFFER_POISONED));
    is_poisoned(store);

    store = panicking("coffer_put");
    EXPECT(COFFER_PANICKED, coffer_put(store, key, key, NULL, NULL, NULL, &error));
    is_poisoned(store);

    /* On the store's own thread it comes to the queue. */
    store = panicking("coffer_range");
    coffer_queue queue = {0};
    coffer_call call = coffer_call_init();
    coffer_completion completion = coffer_completion_init();
    EXPECT(COFFER_OK, coffer_queue_new(&queue, &error));
    call.queue = queue;
    call.tag = 9;
    EXPECT(COFFER_OK, coffer_range(store, &range, NULL, &call, NULL, &error));
    EXPECT(COFFER_OK, coffer_queue_next(queue, 60000, &completion, &error));
    CHECK(completion.status == COFFER_PANICKED && completion.tag == 9 && completion.last == 1);
    EXPECT(COFFER_OK, coffer_error_free(&completion.error));
    is_poisoned(store);
    EXPECT(COFFER_OK, coffer_queue_close(queue, &error));

    /* What belongs to a store that panicked is poisoned with it. */
    store = panicking("coffer_iter_next");
    coffer_iter iter = {0};
    EXPECT(COFFER_OK, coffer_iter_open(store, &range, NULL, &iter, &error));
    EXPECT(COFFER_PANICKED, coffer_iter_next(iter, NULL, &result, &error));
    EXPECT(COFFER_POISONED, coffer_iter_next(iter, NULL, &result, &error));
    EXPECT(COFFER_OK, coffer_iter_close(iter, &error));
    is_poisoned(store);

    /* Another store is not. */
    store = panicking("nothing");
    put(store, "k", "v");
    EXPECT(COFFER_OK, coffer_close(store, &error));
    return 0;
}
