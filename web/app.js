// Wires the page together: what is asked for in the view goes to the chat, what changes in the chat
// is shown, and the browser's own news (address, visibility, network) is passed on.

import { Chat } from './chat.js';
import { nameProblem } from './content.js';
import {
  addressOf,
  recallName,
  recallRooms,
  recallToken,
  rememberName,
  rememberRooms,
  rememberToken,
  roomInAddress,
  tokenInAddress,
} from './storage.js';
import { tokenProblem, tokenWanted, userOf } from './token.js';
import { View } from './view.js';

const DRAW_EVERY_MS = 33;
const COUNTDOWN_MS = 500;

let drawing = false;
let started = false;
let seenState = null;

// Relative to the page, so that it also works below a path behind a proxy.
function socketAddress(name, token) {
  const address = new URL('connection/websocket', document.baseURI);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  address.hash = '';
  address.search = token ? '' : `?uid=${encodeURIComponent(name)}`;
  return address.href;
}

const known = recallName();
const chat = new Chat({ name: nameProblem(known) ? '' : known, url: socketAddress, changed: drawSoon });

const view = new View({
  renaming: () => (chat.token ? askToken('Another token') : view.askName()),
  named,
  identified,
  tokenless,
  joined,
  opened: openRoom,
  left: leaveRoom,
  sent: (text) => chat.send(text),
  drafted: (text) => {
    chat.rooms.get(chat.current).room.draft = text;
  },
  reconnect: () => chat.connection.open(),
  rejoin: () => chat.enter(chat.current),
  retry: (line) => chat.retry(line),
  discard: (line) => chat.discard(line),
  earlier: () => chat.loadEarlier(),
});

// A busy room brings thousands of messages a second; the eye gets thirty pictures. A timer and not
// an animation frame, because the title has to count on in a tab that is hidden.
function drawSoon() {
  if (drawing) return;
  drawing = true;
  setTimeout(draw, DRAW_EVERY_MS);
}

function draw() {
  drawing = false;
  const current = chat.rooms.get(chat.current);
  const rooms = [...chat.rooms.values()].filter((entry) => !entry.personal || entry === current || entry.room.lines.length > 0);
  const { state } = chat.connection;
  view.show({ name: chat.name, state, rooms, current, unread: chat.unread });
  const wanted = state === seenState ? '' : tokenWanted(state, chat.token);
  seenState = state;
  if (wanted) askToken(wanted, `The server says: ${state.reason}.`);
}

function askToken(title, detail = '') {
  view.askToken(title, detail, chat.token !== '');
}

function named(name) {
  const problem = nameProblem(name);
  if (problem || name === chat.name) return problem;
  rememberName(name);
  become(name, '');
  return '';
}

function identified(token) {
  const problem = tokenProblem(token);
  if (problem) return problem;
  rememberToken(token);
  become(userOf(token), token);
  return '';
}

// Back to a name of one's own; without a token before, there is nothing to go back from.
function tokenless() {
  if (!chat.token) return;
  rememberToken('');
  chat.token = '';
  chat.name = '';
  const name = recallName();
  if (nameProblem(name)) view.askName('');
  else become(name, '');
}

function become(name, token) {
  if (started) chat.identify(name, token);
  else start(name, token);
}

function joined(room) {
  const problem = nameProblem(room);
  if (!problem) openRoom(room);
  return problem;
}

function openRoom(room) {
  if (room !== roomInAddress()) history.pushState(null, '', addressOf(room));
  enterRoom(room);
  view.focus();
}

function enterRoom(room) {
  chat.enter(nameProblem(room) ? 'lobby' : room);
  keepRooms();
  // At once: what is typed next belongs to this room's input and not to the last one's.
  draw();
}

function leaveRoom(room) {
  const wasCurrent = room === chat.current;
  chat.leave(room);
  keepRooms();
  if (!wasCurrent) return;
  const [next = 'lobby'] = chat.rooms.keys();
  history.replaceState(null, '', addressOf(next));
  enterRoom(next);
  view.focus();
}

function keepRooms() {
  rememberRooms([...chat.rooms.values()].filter(({ personal }) => !personal).map(({ room }) => room.name));
}

function start(name, token) {
  started = true;
  chat.name = name;
  chat.token = token;
  const room = roomInAddress();
  history.replaceState(null, '', addressOf(room));
  for (const earlier of recallRooms()) if (!nameProblem(earlier)) chat.add(earlier, false);
  enterRoom(room);
  chat.connection.open();
  addEventListener('online', () => chat.wake());
  document.addEventListener('visibilitychange', () => look());
  addEventListener('pageshow', (event) => event.persisted && chat.wake());
  setInterval(() => chat.connection.state.until && drawSoon(), COUNTDOWN_MS);
}

function look() {
  const visible = document.visibilityState === 'visible';
  chat.watch(visible);
  if (visible) chat.wake();
}

// The token in the address, if there is one. It stays neither there nor in the tab's history.
function takeToken() {
  const token = tokenInAddress();
  if (!token) return '';
  rememberToken(token);
  history.replaceState(null, '', addressOf(roomInAddress()));
  return token;
}

function readdressed() {
  const token = takeToken();
  if (started) enterRoom(roomInAddress());
  if (!token || token === chat.token) return;
  view.closeDialogs();
  become(userOf(token), token);
}

chat.watch(document.visibilityState === 'visible');
addEventListener('hashchange', readdressed);
const token = takeToken() || recallToken();
if (token) start(userOf(token), token);
else if (chat.name) start(chat.name, '');
else view.askName('');
