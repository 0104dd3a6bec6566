/* Keys and snapshots. argv: a directory to work in, and a backend. */
#include "check.h"

static char text[5][512];

static const char *in(int slot, const char *dir, const char *format) {
    snprintf(text[slot], sizeof text[slot], format, dir);
    return text[slot];
}

int main(int count, char **given) {
    coffer_store store = {0}, other = {0};
    coffer_result result = coffer_result_init();
    CHECK(count == 3);
    const char *dir = given[1];
    const char *key_file = in(0, dir, "%s/key"), *new_key = in(1, dir, "%s/new-key");
    const char *uri = in(2, dir, "file://%s/store"), *saved = in(3, dir, "%s/saved");
    coffer_option options[] = {{"backend", given[2]}, {"seal-key-file", key_file}};

    /* A new store wants to be told what seals it. */
    EXPECT(COFFER_CANNOT_OPEN, coffer_open(COFFER_ABI_VERSION, uri, options, 1, &store, &error));
    EXPECT(COFFER_CANNOT_OPEN, coffer_open(COFFER_ABI_VERSION, uri, options, 2, &store, &error));
    EXPECT(COFFER_OK, coffer_key_generate(key_file, &error));
    EXPECT(COFFER_CANNOT_OPEN, coffer_key_generate(key_file, &error));
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, uri, options, 2, &store, &error));

    /* Another opening is told who has it. */
    coffer_error_info info = coffer_error_info_init();
    CHECK(coffer_open(COFFER_ABI_VERSION, uri, options, 2, &other, &error) == COFFER_CANNOT_OPEN);
    CHECK(coffer_error_get(error, &info) == COFFER_OK && strstr(info.message, "in use") != NULL);
    CHECK(strstr(info.message, "pid") != NULL || strstr(info.message, "process") != NULL);
    CHECK(other.id == 0);
    EXPECT(COFFER_OK, coffer_error_free(&error));

    put(store, "secret", "42");
    EXPECT(COFFER_OK, coffer_key_status(store, &result, &error));
    CHECK(result.keys != NULL && result.keys->slot_count == 1 && result.keys->data_key_count == 1);
    CHECK(strcmp(result.keys->slots[0].kind, "key-file") == 0 && result.keys->slots[0].created_s > 0);
    CHECK(result.keys->data_keys[0].flags & COFFER_DATA_KEY_ACTIVE);
    uint32_t first = result.keys->slots[0].id;
    EXPECT(COFFER_OK, coffer_result_free(&result));
    coffer_option words = {"seal-passphrase", "correct horse"};
    EXPECT(COFFER_OK, coffer_key_add(store, &words, 1, "words", &result, &error));
    uint32_t second = result.keys->changed_id;
    CHECK(second != first && result.keys->slot_count == 2);
    CHECK(strcmp(result.keys->slots[1].label, "words") == 0);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_key_generate(new_key, &error));
    coffer_option replacement = {"seal-key-file", new_key};
    EXPECT(COFFER_CANNOT_OPEN, coffer_key_rotate_kek(store, 0, &replacement, 1, NULL, &error));
    EXPECT(COFFER_OK, coffer_key_rotate_kek(store, first, &replacement, 1, &result, &error));
    CHECK(result.keys->changed_id == first);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_key_rotate_data(store, COFFER_ROTATE_REWRITE, &result, &error));
    CHECK(result.keys->changed_id == 2 && result.keys->data_key_count >= 1);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_CANNOT_OPEN, coffer_key_remove(store, 99, NULL, &error));
    EXPECT(COFFER_OK, coffer_key_remove(store, second, &result, &error));
    CHECK(result.keys->slot_count == 1);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_CANNOT_OPEN, coffer_key_remove(store, first, NULL, &error));

    EXPECT(COFFER_OK, coffer_snapshot_save(store, saved, NULL, &result, &error));
    CHECK(result.snapshot != NULL && result.snapshot->bytes > 0 && result.revision > 1);
    CHECK(result.snapshot->flags == COFFER_SNAPSHOT_SEALED);
    int64_t revision = result.revision;
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_CANNOT_OPEN, coffer_snapshot_save(store, saved, NULL, NULL, &error));
    EXPECT(COFFER_CANNOT_OPEN, coffer_snapshot_save(store, "/proc/none/saved", NULL, NULL, &error));
    EXPECT(COFFER_OK, coffer_hash_kv(store, revision, NULL, &result, &error));
    uint32_t hash = result.hash;
    EXPECT(COFFER_OK, coffer_close(store, &error));

    EXPECT(COFFER_CANNOT_OPEN, coffer_open(COFFER_ABI_VERSION, uri, options, 2, &store, &error));
    options[1].value = new_key;
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, uri, options, 2, &store, &error));
    EXPECT(COFFER_OK, coffer_get(store, coffer_text("secret"), NULL, NULL, &result, &error));
    CHECK(is_text(result.kvs[0].value, "42"));
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_close(store, &error));

    EXPECT(COFFER_CANNOT_OPEN, coffer_snapshot_status(saved, NULL, 0, &result, &error));
    EXPECT(COFFER_OK, coffer_snapshot_status(saved, &options[1], 1, &result, &error));
    CHECK(result.snapshot->revision == revision && result.snapshot->records > 0);
    CHECK(result.snapshot->created_s > 0 && result.keys->slot_count == 1);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_CANNOT_OPEN, coffer_snapshot_status("/proc/none/saved", NULL, 0, &result, &error));
    EXPECT(COFFER_CANNOT_OPEN, coffer_snapshot_status(dir, NULL, 0, &result, &error));
    const char *restored = in(0, dir, "%s/restored");
    coffer_option seals[] = {{"seal-key-file", new_key}, {"new-unsealed", "true"}, {"backend", given[2]}};
    coffer_option strange[] = {{"seal-key-file", new_key}, {"new-colour", "red"}};
    EXPECT(COFFER_INVALID_ARGUMENT, coffer_snapshot_restore(saved, restored, strange, 2, &result, &error));
    EXPECT(COFFER_OK, coffer_snapshot_restore(saved, restored, seals, 3, &result, &error));
    CHECK(result.snapshot->hash == hash && result.snapshot->keys == 1 && result.snapshot->revision == revision);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_CANNOT_OPEN, coffer_snapshot_restore(saved, restored, seals, 3, NULL, &error));
    const char *there = in(4, dir, "file://%s/restored");
    EXPECT(COFFER_OK, coffer_open(COFFER_ABI_VERSION, there, NULL, 0, &store, &error));
    EXPECT(COFFER_OK, coffer_get(store, coffer_text("secret"), NULL, NULL, &result, &error));
    CHECK(is_text(result.kvs[0].value, "42"));
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_store_status(store, NULL, &result, &error));
    CHECK((result.store->flags & COFFER_STORE_SEALED) == 0 && strcmp(result.store->backend, given[2]) == 0);
    EXPECT(COFFER_OK, coffer_result_free(&result));
    EXPECT(COFFER_OK, coffer_close(store, &error));
    return 0;
}
