// One WebSocket at a time, kept alive: it opens, answers pings, notices silence, waits and opens
// again. It speaks the command/reply/push framing and knows nothing of rooms or of the page.

const OPEN_LIMIT_MS = 10_000;
const REPLY_LIMIT_MS = 10_000;
const SILENCE_GRACE_MS = 10_000;
const STABLE_AFTER_MS = 10_000;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MOST_MS = 30_000;
const WATCH_EVERY_MS = 1_000;

// Full jitter: after a restart the clients come back spread out instead of all at the same moment.
export function backoff(attempt) {
  return Math.random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** attempt);
}

export function isFinal(code) {
  return (code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999);
}

export const LOST = { code: 0, message: 'the connection was lost', lost: true };

export class Connection {
  // url() and hello() are asked at every attempt: the name and the positions change in between.
  // on: state(state), ready(connectResult), push(push), lost(code).
  constructor({ url, hello, on }) {
    this.url = url;
    this.hello = hello;
    this.on = on;
    this.state = { name: 'connecting' };
    this.socket = null;
    this.replies = new Map();
    this.lastId = 0;
    this.attempt = 0;
    this.retryTimer = 0;
    this.watchTimer = 0;
  }

  get live() {
    return this.state.name === 'live';
  }

  open() {
    clearTimeout(this.retryTimer);
    this.detach();
    this.become({ name: 'connecting' });
    this.openedAt = this.heardAt = Date.now();
    this.silenceLimit = 0;
    let socket;
    try {
      socket = new WebSocket(this.url());
    } catch (error) {
      this.lose(0, error.message);
      return;
    }
    this.socket = socket;
    socket.onopen = () => this.request('connect', this.hello(), (error, result) => this.connected(error, result));
    socket.onmessage = (event) => this.receive(socket, event.data);
    socket.onclose = (event) => this.lose(event.code, event.reason);
    this.watchTimer = setInterval(() => this.watch(), WATCH_EVERY_MS);
  }

  // The name has changed: the same rooms, another identity.
  restart() {
    this.attempt = 0;
    if (this.socket) this.drop();
    this.open();
  }

  // The network came back or somebody looks at the page: there is no reason to sit out the backoff.
  wake() {
    if (this.state.name === 'waiting' || this.state.name === 'offline') this.open();
    else this.watch();
  }

  // done(error, result) is called while the frame is still being read, not as a promise: a reply
  // and the pushes that build on it often share a frame, and the reply must take effect first.
  request(method, params, done) {
    if (this.socket?.readyState !== WebSocket.OPEN) {
      done(LOST);
      return;
    }
    const id = ++this.lastId;
    this.replies.set(id, { done, deadline: Date.now() + REPLY_LIMIT_MS });
    this.socket.send(JSON.stringify({ id, [method]: params }));
  }

  connected(error, result) {
    if (!error) {
      this.liveSince = Date.now();
      this.answersPings = result.pong === true;
      this.silenceLimit = result.ping ? result.ping * 1000 + SILENCE_GRACE_MS : 0;
      this.client = result.client;
      this.become({ name: 'live' });
      this.on.ready(result);
    } else if (!error.lost) {
      const passing = error.temporary || error.code <= 100;
      this.lose(error.code, error.message, !passing);
    }
  }

  receive(socket, frame) {
    if (typeof frame !== 'string') return;
    this.heardAt = Date.now();
    for (const line of frame.split('\n')) {
      // A push may have ended this very connection: what follows in the frame is void.
      if (socket !== this.socket) return;
      if (line) this.receiveOne(line);
    }
  }

  receiveOne(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      this.lose(0, 'the server sent something that is not JSON');
      return;
    }
    if (message.id) this.settle(message);
    else if (message.push?.disconnect) this.lose(message.push.disconnect.code, message.push.disconnect.reason);
    else if (message.push) this.on.push(message.push);
    else if (this.answersPings) this.socket.send('{}');
  }

  settle({ id, error, ...result }) {
    const reply = this.replies.get(id);
    if (!reply) return;
    this.replies.delete(id);
    reply.done(error ?? null, Object.values(result)[0] ?? {});
  }

  // readyState stays OPEN for minutes on a dead network or after sleep, so only what was heard counts.
  watch() {
    if (!this.socket) return;
    const now = Date.now();
    const opening = this.state.name === 'connecting';
    const silent = this.silenceLimit && now - this.heardAt > this.silenceLimit;
    const overdue = [...this.replies.values()].some((reply) => now > reply.deadline);
    if (opening && now - this.openedAt > OPEN_LIMIT_MS) this.lose(0, 'the server did not answer');
    else if (silent) this.lose(0, 'nothing was heard from the server');
    else if (overdue) this.lose(0, 'the server did not reply');
  }

  lose(code, reason, final = isFinal(code)) {
    this.drop(code);
    if (final) {
      this.become({ name: 'closed', code, reason: reason || 'closed by the server' });
      return;
    }
    const delay = backoff(this.attempt++);
    // Being offline is only what the browser believes (a server on this machine is still there), so
    // it is said, and tried all the same.
    const name = navigator.onLine === false ? 'offline' : 'waiting';
    this.become({ name, code, reason, until: Date.now() + delay });
    this.retryTimer = setTimeout(() => this.open(), delay);
  }

  drop(code = 0) {
    const wasLive = this.live;
    if (wasLive && Date.now() - this.liveSince > STABLE_AFTER_MS) this.attempt = 0;
    this.detach();
    const unanswered = [...this.replies.values()];
    this.replies.clear();
    if (wasLive) {
      this.become({ name: 'connecting' });
      this.on.lost(code);
    }
    for (const reply of unanswered) reply.done(LOST);
  }

  // Closing a dead socket can take minutes to be reported, so nothing waits for it.
  detach() {
    clearInterval(this.watchTimer);
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  become(state) {
    this.state = state;
    this.on.state(state);
  }
}
