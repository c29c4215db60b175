// Everything around the log as elements: state, rooms, people, the forms. It is told what to show
// and tells what was asked for; it decides nothing.

import { LogView } from './log.js';

const PEOPLE_MAX = 200;
const STATES = { connecting: 'Connecting…', live: 'Live', waiting: 'Reconnecting', offline: 'Offline' };

const find = (id) => document.getElementById(id);

export class View {
  // on: renaming(), named(name), identified(token), tokenless(), joined(room), opened(room), left(room), sent(text), drafted(text), reconnect,
  // rejoin, retry(line), discard(line), earlier.
  constructor(on) {
    this.on = on;
    const thenFocus = (act) => (what) => {
      act(what);
      this.focus();
    };
    this.log = new LogView({
      onRetry: thenFocus(on.retry),
      onDiscard: thenFocus(on.discard),
      onEarlier: on.earlier,
      onJump: () => this.focus(),
    });
    this.input = find('message-input');
    this.shownRoom = null;
    this.listenName();
    this.listenToken();
    this.listenRooms();
    this.listenComposer();
    find('reconnect').addEventListener('click', thenFocus(on.reconnect));
    find('rejoin').addEventListener('click', thenFocus(on.rejoin));
    find('people-fold').open = matchMedia('(min-width: 60rem)').matches;
  }

  // ---- what was asked for ----

  listenName() {
    const dialog = find('name-dialog');
    find('name-button').addEventListener('click', () => this.on.renaming());
    find('name-cancel').addEventListener('click', () => dialog.close());
    dialog.addEventListener('cancel', (event) => this.nameless && event.preventDefault());
    // A browser lets a second Escape through, whatever the page says to the first.
    dialog.addEventListener('close', () => (this.nameless ? dialog.showModal() : this.focus()));
    find('name-form').addEventListener('submit', (event) => {
      event.preventDefault();
      if (report('name-problem', this.on.named(find('name-input').value.trim()))) this.closeName();
    });
  }

  listenToken() {
    const dialog = find('token-dialog');
    dialog.addEventListener('close', () => this.focus());
    find('token-none').addEventListener('click', () => {
      dialog.close();
      this.on.tokenless();
    });
    find('token-form').addEventListener('submit', (event) => {
      event.preventDefault();
      if (report('token-problem', this.on.identified(find('token-input').value.trim()))) dialog.close();
    });
  }

  listenRooms() {
    find('room-form').addEventListener('submit', (event) => {
      event.preventDefault();
      if (report('room-problem', this.on.joined(find('room-input').value.trim()))) event.target.reset();
    });
    find('rooms').addEventListener('click', (event) => {
      const room = event.target.closest('[data-room]')?.dataset.room;
      if (room === undefined) return;
      if (event.target.closest('.leave')) this.on.left(room);
      else this.on.opened(room);
    });
  }

  listenComposer() {
    const composer = find('composer');
    composer.addEventListener('submit', (event) => {
      event.preventDefault();
      this.send();
    });
    this.input.addEventListener('keydown', (event) => {
      // While a word is being composed, Enter belongs to the input method.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    this.input.addEventListener('input', () => this.on.drafted(this.input.value));
    // Pressing the button would take the focus, and on a phone the keyboard, away.
    find('send').addEventListener('pointerdown', (event) => event.preventDefault());
  }

  send() {
    const text = this.input.value;
    this.input.focus({ preventScroll: true });
    if (!text.trim()) return;
    this.input.value = '';
    this.log.follow();
    this.on.drafted('');
    this.on.sent(text);
  }

  closeName() {
    this.nameless = false;
    find('name-dialog').close();
  }

  closeDialogs() {
    this.closeName();
    find('token-dialog').close();
  }

  askName(name = find('name-shown').textContent) {
    this.nameless = !name;
    find('name-cancel').hidden = this.nameless;
    find('name-input').value = name;
    report('name-problem', '');
    find('name-dialog').showModal();
    find('name-input').select();
  }

  // Says what is wrong with who we are, if anything is, and takes a token.
  askToken(title, detail, canGoWithout) {
    find('token-title').textContent = title;
    find('token-detail').textContent = detail;
    find('token-detail').hidden = !detail;
    find('token-none').textContent = canGoWithout ? 'Go without a token' : 'Cancel';
    find('token-input').value = '';
    report('token-problem', '');
    if (!find('token-dialog').open) find('token-dialog').showModal();
  }

  // Where the keyboard is on the screen, only a tap on the input itself shall raise it.
  focus() {
    if (!matchMedia('(hover: none)').matches) this.input.focus({ preventScroll: true });
  }

  // ---- what to show ----

  show({ name, state, rooms, current, unread }) {
    find('name-shown').textContent = name || 'anonymous';
    this.showState(state);
    this.showRooms(rooms, current);
    document.title = titleOf(unread, current);
    if (!current) return;
    this.showRoom(current);
    this.showPeople(current.room.members, name);
    this.log.show(current.room);
  }

  showState(state) {
    const retryIn = state.until ? Math.max(0, Math.ceil((state.until - Date.now()) / 1000)) : 0;
    find('status').dataset.state = state.name;
    find('status').title = state.reason ?? '';
    setText(find('status-text'), STATES[state.name] ?? `Closed: ${state.reason}`);
    // Apart and hidden from screen readers: they would read out every second of it.
    setText(find('status-wait'), state.until ? ` in ${retryIn} s` : '');
    find('reconnect').hidden = state.name === 'live' || state.name === 'connecting';
  }

  showRooms(rooms, current) {
    const list = find('rooms');
    const items = new Map([...list.children].map((item) => [item.dataset.room, item]));
    const wanted = rooms.map(({ room }) => items.get(room.name) ?? roomNode(room.name));
    const same = wanted.length === list.children.length && wanted.every((item, index) => item === list.children[index]);
    if (!same) list.replaceChildren(...wanted);
    rooms.forEach((entry, index) => markRoom(wanted[index], entry, entry === current));
  }

  showRoom(entry) {
    const { room, subscription } = entry;
    const stopped = subscription.state === 'stopped';
    setText(find('room-title').firstElementChild, room.name);
    find('notice').hidden = !stopped;
    setText(find('notice-text'), stopped ? `You are not in this room: ${subscription.reason}.` : '');
    if (entry === this.shownRoom) return;
    this.shownRoom = entry;
    this.shownPeople = null;
    this.input.value = room.draft;
    if (!document.querySelector('dialog[open]')) this.focus();
  }

  showPeople(members, me) {
    const people = members.people();
    if (people === this.shownPeople && me === this.shownMe) return;
    this.shownPeople = people;
    this.shownMe = me;
    setText(find('members-count'), members.known ? String(people.length) : '–');
    find('members').replaceChildren(...people.slice(0, PEOPLE_MAX).map((person) => personNode(person, me)));
    find('members-more').hidden = people.length <= PEOPLE_MAX;
    setText(find('members-more'), `and ${people.length - PEOPLE_MAX} more`);
  }
}

function titleOf(unread, current) {
  const where = current ? `${current.room.name} – slabcast` : 'slabcast';
  return unread ? `(${unread}) ${where}` : where;
}

function roomNode(name) {
  const item = document.createElement('li');
  item.dataset.room = name;
  const open = button('open');
  const label = document.createElement('bdi');
  label.textContent = name;
  const badge = document.createElement('span');
  badge.className = 'badge';
  open.append(label, badge);
  const leave = button('leave quiet');
  leave.textContent = '×';
  leave.setAttribute('aria-label', `Leave ${name}`);
  leave.title = `Leave ${name}`;
  item.append(open, leave);
  return item;
}

function markRoom(item, { room, subscription, personal }, isCurrent) {
  const open = item.querySelector('.open');
  item.dataset.unread = room.unread;
  item.dataset.state = subscription.state;
  item.querySelector('.leave').hidden = personal && subscription.state !== 'stopped';
  setText(item.querySelector('.badge'), room.unread ? String(room.unread) : '');
  item.querySelector('.badge').title = `${room.unread} unread`;
  if (isCurrent) open.setAttribute('aria-current', 'page');
  else open.removeAttribute('aria-current');
}

function personNode({ user, connections }, me) {
  const item = document.createElement('li');
  item.dataset.user = user;
  const label = document.createElement('bdi');
  label.textContent = user || 'anonymous';
  item.append(label);
  if (user && user === me) item.append(note('you'));
  if (connections > 1) item.append(note(`×${connections}`));
  return item;
}

function note(text) {
  const node = document.createElement('span');
  node.className = 'note';
  node.textContent = text;
  return node;
}

function button(className) {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = className;
  return node;
}

function report(id, problem) {
  find(id).hidden = !problem;
  find(id).textContent = problem;
  return !problem;
}

// An unchanged text that is set again counts as news in a live region.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
