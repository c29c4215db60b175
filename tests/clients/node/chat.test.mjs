// What people do with the npm `centrifuge` SDK, as its documentation tells them to.

import assert from 'node:assert/strict';
import { eventually } from '../support/wait.mjs';
import { promise } from '../support/test.mjs';

promise('two_clients_chat_in_a_room_and_hear_themselves', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const bob = await scope.sdk(server, 'bob');
  const [hers, his] = [await ada.join('lobby'), await bob.join('lobby')];

  await hers.publish({ text: 'hello' });
  await his.publish({ text: 'hello yourself' });

  for (const member of [hers, his]) {
    const said = await member.publications.take(2);
    assert.deepEqual(said.map(({ data }) => data), [{ text: 'hello' }, { text: 'hello yourself' }]);
  }
});

promise('every_connection_gets_an_id_of_its_own', async (scope) => {
  const server = await scope.server();
  const first = await scope.sdk(server, 'ada');
  const second = await scope.sdk(server, 'ada');

  assert.ok(first.id);
  assert.notEqual(first.id, second.id);
});

promise('a_publication_says_which_user_and_which_connection_made_it', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const bob = await scope.sdk(server, 'bob');
  const [hers, his] = [await ada.join('lobby'), await bob.join('lobby')];

  // What a client claims in its data changes nothing about who it is.
  await his.publish({ info: { user: 'ada' } });

  for (const member of [hers, his]) {
    const { info } = await member.publications.next();
    assert.equal(info.user, 'bob');
    assert.equal(info.client, bob.id);
  }
});

promise('data_of_every_json_type_arrives_as_it_was_sent', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const member = await ada.join('lobby');
  const shapes = ['', 'text', 0, -1.5e300, true, false, [], {}, [1, [2, { deep: [null] }]], { 'a"b\\c': '\u0000\n\u2028 é 漢 🦀' }];

  for (const shape of shapes) await member.publish(shape);

  assert.deepEqual((await member.publications.take(shapes.length)).map(({ data }) => data), shapes);
});

promise('a_client_that_is_not_in_a_room_can_publish_to_it', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const bob = await scope.sdk(server, 'bob');
  const hers = await ada.join('lobby');

  await bob.client.publish('lobby', 'from outside');

  const { data, info } = await hers.publications.next();
  assert.equal(data, 'from outside');
  assert.equal(info.user, 'bob');
});

promise('rooms_do_not_hear_each_other', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const [red, blue] = [await ada.join('red'), await ada.join('blue')];

  await red.publish('r1');
  await blue.publish('b1');
  await red.publish('r2');

  await red.publications.reaches(2);
  await blue.publications.reaches(1);
  // Everything of one connection arrives in order, so a stray message would be here by now.
  await red.subscription.presence();
  assert.deepEqual([red.heard(), blue.heard()], [['r1', 'r2'], ['b1']]);
});

promise('after_unsubscribe_nothing_more_is_heard_until_the_next_subscribe', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const bob = await scope.sdk(server, 'bob');
  const [hers, his] = [await ada.join('lobby'), await bob.join('lobby')];
  await his.publish('before');
  await hers.publications.reaches(1);

  hers.subscription.unsubscribe();
  await eventually('one client in the lobby', async () => (await server.clientsIn('lobby')) === 1);
  await his.publish('meanwhile');
  // Her connection is as good as ever: what it was sent before this reply is here by now.
  await ada.client.presence('lobby');
  assert.deepEqual(hers.heard(), ['before']);

  hers.subscription.subscribe();
  await hers.joined.next();
  await his.publish('after');
  await hers.publications.find(({ data }) => data === 'after');
  assert.equal(new Set(hers.heard()).size, hers.heard().length, 'nothing twice');
});

promise('presence_lists_every_connection_and_its_counts_count_users_once', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const again = await scope.sdk(server, 'ada');
  const bob = await scope.sdk(server, 'bob');
  for (const client of [ada, again, bob]) await client.join('lobby');

  const { clients } = await ada.client.presence('lobby');
  assert.deepEqual(
    Object.fromEntries(Object.entries(clients).map(([id, info]) => [id, [info.client, info.user]])),
    { [ada.id]: [ada.id, 'ada'], [again.id]: [again.id, 'ada'], [bob.id]: [bob.id, 'bob'] },
  );
  assert.deepEqual(await ada.client.presenceStats('lobby'), { numClients: 3, numUsers: 2 });

  bob.client.disconnect();
  await eventually('bob gone from presence', async () => !(bob.id in (await ada.client.presence('lobby')).clients));
  assert.deepEqual(await ada.client.presenceStats('lobby'), { numClients: 2, numUsers: 1 });
});

promise('who_asks_for_it_hears_others_join_and_leave', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const hers = await ada.join('lobby', { joinLeave: true });
  const quiet = await scope.sdk(server, 'quiet');
  const theirs = await quiet.join('lobby');

  const bob = await scope.sdk(server, 'bob');
  const his = await bob.join('lobby');
  const came = await hers.joins.find(({ user }) => user === 'bob');
  assert.equal(came.client, bob.id);

  his.subscription.unsubscribe();
  const went = await hers.leaves.find(({ user }) => user === 'bob');
  assert.equal(went.client, bob.id);

  // A connection that just breaks has left as well.
  const eve = await scope.sdk(server, 'eve');
  await eve.join('lobby');
  await hers.joins.find(({ user }) => user === 'eve');
  eve.client.disconnect();
  await hers.leaves.find(({ user }) => user === 'eve');

  await quiet.client.presence('lobby');
  assert.deepEqual([theirs.joins.all, theirs.leaves.all], [[], []], 'who did not ask is not told');
});

promise('join_and_leave_are_not_told_where_the_room_has_them_switched_off', async (scope) => {
  const server = await scope.server({ 'room_defaults.join_leave': 'false' });
  const ada = await scope.sdk(server, 'ada');
  const hers = await ada.join('lobby', { joinLeave: true });
  const bob = await scope.sdk(server, 'bob');
  const his = await bob.join('lobby');

  await his.publish('here I am');

  await hers.publications.next();
  assert.deepEqual(hers.joins.all, []);
});

promise('history_is_read_by_limit_by_position_and_backwards', async (scope) => {
  const server = await scope.server();
  const ada = await scope.sdk(server, 'ada');
  const member = await ada.join('lobby');
  for (let n = 1; n <= 5; n++) await member.publish(n);
  const read = async (options) => {
    const { publications, offset, epoch } = await ada.client.history('lobby', options);
    return { said: publications.map(({ data }) => data), offsets: publications.map((publication) => publication.offset), offset, epoch };
  };

  const top = await read({ limit: 0 });
  assert.deepEqual([top.said, top.offset], [[], 5]);
  assert.ok(top.epoch);

  const all = await read({ limit: -1 });
  assert.deepEqual([all.said, all.offsets], [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]);
  assert.deepEqual((await read({ limit: 2 })).said, [1, 2]);
  assert.deepEqual((await read({ limit: 2, reverse: true })).said, [5, 4]);

  const since = { offset: 2, epoch: top.epoch };
  assert.deepEqual((await read({ limit: -1, since })).said, [3, 4, 5]);
  assert.deepEqual((await read({ limit: 1, since })).said, [3]);
  assert.deepEqual((await read({ limit: -1, since, reverse: true })).said, [1]);
});

promise('history_keeps_as_many_as_it_was_told_to_and_never_renumbers', async (scope) => {
  const server = await scope.server({ 'room_defaults.history_size': 3 });
  const ada = await scope.sdk(server, 'ada');
  const member = await ada.join('lobby');
  for (let n = 1; n <= 7; n++) await member.publish(n);

  const { publications, offset } = await ada.client.history('lobby', { limit: -1 });

  assert.deepEqual(publications.map((publication) => [publication.offset, publication.data]), [[5, 5], [6, 6], [7, 7]]);
  assert.equal(offset, 7);
});

promise('four_who_talk_at_once_hear_one_and_the_same_order', async (scope) => {
  const server = await scope.server();
  const names = ['ada', 'bob', 'eve', 'joe'];
  const each = 50;
  const members = await Promise.all(names.map(async (name) => (await scope.sdk(server, name)).join('lobby')));

  await Promise.all(members.flatMap((member, who) => Array.from({ length: each }, (_, n) => member.publish([who, n]))));

  for (const member of members) await member.publications.reaches(names.length * each);
  const [first, ...others] = members.map((member) => member.publications.all.map(({ offset, data }) => [offset, data]));
  assert.deepEqual(first.map(([offset]) => offset), Array.from({ length: names.length * each }, (_, n) => n + 1));
  for (const other of others) assert.deepEqual(other, first);
  for (const who of names.keys()) {
    const own = first.filter(([, data]) => data[0] === who).map(([, data]) => data[1]);
    assert.deepEqual(own, Array.from({ length: each }, (_, n) => n), 'and everybody in the order in which they spoke');
  }
});
