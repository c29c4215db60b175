// Waiting without sleeping: for an event or for a condition, never longer than a deadline, and when
// the deadline passes the message says what did not happen and what was there instead.

import { setTimeout as pause } from 'node:timers/promises';
import { inspect } from 'node:util';

export const DEADLINE_MS = 10_000;
const POLL_EVERY_MS = 20;

export async function within(promise, what, ms = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what()}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// Asks again and again until the answer is truthy, and returns it. A probe that throws counts as "not yet".
export async function eventually(what, probe, ms = DEADLINE_MS) {
  const end = performance.now() + ms;
  for (;;) {
    let seen;
    try {
      seen = await probe();
      if (seen) return seen;
    } catch (error) {
      seen = error;
    }
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}; last seen: ${brief(seen)}`);
    await pause(POLL_EVERY_MS);
  }
}

// What happened, in order. Everything is kept, so that a test can also say what must not have happened.
export class Log {
  constructor(what) {
    this.what = what;
    this.all = [];
    this.read = 0;
    this.waiting = new Set();
  }

  push(item) {
    this.all.push(item);
    for (const look of [...this.waiting]) look();
  }

  // The next one, in order.
  async next(ms) {
    const at = this.read++;
    await this.reaches(at + 1, ms);
    return this.all[at];
  }

  async take(count, ms) {
    const at = this.read;
    this.read += count;
    await this.reaches(at + count, ms);
    return this.all.slice(at, at + count);
  }

  // The next one that fits; those before it are passed over.
  async find(fits, ms) {
    const start = this.read;
    let at;
    await this.holds(() => (at = this.all.findIndex((item, index) => index >= start && fits(item))) >= 0, `one where ${fits}`, ms);
    this.read = at + 1;
    return this.all[at];
  }

  async reaches(count, ms) {
    await this.holds(() => this.all.length >= count, `number ${count}`, ms);
  }

  holds(condition, wanted, ms) {
    let look;
    const met = new Promise((resolve) => {
      look = () => condition() && resolve();
      this.waiting.add(look);
      look();
    });
    const missing = () => `${this.what}: ${wanted}; there are ${this.all.length}, the last ${brief(this.all.slice(-5))}`;
    return within(met, missing, ms).finally(() => this.waiting.delete(look));
  }
}

function brief(value) {
  const text = inspect(value, { depth: 4, breakLength: Infinity, maxStringLength: 200 });
  return text.length > 1500 ? `${text.slice(0, 1500)}…` : text;
}
