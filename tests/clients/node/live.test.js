'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { EtcdLockFailedError } = require('etcd3');
const { story, next } = require('./support');

story('a watcher sees puts and deletes, from a revision too', async (_, store) => {
  const first = (await store.put('a').value('1')).header.revision;
  const watcher = await store.watch().prefix('').startRevision(first).withPreviousKV().create();
  const seen = [];
  const three = new Promise((resolve) => {
    const add = (kind) => (kv, previous) => {
      seen.push([kind, kv.key.toString(), kv.value.toString(), previous?.value.toString()]);
      if (seen.length === 3) resolve();
    };
    watcher.on('put', add('put')).on('delete', add('delete'));
  });
  await store.put('a').value('2');
  await store.delete().key('a');
  await three;
  assert.deepEqual(seen, [['put', 'a', '1', undefined], ['put', 'a', '2', '1'], ['delete', 'a', '', '2']]);
  await watcher.cancel();
});

story('many watchers share a stream', async (_, store) => {
  const watchers = await Promise.all(Array.from({ length: 20 }, (_, i) => store.watch().key(String(i)).create()));
  assert.equal(new Set(watchers.map((watcher) => watcher.id)).size, 20);
  const values = watchers.map((watcher) => next(watcher, 'put'));
  await Promise.all(watchers.map((_, i) => store.put(String(i)).value(`value ${i}`)));
  for (const [i, kv] of (await Promise.all(values)).entries()) assert.equal(kv.value.toString(), `value ${i}`);
  await Promise.all(watchers.map((watcher) => watcher.cancel()));
});

story('a lease carries keys and can be lost', async (_, store) => {
  const lease = store.lease(10);
  await lease.put('a').value('1');
  assert.equal((await lease.keepaliveOnce()).TTL, '10');
  assert.equal(await store.get('a').string(), '1');
  await lease.revoke();
  assert.equal(await store.get('a'), null);
  const lost = store.lease(1, { autoKeepAlive: false });
  const watcher = await store.watch().key('b').create();
  const gone = next(watcher, 'delete');
  await lost.put('b').value('1');
  await gone;
  await watcher.cancel();
});

story('a lease is kept alive', async (_, store) => {
  const lease = store.lease(2);
  await lease.put('a').value('1');
  for (let i = 0; i < 3; i++) await once(lease, 'keepaliveSucceeded');
  assert.equal(await store.get('a').string(), '1');
  await lease.revoke();
});

story('a lock has one holder', async (_, store) => {
  const held = await store.lock('lock').ttl(10).acquire();
  await assert.rejects(store.lock('lock').acquire(), EtcdLockFailedError);
  await held.release();
  assert.equal(await store.lock('lock').do(() => 'done'), 'done');
});

story('an election has one leader at a time', async (_, store) => {
  const [one, two] = [store.election('cabinet', 5), store.election('cabinet', 5)];
  const observer = await two.observe();
  const first = one.campaign('one');
  await first.wait();
  if (observer.leader() !== 'one') await next(observer, 'change');
  assert.equal(await two.leader(), 'one');
  const changed = next(observer, 'change');
  await first.proclaim('one again');
  assert.equal(await changed, 'one again');
  const second = two.campaign('two');
  const replaced = new Promise((resolve) => observer.on('change', (value) => value === 'two' && resolve()));
  await first.resign();
  await second.wait();
  await replaced;
  assert.equal(await one.leader(), 'two');
  await observer.cancel();
  await second.resign();
});
