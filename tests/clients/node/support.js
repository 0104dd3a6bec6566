'use strict';
// A client of the server that tests/clients/run started, in a namespace of the test's own.
const { Etcd3 } = require('etcd3');
const { test } = require('node:test');

/** A test with `(t, namespace, client)`; it fails after 30 seconds. */
exports.story = (name, body) =>
  test(name, { timeout: 30_000 }, async (t) => {
    const client = new Etcd3({ hosts: process.env.ENDPOINT });
    try {
      await body(t, client.namespace(`/node/${name}/`), client);
    } finally {
      client.close();
    }
  });

/** The next event of this name. */
exports.next = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));
