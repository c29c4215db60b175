// The list of lines as elements, and where it is scrolled to.

import { piecesOf } from './content.js';

const BOTTOM_SLACK_PX = 48;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

export class LogView {
  constructor({ onRetry, onDiscard, onEarlier, onJump }) {
    this.onRetry = onRetry;
    this.onDiscard = onDiscard;
    this.box = document.getElementById('log');
    this.list = document.getElementById('lines');
    this.earlier = document.getElementById('earlier');
    this.empty = document.getElementById('empty');
    this.jump = document.getElementById('jump');
    this.nodes = new Map();
    this.room = null;
    this.following = true;
    this.newest = 0;
    this.earlier.addEventListener('click', onEarlier);
    this.jump.addEventListener('click', () => {
      this.follow();
      onJump();
    });
    this.box.addEventListener('scroll', () => this.scrolled(), { passive: true });
    // The on-screen keyboard or a growing input must not hide the line that was just read.
    new ResizeObserver(() => this.following && this.toBottom()).observe(this.box);
  }

  show(room) {
    if (room !== this.room) this.open(room);
    const anchor = this.following ? null : this.firstInSight();
    this.earlier.hidden = !room.hasEarlier || room.full;
    this.earlier.disabled = room.loading;
    this.empty.hidden = room.lines.length > 0 || !room.loaded;
    this.reconcile(room.lines);
    if (this.following) this.toBottom();
    else this.keepInPlace(anchor);
    this.offerJump(room.lines);
    this.box.setAttribute('aria-busy', String(room.loading));
  }

  follow() {
    this.following = true;
    this.toBottom();
    this.jump.hidden = true;
  }

  // A room that is switched to is not news: nothing of it is to be read out as if it just came in.
  open(room) {
    this.room = room;
    this.following = true;
    this.newest = 0;
    this.nodes.clear();
    this.list.replaceChildren();
    this.box.setAttribute('aria-live', 'off');
    setTimeout(() => this.box.removeAttribute('aria-live'), 500);
  }

  reconcile(lines) {
    const kept = new Set(lines.map((line) => line.key));
    for (const [key, node] of this.nodes) {
      if (kept.has(key)) continue;
      node.remove();
      this.nodes.delete(key);
    }
    let next = this.list.firstChild;
    for (const line of lines) {
      const node = this.nodeOf(line);
      if (node === next) next = next.nextSibling;
      else this.list.insertBefore(node, next);
    }
  }

  nodeOf(line) {
    let node = this.nodes.get(line.key);
    if (!node) {
      node = line.kind === 'message' ? messageNode(line) : eventNode(line);
      this.nodes.set(line.key, node);
    }
    if (line.state && node.dataset.state !== line.state) this.mark(node, line);
    return node;
  }

  mark(node, line) {
    node.dataset.state = line.state;
    const foot = node.querySelector('.foot');
    foot.replaceChildren();
    if (line.state === 'pending') foot.append('sending…');
    if (line.state !== 'failed') return;
    const said = element('span', 'problem', `Not sent: ${line.problem}. `);
    const retry = this.button('Retry', 'retry', () => this.onRetry(line));
    const discard = this.button('Discard', 'discard', () => this.onDiscard(line));
    foot.append(said, retry, discard);
  }

  button(label, action, onClick) {
    const node = element('button', 'quiet', label);
    node.type = 'button';
    node.dataset.action = action;
    node.addEventListener('click', onClick);
    return node;
  }

  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.box;
    this.following = scrollHeight - scrollTop - clientHeight < BOTTOM_SLACK_PX;
    if (this.following) this.jump.hidden = true;
  }

  toBottom() {
    this.box.scrollTop = this.box.scrollHeight;
  }

  firstInSight() {
    const top = this.box.getBoundingClientRect().top;
    for (const node of this.list.children) {
      const box = node.getBoundingClientRect();
      if (box.bottom > top) return { node, top: box.top };
    }
    return null;
  }

  // Done by hand, and switched off in the style sheet, because not every browser anchors scrolling.
  keepInPlace(anchor) {
    if (anchor?.node.isConnected) this.box.scrollTop += anchor.node.getBoundingClientRect().top - anchor.top;
  }

  offerJump(lines) {
    const newest = lines.findLast((line) => line.kind === 'message' && !line.mine)?.key ?? 0;
    if (this.following) this.jump.hidden = true;
    else if (newest > this.newest) this.jump.hidden = false;
    this.newest = Math.max(this.newest, newest);
  }
}

function messageNode(line) {
  const node = element('li', 'message');
  node.dataset.kind = 'message';
  node.dataset.author = line.author;
  if (line.mine) node.dataset.mine = '';
  const author = element('bdi', 'author', line.label);
  const head = element('div', 'head');
  head.append(author, ...timeNodes(line));
  node.append(head, textNode(line.text), element('div', 'foot'));
  return node;
}

function eventNode(line) {
  const node = element('li', 'event');
  node.dataset.kind = line.kind;
  if (line.author !== undefined) node.dataset.author = line.author;
  node.append(element('bdi', '', line.text), ...timeNodes(line));
  return node;
}

function textNode(text) {
  const node = element('div', 'text');
  node.dir = 'auto';
  for (const piece of piecesOf(text)) node.append(piece.link ? linkNode(piece.text) : piece.text);
  return node;
}

function linkNode(address) {
  const node = element('a', '', address);
  node.href = address;
  node.target = '_blank';
  node.rel = 'noopener noreferrer nofollow';
  return node;
}

function timeNodes({ time }) {
  if (!time) return [];
  const node = element('time', '', clock.format(time));
  node.dateTime = time.toISOString();
  node.title = time.toLocaleString();
  return [node];
}

function element(tag, className, text = '') {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}
