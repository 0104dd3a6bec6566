/* The threads of the library get no signals, and the caller's gets them as before. argv: a store. */
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/* The signals that a thread of this process blocks. */
static unsigned long long blocked_by(const char *thread) {
    char path[300], line[256];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", thread);
    FILE *status = fopen(path, "r");
    if (status == NULL) {
        /* It has ended since the folder was listed. */
        return ~0ull;
    }
    while (fgets(line, sizeof line, status) != NULL) {
        sscanf(line, "SigBlk: %llx", &mask);
    }
    fclose(status);
    return mask;
}

static int is_blocked(unsigned long long mask, int signal) {
    return (int)(mask >> (signal - 1) & 1);
}

int main(int count, char **given) {
    coffer_keeper keeper = {0};
    char own[16];
    int others = 0;
    coffer_store store = open_given(count - 1, given + 1);
    EXPECT(COFFER_OK, coffer_lease_grant(store, 100, 5, NULL, NULL, &error));
    EXPECT(COFFER_OK, coffer_keeper_open(store, 5, NULL, &keeper, &error));
    snprintf(own, sizeof own, "%ld", (long)getpid());
    CHECK(blocked_by(own) == 0);
    DIR *threads = opendir("/proc/self/task");
    CHECK(threads != NULL);
    for (struct dirent *thread = readdir(threads); thread != NULL; thread = readdir(threads)) {
        if (thread->d_name[0] != '.' && strcmp(thread->d_name, own) != 0) {
            unsigned long long mask = blocked_by(thread->d_name);
            CHECK(is_blocked(mask, SIGUSR1) && is_blocked(mask, SIGPIPE) && is_blocked(mask, SIGALRM));
            others++;
        }
    }
    closedir(threads);
    CHECK(others > 1);
    EXPECT(COFFER_OK, coffer_keeper_close(keeper, &error));
    EXPECT(COFFER_OK, coffer_close(store, &error));
    return 0;
}
