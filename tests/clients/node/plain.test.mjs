// `/ws/{room}` with npm `ws`: plain messages in, the same messages out.

import assert from 'node:assert/strict';
import { eventually } from '../support/wait.mjs';
import { address, refusal } from '../support/plain.mjs';
import { promise } from '../support/test.mjs';

const TEXTS = ['hello', '', ' ', '\u0000', 'two\nlines\r\n', '{"not":"parsed" }', 'é 漢 🦀 \u202e', 'x'.repeat(65_536)];
const BYTES = [Buffer.alloc(0), Buffer.from([0]), Buffer.from(Array.from({ length: 256 }, (_, n) => n)), Buffer.from('text', 'utf8'), Buffer.alloc(65_536, 0xff)];

promise('text_and_binary_arrive_byte_for_byte_at_everybody_and_at_the_sender', async (scope) => {
  const server = await scope.server();
  const ada = await scope.member(server, 'lobby');
  const bob = await scope.member(server, 'lobby');

  const sent = [...TEXTS, ...BYTES];
  for (const message of sent) ada.send(message);

  for (const client of [ada, bob]) assert.deepEqual(await client.messages.take(sent.length), sent);
});

promise('fragments_are_delivered_as_the_one_message_that_they_are', async (scope) => {
  const server = await scope.server();
  const client = await scope.plain(server, 'lobby');

  client.send('one ', { fin: false });
  client.ws.ping('between');
  client.send('message', { fin: true });
  client.send('next');

  assert.deepEqual(await client.messages.take(2), ['one message', 'next']);
  assert.equal((await client.pongs.next()).toString(), 'between');
});

promise('messages_that_wait_together_stay_separate_and_in_order', async (scope) => {
  const server = await scope.server();
  const ada = await scope.member(server, 'lobby');
  const bob = await scope.member(server, 'lobby');
  const sent = Array.from({ length: 2000 }, (_, n) => (n % 2 ? Buffer.from(`binary ${n}`) : `text ${n}`));

  // One write on our side, so that the server finds many at once.
  ada.ws._socket.cork();
  for (const message of sent) ada.send(message);
  ada.ws._socket.uncork();

  for (const client of [ada, bob]) assert.deepEqual(await client.messages.take(sent.length), sent);
});

promise('many_who_send_at_once_hear_one_and_the_same_order', async (scope) => {
  const server = await scope.server();
  const clients = [];
  for (let n = 0; n < 4; n++) clients.push(await scope.member(server, 'lobby'));
  const each = 250;

  for (let n = 0; n < each; n++) clients.forEach((client, who) => client.send(`${who} ${n}`));

  const heard = await Promise.all(clients.map((client) => client.messages.take(each * clients.length)));
  for (const other of heard.slice(1)) assert.deepEqual(other, heard[0]);
  for (const who of clients.keys()) {
    const own = heard[0].filter((message) => message.startsWith(`${who} `));
    assert.deepEqual(own, Array.from({ length: each }, (_, n) => `${who} ${n}`));
  }
});

promise('rooms_do_not_hear_each_other', async (scope) => {
  const server = await scope.server();
  const red = await scope.plain(server, 'red');
  const blue = await scope.plain(server, 'blue');

  red.send('r');
  await red.messages.next();
  blue.send('b');

  assert.equal(await blue.messages.next(), 'b');
  assert.deepEqual([red.messages.all, blue.messages.all], [['r'], ['b']]);
});

promise('a_newcomer_gets_as_much_of_the_past_as_it_asks_for', async (scope) => {
  const server = await scope.server();
  const ada = await scope.plain(server, 'lobby');
  for (const n of ['one', 'two', 'three', 'four']) ada.send(n);
  await ada.messages.reaches(4);
  const sdk = await scope.sdk(server, 'eve');
  const { epoch } = await sdk.client.history('lobby', { limit: 0 });
  const past = {
    start: ['one', 'two', 'three', 'four'],
    0: ['one', 'two', 'three', 'four'],
    3: ['four'],
    4: [],
    now: [],
    [`${epoch}:2`]: ['three', 'four'],
  };
  const newcomers = [];
  for (const [since, expected] of Object.entries(past)) newcomers.push([since, expected, await scope.member(server, 'lobby', { since })]);
  newcomers.push(['nothing said', [], await scope.member(server, 'lobby')]);

  ada.send('live');

  for (const [since, expected, client] of newcomers) {
    await client.messages.find((message) => message === 'live');
    assert.deepEqual(client.messages.all, [...expected, 'live'], `since=${since}`);
  }
});

promise('a_newcomer_in_the_middle_of_a_stream_has_no_gap_and_nothing_twice', async (scope) => {
  const server = await scope.server({ 'room_defaults.history_size': 10_000 });
  const ada = await scope.plain(server, 'lobby');
  const total = 3000;
  const newcomers = [];
  for (let n = 1; n <= total; n++) {
    ada.send(`${n}`);
    // Let the server turn some of them over before the next comes in.
    if (n % 100 === 0) await ada.messages.reaches(n - 90);
    if (n % 300 === 0) newcomers.push(scope.plain(server, 'lobby', { since: 'start' }));
  }

  const expected = Array.from({ length: total }, (_, n) => `${n + 1}`);
  for (const newcomer of newcomers) assert.deepEqual(await (await newcomer).messages.take(total), expected);
});

promise('a_since_that_cannot_be_read_is_refused_in_words', async (scope) => {
  const server = await scope.server();

  const { status, body } = await refusal(address(server, '/ws/lobby', { since: 'yesterday' }));

  assert.equal(status, 400);
  assertErrorInWords(body);
});

promise('what_is_said_here_reaches_centrifugo_clients_as_json', async (scope) => {
  const server = await scope.server();
  const member = await (await scope.sdk(server, 'eve')).join('lobby');
  const ada = await scope.plain(server, 'lobby', { uid: 'ada' });

  ada.send('text with "quotes", \\ and \u0001 🦀');
  ada.send('{"looks":"like json"}');
  ada.send(Buffer.from([0, 255, 1, 254]));

  const heard = await member.publications.take(3);
  assert.deepEqual(heard.map(({ data }) => data), ['text with "quotes", \\ and \u0001 🦀', '{"looks":"like json"}', { b64: 'AP8B/g==' }]);
  assert.deepEqual(heard.map(({ info }) => info?.user), ['ada', 'ada', 'ada']);
  assert.deepEqual(heard.map(({ offset }) => offset), [1, 2, 3]);
});

promise('what_centrifugo_clients_say_arrives_here_as_text', async (scope) => {
  const server = await scope.server();
  const member = await (await scope.sdk(server, 'eve')).join('lobby');
  const ada = await scope.member(server, 'lobby', {}, {});

  await member.publish('bare "text" 🦀\n');
  await member.publish({ text: 'an object', list: [1, 2.5] });
  await member.publish(42);
  await member.publish(['a']);

  const heard = await ada.messages.take(4);
  assert.equal(heard[0], 'bare "text" 🦀\n');
  assert.deepEqual(heard.slice(1), ['{"text":"an object","list":[1,2.5]}', '42', '["a"]']);
});

promise('a_plain_member_is_present_and_its_coming_and_going_is_told', async (scope) => {
  const server = await scope.server();
  const eve = await scope.sdk(server, 'eve');
  const hers = await eve.join('lobby', { joinLeave: true });

  const ada = await scope.plain(server, 'lobby', { uid: 'ada' });
  await hers.joins.find(({ user }) => user === 'ada');
  const users = Object.values((await eve.client.presence('lobby')).clients).map(({ user }) => user);
  assert.deepEqual(users.sort(), ['ada', 'eve']);

  ada.ws.close(1000);
  await hers.leaves.find(({ user }) => user === 'ada');
});

promise('a_message_at_the_limit_passes_and_one_byte_more_is_closed_with_1009', async (scope) => {
  const server = await scope.server({ 'limits.message_bytes': '1KiB' });
  const ada = await scope.member(server, 'lobby');
  const bob = await scope.member(server, 'lobby');

  ada.send('x'.repeat(1024));
  assert.equal((await bob.messages.next()).length, 1024);
  ada.send('x'.repeat(1025));
  assert.equal((await ada.closed()).code, 1009);

  bob.send('unharmed');
  assert.equal(await bob.messages.next(), 'unharmed');
});

promise('fragments_together_over_the_limit_are_closed_with_1009', async (scope) => {
  const server = await scope.server({ 'limits.message_bytes': '1KiB' });
  const client = await scope.plain(server, 'lobby');

  for (let n = 0; n < 5; n++) client.send('x'.repeat(300), { fin: false });

  assert.equal((await client.closed()).code, 1009);
});

promise('a_page_from_another_origin_is_refused_before_the_upgrade', async (scope) => {
  const server = await scope.server();
  for (const path of ['/ws/lobby', '/connection/websocket']) {
    for (const origin of ['http://evil.example', 'null', `http://127.0.0.1:${server.port + 1}`, `http://127.0.0.1:${server.port}.evil.example`]) {
      const { status, body } = await refusal(address(server, path), { headers: { Origin: origin } });
      assert.equal(status, 403, `${path} from ${origin}`);
      assertErrorInWords(body);
    }
  }
});

promise('the_servers_own_pages_and_programs_without_an_origin_may_connect', async (scope) => {
  const server = await scope.server();

  const page = await scope.plain(server, 'lobby', {}, { headers: { Origin: server.http } });
  const program = await scope.plain(server, 'lobby');

  page.send('from the page');
  program.send('from a program');
  await page.messages.take(1);
  await program.messages.find((message) => message === 'from a program');
});

promise('a_close_is_answered_and_the_room_forgets_the_member', async (scope) => {
  const server = await scope.server();
  const client = await scope.member(server, 'lobby');

  client.ws.close(1000, 'bye');

  assert.equal((await client.closed()).code, 1000);
  await eventually('an empty lobby', async () => (await server.clientsIn('lobby')) === 0);
});

promise('a_connection_that_breaks_is_forgotten_as_well', async (scope) => {
  const server = await scope.server();
  const client = await scope.member(server, 'lobby');

  client.ws._socket.resetAndDestroy();

  await eventually('an empty lobby', async () => (await server.clientsIn('lobby')) === 0);
});

promise('native_pings_find_who_is_gone', async (scope) => {
  const server = await scope.server({ 'timeouts.ping': '300ms', 'timeouts.pong': '200ms' });
  const answering = await scope.member(server, 'lobby');
  const silent = await scope.member(server, 'lobby', {}, { autoPong: false });

  const { code } = await silent.closed();
  assert.equal(code, 1001);
  await answering.pings.take(2);
  answering.send('alive');
  await answering.messages.next();
});

promise('an_unknown_path_and_a_plain_get_are_refused_in_words', async (scope) => {
  const server = await scope.server();

  const unknown = await fetch(`${server.http}/no/such/path`);
  assert.equal(unknown.status, 404);
  assertErrorInWords(await unknown.text());

  const noUpgrade = await fetch(`${server.http}/ws/lobby`);
  assert.ok(noUpgrade.status >= 400 && noUpgrade.status < 500, `${noUpgrade.status}`);
  assertErrorInWords(await noUpgrade.text());

  assert.equal((await fetch(`${server.http}/healthz`)).status, 200);
});

function assertErrorInWords(body) {
  const { error } = JSON.parse(body);
  assert.ok(error.code !== undefined && error.message, body);
}
