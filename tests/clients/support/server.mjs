// A slabcast process of its own for a test: on a free port, with a clean environment, and ended by its
// handle, so that a test can never hit a server that it did not start.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { within } from './wait.mjs';

const START_LIMIT_MS = 15_000;
const END_LIMIT_MS = 10_000;
const STDERR_KEPT = 20_000;
const FIRST_LINE = /^slabcast listens on (http:\/\/127\.0\.0\.1:(\d+)\/)$/;

// Which engine the suite runs on, for all its servers.
const engine = process.env.SLABCAST_TEST_ENGINE ?? 'lock';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const binary = process.env.SLABCAST_BIN ?? fileURLToPath(new URL('../../../target/release/slabcast', import.meta.url));

// A test process that dies must not leave servers behind.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export async function startServer(settings = {}) {
  const sets = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  const args = ['serve', '--listen', '127.0.0.1:0', '--engine', engine, ...sets];
  // Whatever the developer has exported must not configure the server under test.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SLABCAST_')));
  const child = spawn(binary, args, { cwd: root, env: { ...env, RUST_BACKTRACE: '1' }, stdio: ['ignore', 'pipe', 'pipe'] });
  const server = new Server(child, args);
  try {
    await server.ready();
  } catch (error) {
    await server.kill();
    throw new Error(`${binary} ${args.join(' ')}: ${error.message}\n${server.report()}`);
  }
  return server;
}

class Server {
  constructor(child, args) {
    this.child = child;
    this.args = args;
    this.stderr = '';
    running.add(child);
    this.exited = new Promise((resolve) => {
      child.on('exit', (code, signal) => resolve({ code, signal }));
      // A binary that cannot be started at all has no exit.
      child.on('error', (error) => resolve({ code: null, signal: null, error }));
    });
    this.exited.then(() => running.delete(child));
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.stderr = (this.stderr + text).slice(-STDERR_KEPT);
    });
  }

  async ready() {
    const lines = createInterface({ input: this.child.stdout });
    const first = once(lines, 'line').then(([line]) => line);
    const gone = this.exited.then(({ code, signal, error }) => {
      throw error ?? new Error(`it ended at once, code ${code}, signal ${signal}`);
    });
    gone.catch(() => {});
    const line = await within(Promise.race([first, gone]), () => 'the first line on stdout', START_LIMIT_MS);
    const match = FIRST_LINE.exec(line);
    if (!match) throw new Error(`an unexpected first line: ${line}`);
    // Nobody reads on, but a full pipe would stop the server.
    lines.on('line', () => {});
    this.http = match[1].replace(/\/$/, '');
    this.port = Number(match[2]);
  }

  async status() {
    const response = await fetch(`${this.http}/status`, { signal: AbortSignal.timeout(5_000) });
    if (response.status !== 200) throw new Error(`/status answered ${response.status}`);
    return response.json();
  }

  async clientsIn(room) {
    const { rooms } = await this.status();
    return rooms.find(({ name }) => name === room)?.clients ?? 0;
  }

  terminate() {
    this.child.kill('SIGTERM');
  }

  ended(ms = END_LIMIT_MS) {
    return within(this.exited, () => 'the end of the server', ms);
  }

  async kill() {
    this.child.kill('SIGKILL');
    await this.ended();
  }

  report() {
    return `--- ${this.args.join(' ')}\n--- its stderr:\n${this.stderr || '(nothing)'}`;
  }
}
