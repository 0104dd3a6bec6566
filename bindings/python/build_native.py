"""Builds `coffer._native`: the C interface of Coffer, compiled against its header and with its static library inside.

`COFFER_HEADER` and `COFFER_LIBRARY` name both, if they are elsewhere than in the workspace and its release build.
"""

import os
from pathlib import Path

from cffi import FFI

from header import declarations

WORKSPACE = Path(__file__).resolve().parents[2]
HEADER = Path(os.environ.get("COFFER_HEADER") or WORKSPACE / "ffi/include/coffer.h")
LIBRARY = Path(os.environ.get("COFFER_LIBRARY") or WORKSPACE / "target/release/libcoffer_ffi.a")

# What the library needs of the system: `rustc --print native-static-libs`.
SYSTEM_LIBRARIES = ["gcc_s", "util", "rt", "pthread", "m", "dl", "c"]

# The two calls that programs make most, with less to convert on the way: numbers and texts instead of structs.
REPLY = """
typedef struct python_reply {
    const char *value;
    size_t value_len;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version;
    int64_t lease;
    coffer_result result;
    coffer_error error;
} python_reply;
"""
SHORTCUT_DECLARATIONS = REPLY + """
extern "Python" void python_log(uint32_t level, const char *target, const char *message);
coffer_status python_set_log(uint32_t level, coffer_error *error);
coffer_status python_get(uint64_t store, const char *key, size_t key_len, python_reply *reply);
coffer_status python_put(uint64_t store, const char *key, size_t key_len, const char *value, size_t value_len,
                         python_reply *reply);
void python_reply_free(python_reply *reply);
"""
SHORTCUTS = """
#include "coffer.h"
#include <sched.h>
#include <unistd.h>
""" + REPLY + """
static coffer_status python_get(uint64_t store, const char *key, size_t key_len, python_reply *reply) {
    coffer_store it = { store };
    coffer_status status =
        coffer_get(it, coffer_bytes_of(key, key_len), NULL, NULL, &reply->result, &reply->error);
    if (status == COFFER_OK) {
        const coffer_kv *kv = reply->result.kvs;
        reply->value = (const char *)kv->value.data;
        reply->value_len = kv->value.len;
        reply->create_revision = kv->create_revision;
        reply->mod_revision = kv->mod_revision;
        reply->version = kv->version;
        reply->lease = kv->lease;
    }
    return status;
}

static coffer_status python_put(uint64_t store, const char *key, size_t key_len, const char *value, size_t value_len,
                                python_reply *reply) {
    coffer_store it = { store };
    return coffer_put(it, coffer_bytes_of(key, key_len), coffer_bytes_of(value, value_len), NULL, NULL, &reply->result,
                      &reply->error);
}

static void python_reply_free(python_reply *reply) {
    coffer_result_free(&reply->result);
}

static void python_log(uint32_t level, const char *target, const char *message);

/* Threads of the library that are inside of Python, or wait to be let in; and whose threads: those of a parent never come out. */
static int python_logging;
static pid_t python_logging_in;

static void python_hook(void *user, uint32_t level, const char *target, const char *message) {
    (void)user;
    __atomic_add_fetch(&python_logging, 1, __ATOMIC_ACQ_REL);
    python_log(level, target, message);
    __atomic_sub_fetch(&python_logging, 1, __ATOMIC_ACQ_REL);
}

/* Level 0 is for nobody; then it returns once no thread is inside any more. Called without the interpreter's lock. */
static coffer_status python_set_log(uint32_t level, coffer_error *error) {
    coffer_status status = coffer_set_log(level == 0 ? NULL : python_hook, NULL, level, error);
    if (level > 0) {
        python_logging_in = getpid();
    }
    while (level == 0 && getpid() == python_logging_in && __atomic_load_n(&python_logging, __ATOMIC_ACQUIRE) > 0) {
        sched_yield();
    }
    return status;
}
"""

ffibuilder = FFI()
ffibuilder.cdef(declarations(HEADER.read_text(encoding="utf-8")) + SHORTCUT_DECLARATIONS)
ffibuilder.set_source(
    "coffer._native",
    SHORTCUTS,
    include_dirs=[str(HEADER.parent)],
    extra_objects=[str(LIBRARY)],
    libraries=SYSTEM_LIBRARIES,
    # Nothing of the library is visible to other modules of the process, and what Python does not call is left out.
    extra_link_args=["-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"],
)
