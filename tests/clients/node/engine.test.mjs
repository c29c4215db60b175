// The suite runs on the engine that it was asked to run on.

import assert from 'node:assert/strict';
import { promise } from '../support/test.mjs';

promise('the_server_runs_the_engine_that_the_suite_asked_for', async (scope) => {
  const server = await scope.server();

  const { engine } = await server.status();

  assert.equal(engine, process.env.SLABCAST_TEST_ENGINE ?? 'lock');
});
