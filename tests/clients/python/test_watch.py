"""Watches: iterators, callbacks, history."""

import queue

import etcd3
from etcd3 import events
from support import TestCase


class Watch(TestCase):
    def test_history_and_what_comes(self):
        key = self.prefix + "a"
        first = self.etcd.put(key, "1").header.revision
        self.etcd.put(key, "2")
        watched, cancel = self.etcd.watch_prefix(self.prefix, start_revision=first, prev_kv=True)
        self.assertEqual(next(watched).value, b"1")
        second = next(watched)
        self.assertEqual((second.value, second.prev_value), (b"2", b"1"))
        self.etcd.delete(key)
        third = next(watched)
        self.assertIsInstance(third, events.DeleteEvent)
        self.assertEqual(third.prev_value, b"2")
        cancel()
        self.assertEqual(list(watched), [])

    def test_callbacks_of_many_watches_on_one_stream(self):
        seen = queue.Queue()
        ids = [
            self.etcd.add_watch_callback(self.prefix + str(i), lambda response: seen.put(response.events[0].key))
            for i in range(10)
        ]
        self.assertEqual(len(set(ids)), 10)
        for i in range(10):
            self.etcd.put(self.prefix + str(i), "x")
        keys = {seen.get(timeout=20) for _ in range(10)}
        self.assertEqual(keys, {(self.prefix + str(i)).encode() for i in range(10)})
        for watch in ids:
            self.etcd.cancel_watch(watch)

    def test_a_compacted_revision_is_an_error(self):
        key = self.prefix + "a"
        first = self.etcd.put(key, "1").header.revision
        compacted = self.etcd.put(key, "2").header.revision
        self.etcd.compact(compacted)
        watched, _ = self.etcd.watch(key, start_revision=first)
        with self.assertRaises(etcd3.exceptions.RevisionCompactedError) as refused:
            next(watched)
        self.assertEqual(refused.exception.compacted_revision, compacted)
