// The pages of the examples in a real Chromium, each with its server beside it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { after, before } from 'node:test';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { promise } from '../support/test.mjs';
import { eventually, within } from '../support/wait.mjs';

const LIMIT_MS = 60_000;
const START_LIMIT_MS = 15_000;
const WAIT_MS = 10_000;
const FIRST_LINE = /^listening on (http:\/\/127\.0\.0\.1:\d+\/)$/;
const MARKUP = '<img src=x onerror="document.title=\'broken\'"> & more';

const place = process.env.SLABCAST_EXAMPLES ?? fileURLToPath(new URL('../../../target/debug/examples', import.meta.url));
let browser;

before(async () => {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  assert.ok(existsSync(executablePath), `${executablePath} is not there; CHROMIUM names another`);
  browser = await chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu'] });
});

after(() => browser?.close());

// An example on a free port.
class Example {
  static async start(scope, name, ...args) {
    const child = spawn(`${place}/${name}`, ['127.0.0.1:0', ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
    const exited = new Promise((resolve) => {
      child.on('exit', resolve);
      child.on('error', resolve);
    });
    scope.after(() => {
      child.kill('SIGKILL');
      return exited;
    });
    const first = once(createInterface({ input: child.stdout }), 'line');
    const gone = exited.then((why) => {
      throw new Error(`${name} has ended at once: ${why}`);
    });
    gone.catch(() => {});
    const [line] = await within(Promise.race([first, gone]), () => `the first line of ${name}`, START_LIMIT_MS);
    assert.match(line, FIRST_LINE);
    return new Example(scope, child, exited, FIRST_LINE.exec(line)[1]);
  }

  constructor(scope, child, exited, url) {
    Object.assign(this, { scope, child, exited, url });
  }

  // A visitor with a profile of its own, whose browser must have nothing to complain about.
  async visitor(path = '') {
    const context = await browser.newContext();
    this.scope.after(() => context.close());
    context.setDefaultTimeout(WAIT_MS);
    const page = await context.newPage();
    page.complaints = [];
    page.on('console', (message) => message.type() === 'error' && page.complaints.push(message.text()));
    page.on('pageerror', (error) => page.complaints.push(String(error)));
    await page.goto(this.url + path);
    return page;
  }
}

function lines(page, selector) {
  return page.locator(selector).allTextContents();
}

function shows(page, selector, expected) {
  return eventually(`the page shows ${JSON.stringify(expected)}`, async () => {
    const seen = await lines(page, selector);
    return JSON.stringify(seen) === JSON.stringify(expected);
  }, WAIT_MS);
}

async function say(page, text) {
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
}

promise('pool_chat shows who comes, what is said as it was said, and who goes', async (scope) => {
  const pool = await Example.start(scope, 'pool_chat');
  const ann = await pool.visitor();
  const heard = ['New User Joined...'];
  await shows(ann, '#history li', heard);
  const bob = await pool.visitor();
  await shows(bob, '#history li', ['New User Joined...']);
  await say(bob, 'hello');
  await say(bob, MARKUP);
  heard.push('New User Joined...', 'hello', MARKUP);
  await shows(ann, '#history li', heard);
  await shows(bob, '#history li', ['New User Joined...', 'hello', MARKUP]);
  assert.equal(await bob.inputValue('#message'), '');
  await bob.context().close();
  heard.push('User Disconnected...');
  await shows(ann, '#history li', heard);
  assert.equal(await ann.title(), 'pool chat');
  assert.deepEqual(ann.complaints, []);
}, LIMIT_MS);

promise('gorilla_chat shows what both say, and that the connection is closed', async (scope) => {
  const chat = await Example.start(scope, 'gorilla_chat');
  const [ann, bob] = [await chat.visitor(), await chat.visitor()];
  const heard = ['hello', MARKUP, 'and by the button'];
  // One hears from when one may speak.
  for (const page of [ann, bob]) await page.waitForSelector('#message:enabled');
  await say(ann, heard[0]);
  await shows(ann, '#log div', heard.slice(0, 1));
  await shows(bob, '#log div', heard.slice(0, 1));
  await say(bob, heard[1]);
  await shows(ann, '#log div', heard.slice(0, 2));
  await ann.fill('#message', heard[2]);
  await ann.click('button');
  for (const page of [ann, bob]) await shows(page, '#log div', heard);
  chat.child.kill('SIGTERM');
  for (const page of [ann, bob]) await shows(page, '#log div', [...heard, 'Connection closed.']);
  assert.equal(await chat.exited, 0);
  for (const page of [ann, bob]) assert.ok(await page.isDisabled('#message'));
  assert.equal(await bob.title(), 'chat');
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
}, LIMIT_MS);

promise('uptime shows what is new, or everything since the start, and a command beside it', async (scope) => {
  const uptime = await Example.start(scope, 'uptime', '--', 'printf', '<b>one</b>\\ntwo\\n');
  const early = await uptime.visitor('?since=start');
  const text = (page, id) => page.locator(id).textContent();
  await eventually('three seconds', async () => (await text(early, '#status')).includes('3 seconds uptime\n'), WAIT_MS);
  assert.ok((await text(early, '#status')).startsWith('1 seconds uptime\n2 seconds uptime\n3 seconds uptime\n'));
  assert.equal(await text(early, '#exec'), '<b>one</b>\ntwo\nexit status: 0\n');
  const late = await uptime.visitor();
  await eventually('another second', async () => (await text(late, '#status')).includes(' seconds uptime\n'), WAIT_MS);
  assert.ok(!(await text(late, '#status')).startsWith('1 seconds'));
  assert.equal(await text(late, '#exec'), '');
  await late.click('text=since the start');
  await eventually('the first second', async () => (await text(late, '#status')).startsWith('1 seconds uptime\n'), WAIT_MS);
  assert.deepEqual([...early.complaints, ...late.complaints], []);
}, LIMIT_MS);
