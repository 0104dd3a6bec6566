/* Every function on a store, as it is meant: argv is a URI, then names and values of options. */
#include "check.h"

static coffer_store store;

static void keys_and_values(void) {
    coffer_result result = coffer_result_init();
    EXPECT(COFFER_NOT_FOUND, coffer_get(store, coffer_text("k"), NULL, NULL, &result, &error));
    CHECK(result.kv_count == 0 && result.kvs == NULL && result.count == 0 && result.revision >= 1);
    CHECK(result.cluster_id != 0 && result.member_id != 0);
    EXPECT(COFFER_OK, coffer_result_free(&result));

    int64_t first = put(store, "k", "v1");
    EXPECT(COFFER_OK, coffer_get(store, coffer_text("k"), NULL, NULL, &result, &error));
    CHECK(result.kv_count == 1 && result.count == 1 && result.revision == first && result.owner != 0);
    CHECK(is_text(result.kvs[0].key, "k") && is_text(result.kvs[0].value, "v1"));
    CHECK(result.kvs[0].create_revision == first && result.kvs[0].mod_revision == first);
    CHECK(result.kvs[0].version == 1 && result.kvs[0].lease == 0);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    CHECK(result.owner == 0 && result.kvs == NULL && result.size == sizeof result);
    EXPECT(COFFER_OK, coffer_result_free(&result));

    coffer_put_options options = coffer_put_options_init();
    options.flags = COFFER_PUT_PREVIOUS;
    EXPECT(COFFER_OK, coffer_put(store, coffer_text("k"), coffer_text("v2"), &options, NULL, &result, &error));
    CHECK(result.kv_count == 1 && is_text(result.kvs[0].value, "v1"));
    EXPECT(COFFER_OK, coffer_result_free(&result));

    coffer_read_options read = coffer_read_options_init();
    read.revision = first;
    EXPECT(COFFER_OK, coffer_get(store, coffer_text("k"), &read, NULL, &result, &error));
    CHECK(is_text(result.kvs[0].value, "v1"));
    EXPECT(COFFER_OK, coffer_result_free(&result));

    /* Binary keys and values, and empty values. */
    coffer_bytes key = coffer_bytes_of("a\0b", 3);
    EXPECT(COFFER_OK, coffer_put(store, key, coffer_bytes_of("\0\xff", 2), NULL, NULL, NULL, &error));
    EXPECT(COFFER_OK, coffer_get(store, key, NULL, NULL, &result, &error));
    CHECK(result.kvs[0].key.len == 3 && result.kvs[0].value.len == 2 && result.kvs[0].value.data[1] == 0xff);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_put(store, key, coffer_bytes_of(NULL, 0), NULL, NULL, NULL, &error));
    EXPECT(COFFER_OK, coffer_get(store, key, NULL, NULL, &result, &error));
    CHECK(result.kv_count == 1 && result.kvs[0].value.len == 0 && result.kvs[0].version == 2);
    EXPECT(COFFER_OK, coffer_result_free(&result));

    coffer_key_range range = coffer_key(key);
    EXPECT(COFFER_OK, coffer_delete(store, &range, COFFER_DELETE_PREVIOUS, NULL, &result, &error));
    CHECK(result.count == 1 && result.kv_count == 1 && result.kvs[0].version == 2);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_delete(store, &range, 0, NULL, NULL, &error));
}

static void ranges(void) {
    coffer_result result = coffer_result_init();
    coffer_read_options read = coffer_read_options_init();
    coffer_key_range range = coffer_prefix(coffer_text("r/"));
    for (char name[4] = "r/0"; name[2] < '9'; name[2]++) {
        put(store, name, name + 2);
    }
    EXPECT(COFFER_OK, coffer_range(store, &range, NULL, NULL, &result, &error));
    CHECK(result.kv_count == 9 && result.count == 9 && result.flags == 0);
    CHECK(is_text(result.kvs[8].key, "r/8") && is_text(result.kvs[8].value, "8"));
    EXPECT(COFFER_OK, coffer_result_free(&result));

    read.limit = 2;
    read.sort = COFFER_SORT_MOD;
    read.order = COFFER_ORDER_DESCEND;
    EXPECT(COFFER_OK, coffer_range(store, &range, &read, NULL, &result, &error));
    CHECK(result.kv_count == 2 && result.count == 9 && result.flags == COFFER_RESULT_MORE);
    CHECK(is_text(result.kvs[0].key, "r/8") && is_text(result.kvs[1].key, "r/7"));
    EXPECT(COFFER_OK, coffer_result_free(&result));

    read = coffer_read_options_init();
    read.flags = COFFER_READ_COUNT_ONLY | COFFER_READ_SERIALIZABLE;
    range = coffer_range_of(COFFER_RANGE_BETWEEN, coffer_text("r/2"), coffer_text("r/5"));
    EXPECT(COFFER_OK, coffer_range(store, &range, &read, NULL, &result, &error));
    CHECK(result.kv_count == 0 && result.count == 3);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    read.flags = COFFER_READ_KEYS_ONLY;
    range = coffer_range_of(COFFER_RANGE_FROM, coffer_text("r/7"), coffer_bytes_of(NULL, 0));
    EXPECT(COFFER_OK, coffer_range(store, &range, &read, NULL, &result, &error));
    CHECK(result.kv_count == 2 && result.kvs[0].value.len == 0);
    EXPECT(COFFER_OK, coffer_result_free(&result));
}

static void pages(void) {
    enum { KEYS = 3000 };
    coffer_result result = coffer_result_init();
    coffer_key_range range = coffer_prefix(coffer_text("p/"));
    coffer_iter iter = {0};
    char name[16];
    for (int batch = 0; batch < KEYS / 100; batch++) {
        coffer_txn txn = {0};
        EXPECT(COFFER_OK, coffer_txn_new(&txn, &error));
        for (int number = batch * 100; number < batch * 100 + 100; number++) {
            snprintf(name, sizeof name, "p/%05d", number);
            EXPECT(COFFER_OK, coffer_txn_put(txn, COFFER_THEN, coffer_text(name), coffer_text(name), NULL, &error));
        }
        EXPECT(COFFER_OK, coffer_txn_commit(store, txn, NULL, NULL, &error));
        EXPECT(COFFER_OK, coffer_txn_close(txn, &error));
    }
    EXPECT(COFFER_OK, coffer_iter_open(store, &range, NULL, &iter, &error));
    int next = 0, pages = 0;
    int64_t revision = 0;
    for (;;) {
        coffer_status status = coffer_iter_next(iter, NULL, &result, &error);
        if (status == COFFER_END) {
            break;
        }
        EXPECT(COFFER_OK, status);
        CHECK(result.kv_count > 0 && (revision == 0 || result.revision == revision));
        revision = result.revision;
        for (size_t at = 0; at < result.kv_count; at++) {
            snprintf(name, sizeof name, "p/%05d", next++);
            CHECK(is_text(result.kvs[at].key, name) && is_text(result.kvs[at].value, name));
        }
        EXPECT(COFFER_OK, coffer_result_free(&result));
        pages++;
        /* Pages show the revision of the first one. */
        put(store, "p/99999", "later");
    }
    CHECK(next == KEYS && pages > 1);
    EXPECT(COFFER_END, coffer_iter_next(iter, NULL, &result, &error));
    EXPECT(COFFER_OK, coffer_iter_close(iter, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_iter_close(iter, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_iter_next(iter, NULL, &result, &error));
    coffer_read_options read = coffer_read_options_init();
    read.sort = COFFER_SORT_VALUE;
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_iter_open(store, &range, &read, &iter, &error));
}

static void transactions(void) {
    coffer_result result = coffer_result_init();
    coffer_key_range lock = coffer_key(coffer_text("lock"));
    coffer_bytes none = coffer_bytes_of(NULL, 0);
    coffer_txn txn = {0}, inner = {0};
    EXPECT(COFFER_OK, coffer_txn_new(&txn, &error));
    EXPECT(COFFER_OK, coffer_txn_new(&inner, &error));
    EXPECT(COFFER_OK,
           coffer_txn_compare(txn, &lock, COFFER_COMPARE_CREATE, COFFER_IS_EQUAL, 0, none, &error));
    EXPECT(COFFER_OK, coffer_txn_put(txn, COFFER_THEN, coffer_text("lock"), coffer_text("me"), NULL, &error));
    EXPECT(COFFER_OK, coffer_txn_compare(inner, &lock, COFFER_COMPARE_VALUE, COFFER_IS_NOT_EQUAL, 0,
                                         coffer_text("you"), &error));
    EXPECT(COFFER_OK, coffer_txn_range(inner, COFFER_THEN, &lock, NULL, &error));
    EXPECT(COFFER_OK, coffer_txn_delete(inner, COFFER_THEN, &lock, COFFER_DELETE_PREVIOUS, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_txn_nest(txn, COFFER_ELSE, txn, &error));
    EXPECT(COFFER_OK, coffer_txn_nest(txn, COFFER_ELSE, inner, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_txn_close(inner, &error));

    EXPECT(COFFER_OK, coffer_txn_commit(store, txn, NULL, &result, &error));
    CHECK(result.flags == COFFER_RESULT_SUCCEEDED && result.part_count == 1);
    CHECK(result.parts[0].kv_count == 0 && result.parts[0].owner == 0);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_txn_commit(store, txn, NULL, &result, &error));
    CHECK(result.flags == 0 && result.part_count == 1);
    const coffer_result *nested = &result.parts[0];
    CHECK(nested->flags == COFFER_RESULT_SUCCEEDED && nested->part_count == 2);
    CHECK(nested->parts[0].kv_count == 1 && is_text(nested->parts[0].kvs[0].value, "me"));
    CHECK(nested->parts[1].count == 1 && is_text(nested->parts[1].kvs[0].key, "lock"));
    EXPECT(COFFER_OK, coffer_result_free(&result));

    EXPECT(COFFER_INVALID_ARGUMENT, coffer_txn_put(txn, 2, coffer_text("a"), none, NULL, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_txn_compare(txn, &lock, 9, COFFER_IS_EQUAL, 0, none, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_txn_compare(txn, &lock, COFFER_COMPARE_MOD, 9, 0, none, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_txn_compare(txn, &lock, COFFER_COMPARE_VALUE, COFFER_IS_EQUAL, 1,
                                                       none, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_txn_compare(txn, &lock, COFFER_COMPARE_MOD, COFFER_IS_EQUAL, 1,
                                                       coffer_text("v"), &error));
    EXPECT(COFFER_OK, coffer_txn_put(txn, COFFER_THEN, coffer_text("lock"), coffer_text("2"), NULL, &error));
    EXPECT(COFFER_DUPLICATE_KEY, coffer_txn_commit(store, txn, NULL, &result, &error));
    EXPECT(COFFER_OK, coffer_txn_close(txn, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_txn_commit(store, txn, NULL, &result, &error));
}

static void watches(void) {
    coffer_result result = coffer_result_init();
    coffer_key_range range = coffer_prefix(coffer_text("w/"));
    coffer_watch_options options = coffer_watch_options_init();
    coffer_watch watch = {0};
    int64_t first = put(store, "w/1", "a"), resume = 0;
    options.start_revision = first;
    options.flags = COFFER_WATCH_PREVIOUS | COFFER_WATCH_FRAGMENTS | COFFER_WATCH_PROGRESS;
    EXPECT(COFFER_OK, coffer_watch_open(store, &range, &options, NULL, &watch, &error));
    EXPECT(COFFER_OK, coffer_watch_resume(watch, &resume, &error));
    CHECK(resume == first);
    int64_t second = put(store, "w/1", "b");
    coffer_key_range one = coffer_key(coffer_text("w/1"));
    EXPECT(COFFER_OK, coffer_delete(store, &one, 0, NULL, NULL, &error));
    size_t seen = 0;
    while (seen < 3) {
        EXPECT(COFFER_OK, coffer_watch_next(watch, 60000, &result, &error));
        for (size_t at = 0; at < result.event_count; at++, seen++) {
            const coffer_event *event = &result.events[at];
            CHECK(is_text(event->kv.key, "w/1") && event->kv.mod_revision == first + (int64_t)seen);
            CHECK(event->kind == (seen < 2 ? COFFER_EVENT_PUT : COFFER_EVENT_DELETE));
            CHECK((event->previous == NULL) == (seen == 0));
            CHECK(seen != 1 || (event->kv.mod_revision == second && is_text(event->previous->value, "a")));
            CHECK(seen != 2 || is_text(event->previous->value, "b"));
        }
        EXPECT(COFFER_OK, coffer_result_free(&result));
    }
    EXPECT(COFFER_OK, coffer_watch_resume(watch, &resume, &error));
    CHECK(resume == second + 2);
    EXPECT(COFFER_NOTHING, coffer_watch_next(watch, 0, &result, &error));
    EXPECT(COFFER_NOTHING, coffer_watch_next(watch, 20, &result, &error));
    EXPECT(COFFER_OK, coffer_watch_request_progress(watch, &error));
    EXPECT(COFFER_OK, coffer_watch_next(watch, 60000, &result, &error));
    CHECK(result.flags == COFFER_RESULT_PROGRESS && result.event_count == 0 && result.revision == second + 1);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_watch_close(watch, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_watch_close(watch, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_watch_next(watch, 0, &result, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_watch_request_progress(watch, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_watch_resume(watch, &resume, &error));
    coffer_key_range empty = coffer_range_of(COFFER_RANGE_BETWEEN, coffer_text("b"), coffer_text("a"));
    EXPECT(COFFER_EMPTY_WATCH_RANGE, coffer_watch_open(store, &empty, NULL, NULL, &watch, &error));
}

static void leases(void) {
    coffer_result result = coffer_result_init();
    coffer_keeper keeper = {0};
    EXPECT(COFFER_OK, coffer_lease_grant(store, 1000, 77, NULL, &result, &error));
    CHECK(result.lease == 77 && result.ttl_s == 1000);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_LEASE_EXISTS, coffer_lease_grant(store, 1000, 77, NULL, NULL, &error));
    EXPECT(COFFER_LEASE_TTL_TOO_LARGE, coffer_lease_grant(store, 9000000001, 0, NULL, NULL, &error));
    coffer_put_options options = coffer_put_options_init();
    options.lease = 77;
    EXPECT(COFFER_OK, coffer_put(store, coffer_text("leased"), coffer_text("v"), &options, NULL, NULL, &error));
    EXPECT(COFFER_OK, coffer_lease_renew(store, 77, NULL, &result, &error));
    CHECK(result.lease == 77 && result.ttl_s == 1000);
    EXPECT(COFFER_OK, coffer_lease_time_to_live(store, 77, 1, NULL, &result, &error));
    CHECK(result.granted_ttl_s == 1000 && result.ttl_s > 900 && result.kv_count == 1);
    CHECK(is_text(result.kvs[0].key, "leased") && result.kvs[0].value.len == 0);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_lease_list(store, NULL, &result, &error));
    CHECK(result.lease_count == 1 && result.leases[0] == 77);
    EXPECT(COFFER_OK, coffer_result_free(&result));

    EXPECT(COFFER_OK, coffer_keeper_open(store, 77, NULL, &keeper, &error));
    EXPECT(COFFER_NOTHING, coffer_keeper_wait(keeper, 0, &error));
    EXPECT(COFFER_OK, coffer_lease_revoke(store, 77, NULL, NULL, &error));
    EXPECT(COFFER_LEASE_NOT_FOUND, coffer_lease_revoke(store, 77, NULL, NULL, &error));
    EXPECT(COFFER_LEASE_NOT_FOUND, coffer_lease_renew(store, 77, NULL, NULL, &error));
    EXPECT(COFFER_NOT_FOUND, coffer_get(store, coffer_text("leased"), NULL, NULL, &result, &error));
    EXPECT(COFFER_OK, coffer_lease_time_to_live(store, 77, 0, NULL, &result, &error));
    CHECK(result.ttl_s == -1);
    EXPECT(COFFER_OK, coffer_keeper_close(keeper, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_keeper_close(keeper, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_keeper_wait(keeper, 0, &error));

    /* One that can not be kept is told of. */
    EXPECT(COFFER_OK, coffer_keeper_open(store, 78, NULL, &keeper, &error));
    EXPECT(COFFER_LEASE_NOT_FOUND, coffer_keeper_wait(keeper, 60000, &error));
    EXPECT(COFFER_LEASE_NOT_FOUND, coffer_keeper_wait(keeper, 0, &error));
    EXPECT(COFFER_OK, coffer_keeper_close(keeper, &error));
}

static void maintenance(void) {
    coffer_result result = coffer_result_init();
    EXPECT(COFFER_OK, coffer_hash_kv(store, 0, NULL, &result, &error));
    CHECK(result.hash != 0 && result.revision > 1);
    int64_t revision = result.revision;
    uint32_t hash = result.hash;
    EXPECT(COFFER_OK, coffer_hash_kv(store, revision, NULL, &result, &error));
    CHECK(result.hash == hash);
    EXPECT(COFFER_OK, coffer_compact(store, revision, COFFER_COMPACT_PHYSICAL, NULL, &result, &error));
    EXPECT(COFFER_COMPACTED, coffer_compact(store, revision, 0, NULL, NULL, &error));
    EXPECT(COFFER_FUTURE_REVISION, coffer_compact(store, revision + 1000, 0, NULL, NULL, &error));
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_compact(store, revision, 8, NULL, NULL, &error));

    coffer_read_options read = coffer_read_options_init();
    coffer_error_info info = coffer_error_info_init();
    read.revision = 2;
    CHECK(coffer_get(store, coffer_text("k"), &read, NULL, &result, &error) == COFFER_COMPACTED);
    CHECK(coffer_error_get(error, &info) == COFFER_OK && info.compact_revision == revision);
    CHECK(strcmp(info.context, "coffer_get") == 0);
    coffer_error copy = error;
    EXPECT(COFFER_OK, coffer_error_free(&error));
    EXPECT(COFFER_BAD_HANDLE, coffer_error_free(&copy));
    EXPECT(COFFER_BAD_HANDLE, coffer_error_get(copy, &info));

    EXPECT(COFFER_OK, coffer_store_status(store, NULL, &result, &error));
    CHECK(result.store != NULL && result.store->keys > 0 && result.store->leader != 0);
    CHECK(result.store->compact_revision == revision && result.store->leases == 0);
    CHECK(strcmp(result.store->version, coffer_version()) == 0 && result.store->errors[0] == 0);
    CHECK(result.store->backend[0] != 0 && result.store->raft_applied_index > 0);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    for (int linearizable = 0; linearizable < 2; linearizable++) {
        EXPECT(COFFER_OK, coffer_member_list(store, linearizable, NULL, &result, &error));
        CHECK(result.member_count == 1 && result.members[0].id == result.member_id);
        CHECK(result.members[0].flags == COFFER_MEMBER_LEADER && result.members[0].name != NULL);
        CHECK(result.members[0].peer_urls != NULL && result.members[0].client_urls != NULL);
        EXPECT(COFFER_OK, coffer_result_free(&result));
    }
}

int main(int count, char **given) {
    coffer_result result = coffer_result_init();
    CHECK(coffer_abi_version() == COFFER_ABI_VERSION && coffer_version()[0] != 0);
    CHECK(strcmp(coffer_status_name(COFFER_BAD_HANDLE), "COFFER_BAD_HANDLE") == 0);
    CHECK(coffer_status_group(COFFER_TIMEOUT) == COFFER_GROUP_RETRY && coffer_is_retryable(COFFER_TIMEOUT));
    CHECK(coffer_is_maybe_committed(COFFER_OUTCOME_UNKNOWN) && !coffer_is_maybe_committed(COFFER_TIMEOUT));
    store = open_given(count - 1, given + 1);
    keys_and_values();
    ranges();
    pages();
    transactions();
    watches();
    leases();
    maintenance();
    EXPECT(COFFER_OK, coffer_close(store, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_close(store, &error));
    EXPECT(COFFER_BAD_HANDLE, coffer_get(store, coffer_text("k"), NULL, NULL, &result, &error));
    return 0;
}
