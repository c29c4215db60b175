// What back ends do with the npm API client `cent.js`, against members of every kind.

import assert from 'node:assert/strict';
import { CentClient, CentException } from 'cent.js';
import { promise } from '../support/test.mjs';

const KEY = 'a-key-of-the-tests-own';
const SETTINGS = { 'api.key': KEY };

// `cent.js` over the server's address, and the server.
async function backend(scope) {
  const server = await scope.server(SETTINGS);
  return { server, api: new CentClient({ url: `${server.http}/api`, apiKey: KEY }) };
}

promise('a_back_end_publishes_to_members_of_both_ways_in', async (scope) => {
  const { server, api } = await backend(scope);
  const ada = await scope.sdk(server, 'ada');
  const hers = await ada.join('lobby');
  const plain = await scope.member(server, 'lobby');

  const { offset, epoch } = await api.publish({ channel: 'lobby', data: { text: 'hello 🦀' } });

  assert.equal(offset, 1);
  assert.ok(epoch);
  const heard = await hers.publications.next();
  assert.deepEqual([heard.data, heard.info, heard.offset], [{ text: 'hello 🦀' }, undefined, 1]);
  assert.equal(await plain.messages.next(), '{"text":"hello 🦀"}');
});

promise('tags_reach_the_sdk_at_once_and_from_history', async (scope) => {
  const { server, api } = await backend(scope);
  const ada = await scope.sdk(server, 'ada');
  const hers = await ada.join('lobby');
  const tags = { lang: 'de', to: 'everybody "here"' };

  await api.publish({ channel: 'lobby', data: {}, tags });

  assert.deepEqual((await hers.publications.next()).tags, tags);
  const { publications } = await api.getHistory({ channel: 'lobby', limit: -1 });
  assert.deepEqual(publications.map((pub) => pub.tags), [tags]);
});

promise('what_skips_history_does_not_move_the_place_to_recover_from', async (scope) => {
  const { server, api } = await backend(scope);
  const ada = await scope.sdk(server, 'ada');
  const hers = await ada.join('lobby');

  for (const [n, skip_history] of [[1, false], [2, true], [3, false]]) {
    const { offset } = await api.publish({ channel: 'lobby', data: { n }, skip_history });
    assert.equal(offset, { 1: 1, 3: 2 }[n]);
  }

  const heard = [];
  for (let i = 0; i < 3; i++) heard.push(await hers.publications.next());
  assert.deepEqual(heard.map(({ data, offset }) => [data.n, offset]), [[1, 1], [2, undefined], [3, 2]]);
});

promise('a_broadcast_reaches_several_rooms', async (scope) => {
  const { server, api } = await backend(scope);
  const ada = await scope.sdk(server, 'ada');
  const members = [await ada.join('one'), await ada.join('two')];

  const { responses } = await api.broadcast({ channels: ['one', 'two'], data: { n: 1 } });

  assert.deepEqual(responses.map(({ result }) => result.offset), [1, 1]);
  for (const member of members) assert.deepEqual((await member.publications.next()).data, { n: 1 });
});

promise('presence_history_channels_and_info_say_what_is', async (scope) => {
  const { server, api } = await backend(scope);
  const [ada, bob] = [await scope.sdk(server, 'ada'), await scope.sdk(server, 'bob')];
  await ada.join('chat:a');
  await bob.join('chat:a');
  for (const n of [1, 2, 3]) await api.publish({ channel: 'chat:a', data: { n } });

  const { presence } = await api.getPresence({ channel: 'chat:a' });
  assert.deepEqual(presence, { [ada.id]: { client: ada.id, user: 'ada' }, [bob.id]: { client: bob.id, user: 'bob' } });
  assert.deepEqual(await api.getPresenceStats({ channel: 'chat:a' }), { num_clients: 2, num_users: 2 });
  const page = await api.getHistory({ channel: 'chat:a', limit: 2, reverse: true });
  assert.deepEqual(page.publications.map(({ data }) => data.n), [3, 2]);
  await api.removeHistory({ channel: 'chat:a' });
  assert.deepEqual((await api.getHistory({ channel: 'chat:a', limit: -1 })).publications, []);
  assert.deepEqual(await api.getChannels({ pattern: 'chat:*' }), { channels: { 'chat:a': { num_clients: 2 } } });
  const { nodes } = await api.getInfo();
  assert.deepEqual([nodes.length, nodes[0].num_clients, nodes[0].num_users], [1, 2, 2]);
});

promise('a_back_end_puts_a_user_into_a_room_takes_them_out_and_sends_them_away', async (scope) => {
  const { server, api } = await backend(scope);
  const ada = await scope.login(server, 'ada');

  await api.subscribe({ user: 'ada', channel: 'news' });
  assert.ok((await ada.pushes.next()).subscribe);
  await api.publish({ channel: 'news', data: { hot: true } });
  assert.deepEqual((await ada.pushes.next()).pub.data, { hot: true });
  await api.unsubscribe({ user: 'ada', channel: 'news' });
  assert.equal((await ada.pushes.next()).unsubscribe.code, 2000);
  await api.disconnect({ user: 'ada' });
  assert.equal((await ada.closed()).code, 3503);
});

promise('a_pipeline_is_carried_out_in_its_order', async (scope) => {
  const { api } = await backend(scope);
  const publish = (n) => ({ method: 'publish', params: { channel: 'lobby', data: { n } } });

  const results = await api.pipeline([publish(1), publish(2), { method: 'history', params: { channel: 'lobby', limit: -1 } }]);

  assert.deepEqual(results.slice(0, 2).map(({ offset }) => offset), [1, 2]);
  assert.deepEqual(results[2].publications.map(({ data }) => data.n), [1, 2]);
});

promise('errors_of_the_server_are_exceptions', async (scope) => {
  const { server, api } = await backend(scope);

  await assert.rejects(api.publish({ channel: '', data: {} }), CentException);
  await assert.rejects(api.publish({ channel: 'lobby', data: {}, tags: { a: 5 } }), CentException);
  const stranger = new CentClient({ url: `${server.http}/api`, apiKey: 'another-key-than-that' });
  await assert.rejects(stranger.publish({ channel: 'lobby', data: {} }), CentException);
});

promise('a_shell_sends_to_a_user_on_every_device', async (scope) => {
  const { server } = await backend(scope);
  const devices = [await scope.member(server, 'one', { uid: '123' }), await scope.member(server, 'two', { uid: '123' })];

  const answer = await fetch(`${server.http}/send?uid=123&message=Hello%20World`);

  assert.deepEqual([answer.status, await answer.json()], [200, { queued: 2 }]);
  for (const device of devices) assert.equal(await device.messages.next(), 'Hello World');
  const offline = await fetch(`${server.http}/send?uid=124`, { method: 'POST', body: 'hello' });
  assert.equal(offline.status, 404);
  assert.match((await offline.json()).error.message, /not connected/);
});
