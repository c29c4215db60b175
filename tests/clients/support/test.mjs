// `promise(name, body)` is a test whose body gets a scope: whatever it starts through the scope is ended
// after it, last first, and when it fails the servers' stderr is part of the failure.

import { test } from 'node:test';
import { startProxy } from './proxy.mjs';
import { Commands, Sdk } from './centrifugo.mjs';
import { Plain } from './plain.mjs';
import { startServer } from './server.mjs';
import { within } from './wait.mjs';

const TEST_LIMIT_MS = 30_000;

export function promise(name, body, limit = TEST_LIMIT_MS) {
  // The outer limit is only for a cleanup that hangs: past it there is no report.
  test(name, { timeout: limit + 15_000 }, async () => {
    const scope = new Scope();
    try {
      await within(body(scope), () => 'the end of the test', limit);
    } catch (error) {
      error.stack = [error.stack, ...scope.servers.map((server) => server.report())].join('\n');
      throw error;
    } finally {
      await scope.end();
    }
  });
}

export class Scope {
  servers = [];
  ends = [];

  async end() {
    for (const end of this.ends.reverse()) await end();
  }

  after(end) {
    this.ends.push(end);
  }

  async server(settings) {
    const server = await startServer(settings);
    this.servers.push(server);
    this.after(() => server.kill());
    return server;
  }

  async proxy(server) {
    const proxy = await startProxy(server.port);
    this.after(() => proxy.close());
    return proxy;
  }

  // A Centrifugo SDK client, connected. `at` is a server, or a proxy before one.
  async sdk(at, user, options) {
    const client = new Sdk(at, user, options);
    this.after(() => client.end());
    await client.connected();
    return client;
  }

  // The same with a token and no name of its own, before it is connected.
  stranger(at, options) {
    const client = new Sdk(at, undefined, options);
    this.after(() => client.end());
    return client;
  }

  // The Centrifugo protocol by hand, without its first command; `login` has sent it.
  async commands(at, query, options) {
    const client = new Commands(at, query, options);
    this.after(() => client.end());
    await client.opened();
    return client;
  }

  async login(at, user = 'ada') {
    const client = await this.commands(at, { uid: user });
    client.hello = await client.ask('connect', {});
    return client;
  }

  // A member of a room on the plain way in. `server` is needed to know when it is one: nothing is
  // said on the wire.
  async member(server, room, query, options) {
    const before = await server.clientsIn(room);
    const client = await this.plain(server, room, query, options);
    await client.memberOf(server, before + 1);
    return client;
  }

  async plain(at, room, query, options) {
    const client = new Plain(at, room, query, options);
    this.after(() => client.end());
    await client.opened();
    return client;
  }
}
