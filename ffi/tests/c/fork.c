/* A child of a fork is told that it is one, whatever it asks for; its parent goes on. */
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static void in_child(void (*work)(void)) {
    int status = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        work();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static coffer_store store;
static coffer_queue queue;
static coffer_result held;

static void uses_what_the_parent_has(void) {
    coffer_result result = coffer_result_init();
    coffer_completion completion = coffer_completion_init();
    coffer_store other = {0};
    coffer_txn txn = {0};
    alarm(60);
    CHECK(coffer_get(store, coffer_text("k"), NULL, NULL, &result, &error) == COFFER_FORKED);
    CHECK(coffer_put(store, coffer_text("k"), coffer_text("w"), NULL, NULL, NULL, NULL) == COFFER_FORKED);
    CHECK(coffer_open(COFFER_ABI_VERSION, "mem:", NULL, 0, &other, NULL) == COFFER_FORKED && other.id == 0);
    CHECK(coffer_txn_new(&txn, NULL) == COFFER_FORKED);
    CHECK(coffer_queue_next(queue, 0, &completion, NULL) == COFFER_FORKED);
    CHECK(coffer_result_free(&held) == COFFER_FORKED);
    CHECK(coffer_close(store, NULL) == COFFER_FORKED);
    CHECK(coffer_is_retryable(COFFER_FORKED) == 0 && coffer_version()[0] != 0);
}

static void uses_its_own(void) {
    alarm(60);
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, "mem:", NULL, 0, &store, &error));
    put(store, "k", "child");
    EXPECT(COFFER_OK, coffer_close(store, &error));
}

int main(int count, char **given) {
    /* Before the parent has anything the child is a process like any other. */
    in_child(uses_its_own);
    store = open_given(count - 1, given + 1);
    EXPECT(COFFER_OK, coffer_queue_new(&queue, &error));
    put(store, "k", "v");
    held = coffer_result_init();
    EXPECT(COFFER_OK, coffer_get(store, coffer_text("k"), NULL, NULL, &held, &error));
    for (int number = 0; number < 20; number++) {
        in_child(uses_what_the_parent_has);
    }
    CHECK(is_text(held.kvs[0].value, "v"));
    EXPECT(COFFER_OK, coffer_result_free(&held));
    put(store, "k", "w");
    EXPECT(COFFER_OK, coffer_queue_close(queue, &error));
    EXPECT(COFFER_OK, coffer_close(store, &error));
    return 0;
}
