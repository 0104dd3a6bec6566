"""How long single calls take: `python bench.py [--keys N] [URI option=value …]`, by default of a store in memory.

With a sealed store: `python bench.py file:///tmp/store seal_key_file=/tmp/key`.
"""

import asyncio
import random
import sys
import time
from typing import Awaitable, Callable, List

import coffer
import coffer.aio

ROUNDS = 7


def report(what: str, microseconds: List[float]) -> None:
    best, middle = min(microseconds), sorted(microseconds)[len(microseconds) // 2]
    print(f"{what:32} {best:9.2f} µs at best  {middle:9.2f} µs in the middle of {ROUNDS} rounds")


def measure(what: str, call: Callable[[int], object], count: int) -> None:
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for i in range(count):
            call(i)
        rounds.append((time.perf_counter() - began) / count * 1e6)
    report(what, rounds)


async def measure_awaited(what: str, call: Callable[[int], Awaitable[object]], count: int) -> None:
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for i in range(count):
            await call(i)
        rounds.append((time.perf_counter() - began) / count * 1e6)
    report(what, rounds)


def main() -> None:
    arguments = sys.argv[1:]
    count = 10_000
    if arguments[:1] == ["--keys"]:
        count, arguments = int(arguments[1]), arguments[2:]
    uri = arguments[0] if arguments else "mem:"
    options = dict(argument.split("=", 1) for argument in arguments[1:])
    keys = [b"key/%08d" % i for i in range(count)]
    with coffer.open(uri, **options) as store:
        for start in range(0, count, 100):
            store.commit(coffer.Txn().then(*(coffer.Put(key, b"v" * 100) for key in keys[start : start + 100])))
        for key in keys:
            store.get(key)
        some = random.Random(1).sample(keys, min(count, 10_000))
        measure(f"get of {count} keys", lambda i: store.get(some[i]), len(some))
        measure("get of a missing key", lambda i: store.get(b"none"), 10_000)
        measure("put", lambda i: store.put(some[i], b"w" * 100), 300)
        measure("a whole range", lambda i: sum(1 for _ in store.range(coffer.everything())), 1)

    async def awaited() -> None:
        async with await coffer.aio.open(uri, **options) as store:
            await store.put(keys[0], b"v" * 100)
            await measure_awaited("awaited get", lambda i: store.get(keys[0]), 3_000)
            await measure_awaited("awaited put", lambda i: store.put(keys[0], b"w" * 100), 300)

    asyncio.run(awaited())


main()
