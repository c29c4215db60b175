// A plain TCP relay that a test can cut: what a lost network looks like to both ends. It also stands
// for the address that stays while the server behind it is replaced.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export async function startProxy(port) {
  const proxy = new Proxy(port);
  proxy.listener.listen(0, '127.0.0.1');
  await once(proxy.listener, 'listening');
  proxy.port = proxy.listener.address().port;
  proxy.http = `http://127.0.0.1:${proxy.port}`;
  return proxy;
}

class Proxy {
  constructor(target) {
    this.target = target;
    this.sockets = new Set();
    this.refused = 0;
    this.listener = createServer((near) => this.relay(near));
  }

  relay(near) {
    near.on('error', () => {});
    if (this.target === null) {
      this.refused++;
      abort(near);
      return;
    }
    const far = connect(this.target, '127.0.0.1');
    far.on('error', () => abort(near));
    near.setNoDelay(true);
    far.setNoDelay(true);
    for (const [from, to] of [[near, far], [far, near]]) {
      this.sockets.add(from);
      from.on('close', () => {
        this.sockets.delete(from);
        to.destroySoon();
      });
      from.pipe(to);
    }
  }

  // From now on nothing gets through, neither what is open nor what is tried.
  cut() {
    this.target = null;
    for (const socket of this.sockets) abort(socket);
  }

  mend(port) {
    this.target = port;
  }

  async close() {
    this.cut();
    this.listener.close();
    await once(this.listener, 'close');
  }
}

// A reset, as a network that is gone would end in. Not after `end()`: Node loses track of a socket that
// is reset while it shuts down, and the test process would never exit.
function abort(socket) {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
