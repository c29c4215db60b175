// The page at `/` in a real Chromium: two people, two browsers, one conversation.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { promise } from '../support/test.mjs';
import { WITH_SECRET, inSeconds, token } from '../support/token.mjs';
import { eventually } from '../support/wait.mjs';

const LIMIT_MS = 60_000;
const WAIT_MS = 10_000;
// What a reconnect may take: the page backs off on purpose.
const RECONNECT_MS = 30_000;
const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let browser;

before(async () => {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  assert.ok(existsSync(executablePath), `${executablePath} is not there; CHROMIUM names another`);
  browser = await chromium.launch({ executablePath, args: ARGS });
});

after(() => browser?.close());

// A visitor with a profile of its own, and everything that its browser complains about.
class Visitor {
  static async arrive(scope, at, name, path = '/') {
    const context = await browser.newContext();
    scope.after(() => context.close());
    context.setDefaultTimeout(WAIT_MS);
    const page = await context.newPage();
    const visitor = new Visitor(context, page, name);
    visitor.watch();
    await page.goto(`${at.http}${path}`);
    if (name !== null) await visitor.introduce(name);
    return visitor;
  }

  constructor(context, page, name) {
    this.context = context;
    this.page = page;
    this.name = name;
    this.complaints = [];
    this.dialogs = [];
  }

  watch() {
    // A violation of the content security policy is a console error too.
    this.page.on('console', (message) => message.type() === 'error' && this.complaints.push(message.text()));
    this.page.on('pageerror', (error) => this.complaints.push(String(error)));
    this.page.on('dialog', (dialog) => {
      this.dialogs.push(dialog.message());
      dialog.dismiss();
    });
    this.page.on('requestfailed', (request) => {
      const reason = request.failure()?.errorText;
      // What a reload cuts short is nobody's fault.
      if (reason !== 'net::ERR_ABORTED') this.complaints.push(`${request.url()}: ${reason}`);
    });
  }

  async introduce(name) {
    await this.page.fill('#name-input', name);
    await this.page.press('#name-input', 'Enter');
    await this.is('live');
  }

  // Pastes a token, once the page asks for one with that title.
  async show(text, title) {
    await this.page.waitForSelector(`#token-title:text-is("${title}"):visible`);
    await this.page.fill('#token-input', text);
    await this.page.press('#token-input', 'Enter');
  }

  async is(state, timeout = WAIT_MS) {
    await this.page.waitForSelector(`#status[data-state="${state}"]`, { timeout });
  }

  async isOneOf(states) {
    await this.page.waitForSelector(states.map((state) => `#status[data-state="${state}"]`).join(','));
  }

  async say(text) {
    await this.page.fill('textarea#message-input', text);
    await this.page.click('#send');
  }

  async enter(room) {
    await this.page.fill('#room-input', room);
    await this.page.press('#room-input', 'Enter');
  }

  lines(kind, author) {
    return this.page.locator('#log [data-kind]').evaluateAll(
      (nodes, [wanted, by]) =>
        nodes
          .filter(({ dataset }) => dataset.kind === wanted && (by === undefined || dataset.author === by))
          .map((node) => ({ author: node.dataset.author, text: (node.querySelector('.text') ?? node).textContent })),
      [kind, author],
    );
  }

  async said() {
    return (await this.lines('message')).map(({ author, text }) => `${author}: ${text}`);
  }

  sees(text, author, ms = WAIT_MS) {
    return eventually(`${this.name} sees “${text}” by ${author}`, async () => (await this.lines('message', author)).some((line) => line.text === text), ms);
  }

  seesEvent(kind, author) {
    return eventually(`${this.name} sees ${author} ${kind}`, async () => (await this.lines(kind, author)).length > 0, WAIT_MS);
  }

  seesMembers(...users) {
    const probe = async () => {
      const shown = await this.page.locator('#members [data-user]').evaluateAll((nodes) => nodes.map(({ dataset }) => dataset.user));
      const count = await this.page.textContent('#members-count');
      return JSON.stringify([shown.sort(), count]) === JSON.stringify([users.sort(), String(users.length)]);
    };
    return eventually(`${this.name} sees ${users} here`, probe, WAIT_MS);
  }

  assertNoComplaints() {
    assert.deepEqual([this.complaints, this.dialogs], [[], []]);
  }
}

promise('two_visitors_talk_and_each_sees_both', async (scope) => {
  const server = await scope.server();
  const ada = await Visitor.arrive(scope, server, 'ada');
  const bob = await Visitor.arrive(scope, server, 'bob');

  await ada.say('hello');
  await bob.sees('hello', 'ada');
  await bob.say('hello yourself\nsecond line 🦀');
  await ada.sees('hello yourself\nsecond line 🦀', 'bob');

  for (const visitor of [ada, bob]) {
    assert.deepEqual(await visitor.said(), ['ada: hello', 'bob: hello yourself\nsecond line 🦀']);
    visitor.assertNoComplaints();
  }
}, LIMIT_MS);

promise('who_comes_and_who_goes_is_shown_with_the_people_here', async (scope) => {
  const server = await scope.server();
  const ada = await Visitor.arrive(scope, server, 'ada');
  await ada.seesMembers('ada');

  const bob = await Visitor.arrive(scope, server, 'bob');
  await ada.seesEvent('join', 'bob');
  await ada.seesMembers('ada', 'bob');
  await bob.seesMembers('ada', 'bob');

  await bob.context.close();
  await ada.seesEvent('leave', 'bob');
  await ada.seesMembers('ada');
  ada.assertNoComplaints();
}, LIMIT_MS);

promise('a_newcomer_sees_what_was_said_before', async (scope) => {
  const server = await scope.server();
  const ada = await Visitor.arrive(scope, server, 'ada');
  await ada.say('first');
  await ada.say('second');
  await ada.sees('second', 'ada');
  const said = (await scope.plain(server, 'lobby', { since: 'start' })).messages;
  await said.reaches(2);

  const bob = await Visitor.arrive(scope, server, 'bob');

  await bob.sees('second', 'ada');
  assert.deepEqual(await bob.said(), ['ada: first', 'ada: second']);
  bob.assertNoComplaints();
}, LIMIT_MS);

promise('another_room_is_another_conversation_and_has_an_address', async (scope) => {
  const server = await scope.server();
  const ada = await Visitor.arrive(scope, server, 'ada');
  const bob = await Visitor.arrive(scope, server, 'bob', '/#room=garden');
  await ada.say('in the lobby');
  await ada.sees('in the lobby', 'ada');

  await ada.enter('garden');
  await ada.page.waitForSelector('#rooms [data-room="garden"]');
  await ada.seesMembers('ada', 'bob');
  await ada.say('in the garden');

  await bob.sees('in the garden', 'ada');
  assert.deepEqual(await bob.said(), ['ada: in the garden']);
  await ada.page.click('#rooms [data-room="lobby"] .open');
  await ada.sees('in the lobby', 'ada');
  assert.deepEqual(await ada.said(), ['ada: in the lobby']);
  ada.assertNoComplaints();
  bob.assertNoComplaints();
}, LIMIT_MS);

promise('messages_from_the_other_ways_in_are_shown', async (scope) => {
  const server = await scope.server();
  const ada = await Visitor.arrive(scope, server, 'ada');

  const script = await scope.plain(server, 'lobby', { uid: 'script' });
  script.send('plain text');
  await ada.sees('plain text', 'script');
  script.send(Buffer.from([0, 1, 2]));
  await eventually('a third of nothing breaks nothing', async () => (await ada.lines('message', 'script')).length === 2);
  ada.assertNoComplaints();
}, LIMIT_MS);

promise('a_lost_connection_is_shown_and_what_was_said_meanwhile_is_there_afterwards', async (scope) => {
  const server = await scope.server();
  const proxy = await scope.proxy(server);
  const ada = await Visitor.arrive(scope, proxy, 'ada');
  const bob = await Visitor.arrive(scope, server, 'bob');
  await bob.say('before');
  await ada.sees('before', 'bob');

  proxy.cut();
  await ada.isOneOf(['waiting', 'offline']);
  await bob.say('missed 1');
  await bob.say('missed 2');
  await bob.sees('missed 2', 'bob');
  proxy.mend(server.port);
  await ada.is('live', RECONNECT_MS);
  await bob.say('after');

  await ada.sees('after', 'bob');
  assert.deepEqual(await ada.said(), ['bob: before', 'bob: missed 1', 'bob: missed 2', 'bob: after']);
  assert.deepEqual(await ada.lines('gap'), [], 'nothing is missing, and the page does not say so');
  bob.assertNoComplaints();
}, LIMIT_MS);

promise('what_is_written_while_cut_off_is_sent_once_when_back', async (scope) => {
  const server = await scope.server();
  const proxy = await scope.proxy(server);
  const ada = await Visitor.arrive(scope, proxy, 'ada');
  const bob = await Visitor.arrive(scope, server, 'bob');

  proxy.cut();
  await ada.isOneOf(['waiting', 'offline']);
  await ada.say('written in the dark');
  proxy.mend(server.port);
  await ada.is('live', RECONNECT_MS);

  await bob.sees('written in the dark', 'ada');
  await bob.say('I read you');
  await ada.sees('I read you', 'bob');
  for (const visitor of [ada, bob]) assert.deepEqual(await visitor.said(), ['ada: written in the dark', 'bob: I read you']);
}, LIMIT_MS);

promise('a_restarted_server_is_found_again_and_the_loss_is_admitted', async (scope) => {
  const first = await scope.server({ 'timeouts.drain_window': '100ms' });
  const proxy = await scope.proxy(first);
  const ada = await Visitor.arrive(scope, proxy, 'ada');
  await ada.say('before');
  await ada.sees('before', 'ada');

  first.terminate();
  assert.equal((await first.ended()).code, 0);
  await ada.isOneOf(['waiting', 'connecting', 'offline']);
  const second = await scope.server();
  proxy.mend(second.port);
  await ada.is('live', RECONNECT_MS);

  await eventually('the gap is shown', async () => (await ada.lines('gap')).length === 1);
  await ada.say('after');
  await ada.sees('after', 'ada');
  assert.deepEqual(await ada.said(), ['ada: before', 'ada: after']);
}, LIMIT_MS);

promise('hostile_names_rooms_and_messages_are_only_text', async (scope) => {
  const server = await scope.server();
  const attack = '<img src=x onerror=alert(1)><script>alert(2)</script>';
  const link = 'javascript:alert(3)';
  const victim = await Visitor.arrive(scope, server, 'victim');
  await victim.enter(attack);
  const mallory = await Visitor.arrive(scope, server, attack);
  await mallory.enter(attack);
  await mallory.seesMembers('victim', attack);

  await mallory.say(attack);
  await mallory.say(link);
  // The plain way in can say what the page would not.
  const script = await scope.plain(server, attack, { uid: '"><svg onload=alert(4)>' });
  script.send('{"text":"<svg onload=alert(5)>"}');

  await victim.sees(attack, attack);
  await victim.sees(link, attack);
  await victim.seesMembers('victim', attack, '"><svg onload=alert(4)>');
  await victim.sees('{"text":"<svg onload=alert(5)>"}', '"><svg onload=alert(4)>');
  for (const visitor of [victim, mallory]) {
    const injected = await visitor.page.locator('#log img, #log script, #log svg, #log a[href^="javascript"], #members img, #members svg, #rooms img, #rooms script').count();
    assert.equal(injected, 0);
    visitor.assertNoComplaints();
  }
}, LIMIT_MS);

// Each is a name, a room and a message at once, so none has a `#` or a comma, which no name may have.
const PAYLOADS = [
  '<script>pwned=1</script>',
  '</textarea></title><script>pwned=1</script>',
  '<img src=x onerror=pwned=1>',
  "'><img src=x onerror=pwned=1>",
  '"><svg/onload=pwned=1>',
  '<math><mtext></table><img src=x onerror=pwned=1>',
  '<a href="javascript:pwned=1">x</a>',
  'javascript:pwned=1',
  'jAvAsCrIpT://x%0apwned=1',
  'data:text/html;base64;PHNjcmlwdD5wd25lZD0xPC9zY3JpcHQ+',
  'http://x.example/"onmouseover="pwned=1',
  '<iframe srcdoc="<script>parent.pwned=1</script>">',
  '<embed src=javascript:pwned=1>',
  '<details open ontoggle=pwned=1>',
  '<input autofocus onfocus=pwned=1>',
  '<video><source onerror=pwned=1></video>',
  '<base href=//evil.example/>',
  '<meta http-equiv=refresh content=0;url=//evil.example/>',
  '<style>@import"//evil.example/"</style>',
  '<form action=//evil.example/><button autofocus>x',
  '&lt;script&gt;pwned=1&lt;/script&gt;',
  '{{constructor.constructor("pwned=1")()}}',
  '${pwned=1}',
  '\u202e<script>pwned=1</script>',
  '__proto__',
];

// What the page is made of: which elements, with which handlers, and where links lead.
function anatomy(page) {
  return page.evaluate(() => {
    const elements = [...document.querySelectorAll('*')];
    const links = elements.flatMap(({ href }) => (typeof href === 'string' ? [href] : []));
    return {
      names: [...new Set(elements.map(({ localName }) => localName).filter((name) => name !== 'a'))].sort(),
      handlers: elements.flatMap((element) => element.getAttributeNames().filter((name) => name.startsWith('on'))),
      schemes: [...new Set(links.map((link) => new URL(link).protocol))].filter((scheme) => scheme !== 'http:'),
      pwned: typeof window.pwned,
      at: location.origin,
    };
  });
}

promise('two_dozen_payloads_are_inert_as_names_rooms_and_messages', async (scope) => {
  const server = await scope.server();
  const victim = await Visitor.arrive(scope, server, 'victim');
  const attack = async (payload) => {
    await victim.enter(payload);
    const mallory = await scope.plain(server, payload, { uid: payload });
    mallory.send(payload);
    mallory.send(JSON.stringify({ text: payload }));
    await victim.sees(payload, payload);
    await victim.seesMembers('victim', payload);
  };
  await attack('harmless');
  const harmless = await anatomy(victim.page);
  assert.deepEqual([harmless.handlers, harmless.pwned], [[], 'undefined']);

  for (const payload of PAYLOADS) {
    await attack(payload);
    assert.deepEqual(await anatomy(victim.page), harmless, payload);
  }

  victim.assertNoComplaints();
}, LIMIT_MS);

promise('the_page_works_without_anything_from_elsewhere', async (scope) => {
  const server = await scope.server();
  const ada = await Visitor.arrive(scope, server, null);
  const foreign = [];
  ada.page.on('request', (request) => !request.url().startsWith(server.http) && foreign.push(request.url()));

  const response = await ada.page.reload();
  await ada.introduce('ada');

  const policy = response.headers()['content-security-policy'];
  assert.ok(policy, 'a content security policy');
  assert.ok(!/unsafe-(inline|eval)/.test(policy), policy);
  assert.equal(response.headers()['x-content-type-options'], 'nosniff');
  assert.deepEqual(foreign, []);
  ada.assertNoComplaints();
}, LIMIT_MS);

promise('a_token_in_the_address_lets_its_user_in_and_leaves_the_address', async (scope) => {
  const server = await scope.server(WITH_SECRET);
  const ada = await Visitor.arrive(scope, server, null, `/#room=garden&token=${token({ sub: 'Ädä' })}`);
  await ada.is('live');

  assert.equal(await ada.page.evaluate(() => location.hash), '#room=garden');
  assert.equal(await ada.page.textContent('#name-shown'), 'Ädä');
  await ada.say('it is me');
  await ada.sees('it is me', 'Ädä');
  await ada.page.reload();
  await ada.is('live');
  await ada.sees('it is me', 'Ädä');
  assert.equal(await ada.page.evaluate(() => JSON.stringify(localStorage).includes('ey')), false, 'in this tab only');
  // Another link, opened in the same tab, is another user.
  await ada.page.evaluate((link) => (location.hash = link), `#token=${token({ sub: 'bob' })}`);
  await ada.page.waitForSelector('#name-shown:text-is("bob")');
  await ada.is('live');
  assert.equal(await ada.page.evaluate(() => location.hash), '#room=lobby');
  ada.assertNoComplaints();
}, LIMIT_MS);

promise('a_page_that_is_refused_says_so_and_takes_a_token', async (scope) => {
  const server = await scope.server(WITH_SECRET);
  const ada = await Visitor.arrive(scope, server, null);
  await ada.page.fill('#name-input', 'somebody');
  await ada.page.press('#name-input', 'Enter');

  await ada.page.waitForSelector('#token-detail:text("lets nobody in without a token"):visible');
  await ada.is('closed');
  await ada.show('my password', 'This server asks for a token');
  await ada.page.waitForSelector('#token-problem:text("three parts"):visible');
  await ada.show(token({ sub: 'eve' }, { key: 'a secret that is not the one of the server' }), 'This server asks for a token');
  await ada.show(token({ sub: 'ada' }), 'The server does not take this token');

  await ada.is('live');
  await ada.seesMembers('ada');
  assert.equal(await ada.page.isVisible('#token-dialog'), false);
  ada.assertNoComplaints();
}, LIMIT_MS);

promise('a_token_that_expires_is_said_to_and_a_new_one_goes_on', async (scope) => {
  const server = await scope.server({ ...WITH_SECRET, 'timeouts.refresh': '100ms' });
  const late = await Visitor.arrive(scope, server, null, `/#token=${token({ sub: 'bob', exp: inSeconds(-5) })}`);
  await late.page.waitForSelector('#token-title:text-is("Your token has expired"):visible');
  const ada = await Visitor.arrive(scope, server, null, `/#token=${token({ sub: 'ada', exp: inSeconds(4) })}`);
  await ada.is('live');
  await ada.say('before');
  await ada.sees('before', 'ada');

  await ada.show(token({ sub: 'ada', exp: inSeconds(600) }), 'Your token has expired');

  await ada.is('live');
  await ada.say('after');
  await ada.sees('after', 'ada');
  assert.deepEqual(await ada.said(), ['ada: before', 'ada: after']);
  ada.assertNoComplaints();
}, LIMIT_MS);

promise('where_tokens_are_not_needed_a_visitor_can_go_without', async (scope) => {
  const server = await scope.server();
  const ada = await Visitor.arrive(scope, server, null, `/#token=${token({ sub: 'ada' })}`);
  await ada.page.waitForSelector('#token-title:text-is("The server does not take this token"):visible');

  await ada.page.click('#token-none');
  await ada.introduce('somebody');

  await ada.say('hello');
  await ada.sees('hello', 'somebody');
  await ada.page.reload();
  await ada.is('live');
  assert.equal(await ada.page.textContent('#name-shown'), 'somebody');
  ada.assertNoComplaints();
}, LIMIT_MS);
