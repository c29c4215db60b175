// `/sse/{room}` by the `EventSource` of a real Chromium, which comes back by itself.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { promise } from '../support/test.mjs';
import { eventually } from '../support/wait.mjs';

const LIMIT_MS = 60_000;
// Three seconds are what the server asks for between two tries; Chromium adds to them.
const RECONNECT_MS = 30_000;

let browser;

before(async () => {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  assert.ok(existsSync(executablePath), `${executablePath} is not there; CHROMIUM names another`);
  browser = await chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'] });
});

after(() => browser?.close());

// A page of the server's own with an `EventSource` in it, and everything that it has heard.
class Listener {
  static async open(scope, at, path) {
    const context = await browser.newContext();
    scope.after(() => context.close());
    const page = await context.newPage();
    await page.goto(`${at.http}/healthz`);
    const listener = new Listener(page);
    await page.evaluate((url) => {
      window.heard = [];
      window.opened = 0;
      const source = new EventSource(url);
      source.onopen = () => window.opened++;
      for (const name of ['message', 'join', 'leave', 'gap']) source.addEventListener(name, ({ data, lastEventId }) => window.heard.push({ name, data, lastEventId }));
    }, path);
    return listener;
  }

  constructor(page) {
    this.page = page;
  }

  async heard(...names) {
    return (await this.page.evaluate(() => window.heard)).filter(({ name }) => names.includes(name));
  }

  async messages() {
    return (await this.heard('message')).map(({ data }) => data);
  }

  hasOpened(times) {
    return eventually(`stream number ${times}`, async () => (await this.page.evaluate(() => window.opened)) >= times, RECONNECT_MS);
  }

  hears(text) {
    return eventually(`message ${text}`, async () => (await this.messages()).includes(text), RECONNECT_MS);
  }
}

promise('an_event_source_that_is_cut_off_comes_back_and_misses_nothing', async (scope) => {
  const server = await scope.server();
  const proxy = await scope.proxy(server);
  const script = await scope.plain(server, 'lobby', { uid: 'script' });
  const listener = await Listener.open(scope, proxy, '/sse/lobby?uid=ada');
  await listener.hasOpened(1);

  // Cut before the first message: the stream has said where it began.
  await eventually('the join', async () => (await listener.heard('join')).length > 0);
  proxy.cut();
  script.send('1\nof the\r\nfirst');
  script.send('2');
  proxy.mend(server.port);
  await listener.hears('2');
  script.send('3');
  await listener.hears('3');
  proxy.cut();
  script.send('4');
  proxy.mend(server.port);
  await listener.hears('4');

  assert.deepEqual(await listener.messages(), ['1\nof the\nfirst', '2', '3', '4']);
  const ids = (await listener.heard('message')).map(({ lastEventId }) => lastEventId.split(':')[1]);
  assert.deepEqual(ids, ['1', '2', '3', '4']);
  assert.deepEqual(await listener.heard('gap'), []);
}, LIMIT_MS);

promise('a_server_that_goes_down_is_found_again_and_the_loss_is_admitted', async (scope) => {
  const first = await scope.server({ 'timeouts.drain_window': '100ms' });
  const proxy = await scope.proxy(first);
  const listener = await Listener.open(scope, proxy, '/sse/lobby');
  const before = await scope.plain(first, 'lobby');
  await listener.hasOpened(1);
  before.send('before');
  await listener.hears('before');

  first.terminate();
  assert.equal((await first.ended()).code, 0);
  const second = await scope.server();
  proxy.mend(second.port);
  await listener.hasOpened(2);
  const script = await scope.plain(second, 'lobby');
  script.send('after');
  await listener.hears('after');

  const heard = await listener.heard('message', 'gap');
  assert.deepEqual(heard.map(({ name, data }) => [name, data]), [['message', 'before'], ['gap', '{"skipped":null}'], ['message', 'after']]);
}, LIMIT_MS);

promise('a_page_of_another_origin_hears_nothing_unless_it_is_allowed', async (scope) => {
  const home = await scope.server();
  const closed = await scope.server();
  const open = await scope.server({ allowed_origins: home.http });

  for (const [server, state] of [[closed, 'refused'], [open, 'opened']]) {
    const context = await browser.newContext();
    scope.after(() => context.close());
    const page = await context.newPage();
    await page.goto(`${home.http}/healthz`);
    const seen = await page.evaluate(
      (url) =>
        new Promise((resolve) => {
          const source = new EventSource(url);
          source.onopen = () => resolve('opened');
          source.onerror = () => source.readyState === EventSource.CLOSED && resolve('refused');
        }),
      `${server.http}/sse/lobby`,
    );
    assert.equal(seen, state);
  }
}, LIMIT_MS);
