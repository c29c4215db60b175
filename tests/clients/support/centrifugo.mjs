// The Centrifugo protocol twice: by its own SDK, and by hand for what an SDK never does.

import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';
import { Socket, address } from './plain.mjs';
import { Log, within } from './wait.mjs';

const PATH = '/connection/websocket';

export class Sdk {
  constructor(at, user, options = {}) {
    this.client = new Centrifuge(address(at, PATH, user === undefined ? {} : { uid: user }), {
      websocket: WebSocket,
      // Tests cut connections on purpose and wait for the way back.
      minReconnectDelay: 50,
      maxReconnectDelay: 200,
      ...options,
    });
    this.sessions = new Log(`sessions of ${user}`);
    this.losses = new Log(`lost sessions of ${user}`);
    this.errors = new Log(`errors of ${user}`);
    this.publications = new Log(`publications that the server's own subscriptions of ${user} brought`);
    this.client.on('connected', (context) => this.sessions.push(context));
    this.client.on('connecting', ({ code, reason }) => code !== 0 && this.losses.push({ code, reason }));
    this.client.on('disconnected', ({ code, reason }) => this.losses.push({ code, reason }));
    this.client.on('error', ({ error }) => this.errors.push(error));
    this.client.on('publication', (context) => this.publications.push(context));
  }

  async connected() {
    this.client.connect();
    const { client } = await this.sessions.next();
    this.id = client;
  }

  // A subscription with everything that it was told, whatever the server says.
  ask(room, options) {
    const member = new SdkMember(this.client.newSubscription(room, options));
    member.subscription.subscribe();
    return member;
  }

  // The same, once the server has said yes.
  async join(room, options) {
    const member = this.ask(room, options);
    member.first = await member.joined.next();
    return member;
  }

  async end() {
    this.client.disconnect();
  }
}

class SdkMember {
  constructor(subscription) {
    this.subscription = subscription;
    const { channel } = subscription;
    this.joined = new Log(`subscribed events in ${channel}`);
    this.publications = new Log(`publications in ${channel}`);
    this.joins = new Log(`joins in ${channel}`);
    this.leaves = new Log(`leaves in ${channel}`);
    this.losses = new Log(`ends of the subscription to ${channel}`);
    subscription.on('subscribing', ({ code, reason }) => code !== 0 && this.losses.push({ code, reason }));
    subscription.on('unsubscribed', ({ code, reason }) => this.losses.push({ code, reason }));
    subscription.on('subscribed', (context) => this.joined.push(context));
    subscription.on('publication', (context) => this.publications.push(context));
    subscription.on('join', ({ info }) => this.joins.push(info));
    subscription.on('leave', ({ info }) => this.leaves.push(info));
  }

  publish(data) {
    return within(this.subscription.publish(data), () => 'the reply to a publish');
  }

  // The data of everything heard so far.
  heard() {
    return this.publications.all.map(({ data }) => data);
  }
}

export class Commands extends Socket {
  constructor(at, query, options) {
    super(address(at, PATH, query), options);
    this.lastId = 0;
    this.frames = this.messages;
    this.replies = new Map();
    this.pushes = new Log('pushes');
    this.heartbeats = new Log('pings of the protocol');
    this.order = new Log('replies and pushes');
    this.ws.on('message', (data) => data.toString('utf8').split('\n').filter(Boolean).forEach((line) => this.receive(JSON.parse(line))));
  }

  receive(message) {
    if (message.id) {
      this.reply(message.id).resolve(message);
    } else if (message.push) {
      this.pushes.push(message.push);
    } else {
      this.heartbeats.push(message);
      return;
    }
    this.order.push(message);
  }

  reply(id) {
    if (!this.replies.has(id)) {
      const slot = {};
      slot.arrived = new Promise((resolve) => (slot.resolve = resolve));
      this.replies.set(id, slot);
    }
    return this.replies.get(id);
  }

  command(method, params) {
    return { id: ++this.lastId, [method]: params };
  }

  sendAll(commands, end = '') {
    this.send(commands.map((command) => JSON.stringify(command)).join('\n') + end);
  }

  answer(command) {
    return within(this.reply(command.id).arrived, () => `a reply to ${JSON.stringify(command).slice(0, 200)}`);
  }

  async exchange(method, params) {
    const command = this.command(method, params);
    this.sendAll([command]);
    return this.answer(command);
  }

  // The result, or a failed test.
  async ask(method, params) {
    const reply = await this.exchange(method, params);
    if (reply.error) throw new Error(`${method} ${JSON.stringify(params)}: error ${JSON.stringify(reply.error)}`);
    return reply[method] ?? {};
  }

  // The error's code, or a failed test.
  async refused(method, params) {
    const reply = await this.exchange(method, params);
    if (!reply.error) throw new Error(`${method} ${JSON.stringify(params)} was not refused: ${JSON.stringify(reply)}`);
    return reply.error.code;
  }

  pong() {
    this.send('{}');
  }
}
