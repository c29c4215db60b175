// A reconnecting SDK gets everything that it missed, once and in order, or is told honestly that it cannot.

import assert from 'node:assert/strict';
import { eventually } from '../support/wait.mjs';
import { promise } from '../support/test.mjs';

const RECOVERABLE = { recoverable: true, positioned: true };

// ada behind a connection that can be cut, bob on a good one, both in the room.
async function pair(scope, settings) {
  const server = await scope.server(settings);
  const proxy = await scope.proxy(server);
  const ada = await scope.sdk(proxy, 'ada');
  const bob = await scope.sdk(server, 'bob');
  return { server, proxy, ada, bob, hers: await ada.join('lobby', RECOVERABLE), his: await bob.join('lobby', RECOVERABLE) };
}

async function cut({ proxy, ada }) {
  proxy.cut();
  await ada.losses.next();
  // The SDK has tried in vain at least once: it does not just sit out its delay.
  await eventually('an attempt while cut', () => proxy.refused > 0);
}

async function mend({ server, proxy, hers }) {
  proxy.mend(server.port);
  return hers.joined.next();
}

function numbers(from, to) {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function assertNoGapAndNothingTwice(member, last) {
  assert.deepEqual(member.heard(), numbers(1, last));
  assert.deepEqual(member.publications.all.map(({ offset }) => offset), numbers(1, last));
}

promise('what_was_said_during_a_lost_connection_is_recovered_in_order', async (scope) => {
  const all = await pair(scope);
  for (const n of numbers(1, 3)) await all.his.publish(n);
  await all.hers.publications.reaches(3);

  await cut(all);
  for (const n of numbers(4, 10)) await all.his.publish(n);
  const { wasRecovering, recovered, hasRecoveredPublications } = await mend(all);
  await all.his.publish(11);

  assert.deepEqual({ wasRecovering, recovered, hasRecoveredPublications }, { wasRecovering: true, recovered: true, hasRecoveredPublications: true });
  await all.hers.publications.reaches(11);
  assertNoGapAndNothingTwice(all.hers, 11);
});

promise('a_client_that_missed_nothing_is_recovered_with_nothing', async (scope) => {
  const all = await pair(scope);
  await all.his.publish(1);
  await all.hers.publications.reaches(1);

  await cut(all);
  const { wasRecovering, recovered } = await mend(all);
  await all.his.publish(2);

  assert.deepEqual([wasRecovering, recovered], [true, true]);
  await all.hers.publications.reaches(2);
  assertNoGapAndNothingTwice(all.hers, 2);
});

promise('reconnecting_into_a_stream_that_never_stops_leaves_no_gap_and_nothing_twice', async (scope) => {
  const all = await pair(scope, { 'room_defaults.history_size': 10_000, 'room_defaults.recovery_max': 10_000 });
  const rounds = 5;
  let last = 0;
  let talking = true;
  const talk = (async () => {
    while (talking) await all.his.publish(++last);
  })();

  for (let round = 0; round < rounds; round++) {
    const heard = all.hers.publications.all.length;
    await all.hers.publications.reaches(heard + 20);
    await cut(all);
    all.proxy.refused = 0;
    const { recovered } = await mend(all);
    assert.equal(recovered, true);
  }
  talking = false;
  await talk;

  await all.hers.publications.reaches(last);
  assertNoGapAndNothingTwice(all.hers, last);
  assertNoGapAndNothingTwice(all.his, last);
});

promise('where_history_is_too_short_the_client_is_told_so_and_gets_no_part', async (scope) => {
  const all = await pair(scope, { 'room_defaults.history_size': 3 });
  await all.his.publish('heard');
  await all.hers.publications.reaches(1);

  await cut(all);
  for (const n of numbers(1, 5)) await all.his.publish(`missed ${n}`);
  const context = await mend(all);
  await all.his.publish('live');

  assert.deepEqual([context.wasRecovering, context.recovered, context.hasRecoveredPublications], [true, false, false]);
  assert.equal(context.streamPosition.offset, 6);
  await all.hers.publications.find(({ data }) => data === 'live');
  assert.deepEqual(all.hers.heard(), ['heard', 'live']);
});

promise('exactly_as_much_as_history_holds_is_recovered', async (scope) => {
  const all = await pair(scope, { 'room_defaults.history_size': 3 });
  await all.his.publish(1);
  await all.hers.publications.reaches(1);

  await cut(all);
  for (const n of numbers(2, 4)) await all.his.publish(n);
  const { recovered } = await mend(all);

  assert.equal(recovered, true);
  await all.hers.publications.reaches(4);
  assertNoGapAndNothingTwice(all.hers, 4);
});

promise('what_history_has_let_go_for_its_age_is_not_recovered', async (scope) => {
  const all = await pair(scope, { 'room_defaults.history_ttl': '300ms' });
  await all.his.publish('heard');
  await all.hers.publications.reaches(1);

  await cut(all);
  await all.his.publish('missed');
  await eventually('an empty history', async () => (await all.bob.client.history('lobby', { limit: -1 })).publications.length === 0);
  const { wasRecovering, recovered } = await mend(all);

  assert.deepEqual([wasRecovering, recovered], [true, false]);
  assert.deepEqual(all.hers.heard(), ['heard']);
});

promise('more_than_the_recovery_limit_is_not_recovered', async (scope) => {
  const all = await pair(scope, { 'room_defaults.recovery_max': 2 });
  await all.his.publish('heard');
  await all.hers.publications.reaches(1);

  await cut(all);
  for (const n of numbers(1, 3)) await all.his.publish(`missed ${n}`);
  const { recovered } = await mend(all);

  assert.equal(recovered, false);
  assert.deepEqual(all.hers.heard(), ['heard']);
});

promise('a_restarted_server_does_not_pretend_to_know_the_old_numbering', async (scope) => {
  const all = await pair(scope);
  for (const n of numbers(1, 3)) await all.his.publish(n);
  await all.hers.publications.reaches(3);
  const before = all.hers.first.streamPosition.epoch;

  all.proxy.cut();
  await all.server.kill();
  const next = await scope.server();
  const bob = await scope.sdk(next, 'bob');
  const his = await bob.join('lobby');
  // As many as before, so that the old offset exists in the new numbering: only the epoch tells.
  for (const word of ['a', 'b', 'c', 'd']) await his.publish(word);
  all.proxy.mend(next.port);

  const { wasRecovering, recovered, streamPosition } = await all.hers.joined.next();
  await his.publish('live');
  assert.deepEqual([wasRecovering, recovered], [true, false]);
  assert.notEqual(streamPosition.epoch, before);
  await all.hers.publications.find(({ data }) => data === 'live');
  assert.deepEqual(all.hers.heard(), [1, 2, 3, 'live']);
});

promise('without_history_a_reconnect_joins_again_and_claims_no_recovery', async (scope) => {
  const all = await pair(scope, { 'room_defaults.history_size': 0 });
  assert.equal(all.hers.first.recoverable, false);

  await cut(all);
  await all.his.publish('missed');
  const { recovered } = await mend(all);
  await all.his.publish('live');

  assert.equal(recovered, false);
  await all.hers.publications.next();
  assert.deepEqual(all.hers.heard(), ['live']);
});
