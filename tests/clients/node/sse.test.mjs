// `/sse/{room}` from a shell: `curl -N`, as the README has it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { promise } from '../support/test.mjs';
import { Log, eventually, within } from '../support/wait.mjs';

class Curl {
  static async listen(scope, server, path, ...options) {
    const before = (await server.status()).connections;
    const curl = new Curl(scope, [...options, '-sSN', `${server.http}${path}`]);
    await eventually('curl to listen', async () => (await server.status()).connections > before);
    return curl;
  }

  constructor(scope, args) {
    this.child = spawn('curl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    scope.after(() => this.child.kill('SIGKILL'));
    this.closed = once(this.child, 'close');
    this.stderr = '';
    this.blocks = new Log(`blocks of curl ${args.join(' ')}`);
    let rest = '';
    this.child.stdout.setEncoding('utf8').on('data', (text) => {
      const parts = (rest + text).split('\n\n');
      rest = parts.pop();
      parts.forEach((block) => this.blocks.push(block));
    });
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
  }

  async messages(count) {
    const found = [];
    while (found.length < count) found.push(await this.blocks.find((block) => block.includes('event: message')));
    return found.map((block) => block.match(/^data: (.*)$/m)[1]);
  }

  async end() {
    const [code] = await within(this.closed, () => 'the end of curl');
    return { code, stderr: this.stderr };
  }
}

promise('curl_hears_each_message_when_it_is_said', async (scope) => {
  const server = await scope.server();
  const curl = await Curl.listen(scope, server, '/sse/lobby');
  const ada = await scope.plain(server, 'lobby');

  for (const text of ['one', 'two', 'three']) {
    ada.send(text);
    assert.deepEqual(await curl.messages(1), [text]);
  }
});

promise('curl_resumes_where_its_last_event_was_over_http_1_0_too', async (scope) => {
  const server = await scope.server();
  const ada = await scope.plain(server, 'lobby');
  const first = await Curl.listen(scope, server, '/sse/lobby?since=start');
  for (const text of ['one', 'two', 'three']) ada.send(text);
  const block = await first.blocks.find((text) => text.includes('data: one'));
  const id = block.match(/^id: (.*)$/m)[1];
  await first.messages(2);

  for (const version of ['--http1.0', '--http1.1']) {
    const second = await Curl.listen(scope, server, '/sse/lobby', version, '-H', `Last-Event-ID: ${id}`);
    assert.deepEqual(await second.messages(2), ['two', 'three']);
  }
});

promise('a_drain_ends_the_stream_in_good_order', async (scope) => {
  const server = await scope.server();
  const curl = await Curl.listen(scope, server, '/sse/lobby');

  server.terminate();

  assert.deepEqual(await curl.end(), { code: 0, stderr: '' });
  assert.equal(curl.blocks.all.at(-1), ': shutdown');
  assert.equal((await server.ended()).code, 0);
});
