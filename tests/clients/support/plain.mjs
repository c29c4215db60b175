// The npm `ws` client: on `/ws/{room}` directly, and as what the Centrifugo commands are sent by.

import WebSocket from 'ws';
import { Log, eventually, within } from './wait.mjs';

export function address(at, path, query = {}) {
  const url = new URL(path, at.http.replace(/^http/, 'ws'));
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url.href;
}

// One WebSocket and all that was heard on it.
export class Socket {
  constructor(url, options = {}) {
    this.ws = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: 10_000, ...options });
    this.messages = new Log(`messages on ${url}`);
    this.pings = new Log(`ping frames on ${url}`);
    this.pongs = new Log(`pong frames on ${url}`);
    this.ws.on('message', (data, isBinary) => this.messages.push(isBinary ? data : data.toString('utf8')));
    this.ws.on('ping', (data) => this.pings.push(data));
    this.ws.on('pong', (data) => this.pongs.push(data));
    this.open = new Promise((resolve, reject) => {
      this.ws.on('open', resolve);
      this.ws.on('error', reject);
      this.ws.on('unexpected-response', async (_, response) => {
        response.setEncoding('utf8');
        let body = '';
        for await (const part of response) body += part;
        reject(Object.assign(new Error(`refused with ${response.statusCode}: ${body}`), { status: response.statusCode, body }));
      });
    });
    this.open.catch(() => {});
    // After a frame that ws cannot make sense of the code is only 1006; the error says what it was.
    this.ws.on('error', (error) => (this.error = error.message));
    this.close = new Promise((resolve) => {
      this.ws.on('close', (code, reason) => resolve({ code, reason: reason.toString('utf8'), error: this.error }));
    });
  }

  opened() {
    return within(this.open, () => 'the upgrade');
  }

  closed(ms) {
    return within(this.close, () => 'the close', ms);
  }

  send(data, options) {
    this.ws.send(data, options);
  }

  // From now on nothing is taken from the network: the kernel's buffers fill, then the server's.
  stall() {
    this.ws._socket.pause();
  }

  resume() {
    this.ws._socket.resume();
  }

  async end() {
    this.ws.terminate();
    await this.close;
  }
}

export class Plain extends Socket {
  constructor(at, room, query, options) {
    super(address(at, `/ws/${encodeURIComponent(room)}`, query), options);
    this.room = room;
  }

  memberOf(server, members) {
    return eventually(`${members} clients in ${this.room}`, async () => (await server.clientsIn(this.room)) >= members);
  }
}

// What the server answers to an upgrade that it refuses.
export async function refusal(url, options) {
  const socket = new Socket(url, options);
  try {
    await socket.opened();
  } catch (error) {
    if (error.status) return { status: error.status, body: error.body };
    throw error;
  } finally {
    await socket.end();
  }
  throw new Error(`${url} was not refused`);
}
