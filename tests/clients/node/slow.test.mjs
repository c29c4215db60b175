// A client that stops reading: the others lose nothing, and what it loses itself is counted.

import assert from 'node:assert/strict';
import { eventually } from '../support/wait.mjs';
import { promise } from '../support/test.mjs';

const MESSAGE_BYTES = 32 * 1024;
// More than the kernel takes for a connection that nobody reads from (a few MB), many times over.
const MESSAGES_MOST = 3000;
const LAG = { 'room_defaults.lag_bytes': '256KiB', 'room_defaults.lag_messages': 64, 'timeouts.ping': '60s' };

// Numbered, so that an order and a gap can be seen.
function message(n) {
  return `${n} `.padEnd(MESSAGE_BYTES, 'x');
}

function numberOf(text) {
  return Number(text.split(' ', 1)[0]);
}

function numbers(texts) {
  return texts.map(numberOf);
}

function upTo(last) {
  return Array.from({ length: last }, (_, n) => n + 1);
}

// Publishes, at the pace of those who read, until the server shows what the stall has done. Returns how many.
async function flood(server, sender, readers, shown) {
  for (let n = 1; n <= MESSAGES_MOST; n++) {
    sender.send(message(n));
    for (const reader of readers) await reader.messages.reaches(n);
    if (n % 16 === 0 && shown(await server.status())) return n;
  }
  throw new Error(`${MESSAGES_MOST} messages and the server has not noticed: ${JSON.stringify(await server.status())}`);
}

function assertNothingUncounted({ due, delivered, skipped, discarded, pending }) {
  assert.equal(delivered + skipped + discarded + pending, due, JSON.stringify({ due, delivered, skipped, discarded, pending }));
}

async function settled(server) {
  return eventually('deliveries without anything pending', async () => {
    const { deliveries } = await server.status();
    return deliveries.pending === 0 && deliveries;
  });
}

promise('a_stalled_reader_is_closed_as_slow_while_the_others_lose_nothing', async (scope) => {
  const server = await scope.server(LAG);
  const [ada, bob] = [await scope.member(server, 'lobby'), await scope.member(server, 'lobby')];
  const stalled = await scope.member(server, 'lobby');
  stalled.stall();

  const sent = await flood(server, ada, [ada, bob], ({ deliveries }) => deliveries.discarded > 0);
  stalled.resume();

  const { code, reason, error } = await stalled.closed();
  assert.deepEqual([code, error], [1013, undefined]);
  assert.ok(reason.length > 0 && reason.length <= 123, reason);
  for (const reader of [ada, bob]) assert.deepEqual(numbers(await reader.messages.take(sent)), upTo(sent));
  const got = numbers(stalled.messages.all);
  assert.deepEqual(got, upTo(got.length), 'what it got before the end has no gap');

  const deliveries = await settled(server);
  assertNothingUncounted(deliveries);
  assert.ok(deliveries.delivered >= 2 * sent + got.length, JSON.stringify({ deliveries, sent, got: got.length }));
  assert.equal(deliveries.skipped, 0);
});

promise('a_stalled_centrifugo_client_is_closed_with_3008', async (scope) => {
  const server = await scope.server(LAG);
  const ada = await scope.member(server, 'lobby');
  const stalled = await scope.login(server, 'slow');
  await stalled.ask('subscribe', { channel: 'lobby' });
  stalled.stall();

  const sent = await flood(server, ada, [ada], ({ deliveries }) => deliveries.discarded > 0);
  stalled.resume();

  const { code, error } = await stalled.closed();
  assert.deepEqual([code, error], [3008, undefined]);
  assert.deepEqual(numbers(await ada.messages.take(sent)), upTo(sent));
  assertNothingUncounted(await settled(server));
});

for (const policy of ['skip', 'latest']) {
  promise(`a_stalled_reader_in_a_room_with_${policy}_stays_and_what_it_missed_is_counted`, async (scope) => {
    const server = await scope.server({ ...LAG, 'room_defaults.slow': policy, 'timeouts.write': '60s' });
    const ada = await scope.member(server, 'lobby');
    const stalled = await scope.member(server, 'lobby');
    stalled.stall();

    // The feed lets go of what nobody may still need; a stalled task need not have noticed by then.
    const sent = await flood(server, ada, [ada], ({ deliveries }) => deliveries.pending + deliveries.skipped > 256);
    stalled.resume();
    await stalled.messages.find((text) => numberOf(text) === sent);
    ada.send('0 the end');
    await stalled.messages.find((text) => text === '0 the end');

    const got = numbers(stalled.messages.all);
    assert.ok(got.every((n, index) => index === 0 || n > got[index - 1] || n === 0), 'in order');
    const deliveries = await settled(server);
    assertNothingUncounted(deliveries);
    assert.ok(deliveries.skipped > 0, JSON.stringify(deliveries));
    assert.equal(deliveries.skipped, sent + 1 - got.length, 'everything it did not get was counted as skipped');
    assert.deepEqual(numbers(await ada.messages.take(sent)), upTo(sent));
  });
}

promise('a_stalled_reader_does_not_hold_up_other_rooms', async (scope) => {
  const server = await scope.server(LAG);
  const ada = await scope.member(server, 'loud');
  const stalled = await scope.member(server, 'loud');
  const elsewhere = await scope.member(server, 'quiet');
  stalled.stall();

  await flood(server, ada, [ada], ({ deliveries }) => deliveries.pending > 16 || deliveries.discarded > 0);
  elsewhere.send('as ever');

  assert.equal(await elsewhere.messages.next(1000), 'as ever');
});
