// One room on the wire: joins it, remembers how far it has heard, and asks for what it missed.

import { backoff } from './connection.js';

const LIMIT_EXCEEDED = 106;
const UNRECOVERABLE = 112;
const COME_BACK = 2500;

export class Subscription {
  // on: joined({first, recovered, publications}), publication(pub), join(info), leave(info),
  // stopped(reason), changed().
  constructor(connection, channel, on) {
    this.connection = connection;
    this.channel = channel;
    this.on = on;
    this.state = 'joining';
    this.reason = '';
    this.position = null;
    this.everJoined = false;
    this.asking = false;
    this.attempt = 0;
    this.retryTimer = 0;
  }

  get live() {
    return this.state === 'joined';
  }

  start() {
    clearTimeout(this.retryTimer);
    this.become('joining');
    if (!this.connection.live) return;
    const params = { channel: this.channel, positioned: true, recoverable: true, join_leave: true };
    if (this.position) Object.assign(params, { recover: true, ...this.position });
    this.asking = true;
    this.connection.request('subscribe', params, (error, result) => {
      this.asking = false;
      if (this.state !== 'joining') return;
      if (error) this.refused(error);
      else this.adopt(result);
    });
  }

  // Also the way in for a subscription that the server made by itself.
  adopt(result) {
    const first = !this.everJoined;
    const asked = this.position;
    const publications = result.publications ?? [];
    this.attempt = 0;
    this.everJoined = true;
    this.position = result.recoverable ? { epoch: result.epoch ?? '', offset: result.offset ?? 0 } : null;
    this.become('joined');
    const recovered = asked !== null && result.recovered === true;
    this.on.joined({ first, recovered, publications: publications.map((pub) => this.stamp(pub)) });
    for (const pub of publications) this.advance(pub.offset);
  }

  refused(error) {
    if (error.lost) return;
    if (error.code === UNRECOVERABLE) {
      this.position = null;
      this.start();
    } else if (error.temporary || error.code === 100 || error.code === 111) {
      this.retryTimer = setTimeout(() => this.start(), backoff(this.attempt++));
    } else {
      this.stop(error.code === LIMIT_EXCEEDED ? 'too many rooms at once' : error.message);
    }
  }

  receive(push) {
    if (push.pub) this.receivePublication(push.pub);
    else if (push.join) this.on.join(push.join.info);
    else if (push.leave) this.on.leave(push.leave.info);
    else if (push.unsubscribe) this.removed(push.unsubscribe);
  }

  receivePublication(pub) {
    // Offsets rise without exception within one subscription: not higher means heard before.
    if (this.position && pub.offset && pub.offset <= this.position.offset) return;
    this.advance(pub.offset);
    this.on.publication(this.stamp(pub));
  }

  removed({ code, reason }) {
    if (code >= COME_BACK) {
      this.become('joining');
      this.retryTimer = setTimeout(() => this.start(), backoff(this.attempt++));
    } else {
      this.stop(reason || 'removed by the server');
    }
  }

  paused() {
    clearTimeout(this.retryTimer);
    if (this.state === 'joined') this.become('joining');
  }

  // The next connection may join again what was refused on this one.
  forgive() {
    if (this.state === 'stopped') this.state = 'joining';
  }

  leave() {
    clearTimeout(this.retryTimer);
    // Commands are handled in order, so this also undoes a subscribe that is still under way.
    if (this.live || this.asking) this.connection.request('unsubscribe', { channel: this.channel }, () => {});
    this.state = 'stopped';
  }

  stop(reason) {
    clearTimeout(this.retryTimer);
    this.reason = reason;
    this.become('stopped');
    this.on.stopped(reason);
  }

  // Numbers start over in a new epoch, so an offset alone does not name a message.
  stamp(pub) {
    return { ...pub, epoch: this.position?.epoch ?? '' };
  }

  advance(offset) {
    if (this.position && offset > this.position.offset) this.position.offset = offset;
  }

  become(state) {
    this.state = state;
    this.on.changed();
  }
}
