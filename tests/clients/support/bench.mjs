// `slabcast bench` as a process, and another broadcast server for it to be pointed at.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { within } from './wait.mjs';

const RUN_LIMIT_MS = 40_000;
const START_LIMIT_MS = 15_000;

export const binary = process.env.SLABCAST_BIN ?? fileURLToPath(new URL('../../../target/release/slabcast', import.meta.url));
const peer = fileURLToPath(new URL('../../../bench/peers/ws/server.mjs', import.meta.url));

// A test process that dies must not leave any of them behind.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

function start(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  const exited = once(child, 'exit').then(([code, signal]) => {
    running.delete(child);
    return { code, signal };
  });
  return { child, exited };
}

// Runs it to its end: its exit code, what it said, and the outcome if it said one.
export async function bench(url, ...args) {
  const { child, exited } = start(binary, ['bench', url, '--json', ...args]);
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (text) => (said[name] += text));
  const closed = once(child, 'close');
  try {
    const { code } = await within(exited, () => `the end of slabcast bench ${args.join(' ')}`, RUN_LIMIT_MS);
    await closed;
    return { code, ...said, outcome: said.stdout ? JSON.parse(said.stdout) : undefined };
  } finally {
    child.kill('SIGKILL');
  }
}

// The server in bench/peers/ws.
export async function startPeer(scope, ...args) {
  const { child, exited } = start(process.execPath, [peer, ...args]);
  scope.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  child.stderr.pipe(process.stderr);
  const [line] = await within(once(createInterface({ input: child.stdout }), 'line'), () => 'the first line of the ws peer', START_LIMIT_MS);
  const http = /(http:\/\/127\.0\.0\.1:\d+)\/$/.exec(line)[1];
  return {
    url: `${http.replace('http', 'ws')}/ws/{room}`,
    counts: async () => (await fetch(`${http}/counts`)).json(),
    pid: child.pid,
  };
}
