"""Keys, ranges and transactions."""

import io

import etcd3
from support import TestCase


class Kv(TestCase):
    def test_what_is_put_is_read_and_deleted(self):
        key = self.prefix + "a"
        self.etcd.put(key, "1")
        previous = self.etcd.put(key, "2", prev_kv=True)
        self.assertEqual(previous.prev_kv.value, b"1")
        value, metadata = self.etcd.get(key)
        self.assertEqual((value, metadata.key, metadata.version), (b"2", key.encode(), 2))
        self.assertEqual(metadata.mod_revision, metadata.create_revision + 1)
        self.assertEqual(self.etcd.get(key, serializable=True)[0], b"2")
        self.assertTrue(self.etcd.delete(key))
        self.assertFalse(self.etcd.delete(key))
        self.assertEqual(self.etcd.get(key), (None, None))

    def test_ranges_in_every_order(self):
        for key, value in zip("abc", "312"):
            self.etcd.put(self.prefix + key, value)

        def keys(**options):
            return b"".join(m.key[-1:] for _, m in self.etcd.get_prefix(self.prefix, **options)).decode()

        self.assertEqual(keys(), "abc")
        self.assertEqual(keys(sort_order="descend"), "cba")
        self.assertEqual(keys(sort_order="ascend", sort_target="value"), "bca")
        self.assertEqual(keys(sort_order="descend", sort_target="mod"), "cba")
        self.assertEqual(keys(keys_only=True), "abc")
        between = self.etcd.get_range(self.prefix + "a", self.prefix + "c")
        self.assertEqual([value for value, _ in between], [b"3", b"1"])
        self.assertEqual(self.etcd.get_prefix_response(self.prefix).count, 3)
        self.assertEqual(self.etcd.delete_prefix(self.prefix).deleted, 3)

    def test_conditional_writes(self):
        key = self.prefix + "a"
        self.assertTrue(self.etcd.put_if_not_exists(key, "1"))
        self.assertFalse(self.etcd.put_if_not_exists(key, "2"))
        self.assertTrue(self.etcd.replace(key, "1", "2"))
        self.assertFalse(self.etcd.replace(key, "1", "3"))
        self.assertEqual(self.etcd.get(key)[0], b"2")

    def test_transactions_compare_and_nest(self):
        key, other = self.prefix + "a", self.prefix + "b"
        self.etcd.put(key, "1")
        txn = self.etcd.transactions
        succeeded, answers = self.etcd.transaction(
            compare=[txn.value(key) == "1", txn.version(key) > 0, txn.create(other) == 0, txn.mod(key) > 0],
            success=[
                txn.put(other, "2"),
                txn.get(other),
                txn.txn(compare=[txn.version(other) == 0], success=[txn.put(self.prefix + "c", "3")], failure=[]),
                txn.delete(key),
            ],
            failure=[txn.get(key)],
        )
        self.assertTrue(succeeded)
        self.assertEqual(answers[1][0][0], b"2")
        self.assertEqual(self.etcd.get(self.prefix + "c")[0], b"3")
        self.assertEqual(self.etcd.get(key)[0], None)
        succeeded, answers = self.etcd.transaction(
            compare=[txn.value(other) != "2"], success=[], failure=[txn.get(other)]
        )
        self.assertFalse(succeeded)
        self.assertEqual(answers[0][0][0], b"2")

    def test_compaction(self):
        key = self.prefix + "a"
        self.etcd.put(key, "1")
        revision = self.etcd.put(key, "2").header.revision
        self.etcd.compact(revision, physical=True)
        with self.assertRaises(Exception) as refused:
            self.etcd.compact(revision)
        self.assertIn("required revision has been compacted", str(refused.exception))

    def test_maintenance(self):
        self.etcd.put(self.prefix + "a", "in the snapshot")
        status = self.etcd.status()
        self.assertEqual(len(status.version.split(".")), 3)
        self.assertGreater(status.db_size, 0)
        self.assertIn(status.leader.id, [member.id for member in self.etcd.members])
        self.etcd.defragment()
        self.assertGreater(self.etcd.hash(), 0)
        self.assertEqual(list(self.etcd.list_alarms()), [])
        self.assertEqual([alarm.alarm_type for alarm in self.etcd.create_alarm()], [etcd3.etcdrpc.NOSPACE])
        with self.assertRaises(Exception) as refused:
            self.etcd.put(self.prefix + "b", "no space")
        self.assertIn("database space exceeded", str(refused.exception))
        self.assertEqual(len(list(self.etcd.disarm_alarm())), 1)
        self.etcd.put(self.prefix + "b", "space")
        snapshot = io.BytesIO()
        self.etcd.snapshot(snapshot)
        self.assertEqual(len(snapshot.getvalue()) % 512, 32)
        self.assertIn(b"in the snapshot", snapshot.getvalue())
