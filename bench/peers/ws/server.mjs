// Somebody else's broadcast server, as short as one is mostly written: npm `ws`, everybody who is
// connected to one path hears what any of them sends. It is what `slabcast bench` is held against.
//
//   node server.mjs [--port N] [--no-echo] [--joined] [--fault drop|duplicate|swap|stray|close] [--every N]
//
// GET /counts says how many messages it took and how many it sent. With --fault it does to every Nth
// message what its name says, so that a load generator can be seen finding it. With --joined it
// sends messages of one turn as one, a line each, as gorilla's chat does.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

// Where the client suites have installed it; beside this file it would be a second copy.
const require = createRequire(process.env.WS_FROM ?? new URL('../../../tests/clients/package.json', import.meta.url));
const { WebSocketServer, WebSocket } = require('ws');

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'no-echo': { type: 'boolean', default: false },
    joined: { type: 'boolean', default: false },
    fault: { type: 'string', default: '' },
    every: { type: 'string', default: '100' },
  },
});
const every = Number(values.every);

const counts = { connections: 0, received: 0, sent: 0 };
const rooms = new Map();

function deliver(socket, data) {
  if (socket.readyState !== WebSocket.OPEN) return;
  counts.sent++;
  if (!values.joined) {
    socket.send(data, { binary: false });
    return;
  }
  socket.lines ??= [];
  socket.lines.push(data);
  if (socket.lines.length > 1) return;
  setImmediate(() => {
    const lines = socket.lines.splice(0);
    if (socket.readyState === WebSocket.OPEN) socket.send(lines.join('\n'), { binary: false });
  });
}

// What becomes of a message: the messages that are sent instead of it.
function faulted(room, data, number) {
  if (room.held) {
    const held = room.held;
    room.held = undefined;
    return [data, held];
  }
  if (number % every !== 0) return [data];
  switch (values.fault) {
    case 'drop':
      return [];
    case 'duplicate':
      return [data, data];
    case 'swap':
      room.held = data;
      return [];
    default:
      return [data];
  }
}

function broadcast(room, sender, data) {
  const number = ++counts.received;
  for (const message of faulted(room, data, number)) {
    for (const member of room.members) {
      if (member !== sender || !values['no-echo']) deliver(member, message);
    }
  }
  if (values.fault === 'stray' && number % every === 0) {
    for (const other of rooms.values()) {
      if (other !== room) for (const member of other.members) deliver(member, data);
    }
  }
  if (values.fault === 'close' && number === every) [...room.members].at(-1).close(1013, 'you are too slow');
}

const http = createServer((request, response) => {
  if (request.url !== '/counts') {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(counts));
});

new WebSocketServer({ server: http, perMessageDeflate: false }).on('connection', (socket, request) => {
  counts.connections++;
  if (!rooms.has(request.url)) rooms.set(request.url, { members: new Set() });
  const room = rooms.get(request.url);
  room.members.add(socket);
  socket.on('message', (data) => broadcast(room, socket, data.toString()));
  socket.on('close', () => room.members.delete(socket));
  socket.on('error', () => {});
});

http.listen(Number(values.port), '127.0.0.1', () => {
  console.log(`ws peer listens on http://127.0.0.1:${http.address().port}/`);
});
process.on('SIGTERM', () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
});
