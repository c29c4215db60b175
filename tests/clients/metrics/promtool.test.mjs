// `/metrics` as Prometheus' own checker reads it: `promtool check metrics`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { promise } from '../support/test.mjs';
import { eventually, within } from '../support/wait.mjs';

async function check(text) {
  const promtool = spawn(process.env.PROMTOOL ?? 'promtool', ['check', 'metrics'], { stdio: 'pipe' });
  const said = [];
  for (const stream of [promtool.stdout, promtool.stderr]) stream.setEncoding('utf8').on('data', (part) => said.push(part));
  promtool.stdin.end(text);
  const [code] = await within(once(promtool, 'close'), () => 'the end of promtool');
  return { code, said: said.join('') };
}

async function scrape(server, headers) {
  const response = await fetch(`${server.http}/metrics`, { headers });
  assert.equal(response.status, 200);
  return response.text();
}

promise('promtool_finds_nothing_to_say_before_and_after_traffic', async (scope) => {
  const server = await scope.server();
  assert.deepEqual(await check(await scrape(server)), { code: 0, said: '' });

  const ada = await scope.member(server, 'lobby');
  const bob = await scope.login(server, 'bob');
  await bob.ask('subscribe', { channel: 'lobby' });
  for (let n = 0; n < 100; n++) ada.send(`message ${n}`);
  await ada.messages.reaches(100);
  await ada.end();
  await eventually('the leave', async () => (await server.clientsIn('lobby')) === 1);
  await fetch(`${server.http}/nothing"\\here`);

  const text = await scrape(server);
  assert.match(text, /^slabcast_messages_published_total 100$/m);
  assert.deepEqual(await check(text), { code: 0, said: '' });
});

promise('promtool_would_have_found_something', async (scope) => {
  const server = await scope.server();
  const text = (await scrape(server)).replace(/^# HELP slabcast_rooms .*\n/m, '');

  const { code, said } = await check(text);

  assert.notEqual(code, 0);
  assert.match(said, /slabcast_rooms/);
});
