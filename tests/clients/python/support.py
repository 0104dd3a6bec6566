"""A client of the server that tests/clients/run started."""

import os
import threading
import unittest

import etcd3


class TestCase(unittest.TestCase):
    """Each test has a client and a prefix of its own."""

    def setUp(self):
        host, port = os.environ["ENDPOINT"].rsplit(":", 1)
        self.etcd = etcd3.client(host=host, port=int(port), timeout=20)
        self.addCleanup(self.etcd.close)
        self.prefix = "/python/" + self.id() + "/"


def _quiet(failure):
    """The client's watch thread outlives its channel and dies of that; every other failure is reported."""
    if not (failure.thread.name.startswith("etcd3_watch") and "Channel closed" in str(failure.exc_value)):
        threading.__excepthook__(failure)


threading.excepthook = _quiet
