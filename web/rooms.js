// What is known of one room: its lines, who is in it, what is unread. No network, no page.

import { authorOf, textOf } from './content.js';
import { Members } from './members.js';

const LINES_MAX = 500;

let lastKey = 0;

export class Room {
  constructor(name, me) {
    this.name = name;
    this.me = me;
    this.lines = [];
    // Own messages whose publication has not come back yet, by the id that they were sent with.
    this.unconfirmed = new Map();
    this.members = new Members();
    this.unread = 0;
    this.draft = '';
    this.hasEarlier = false;
    this.loaded = false;
    this.loading = false;
  }

  // A message as it happens. Returns the line when it is a new one.
  receive(pub, time) {
    const sent = this.confirm(pub);
    if (sent) {
      this.settle(sent);
      return null;
    }
    return this.append({ ...this.messageOf(pub), time });
  }

  // History, oldest first, goes behind the given line, or on top without one.
  insert(publications, after) {
    const known = new Set(this.lines.filter((line) => line.offset).map(placeOf));
    const fresh = publications.filter((pub) => !known.has(placeOf(pub)) && !this.confirm(pub));
    const at = after ? this.lines.indexOf(after) + 1 : 0;
    this.lines.splice(at, 0, ...fresh.map((pub) => keyed(this.messageOf(pub))));
    this.trim();
  }

  confirm(pub) {
    const line = this.unconfirmed.get(pub.data?.mid);
    if (!line) return null;
    this.unconfirmed.delete(line.mid);
    return Object.assign(line, { state: 'sent', problem: '', offset: pub.offset, epoch: pub.epoch });
  }

  // Everybody shall read the same order, and the server's place for an own message is here: after
  // all that has come, before what is still on its way.
  settle(line) {
    this.lines.splice(this.lines.indexOf(line), 1);
    let at = this.lines.length;
    while (at > 0 && this.unconfirmed.has(this.lines[at - 1].mid)) at--;
    this.lines.splice(at, 0, line);
  }

  compose(text, mid, time) {
    const line = { kind: 'message', author: this.me, label: this.me, text, mine: true, mid, state: 'pending', attempts: 0, time };
    this.unconfirmed.set(mid, line);
    return this.append(line);
  }

  discard(line) {
    this.unconfirmed.delete(line.mid);
    this.lines = this.lines.filter((other) => other !== line);
  }

  pending() {
    return [...this.unconfirmed.values()].filter((line) => line.state === 'pending');
  }

  divide(text) {
    return this.append({ kind: 'gap', text });
  }

  join(info, time) {
    const known = this.members.has(info.user);
    this.members.add(info);
    if (!known) this.append({ kind: 'join', author: info.user, text: `${info.user || 'Somebody'} joined`, time });
  }

  leave(info, time) {
    this.members.remove(info);
    if (this.members.has(info.user)) return;
    this.append({ kind: 'leave', author: info.user, text: `${info.user || 'Somebody'} left`, time });
  }

  oldest() {
    return this.lines.find((line) => line.offset);
  }

  get full() {
    return this.lines.length >= LINES_MAX;
  }

  messageOf(pub) {
    const { user, label } = authorOf(pub.info);
    const mine = user !== '' && user === this.me;
    const { offset, epoch } = pub;
    return { kind: 'message', author: user, label, text: textOf(pub.data), mine, state: 'sent', offset, epoch };
  }

  append(line) {
    this.lines.push(keyed(line));
    this.trim();
    return line;
  }

  trim() {
    const excess = this.lines.length - LINES_MAX;
    if (excess <= 0) return;
    for (const line of this.lines.splice(0, excess)) this.unconfirmed.delete(line.mid);
  }
}

function placeOf({ epoch, offset }) {
  return `${offset}:${epoch}`;
}

function keyed(line) {
  line.key = ++lastKey;
  return line;
}
