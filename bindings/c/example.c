/* A small program over Coffer: the settings of an application, a counter that many may raise, a session that ends by itself,
 * and a secret.
 *
 *   example URI       such as mem: or file:///var/lib/app?seal-key-file=/etc/app/key or coffer://10.0.0.1:7420
 */
#include <coffer.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT(bytes) (int)(bytes).len, (const char *)(bytes).data

/* Ends the program if a call failed, and says why. Answers below 100 are no failures. */
static coffer_status check(coffer_status status, coffer_error *error) {
    if (status < 100) {
        return status;
    }
    coffer_error_info info = coffer_error_info_init();
    if (coffer_error_get(*error, &info) == COFFER_OK) {
        fprintf(stderr, "%s: %s (%s)\n", info.context, info.message, coffer_status_name(status));
    }
    coffer_error_free(error);
    exit(EXIT_FAILURE);
}

/* Settings are keys below a prefix. What a result points to lives until coffer_result_free(). */
static void settings(coffer_store store) {
    static const char *const pairs[][2] = {
        {"settings/colour", "green"}, {"settings/language", "fr"}, {"settings/size", "17"}};
    coffer_error error = {0};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        check(coffer_put(store, coffer_text(pairs[i][0]), coffer_text(pairs[i][1]), NULL, NULL, NULL, &error), &error);
    }
    coffer_key_range range = coffer_prefix(coffer_text("settings/"));
    coffer_result found = coffer_result_init();
    check(coffer_range(store, &range, NULL, NULL, &found, &error), &error);
    for (size_t i = 0; i < found.kv_count; i++) {
        printf("%.*s = %.*s\n", TEXT(found.kvs[i].key), TEXT(found.kvs[i].value));
    }
    coffer_result_free(&found);
}

/* Raises a number, however many do so at once: it is written only if nobody else wrote it since it was read. */
static int raise_once(coffer_store store, coffer_bytes key) {
    coffer_error error = {0};
    coffer_result before = coffer_result_init();
    int exists = check(coffer_get(store, key, NULL, NULL, &before, &error), &error) == COFFER_OK;
    char text[24] = "0";
    if (exists) {
        snprintf(text, sizeof text, "%.*s", TEXT(before.kvs[0].value));
    }
    snprintf(text, sizeof text, "%ld", strtol(text, NULL, 10) + 1);

    coffer_txn txn = {0};
    coffer_key_range range = coffer_key(key);
    int64_t seen = exists ? before.kvs[0].mod_revision : 0;
    check(coffer_txn_new(&txn, &error), &error);
    check(coffer_txn_compare(txn, &range, COFFER_COMPARE_MOD, COFFER_IS_EQUAL, seen, coffer_text(""), &error), &error);
    check(coffer_txn_put(txn, COFFER_THEN, key, coffer_text(text), NULL, &error), &error);
    coffer_result done = coffer_result_init();
    check(coffer_txn_commit(store, txn, NULL, &done, &error), &error);
    int succeeded = (done.flags & COFFER_RESULT_SUCCEEDED) != 0;

    coffer_txn_close(txn, NULL);
    coffer_result_free(&before);
    coffer_result_free(&done);
    return succeeded;
}

static void counter(coffer_store store) {
    coffer_bytes key = coffer_text("visits");
    coffer_error error = {0};
    for (int visit = 0; visit < 3; visit++) {
        while (!raise_once(store, key)) {
        }
    }
    coffer_result found = coffer_result_init();
    check(coffer_get(store, key, NULL, NULL, &found, &error), &error);
    printf("%.*s visits\n", TEXT(found.kvs[0].value));
    coffer_result_free(&found);
}

/* Prints the changes that a watch sees, until it saw so many. */
static void print_changes(coffer_watch watch, size_t count) {
    coffer_error error = {0};
    while (count > 0) {
        coffer_result news = coffer_result_init();
        if (check(coffer_watch_next(watch, 10000, &news, &error), &error) != COFFER_OK) {
            fprintf(stderr, "nothing happened\n");
            exit(EXIT_FAILURE);
        }
        for (size_t i = 0; i < news.event_count && count > 0; i++, count--) {
            const coffer_event *event = &news.events[i];
            printf("%.*s %s\n", TEXT(event->kv.key), event->kind == COFFER_EVENT_PUT ? "came" : "left");
        }
        coffer_result_free(&news);
    }
}

/* A key with a lease is there for as long as the lease is renewed; the keeper does that, in the background. Who watches sees
 * the session come and end. */
static void session(coffer_store store) {
    coffer_error error = {0};
    coffer_watch watch = {0};
    coffer_key_range sessions = coffer_prefix(coffer_text("sessions/"));
    check(coffer_watch_open(store, &sessions, NULL, NULL, &watch, &error), &error);

    coffer_result lease = coffer_result_init();
    coffer_keeper keeper = {0};
    check(coffer_lease_grant(store, 10, 0, NULL, &lease, &error), &error);
    check(coffer_keeper_open(store, lease.lease, NULL, &keeper, &error), &error);
    coffer_put_options options = coffer_put_options_init();
    options.lease = lease.lease;
    check(coffer_put(store, coffer_text("sessions/worker-1"), coffer_text("here"), &options, NULL, NULL, &error), &error);
    print_changes(watch, 1);

    /* Without a keeper it would end after ten seconds; revoking it ends it now. */
    coffer_keeper_close(keeper, NULL);
    check(coffer_lease_revoke(store, lease.lease, NULL, NULL, &error), &error);
    print_changes(watch, 1);
    coffer_result_free(&lease);
    coffer_watch_close(watch, NULL);
}

/* A secret is a value like others: what is stored is sealed, and coffer_result_free() wipes what was read. */
static void secret(coffer_store store) {
    coffer_error error = {0};
    coffer_bytes key = coffer_text("secrets/database");
    check(coffer_put(store, key, coffer_text("correct horse battery staple"), NULL, NULL, NULL, &error), &error);
    coffer_result found = coffer_result_init();
    check(coffer_get(store, key, NULL, NULL, &found, &error), &error);
    printf("a secret of %zu bytes, written %" PRId64 " times\n", found.kvs[0].value.len, found.kvs[0].version);
    coffer_result_free(&found);
    coffer_key_range range = coffer_key(key);
    check(coffer_delete(store, &range, 0, NULL, NULL, &error), &error);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s URI\n", argv[0]);
        return 2;
    }
    coffer_store store = {0};
    coffer_error error = {0};
    check(coffer_open(COFFER_ABI_VERSION, argv[1], NULL, 0, &store, &error), &error);
    settings(store);
    counter(store);
    session(store);
    secret(store);
    check(coffer_close(store, &error), &error);
    return EXIT_SUCCESS;
}
