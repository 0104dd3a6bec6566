"""Leases, and the locks that are made of them."""

import threading

from etcd3 import events
from support import TestCase


class Lease(TestCase):
    def test_a_lease_carries_its_keys(self):
        lease = self.etcd.lease(60)
        self.etcd.put(self.prefix + "a", "1", lease=lease)
        self.assertEqual(lease.granted_ttl, 60)
        self.assertIn(lease.remaining_ttl, range(50, 61))
        self.assertEqual(list(lease.keys), [(self.prefix + "a").encode()])
        self.assertEqual(lease.refresh()[0].TTL, 60)
        lease.revoke()
        self.assertEqual(self.etcd.get(self.prefix + "a")[0], None)
        self.assertEqual(lease.remaining_ttl, -1)

    def test_a_lease_has_the_id_that_was_asked_for_and_expires(self):
        lease = self.etcd.lease(1, lease_id=self._id())
        self.assertEqual(lease.id, self._id())
        self.etcd.put(self.prefix + "a", "1", lease=lease)
        watched, cancel = self.etcd.watch(self.prefix + "a")
        self.assertIsInstance(next(watched), events.DeleteEvent)
        cancel()

    def _id(self):
        return 7_000_001

    def test_a_lock_excludes(self):
        held, entries = [], []

        def enter():
            lock = self.etcd.lock(self.prefix + "lock", ttl=20)
            while not lock.acquire(timeout=1):  # it misses a release between its look and its watch
                pass
            held.append(1)
            entries.append((len(held), lock.is_acquired()))
            held.pop()
            lock.release()

        threads = [threading.Thread(target=enter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.assertEqual(entries, [(1, True)] * 4)

    def test_a_held_lock_is_refused(self):
        with self.etcd.lock(self.prefix + "lock", ttl=20):
            self.assertFalse(self.etcd.lock(self.prefix + "lock").acquire(timeout=0.5))
        self.assertTrue(self.etcd.lock(self.prefix + "lock").acquire(timeout=0.5))
