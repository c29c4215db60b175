"""What the tests share: a server of their own, a connection that can be cut, and waits that end.

Nothing here sleeps to let something happen. Every wait is for an event, or asks for a condition
again and again, and gives up at a deadline with what was seen instead.
"""

import asyncio
import json
import os
import re
import unittest
import urllib.parse
import urllib.request
from pathlib import Path

DEADLINE_S = 10.0
START_LIMIT_S = 15.0
POLL_EVERY_S = 0.02
STDERR_KEPT = 20_000
TEST_LIMIT_S = 30.0

ROOT = Path(__file__).resolve().parents[3]
# Which engine the suite runs on, for all its servers.
ENGINE = os.environ.get("SLABCAST_TEST_ENGINE", "lock")
BINARY = os.environ.get("SLABCAST_BIN", str(ROOT / "target/release/slabcast"))
FIRST_LINE = re.compile(r"slabcast listens on (http://127\.0\.0\.1:(\d+))/")


async def eventually(what, probe, seconds=DEADLINE_S):
    """Returns the first truthy answer of `probe`, which may be asynchronous."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        seen = probe()
        if asyncio.iscoroutine(seen):
            seen = await seen
        if seen:
            return seen
        if loop.time() > end:
            raise AssertionError(f"not within {seconds} s: {what}; last seen: {seen!r}")
        await asyncio.sleep(POLL_EVERY_S)


class Log:
    """What happened, in order; everything is kept."""

    def __init__(self, what):
        self.what = what
        self.all = []
        self._read = 0
        self._news = asyncio.Event()

    def push(self, item):
        self.all.append(item)
        self._news.set()

    async def next(self, seconds=DEADLINE_S):
        self._read += 1
        await self.reaches(self._read, seconds)
        return self.all[self._read - 1]

    async def find(self, fits, seconds=DEADLINE_S):
        """The next one that fits; those before it are passed over."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._until(self._read + 1)
                    self._read += 1
                    if fits(self.all[self._read - 1]):
                        return self.all[self._read - 1]
        except TimeoutError:
            raise AssertionError(f"none that fits within {seconds} s: {self._seen()}") from None

    async def reaches(self, count, seconds=DEADLINE_S):
        try:
            async with asyncio.timeout(seconds):
                await self._until(count)
        except TimeoutError:
            raise AssertionError(f"no number {count} within {seconds} s: {self._seen()}") from None

    async def _until(self, count):
        while len(self.all) < count:
            self._news.clear()
            await self._news.wait()

    def _seen(self):
        return f"{self.what}, {len(self.all)} of them, the last {self.all[-5:]!r}"


class Server:
    """A slabcast process on a free port with a clean environment, ended by its handle."""

    @classmethod
    async def start(cls, environment=None, **settings):
        # In Python a dot can't stand in a name: timeouts__ping is timeouts.ping.
        sets = [part for key, value in settings.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]
        args = ["serve", "--listen", "127.0.0.1:0", "--engine", ENGINE, *sets]
        env = {name: value for name, value in os.environ.items() if not name.startswith("SLABCAST_")}
        env |= environment or {}
        process = await asyncio.create_subprocess_exec(
            BINARY, *args, cwd=ROOT, env=env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        server = cls(process, args)
        try:
            await server._ready()
        except BaseException as error:
            await server.kill()
            raise AssertionError(f"{BINARY} {' '.join(args)}: {error!r}\n{server.report()}") from error
        return server

    def __init__(self, process, args):
        self.process = process
        self.args = args
        self.stderr = ""
        self._readers = [asyncio.create_task(self._keep_stderr())]

    async def _ready(self):
        async with asyncio.timeout(START_LIMIT_S):
            line = (await self.process.stdout.readline()).decode().strip()
        match = FIRST_LINE.fullmatch(line)
        if not match:
            raise ValueError(f"an unexpected first line: {line!r}")
        self.http, self.port = match[1], int(match[2])
        # Nobody is interested in the rest, but a full pipe would stop the server.
        self._readers.append(asyncio.create_task(self.process.stdout.read()))

    async def _keep_stderr(self):
        while chunk := await self.process.stderr.read(4096):
            self.stderr = (self.stderr + chunk.decode(errors="replace"))[-STDERR_KEPT:]

    async def status(self):
        def read():
            with urllib.request.urlopen(f"{self.http}/status", timeout=5) as response:
                return json.load(response)

        return await asyncio.to_thread(read)

    async def clients_in(self, room):
        rooms = (await self.status())["rooms"]
        return next((found["clients"] for found in rooms if found["name"] == room), 0)

    def terminate(self):
        self.process.terminate()

    async def ended(self):
        async with asyncio.timeout(DEADLINE_S):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def kill(self):
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()

    def report(self):
        return f"--- {' '.join(self.args)}\n--- its stderr:\n{self.stderr or '(nothing)'}"


class Relay:
    """A TCP relay that can be cut: what a lost network looks like to both ends."""

    @classmethod
    async def start(cls, port):
        relay = cls(port)
        relay._listener = await asyncio.start_server(relay._accept, "127.0.0.1", 0)
        relay.port = relay._listener.sockets[0].getsockname()[1]
        relay.http = f"http://127.0.0.1:{relay.port}"
        return relay

    def __init__(self, target):
        self.target = target
        self.refused = 0
        self._writers = set()

    async def _accept(self, reader, writer):
        if self.target is None:
            self.refused += 1
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    @staticmethod
    async def _pump(reader, writer):
        try:
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()

    def cut(self):
        self.target = None
        for writer in self._writers:
            writer.transport.abort()

    def mend(self, port):
        self.target = port

    async def close(self):
        self.cut()
        self._listener.close()


class Case(unittest.IsolatedAsyncioTestCase):
    """A test with a limit in time, whose servers say what they have to say when it fails."""

    limit_s = TEST_LIMIT_S

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name, test in list(vars(cls).items()):
            if name.startswith("test_"):
                setattr(cls, name, limited(test))

    async def asyncSetUp(self):
        self.servers = []
        # unittest runs the loop in debug mode, which would report every hiccup of a loaded machine.
        asyncio.get_running_loop().slow_callback_duration = 1.0

    async def server(self, environment=None, **settings):
        server = await Server.start(environment, **settings)
        self.servers.append(server)
        self.addAsyncCleanup(server.kill)
        return server

    async def relay(self, server):
        relay = await Relay.start(server.port)
        self.addAsyncCleanup(relay.close)
        return relay


def limited(test):
    async def run(self):
        try:
            async with asyncio.timeout(self.limit_s):
                await test(self)
        except BaseException as error:
            error.add_note("\n".join(server.report() for server in self.servers))
            raise

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def address(at, path, **query):
    scheme_less = at.http.removeprefix("http")
    return f"ws{scheme_less}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
