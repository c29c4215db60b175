// Brings the connection, the subscriptions and the rooms together: what the program does, apart
// from how it looks.

import { Connection } from './connection.js';
import { Room } from './rooms.js';
import { Subscription } from './subscription.js';

const HISTORY_PAGE = 50;
const ATTEMPTS_MAX = 3;
const TOO_BIG = 1009;

export class Chat {
  // url(name, token) gives the address to connect to; changed() is called after everything that shows.
  constructor({ name, url, changed }) {
    this.name = name;
    // Whoever has one is who it says, and not who he says.
    this.token = '';
    this.changed = changed;
    this.rooms = new Map();
    this.current = null;
    this.watched = true;
    this.connection = new Connection({
      url: () => url(this.name, this.token),
      hello: () => this.hello(),
      on: {
        state: changed,
        ready: (result) => this.ready(result),
        push: (push) => this.push(push),
        lost: (code) => this.lost(code),
      },
    });
  }

  identify(name, token) {
    this.name = name;
    this.token = token;
    for (const { room, personal, subscription } of this.rooms.values()) {
      room.me = name;
      // What was refused to one name may be open to another.
      if (!personal) subscription.forgive();
    }
    this.connection.restart();
  }

  enter(name) {
    const entry = this.rooms.get(name) ?? this.add(name, false);
    this.current = name;
    this.seen();
    if (entry.subscription.state === 'stopped') entry.subscription.start();
  }

  leave(name) {
    this.rooms.get(name)?.subscription.leave();
    this.rooms.delete(name);
    if (this.current === name) this.current = null;
    this.changed();
  }

  // Whether somebody is looking: what comes in meanwhile is unread otherwise.
  watch(watched) {
    this.watched = watched;
    this.seen();
  }

  wake() {
    this.connection.wake();
    // A live socket may have died with the network that it was opened on. A question that stays
    // without a reply finds out sooner than the next missing ping.
    const entry = this.rooms.get(this.current);
    if (entry?.subscription.live) this.loadMembers(entry);
  }

  send(text) {
    const entry = this.rooms.get(this.current);
    this.transmit(entry, entry.room.compose(text, crypto.getRandomValues(new Uint32Array(4)).join('-'), new Date()));
  }

  retry(line) {
    line.state = 'pending';
    line.attempts = 0;
    this.transmit(this.rooms.get(this.current), line);
  }

  discard(line) {
    this.rooms.get(this.current).room.discard(line);
    this.changed();
  }

  loadEarlier() {
    const entry = this.rooms.get(this.current);
    const { offset, epoch } = entry.room.oldest();
    this.loadHistory(entry, { since: { offset, epoch } });
  }

  get unread() {
    let total = 0;
    for (const { room } of this.rooms.values()) total += room.unread;
    return total;
  }

  // ---- rooms ----

  add(name, personal) {
    const room = new Room(name, this.name);
    const entry = { room, personal, subscription: null };
    entry.subscription = new Subscription(this.connection, name, {
      joined: (how) => this.joined(entry, how),
      publication: (pub) => this.received(entry, pub, new Date()),
      join: (info) => this.met(entry, info, 'join'),
      leave: (info) => this.met(entry, info, 'leave'),
      stopped: () => this.stopped(entry),
      changed: this.changed,
    });
    this.rooms.set(name, entry);
    if (!personal) entry.subscription.start();
    return entry;
  }

  seen() {
    const entry = this.rooms.get(this.current);
    if (entry && this.watched) entry.room.unread = 0;
    this.changed();
  }

  joined(entry, { first, recovered, publications }) {
    const { room } = entry;
    for (const pub of publications) this.received(entry, pub, null);
    this.loadMembers(entry);
    const doubtful = recovered ? [] : room.pending().filter((line) => line.attempts > 0);
    for (const line of room.pending()) if (!doubtful.includes(line)) this.transmit(entry, line);
    if (recovered && room.loaded) return;
    const divider = first || recovered ? null : room.divide('Some messages may be missing here');
    this.loadHistory(entry, { divider, then: () => this.doubt(doubtful) });
  }

  // What went out before the connection broke and is in no history may have arrived all the same:
  // saying so beats sending it twice.
  doubt(lines) {
    for (const line of lines) if (line.state === 'pending') this.fail(line, 'it may not have arrived');
  }

  stopped(entry) {
    entry.room.members.clear();
    for (const line of entry.room.pending()) this.fail(line, entry.subscription.reason);
    this.changed();
  }

  received({ room }, pub, time) {
    const line = room.receive(pub, time);
    const unseen = room.name !== this.current || !this.watched;
    if (line && !line.mine && unseen) room.unread++;
    this.changed();
  }

  met({ room }, info, how) {
    if (info.client === this.connection.client) room.members[how === 'join' ? 'add' : 'remove'](info);
    else room[how](info, new Date());
    this.changed();
  }

  loadMembers({ room }) {
    this.connection.request('presence', { channel: room.name }, (error, result) => {
      if (error?.lost) return;
      if (error) room.members.clear();
      else room.members.replace(result.presence ?? {});
      this.changed();
    });
  }

  loadHistory({ room }, { since, divider = null, then = () => {} }) {
    room.loading = true;
    this.connection.request('history', { channel: room.name, limit: HISTORY_PAGE, reverse: true, since }, (error, result) => {
      room.loading = false;
      if (error?.lost) return;
      const { publications = [], epoch = '' } = result ?? {};
      room.loaded = true;
      room.insert(publications.reverse().map((pub) => ({ ...pub, epoch })), divider);
      if (!divider) room.hasEarlier = publications.length === HISTORY_PAGE && publications[0].offset > 1;
      then();
      this.changed();
    });
  }

  // ---- sending ----

  transmit({ room, subscription }, line) {
    if (subscription.state === 'stopped') this.fail(line, 'you are not in this room');
    else if (line.attempts >= ATTEMPTS_MAX) this.fail(line, 'the connection broke each time');
    else if (subscription.live && !line.underWay) this.publish(room, line);
    this.changed();
  }

  publish(room, line) {
    line.attempts++;
    line.underWay = true;
    const data = { text: line.text, mid: line.mid };
    this.connection.request('publish', { channel: room.name, data }, (error) => {
      line.underWay = false;
      // Whether it arrived before the connection broke comes out at recovery.
      if (error?.lost || line.state !== 'pending') return;
      if (error) this.fail(line, error.message);
      else line.state = 'sent';
      this.changed();
    });
  }

  fail(line, problem) {
    line.state = 'failed';
    line.problem = problem;
  }

  // ---- connection ----

  // Subscriptions that the server made by itself are resumed with the connection.
  hello() {
    const subs = {};
    for (const [name, { personal, subscription }] of this.rooms) {
      if (personal && subscription.position) subs[name] = { recover: true, ...subscription.position };
    }
    return { name: 'web', subs, token: this.token };
  }

  ready({ subs = {} }) {
    for (const [name, result] of Object.entries(subs)) this.adopt(name, result);
    for (const [name, { personal, subscription }] of this.rooms) {
      if (!personal) this.resume(subscription);
      else if (!subs[name]) subscription.stop('it belongs to another name');
    }
  }

  adopt(name, result) {
    const entry = this.rooms.get(name) ?? this.add(name, true);
    entry.personal = true;
    entry.subscription.adopt(result);
  }

  resume(subscription) {
    if (subscription.state !== 'stopped') subscription.start();
  }

  push({ channel, message, subscribe, ...rest }) {
    if (message) this.told(message.data);
    else if (subscribe) this.adopt(channel, subscribe);
    else this.rooms.get(channel)?.subscription.receive(rest);
  }

  told(data) {
    const entry = this.rooms.get(data?.gap?.channel);
    if (!entry) return;
    const { skipped } = data.gap;
    entry.room.divide(skipped === 1 ? '1 message was missed' : `${skipped} messages were missed`);
    this.changed();
  }

  lost(code) {
    for (const { room, subscription } of this.rooms.values()) {
      subscription.paused();
      // Sending it again would only close the next connection too.
      if (code === TOO_BIG) for (const line of room.pending()) if (line.attempts) this.fail(line, 'the message is too long');
    }
  }
}
