// The Centrifugo JSON protocol by hand: what an SDK never sends, and what it hides.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { promise } from '../support/test.mjs';
import { within } from '../support/wait.mjs';

const PATH = '/connection/websocket';

function assertPlainReason(reason) {
  assert.ok(Buffer.byteLength(reason) > 0 && Buffer.byteLength(reason) <= 123, `a reason of 1 to 123 bytes: ${reason}`);
}

promise('connect_answers_with_the_client_id_and_the_ping_interval', async (scope) => {
  const server = await scope.server({ 'timeouts.ping': '7s', 'timeouts.pong': '3s' });

  const { hello } = await scope.login(server);

  assert.ok(hello.client);
  assert.equal(hello.ping, 7);
  assert.equal(hello.pong, true);
});

promise('the_first_command_must_be_connect', async (scope) => {
  const server = await scope.server();
  const client = await scope.commands(server, { uid: 'ada' });

  client.sendAll([client.command('subscribe', { channel: 'lobby' })]);

  const { code, reason } = await client.closed();
  assert.equal(code, 3501);
  assertPlainReason(reason);
});

promise('a_second_connect_ends_the_connection', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);

  client.sendAll([client.command('connect', {})]);

  assert.equal((await client.closed()).code, 3501);
});

promise('who_does_not_connect_in_time_is_sent_away', async (scope) => {
  const server = await scope.server({ 'timeouts.login': '200ms' });
  const client = await scope.commands(server, { uid: 'ada' });

  assert.equal((await client.closed()).code, 3502);
});

promise('what_is_not_json_ends_the_connection', async (scope) => {
  const server = await scope.server();
  for (const garbage of ['hello', '{"id":2,', '[]', '{"id":"two","publish":{}}']) {
    const client = await scope.login(server);
    client.send(garbage);
    assert.equal((await client.closed()).code, 3501, garbage);
  }
});

promise('a_pong_that_nobody_asked_for_ends_the_connection', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);

  client.pong();

  assert.equal((await client.closed()).code, 3501);
});

promise('send_without_a_handler_ends_the_connection', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);

  client.send('{"send":{"data":"x"}}');

  assert.equal((await client.closed()).code, 3508);
});

promise('subscribing_twice_is_error_105_and_the_first_subscription_stays', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);
  await client.ask('subscribe', { channel: 'lobby' });

  assert.equal(await client.refused('subscribe', { channel: 'lobby' }), 105);

  await client.ask('publish', { channel: 'lobby', data: 'still here' });
  const { pub } = await client.pushes.next();
  assert.equal(pub.data, 'still here');
});

promise('a_room_name_that_cannot_be_is_error_107', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);

  for (const channel of ['', 'x'.repeat(256)]) {
    assert.equal(await client.refused('subscribe', { channel }), 107, `subscribe ${channel.length}`);
    assert.equal(await client.refused('publish', { channel, data: 1 }), 107, `publish ${channel.length}`);
  }
  await client.ask('subscribe', { channel: 'x'.repeat(255) });
});

promise('more_rooms_than_a_client_may_have_is_error_106', async (scope) => {
  const server = await scope.server({ 'limits.rooms_per_client': 2 });
  const client = await scope.login(server);
  await client.ask('subscribe', { channel: 'one' });
  await client.ask('subscribe', { channel: 'two' });

  assert.equal(await client.refused('subscribe', { channel: 'three' }), 106);
  await client.ask('unsubscribe', { channel: 'one' });
  await client.ask('subscribe', { channel: 'three' });
});

promise('a_call_of_a_method_that_nobody_registered_is_refused', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);

  const code = await client.refused('rpc', { method: 'nothing', data: {} });

  assert.ok([104, 108].includes(code), `${code}`);
});

promise('history_and_recovery_where_there_is_none_are_error_108', async (scope) => {
  const server = await scope.server({ 'room_defaults.history_size': 0 });
  const client = await scope.login(server);
  await client.ask('subscribe', { channel: 'lobby' });

  assert.equal(await client.refused('history', { channel: 'lobby', limit: -1 }), 108);
});

promise('presence_where_it_is_switched_off_is_error_108', async (scope) => {
  const server = await scope.server({ 'room_defaults.presence': 'false' });
  const client = await scope.login(server);
  await client.ask('subscribe', { channel: 'lobby' });

  assert.equal(await client.refused('presence', { channel: 'lobby' }), 108);
  assert.equal(await client.refused('presence_stats', { channel: 'lobby' }), 108);
});

promise('history_after_a_position_of_another_numbering_is_error_112', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);
  await client.ask('publish', { channel: 'lobby', data: 1 });

  assert.equal(await client.refused('history', { channel: 'lobby', limit: -1, since: { offset: 1, epoch: 'another' } }), 112);
});

promise('an_error_leaves_the_connection_usable', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);
  await client.refused('subscribe', { channel: '' });

  await client.ask('subscribe', { channel: 'lobby' });
});

promise('a_batch_in_one_frame_is_answered_strictly_in_order', async (scope) => {
  const server = await scope.server();
  const client = await scope.commands(server, { uid: 'ada' });
  const publishes = Array.from({ length: 20 }, (_, n) => client.command('publish', { channel: 'lobby', data: n }));
  publishes.forEach((command, n) => (command.id = n + 3));
  const batch = [{ id: 1, connect: {} }, { id: 2, subscribe: { channel: 'lobby' } }, ...publishes, { id: 23, history: { channel: 'lobby', limit: -1 } }];

  // One trailing newline is allowed.
  client.sendAll(batch, '\n');

  const { history } = await client.answer(batch.at(-1));
  await client.pushes.reaches(publishes.length);
  const replies = client.order.all.filter(({ id }) => id);
  assert.deepEqual(replies.map(({ id }) => id), Array.from({ length: 23 }, (_, n) => n + 1));
  assert.deepEqual(replies.filter(({ error }) => error), []);
  assert.deepEqual(client.pushes.all.map(({ pub }) => pub.data), Array.from({ length: 20 }, (_, n) => n));
  assert.equal(history.publications.length, 20);
  const subscribed = client.order.all.findIndex(({ id }) => id === 2);
  const heard = client.order.all.findIndex(({ push }) => push);
  assert.ok(subscribed < heard, 'nothing is heard of a room before the reply that says one is in it');
});

promise('data_reaches_the_subscribers_byte_for_byte', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);
  await client.ask('subscribe', { channel: 'lobby' });
  // Nothing here survives being parsed and written again.
  const data = '{"b":1.0, "a":12345678901234567890,"s":"\\u00e9\\/","b":1e2 }';

  client.send(`{"id":9,"publish":{"channel":"lobby","data":${data}}}`);

  await client.pushes.next();
  assert.ok(client.frames.all.some((frame) => frame.includes(`"data":${data}`)), client.frames.all.join('\n'));
});

promise('a_recovering_subscribe_echoes_the_position_that_was_asked_for', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);
  for (const data of [1, 2, 3]) await client.ask('publish', { channel: 'lobby', data });
  const { epoch } = await client.ask('history', { channel: 'lobby', limit: 0 });

  const result = await client.ask('subscribe', { channel: 'lobby', recover: true, offset: 1, epoch });

  assert.deepEqual([result.recovered, result.was_recovering, result.offset, result.epoch], [true, true, 1, epoch]);
  assert.deepEqual(result.publications.map(({ offset, data }) => [offset, data]), [[2, 2], [3, 3]]);
});

promise('a_position_from_the_future_is_not_recovered', async (scope) => {
  const server = await scope.server();
  const client = await scope.login(server);
  await client.ask('publish', { channel: 'lobby', data: 1 });
  const { epoch } = await client.ask('history', { channel: 'lobby', limit: 0 });

  const result = await client.ask('subscribe', { channel: 'lobby', recover: true, offset: 5, epoch });

  assert.deepEqual([result.recovered ?? false, result.was_recovering, result.offset, result.publications ?? []], [false, true, 1, []]);
});

promise('a_client_that_answers_pings_stays', async (scope) => {
  const server = await scope.server({ 'timeouts.ping': '300ms', 'timeouts.pong': '200ms' });
  const client = await scope.login(server);

  for (let round = 0; round < 4; round++) {
    await client.heartbeats.next();
    client.pong();
  }

  await client.ask('publish', { channel: 'lobby', data: 'alive' });
});

promise('a_client_that_does_not_answer_a_ping_is_closed_with_3012', async (scope) => {
  const server = await scope.server({ 'timeouts.ping': '300ms', 'timeouts.pong': '200ms' });
  const client = await scope.login(server);

  await client.heartbeats.next();

  const { code, reason } = await client.closed();
  assert.equal(code, 3012);
  assertPlainReason(reason);
});

promise('an_sdk_lives_on_short_pings_without_reconnecting', async (scope) => {
  const server = await scope.server({ 'timeouts.ping': '1s', 'timeouts.pong': '500ms' });
  const ada = await scope.sdk(server, 'ada');
  const watcher = await scope.login(server, 'watcher');
  const member = await ada.join('lobby');

  // Both are pinged at the same rate: after three pings here the SDK has had at least two.
  for (let round = 0; round < 3; round++) {
    await watcher.heartbeats.next();
    watcher.pong();
  }
  await member.publish('alive');

  assert.deepEqual(ada.losses.all, []);
});

promise('native_ping_frames_are_sent_to_who_asks_for_them', async (scope) => {
  const server = await scope.server({ 'timeouts.ping': '300ms', 'timeouts.pong': '200ms' });
  const client = await scope.commands(server, { uid: 'ada', cf_ws_frame_ping_pong: 'true' });
  await client.ask('connect', {});

  // ws answers these by itself, as every WebSocket library does.
  await client.pings.take(3);

  await client.ask('publish', { channel: 'lobby', data: 'alive' });
  assert.deepEqual(client.heartbeats.all, []);
});

promise('a_message_over_the_limit_is_closed_with_1009', async (scope) => {
  const server = await scope.server({ 'limits.message_bytes': '4KiB' });
  const client = await scope.login(server);

  client.sendAll([client.command('publish', { channel: 'lobby', data: 'x'.repeat(5000) })]);

  assert.equal((await client.closed()).code, 1009);
});

promise('only_a_subprotocol_that_is_spoken_is_selected', async (scope) => {
  const server = await scope.server();

  assert.equal(await selected(server, undefined), undefined);
  assert.equal(await selected(server, 'centrifuge-json'), 'centrifuge-json');
  assert.equal(await selected(server, 'chat, centrifuge-json'), 'centrifuge-json');
  assert.equal(await selected(server, 'centrifuge-protobuf'), undefined);
});

// `ws` itself refuses an upgrade that selects none of what it offered, so the head is read by hand.
async function selected(server, offered) {
  const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
  if (offered) headers['Sec-WebSocket-Protocol'] = offered;
  const call = request(`${server.http}${PATH}?uid=ada`, { headers }).end();
  const [response, socket] = await within(once(call, 'upgrade'), () => 'an upgrade');
  socket.destroy();
  return response.headers['sec-websocket-protocol'];
}
