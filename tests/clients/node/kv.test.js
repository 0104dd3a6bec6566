'use strict';
const assert = require('node:assert/strict');
const { EtcdLeaseInvalidError } = require('etcd3');
const { story } = require('./support');

story('puts, gets and deletes', async (_, store) => {
  await store.put('a').value('1');
  const previous = await store.put('a').value('2').getPrevious();
  assert.equal(previous.value.toString(), '1');
  assert.equal(await store.get('a').string(), '2');
  assert.equal(await store.get('a').number(), 2);
  assert.equal(await store.get('none'), null);
  assert.equal((await store.delete().key('a')).deleted, '1');
  assert.equal((await store.delete().key('a')).deleted, '0');
});

story('namespaces hide their prefix', async (_, store, client) => {
  const inner = store.namespace('inner/');
  await inner.put('key').value('x');
  assert.deepEqual(await inner.getAll().strings(), { key: 'x' });
  assert.deepEqual(await store.getAll().strings(), { 'inner/key': 'x' });
  assert.equal(await client.get(`${store.prefix}inner/key`).string(), 'x');
});

story('ranges sort, limit and count', async (_, store) => {
  for (const [key, value] of [['a', '3'], ['b', '1'], ['c', '2']]) await store.put(key).value(value);
  assert.deepEqual(await store.getAll().keys(), ['a', 'b', 'c']);
  assert.deepEqual(await store.getAll().sort('Key', 'Descend').keys(), ['c', 'b', 'a']);
  assert.deepEqual(await store.getAll().sort('Value', 'Ascend').keys(), ['b', 'c', 'a']);
  assert.deepEqual(await store.getAll().sort('Mod', 'Descend').limit(2).keys(), ['c', 'b']);
  assert.equal(await store.getAll().count(), 3);
  assert.deepEqual(await store.getAll().inRange({ start: 'b', end: 'c' }).keys(), ['b']);
  const old = (await store.get('a').exec()).kvs[0].mod_revision;
  await store.put('a').value('changed');
  assert.equal(await store.get('a').revision(old).string(), '3');
  await store.delete().all();
  assert.equal(await store.getAll().count(), 0);
});

story('transactions choose a branch', async (_, store) => {
  await store.put('a').value('1');
  const won = await store.if('a', 'Value', '==', '1').and('b', 'Create', '==', 0)
    .then(store.put('b').value('then')).else(store.put('b').value('else')).commit();
  assert.equal(won.succeeded, true);
  const lost = await store.if('a', 'Version', '>', 1).then(store.put('b').value('x')).else(store.get('b')).commit();
  assert.equal(lost.succeeded, false);
  assert.equal(lost.responses[0].response_range.kvs[0].value.toString(), 'then');
});

for (const isolation of [0, 1, 2]) {
  story(`software transactions keep a sum at isolation ${isolation}`, async (_, store) => {
    // Of one revision: at the strictest level this client takes the oldest it reads for the snapshot's.
    await store.if('a', 'Create', '==', 0).then(store.put('a').value(100), store.put('b').value(100)).commit();
    const move = () =>
      store.stm({ isolation, retries: 100 }).transact(async (tx) => {
        const [a, b] = [await tx.get('a').number(), await tx.get('b').number()];
        await tx.put('a').value(a - 1);
        await tx.put('b').value(b + 1);
      });
    await Promise.all(Array.from({ length: 10 }, move));
    assert.equal(await store.get('a').number(), 90);
    assert.equal(await store.get('b').number(), 110);
  });
}

story('errors are told apart by their text', async (_, store, client) => {
  await assert.rejects(store.put('a').value('1').lease('12345'), EtcdLeaseInvalidError);
  await assert.rejects(client.kv.put({ key: Buffer.alloc(0), value: Buffer.from('x') }), /etcdserver: key is not provided/);
});

story('maintenance answers', async (_, store, client) => {
  await store.put('a').value('1');
  const status = await client.maintenance.status();
  assert.match(status.version, /^\d+\.\d+\.\d+$/);
  const { members } = await client.cluster.memberList({});
  assert.equal(members.length, Number(process.env.MEMBERS ?? 1));
  assert.ok(members.some((member) => member.ID === status.leader));
  assert.deepEqual((await client.maintenance.alarm({ action: 0 })).alarms, []);
});
