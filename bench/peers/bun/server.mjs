// Bun's own publish, which is uWebSockets inside: a topic for each path.
//
//   PORT=8080 bun server.mjs

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.env.PORT ?? 0),
  fetch(request, server) {
    const { pathname } = new URL(request.url);
    if (server.upgrade(request, { data: { room: pathname } })) return;
    return new Response('a WebSocket is expected here', { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      socket.subscribe(socket.data.room);
    },
    message(socket, message) {
      server.publish(socket.data.room, message);
    },
  },
});

console.log(`bun listens on http://127.0.0.1:${server.port}/`);
