"""Point reads from Python: `get.py URI KEYS SECONDS` does what get.c does."""

import json
import sys
import time

import coffer

BATCH = 1000
MASK = (1 << 64) - 1


def main() -> None:
    uri, keys, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    # Made beforehand: to write a number takes as long as to read a key.
    all_names = [b"key/%08d" % number for number in range(keys)]
    with coffer.open(uri) as store:
        get = store.get
        began = time.perf_counter_ns()
        for number in range(keys):
            get(all_names[number * 7919 % keys])
        first = (time.perf_counter_ns() - began) / keys

        times, state = [], 1
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Drawn beforehand too.
            names = []
            for _ in range(BATCH):
                state = (state * 6364136223846793005 + 1442695040888963407) & MASK
                names.append(all_names[(state >> 33) % keys])
            began = time.perf_counter_ns()
            for name in names:
                get(name)
            times.append((time.perf_counter_ns() - began) / BATCH)
    times.sort()
    line = {
        "bench": "embedded-get",
        "language": "python",
        "keys": keys,
        "first_ns": round(first),
        "p50_ns": round(times[len(times) // 2]),
        "p10_ns": round(times[len(times) // 10]),
    }
    print(json.dumps(line, separators=(",", ":")))


if __name__ == "__main__":
    main()
