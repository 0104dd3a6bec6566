/* A panic inside of a call, which the library's option `panics-in` asks for: the call returns COFFER_PANICKED, or its completion says
 * so; the store says COFFER_POISONED from then on, and can be closed; another store is as it was, and nothing is left behind. */
#include <coffer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *current = "";

static void expect(int holds, const char *what, coffer_status status) {
    if (!holds) {
        fprintf(stderr, "panics: %s: %s: %s\n", current, what, coffer_status_name(status));
        abort();
    }
}

static coffer_key_range everything(void) { return coffer_all(); }

/* Calls, each on a store, and with a queue if `call` names one. */

static coffer_status put(coffer_store store, const coffer_call *call, coffer_error *error) {
    return coffer_put(store, coffer_text("k"), coffer_text("v"), NULL, call, NULL, error);
}

static coffer_status get(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_result result = coffer_result_init();
    coffer_status status = coffer_get(store, coffer_text("k"), NULL, call, &result, error);
    coffer_result_free(&result);
    return status;
}

static coffer_status range(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_key_range keys = everything();
    coffer_result result = coffer_result_init();
    coffer_status status = coffer_range(store, &keys, NULL, call, &result, error);
    coffer_result_free(&result);
    return status;
}

static coffer_status delete(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_key_range keys = everything();
    return coffer_delete(store, &keys, 0, call, NULL, error);
}

static coffer_status txn_commit(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_txn txn;
    expect(coffer_txn_new(&txn, NULL) == COFFER_OK, "txn_new", 0);
    coffer_status status = coffer_txn_commit(store, txn, call, NULL, error);
    coffer_txn_close(txn, NULL);
    return status;
}

static coffer_status lease_grant(coffer_store store, const coffer_call *call, coffer_error *error) {
    return coffer_lease_grant(store, 100, 0, call, NULL, error);
}

static coffer_status lease_revoke(coffer_store store, const coffer_call *call, coffer_error *error) {
    return coffer_lease_revoke(store, 1, call, NULL, error);
}

static coffer_status lease_renew(coffer_store store, const coffer_call *call, coffer_error *error) {
    return coffer_lease_renew(store, 1, call, NULL, error);
}

static coffer_status lease_time_to_live(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_result result = coffer_result_init();
    coffer_status status = coffer_lease_time_to_live(store, 1, 1, call, &result, error);
    coffer_result_free(&result);
    return status;
}

static coffer_status lease_list(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_result result = coffer_result_init();
    coffer_status status = coffer_lease_list(store, call, &result, error);
    coffer_result_free(&result);
    return status;
}

static coffer_status compact(coffer_store store, const coffer_call *call, coffer_error *error) {
    return coffer_compact(store, 1, 0, call, NULL, error);
}

static coffer_status store_status(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_result result = coffer_result_init();
    coffer_status status = coffer_store_status(store, call, &result, error);
    coffer_result_free(&result);
    return status;
}

static coffer_status hash_kv(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_result result = coffer_result_init();
    coffer_status status = coffer_hash_kv(store, 0, call, &result, error);
    coffer_result_free(&result);
    return status;
}

static coffer_status member_list(coffer_store store, const coffer_call *call, coffer_error *error) {
    coffer_result result = coffer_result_init();
    coffer_status status = coffer_member_list(store, 1, call, &result, error);
    coffer_result_free(&result);
    return status;
}

static const struct {
    const char *name;
    coffer_status (*run)(coffer_store store, const coffer_call *call, coffer_error *error);
} calls[] = {
    {"coffer_put", put},
    {"coffer_get", get},
    {"coffer_range", range},
    {"coffer_delete", delete},
    {"coffer_txn_commit", txn_commit},
    {"coffer_lease_grant", lease_grant},
    {"coffer_lease_revoke", lease_revoke},
    {"coffer_lease_renew", lease_renew},
    {"coffer_lease_time_to_live", lease_time_to_live},
    {"coffer_lease_list", lease_list},
    {"coffer_compact", compact},
    {"coffer_store_status", store_status},
    {"coffer_hash_kv", hash_kv},
    {"coffer_member_list", member_list},
};

#define CALLS (sizeof calls / sizeof calls[0])

static void tells_of_the_panic(coffer_error *error) {
    coffer_error_info info = coffer_error_info_init();
    coffer_status status = coffer_error_get(*error, &info);
    expect(status == COFFER_OK && info.status == COFFER_PANICKED && strcmp(info.context, current) == 0, "its error says so", status);
    coffer_error_free(error);
}

/* From now on every call on this store says that it is poisoned, and closing it works. */
static void is_poisoned(coffer_store store) {
    for (size_t i = 0; i < CALLS; i++) {
        coffer_status status = calls[i].run(store, NULL, NULL);
        expect(status == COFFER_POISONED, calls[i].name, status);
    }
    coffer_status status = coffer_close(store, NULL);
    expect(status == COFFER_OK, "a poisoned store can be closed", status);
    status = put(store, NULL, NULL);
    expect(status == COFFER_BAD_HANDLE, "and is none then", status);
}

static coffer_store open_one(const char *panics_in) {
    coffer_store store;
    coffer_option option = {"panics-in", panics_in};
    coffer_status status = coffer_open(COFFER_ABI_VERSION, "mem:", &option, panics_in == NULL ? 0 : 1, &store, NULL);
    expect(status == COFFER_OK, "open", status);
    return store;
}

static void panic_while_waiting(size_t which) {
    coffer_error error = {0};
    coffer_store store = open_one(current);
    coffer_status status = calls[which].run(store, NULL, &error);
    expect(status == COFFER_PANICKED, "it panics", status);
    tells_of_the_panic(&error);
    is_poisoned(store);
}

static void panic_behind_a_queue(size_t which) {
    coffer_error error = {0};
    coffer_store store = open_one(current);
    coffer_call call = coffer_call_init();
    coffer_status status = coffer_queue_new(&call.queue, NULL);
    expect(status == COFFER_OK, "queue_new", status);
    call.tag = 7;
    status = calls[which].run(store, &call, &error);
    if (status == COFFER_OK) {
        coffer_completion got = coffer_completion_init();
        status = coffer_queue_next(call.queue, 60000, &got, NULL);
        expect(status == COFFER_OK && got.tag == 7 && got.last == 1, "it completes", status);
        expect(got.status == COFFER_PANICKED, "its completion says that it panicked", got.status);
        tells_of_the_panic(&got.error);
        coffer_result_free(&got.result);
    } else {
        expect(status == COFFER_PANICKED, "it panics", status);
        tells_of_the_panic(&error);
    }
    is_poisoned(store);
    status = coffer_queue_close(call.queue, NULL);
    expect(status == COFFER_OK, "queue_close", status);
}

int main(void) {
    coffer_store other = open_one(NULL);
    for (size_t i = 0; i < CALLS; i++) {
        current = calls[i].name;
        panic_while_waiting(i);
        panic_behind_a_queue(i);
        coffer_status status = put(other, NULL, NULL);
        expect(status == COFFER_OK, "another store is as it was", status);
    }
    expect(coffer_close(other, NULL) == COFFER_OK, "close", 0);
    printf("panics: survived in %zu calls, waiting and behind a queue\n", CALLS);
    return 0;
}
