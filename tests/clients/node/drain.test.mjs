// SIGTERM: everybody is told to come back, nothing said before is lost, and the exit code is 0.

import assert from 'node:assert/strict';
import { promise } from '../support/test.mjs';

const DRAIN = { 'timeouts.drain_window': '300ms' };

promise('sigterm_closes_every_way_in_with_its_reconnect_code_and_exits_0', async (scope) => {
  const server = await scope.server(DRAIN);
  const plain = await scope.member(server, 'lobby');
  const commands = await scope.login(server, 'ada');
  await commands.ask('subscribe', { channel: 'lobby' });

  plain.send('last words');
  await plain.messages.next();
  server.terminate();

  const [atPlain, atCommands, end] = await Promise.all([plain.closed(), commands.closed(), server.ended()]);
  assert.equal(atPlain.code, 1001);
  assert.equal(atCommands.code, 3001);
  assert.ok(atPlain.reason && atCommands.reason, 'with a reason in words');
  assert.deepEqual([end.code, end.signal], [0, null]);
  assert.equal((await commands.pushes.next()).pub.data, 'last words');
});

promise('a_draining_server_flushes_what_it_has_accepted', async (scope) => {
  const server = await scope.server(DRAIN);
  const ada = await scope.member(server, 'lobby');
  const behind = await scope.member(server, 'lobby');
  // So far behind that the kernel takes no more and the rest waits in the server, below the lag limit.
  behind.stall();
  let sent = 0;
  const waits = async () => (await server.status()).deliveries.pending > 4;
  do {
    ada.send(`${sent++} `.padEnd(32 * 1024, 'x'));
    await ada.messages.reaches(sent);
  } while (!(await waits()));

  server.terminate();
  // The drain has reached everybody else by then.
  await ada.closed();
  behind.resume();

  assert.equal((await behind.closed()).code, 1001);
  assert.deepEqual(behind.messages.all.map((text) => Number.parseInt(text)), Array.from({ length: sent }, (_, n) => n));
  assert.equal((await server.ended()).code, 0);
});

promise('an_sdk_keeps_trying_after_a_drain_and_finds_the_next_server', async (scope) => {
  const first = await scope.server(DRAIN);
  const proxy = await scope.proxy(first);
  const ada = await scope.sdk(proxy, 'ada');
  const member = await ada.join('lobby');

  proxy.target = null;
  first.terminate();
  const { code } = await ada.losses.next();
  assert.equal(code, 3001);
  assert.equal((await first.ended()).code, 0);
  const second = await scope.server();
  proxy.mend(second.port);

  await ada.sessions.next();
  await member.joined.next();
  await member.publish('here again');
  assert.equal((await member.publications.next()).data, 'here again');
});

promise('a_server_without_connections_ends_at_once', async (scope) => {
  const server = await scope.server({ 'timeouts.drain_window': '20s' });

  server.terminate();

  assert.equal((await server.ended(5_000)).code, 0);
});

promise('a_stalled_client_cannot_hold_up_the_end', async (scope) => {
  const server = await scope.server({ ...DRAIN, 'timeouts.drain_deadline': '2s', 'timeouts.close': '500ms' });
  const ada = await scope.member(server, 'lobby');
  const stalled = await scope.member(server, 'lobby');
  stalled.stall();
  for (let n = 0; n < 100; n++) ada.send('x'.repeat(32 * 1024));
  await ada.messages.reaches(100);

  server.terminate();

  assert.equal((await server.ended()).code, 0);
});
