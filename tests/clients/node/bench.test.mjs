// `slabcast bench` against this server and against somebody else's: its counts are the server's own,
// and what a server does wrong, it finds.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { bench, binary, startPeer } from '../support/bench.mjs';
import { promise } from '../support/test.mjs';

const LIMIT_MS = 60_000;

// Everything is measured but the probes, so that a server's counts can be compared.
const SHORT = ['--warm-up', '0s', '--duration', '700ms'];

function assertClean({ code, outcome, stderr }, changes = {}) {
  assert.ok(outcome, stderr);
  const { lost, duplicated, reordered, disconnected, strayed, is_one_order } = outcome;
  const found = { code, lost, duplicated, reordered, disconnected, strayed, is_one_order };
  const clean = { code: 0, lost: 0, duplicated: 0, reordered: 0, disconnected: 0, strayed: 0, is_one_order: true };
  assert.deepEqual(found, { ...clean, ...changes });
  assert.equal(outcome.delivered + outcome.lost, outcome.expected);
  assert.equal(outcome.latency.count, outcome.delivered);
  assert.ok(outcome.published > 0 && outcome.latency.p50_us > 0, JSON.stringify(outcome));
}

// What was sent before the measured part, to find out who hears, is the same to a server. It has
// no number of its own in the outcome; but each probe went to a whole room.
function assertAgrees(outcome, published, sent, members) {
  const probes = published - outcome.published;
  assert.ok(probes > 0 && probes < 200, `${published} published, ${outcome.published} measured`);
  assert.equal(sent - outcome.delivered - outcome.duplicated, probes * members);
}

for (const [speech, path] of [['plain', 'ws/{room}'], ['centrifugo', 'connection/websocket']]) {
  for (const drive of [['--window', '4'], ['--rate', '900']]) {
    promise(`bench_agrees_with_slabcast_on_what_it_delivered_${speech}_${drive[0].slice(2)}`, async (scope) => {
      const server = await scope.server();
      const url = `ws://127.0.0.1:${server.port}/${path}`;

      const run = await bench(url, '--connections', '60', '--publishers', '6', '--rooms', '3', ...drive, ...SHORT);

      assertClean(run);
      assert.equal(run.outcome.plan.speech, speech);
      const { published, deliveries } = await server.status();
      assert.equal(deliveries.due, deliveries.delivered);
      assertAgrees(run.outcome, published, deliveries.delivered, 20);
      assert.ok(run.outcome.server.cpu_seconds > 0, 'the server is found by where it listens');
      if (drive[0] === '--rate') assert.ok(Math.abs(run.outcome.published - 630) <= 6, `${run.outcome.published}`);
    }, LIMIT_MS);
  }
}

promise('bench_that_waits_for_everybody_goes_on_with_and_without_an_echo', async (scope) => {
  for (const flags of [[], ['--no-echo']]) {
    const peer = await startPeer(scope, ...flags);

    const run = await bench(peer.url, '--connections', '20', '--publishers', '4', '--rooms', '2', '--window', '2', '--heard-by', 'everybody', ...SHORT);

    assertClean(run);
    // A window that is only given up would be filled again after a second.
    assert.ok(run.outcome.published > 4 * 2 * 2, `${run.outcome.published}`);
  }
}, LIMIT_MS);

promise('bench_agrees_with_a_ws_server_on_what_it_delivered', async (scope) => {
  const peer = await startPeer(scope);

  const run = await bench(peer.url, '--connections', '60', '--publishers', '6', '--rooms', '3', '--window', '4', '--threads', '2', ...SHORT);

  assertClean(run);
  const { connections, received, sent } = await peer.counts();
  assert.equal(connections, 60);
  assertAgrees(run.outcome, received, sent, 20);
}, LIMIT_MS);

promise('messages_that_a_server_joins_are_counted_one_by_one', async (scope) => {
  const peer = await startPeer(scope, '--joined');

  const run = await bench(peer.url, '--connections', '20', '--publishers', '4', '--window', '8', '--payload', '32', ...SHORT);

  assertClean(run);
  const { received, sent } = await peer.counts();
  assertAgrees(run.outcome, received, sent, 20);
}, LIMIT_MS);

promise('a_server_that_does_not_echo_is_measured_by_others_ears', async (scope) => {
  const peer = await startPeer(scope, '--no-echo');

  const run = await bench(peer.url, '--connections', '20', '--publishers', '4', '--window', '4', ...SHORT);

  assertClean(run);
  assert.equal(run.outcome.echoes, false);
  assert.equal(run.outcome.expected, run.outcome.published * 19);
  const { received, sent } = await peer.counts();
  assertAgrees(run.outcome, received, sent, 19);
}, LIMIT_MS);

promise('visitors_come_hear_and_go_without_a_fault', async (scope) => {
  const server = await scope.server();
  for (const path of ['ws/{room}', 'connection/websocket']) {
    const url = `ws://127.0.0.1:${server.port}/${path}`;

    const run = await bench(url, '--connections', '20', '--publishers', '4', '--rate', '500', '--churn', '100', ...SHORT);

    assertClean(run);
    assert.ok(run.outcome.join_latency.count >= 50, JSON.stringify(run.outcome.join_latency));
    assert.ok(run.outcome.delivered_to_visitors >= 50);
  }
}, LIMIT_MS);

// One publisher, so that it is known what each fault does: with several, a swap may be one of two
// senders, which is no fault of any sender's order.
const FAULTS = {
  drop: ({ lost, published }) => assert.ok(Math.abs(lost / 20 - published / 50) <= 1, `${lost} of ${published}`),
  duplicate: ({ duplicated, published }) => assert.ok(Math.abs(duplicated / 20 - published / 50) <= 1, `${duplicated} of ${published}`),
  swap: ({ reordered, published }) => assert.ok(Math.abs(reordered / 20 - published / 50) <= 1, `${reordered} of ${published}`),
};
for (const [fault, check] of Object.entries(FAULTS)) {
  promise(`a_server_that_does_${fault}_is_found_out`, async (scope) => {
    const peer = await startPeer(scope, '--fault', fault, '--every', '50');

    const run = await bench(peer.url, '--connections', '20', '--publishers', '1', '--rate', '1000', ...SHORT);

    const found = { drop: 'lost', duplicate: 'duplicated', swap: 'reordered' }[fault];
    assert.ok(run.outcome?.[found] > 0, run.stderr);
    assertClean(run, { code: 1, [found]: run.outcome[found], is_one_order: fault === 'drop' ? null : true, ...(fault === 'swap' ? { lost: run.outcome.lost } : {}) });
    check(run.outcome);
  }, LIMIT_MS);
}

promise('another_order_for_one_of_them_is_found_out', async (scope) => {
  const peer = await startPeer(scope, '--fault', 'disorder', '--every', '50');

  const run = await bench(peer.url, '--connections', '20', '--publishers', '4', '--rate', '1000', ...SHORT);

  assert.ok(run.outcome, run.stderr);
  // Publishers take turns: what comes between is another's, so nobody's own order is disturbed.
  assertClean(run, { code: 1, is_one_order: false, reordered: run.outcome.reordered, lost: run.outcome.lost });
  assert.ok(run.outcome.lost <= 1, 'the last may be held for good');
}, LIMIT_MS);

promise('messages_of_another_room_are_found_out', async (scope) => {
  const peer = await startPeer(scope, '--fault', 'stray', '--every', '50');

  const run = await bench(peer.url, '--connections', '20', '--publishers', '2', '--rooms', '2', '--rate', '1000', ...SHORT);

  assert.ok(run.outcome?.strayed > 0, run.stderr);
  assertClean(run, { code: 1, strayed: run.outcome.strayed });
}, LIMIT_MS);

promise('a_connection_that_the_server_ends_is_counted_and_quoted', async (scope) => {
  const peer = await startPeer(scope, '--fault', 'close', '--every', '50');

  const run = await bench(peer.url, '--connections', '20', '--publishers', '2', '--rate', '1000', ...SHORT);

  assert.ok(run.outcome, run.stderr);
  assertClean(run, { code: 1, disconnected: 1, lost: run.outcome.lost });
  assert.match(run.outcome.first_disconnect, /1013 "you are too slow"/);
  // It is not owed what was published after its end.
  assert.ok(run.outcome.expected < run.outcome.published * 20);
}, LIMIT_MS);

promise('what_cant_be_measured_is_refused_with_a_reason', async (scope) => {
  const server = await scope.server({ 'limits.connections': 10 });
  const here = `ws://127.0.0.1:${server.port}`;
  const peer = await startPeer(scope);
  for (const [code, why, ...args] of [
    [2, /payload is 31: 32 bytes/, `${here}/ws/a`, '--payload', '31'],
    [2, /no TLS/, 'wss://127.0.0.1/ws/a'],
    [2, /rooms is 2: .*\{room\}/, `${here}/ws/a`, '--rooms', '2'],
    [2, /server-pid is 4000000000/, `${here}/ws/a`, '--server-pid', '4000000000'],
    [1, /answered 404 instead of 101/, `${here}/nothing`, '--connections', '1'],
    [1, /\d+ of 40 connections had joined/, `${here}/ws/{room}`, '--connections', '40'],
    [1, /40 connections heard nothing|not joined/, peer.url, '--speech', 'centrifugo', '--connections', '40'],
  ]) {
    const run = await bench(...args);
    assert.equal(run.code, code, `${args.join(' ')}: ${run.stderr}`);
    assert.match(run.stderr, why);
    assert.equal(run.stdout, '');
  }
}, LIMIT_MS);

promise('more_connections_than_there_are_descriptors_for_are_refused_before_the_first', async () => {
  const limited = 'ulimit -n 500; exec "$0" bench ws://127.0.0.1:1/ws/a --connections 1000';
  const run = spawnSync('sh', ['-c', limited, binary], { encoding: 'utf8', timeout: LIMIT_MS });

  assert.equal(run.status, 2, run.stderr);
  assert.match(run.stderr, /descriptors are needed and the limit is/);
});
