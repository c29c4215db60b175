// Tokens with the npm SDK `centrifuge`, which asks a back end for them and brings new ones in time: a
// connection and a subscription that stay, and what becomes of those that can't.

import assert from 'node:assert/strict';
import { promise } from '../support/test.mjs';
import { refusal, address } from '../support/plain.mjs';
import { SECRET, WITH_SECRET, backend, inSeconds, pathOf, textOf, token } from '../support/token.mjs';
import { eventually } from '../support/wait.mjs';

// Shorter than the SDK's first pause before it tries a refresh again.
const SHORT_GRACE = { 'timeouts.refresh': '300ms' };

// Enough for an SDK, which counts a token's whole seconds from when it came; not enough for who does not
// refresh at all.
const SOME_GRACE = { 'timeouts.refresh': '1500ms' };

promise('a_short_token_is_refreshed_in_time_and_the_connection_stays', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, ...SOME_GRACE });
  const getToken = backend(() => ({ sub: 'ada', exp: inSeconds(2) }));
  const ada = scope.stranger(server, { getToken });
  await ada.connected();
  const hers = await ada.join('lobby');

  await eventually('three refreshes', () => getToken.calls >= 4);

  await hers.publish('still here');
  assert.equal((await hers.publications.next()).info.user, 'ada');
  assert.deepEqual([ada.sessions.all.length, ada.losses.all, ada.errors.all], [1, [], []]);
});

promise('an_expired_first_token_is_replaced_by_a_new_one', async (scope) => {
  const server = await scope.server(WITH_SECRET);
  const getToken = backend(() => ({ sub: 'ada' }));
  const ada = scope.stranger(server, { token: token({ sub: 'ada', exp: inSeconds(-1) }), getToken });

  await ada.connected();

  assert.deepEqual([ada.errors.all.map(({ code }) => code), getToken.calls], [[109], 1]);
  assert.deepEqual(ada.losses.all, []);
});

promise('who_brings_no_new_token_is_closed_with_3005_and_comes_back_with_one', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, ...SHORT_GRACE });
  const getToken = backend((call) => (call === 2 ? new Error('the back end is down') : { sub: 'ada', exp: inSeconds(call === 1 ? 1 : 60) }));
  const ada = scope.stranger(server, { getToken });
  await ada.connected();

  assert.equal((await ada.losses.next()).code, 3005);

  await ada.sessions.next();
  assert.ok(ada.errors.all.some(({ code }) => code === 109), 'the old token is tried first');
  assert.equal(getToken.calls, 3);
});

promise('without_a_back_end_the_connection_ends_with_its_token', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, ...SHORT_GRACE });
  const claims = { sub: 'ada', exp: inSeconds(2) };
  // By hand, nobody looks at the clock but the server.
  const byHand = await scope.commands(server);
  const hello = await byHand.ask('connect', { token: token(claims) });
  assert.ok(hello.expires && hello.ttl <= 2, JSON.stringify(hello));
  const ada = scope.stranger(server, { token: token(claims) });
  await ada.connected();

  const { code, reason } = await byHand.closed();
  assert.equal(code, 3005);
  assert.match(reason, /expired/);
  assert.ok(inSeconds(0) >= claims.exp, 'and not before its time');
  // Whether its own clock or the server's close was first: it has nobody to ask for another.
  await ada.losses.find(({ code }) => code === 1);
  assert.equal(ada.client.state, 'disconnected');
});

promise('what_nobody_here_has_signed_is_final', async (scope) => {
  const server = await scope.server(WITH_SECRET);
  const claims = { sub: 'ada' };
  for (const forged of [
    token(claims, { key: 'another secret that is as long as it must be' }),
    token(claims, { alg: 'none' }),
    token(claims).replace(/[^.]*$/, ''),
    `${token({ sub: 'eve' }).split('.').slice(0, 2).join('.')}.${token(claims).split('.')[2]}`,
    token({ sub: 'ada', channel: 'vip' }),
    'e30',
  ]) {
    const stranger = scope.stranger(server, { token: forged });
    stranger.client.connect();
    assert.equal((await stranger.losses.next()).code, 3500, forged);
  }
  // Long enough for several attempts, if there were any.
  await new Promise((resolve) => setTimeout(resolve, 600));
  const { closed, connections } = await server.status();
  assert.deepEqual([closed.bad_token, connections], [6, 0]);
});

promise('a_name_without_a_token_is_refused_on_every_way_in', async (scope) => {
  const server = await scope.server(WITH_SECRET);
  const stranger = scope.stranger(server);
  stranger.client.connect();
  const { code, reason } = await stranger.losses.next();
  assert.equal(code, 3500);
  assert.match(reason, /without a token/);

  const good = token({ sub: 'ada' });
  const expired = token({ sub: 'ada', exp: inSeconds(-1) });
  for (const [query, status, said] of [
    [{}, 401, /without a token/],
    [{ uid: 'ada' }, 401, /without a token/],
    [{ token: expired }, 401, /expired/],
    [{ token: `${good}x` }, 401, /proves nothing/],
  ]) {
    const upgrade = await refusal(address(server, '/ws/lobby', query));
    const listen = await fetch(`${server.http}/sse/lobby?${new URLSearchParams(query)}`);
    for (const answer of [upgrade, { status: listen.status, body: await listen.text() }]) {
      assert.equal(answer.status, status, answer.body);
      assert.match(JSON.parse(answer.body).error.message, said);
    }
    assert.equal(listen.headers.get('www-authenticate'), 'Bearer');
  }
  const member = await scope.plain(server, 'lobby', {}, { headers: { Authorization: `Bearer ${good}` } });
  const other = await scope.plain(server, 'lobby', { token: good });
  other.send('hello');
  assert.equal(await member.messages.next(), 'hello');
  const dialog = await refusal(address(server, '/ws/dialog%23bob', { token: good }));
  assert.equal(dialog.status, 403);
});

promise('public_keys_check_what_their_private_halves_sign', async (scope) => {
  for (const [alg, kind] of [['RS256', 'rsa'], ['ES256', 'ec'], ['EdDSA', 'ed']]) {
    const server = await scope.server({ 'tokens.public_key_file': pathOf(`${kind}.public`) });
    const ada = scope.stranger(server, { token: token({ sub: 'ada' }, { alg, key: textOf(`${kind}.private`) }) });
    await ada.connected();
    // Whoever knows the public key must not be able to sign with it.
    const eve = scope.stranger(server, { token: token({ sub: 'ada' }, { key: textOf(`${kind}.public`) }) });
    eve.client.connect();
    assert.equal((await eve.losses.next()).code, 3500, alg);
  }
});

promise('what_a_token_says_of_its_user_is_what_others_see', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, 'rooms.vip.subscribe': 'token' });
  const ada = scope.stranger(server, { token: token({ sub: 'ada', info: { name: 'Ada' } }) });
  await ada.connected();
  const bob = scope.stranger(server, { token: token({ sub: 'bob' }) });
  await bob.connected();
  const his = await bob.join('vip:a', { token: token({ sub: 'bob', channel: 'vip:a' }), joinLeave: true });

  const hers = await ada.join('vip:a', { token: token({ sub: 'ada', channel: 'vip:a', info: { role: 'host' } }) });

  await hers.publish(1);
  const { clients } = await his.subscription.presence();
  for (const info of [await his.joins.find(({ user }) => user === 'ada'), (await his.publications.next()).info, clients[ada.id]]) {
    const { user, client, connInfo, chanInfo } = info;
    assert.deepEqual({ user, client, connInfo, chanInfo }, { user: 'ada', client: ada.id, connInfo: { name: 'Ada' }, chanInfo: { role: 'host' } });
  }
});

promise('a_room_that_wants_tokens_is_open_to_its_own_only', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, 'rooms.vip.subscribe': 'token' });
  const ada = scope.stranger(server, { token: token({ sub: 'ada' }) });
  await ada.connected();
  for (const [room, options] of [
    ['vip:none', {}],
    ['vip:other', { token: token({ sub: 'ada', channel: 'vip:a' }) }],
    ['vip:bobs', { token: token({ sub: 'bob', channel: 'vip:bobs' }) }],
    ['vip:connection', { token: token({ sub: 'ada' }) }],
    ['vip:forged', { token: token({ sub: 'ada', channel: 'vip:forged' }, { alg: 'none' }) }],
    ['dialog#bob', { token: token({ sub: 'ada', channel: 'dialog#bob' }) }],
    ['dialog#bob,eve', {}],
  ]) {
    const member = ada.ask(room, options);
    assert.equal((await member.losses.next()).code, 103, room);
  }
  await ada.join('vip:a', { token: token({ sub: 'ada', channel: 'vip:a' }) });
  await ada.join('dialog#ada,bob');
  assert.deepEqual(ada.losses.all, []);
});

promise('a_subscription_stays_as_long_as_new_tokens_come', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, ...SOME_GRACE, 'rooms.vip.subscribe': 'token' });
  const ada = scope.stranger(server, { token: token({ sub: 'ada' }) });
  await ada.connected();
  const getToken = backend(() => ({ sub: 'ada', channel: 'vip:a', exp: inSeconds(2) }));
  const hers = await ada.join('vip:a', { getToken });

  await eventually('two refreshes', () => getToken.calls >= 3);

  assert.deepEqual(getToken.context, { channel: 'vip:a' });
  await hers.publish('still here');
  assert.equal((await hers.publications.next()).data, 'still here');
  assert.deepEqual([hers.joined.all.length, hers.losses.all, ada.losses.all], [1, [], []]);
});

promise('a_subscription_that_is_not_refreshed_ends_with_2501_and_comes_back_with_a_new_token', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, ...SHORT_GRACE, 'rooms.vip.subscribe': 'token' });
  const ada = scope.stranger(server, { token: token({ sub: 'ada' }) });
  await ada.connected();
  const getToken = backend((call) => (call === 2 ? new Error('the back end is down') : { sub: 'ada', channel: 'vip:a', exp: inSeconds(call === 1 ? 2 : 60) }));
  const hers = await ada.join('vip:a', { getToken });
  await hers.publish('before');
  await hers.publications.next();

  assert.equal((await hers.losses.next()).code, 2501);

  await hers.joined.next();
  await hers.publish('after');
  assert.deepEqual((await hers.publications.next()).data, 'after');
  assert.deepEqual([getToken.calls, ada.losses.all], [3, []], 'the connection had nothing to do with it');
});

promise('a_subscription_token_opens_its_room_on_the_plain_way_and_nothing_else', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, 'rooms.vip.subscribe': 'token' });
  const ada = scope.stranger(server, { token: token({ sub: 'ada' }) });
  await ada.connected();
  const forVip = token({ sub: 'ada', channel: 'vip:a' });
  const guest = await scope.plain(server, 'vip:a', { token: forVip });
  for (const room of ['vip:b', 'lobby']) assert.equal((await refusal(address(server, `/ws/${room}`, { token: forVip }))).status, 403);

  await ada.client.publish('#ada', 'for ada alone');
  guest.send('for the room');

  assert.equal(await guest.messages.next(), 'for the room');
});

promise('a_token_puts_its_user_into_rooms_but_not_into_those_of_others', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, 'api.key': SECRET });
  const ada = scope.stranger(server, { token: token({ sub: 'ada', channels: ['news', 'dialog#ada,bob'] }) });
  await ada.connected();
  const publish = (channel) =>
    fetch(`${server.http}/api/publish`, { method: 'POST', headers: { 'X-API-Key': SECRET, 'Content-Type': 'application/json' }, body: JSON.stringify({ channel, data: channel }) });
  for (const room of ['news', 'dialog#ada,bob', '#ada']) {
    await publish(room);
    assert.equal((await ada.publications.next()).channel, room);
  }

  const eve = scope.stranger(server, { token: token({ sub: 'eve', channels: ['dialog#ada,bob'] }) });
  eve.client.connect();
  assert.equal((await eve.losses.next()).code, 3507);
});
