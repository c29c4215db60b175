"""What the tests of the examples share: one of them as a process on a free port, and peers that listen.

Where an example listens, it says first: `NAME listens on ADDRESS`, or `listening on ADDRESS`. What it
says on stderr, its tests can wait for.
"""

import asyncio
import http.client
import os
import re
import socket
import urllib.parse

from websockets.asyncio.client import connect

from support import DEADLINE_S, ROOT, START_LIMIT_S, Case, Log

PLACE = os.environ.get("SLABCAST_EXAMPLES", str(ROOT / "target/debug/examples"))
FIRST_LINE = re.compile(r"(?:(\w+) listens|listening) on \w+://(127\.0\.0\.1:\d+)/?")


async def soon(awaitable):
    async with asyncio.timeout(DEADLINE_S):
        return await awaitable


class Example:
    """A process of one example, ended by its handle."""

    @classmethod
    async def start(cls, name, *args):
        process = await asyncio.create_subprocess_exec(
            f"{PLACE}/{name}", *(args or ["127.0.0.1:0"]), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        example = cls(name, process)
        try:
            async with asyncio.timeout(START_LIMIT_S):
                line = (await process.stdout.readline()).decode().strip()
            match = FIRST_LINE.fullmatch(line)
            if not match or match[1] not in (name, None):
                raise ValueError(f"an unexpected first line: {line!r}")
        except BaseException as error:
            await example.kill()
            raise AssertionError(f"{name}: {error!r}\n{example.report()}") from error
        example.url = f"ws://{match[2]}"
        example.port = urllib.parse.urlsplit(example.url).port
        # Nobody is interested in the rest, but a full pipe would stop it.
        example._readers.append(asyncio.create_task(process.stdout.read()))
        return example

    def __init__(self, name, process):
        self.name = name
        self.process = process
        self.log = Log(f"lines that {name} has logged")
        self._readers = [asyncio.create_task(self._read_stderr())]

    async def _read_stderr(self):
        while line := await self.process.stderr.readline():
            self.log.push(line.decode(errors="replace").rstrip())

    async def logged(self, pattern):
        """The next line of its log in which there is `pattern`."""
        return re.search(pattern, await self.log.find(lambda line: re.search(pattern, line)))

    async def get(self, path, **headers):
        """What is answered at `path`: the status, the headers, the body."""

        def read():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
            try:
                connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read().decode()
            finally:
                connection.close()

        return await asyncio.to_thread(read)

    async def stop(self, number):
        """Sends it that signal, and returns the code that it exits with."""
        self.process.send_signal(number)
        return await soon(self.process.wait())

    async def kill(self):
        if self.process.returncode is None:
            self.process.kill()
        async with asyncio.timeout(DEADLINE_S):
            await self.process.wait()
            await asyncio.gather(*self._readers)

    def report(self):
        log = "\n".join(self.log.all)
        return f"--- {self.name}, its stderr:\n{log or '(nothing)'}"


class ExampleCase(Case):
    """A test with a limit in time, whose example says what it has to say when it fails."""

    async def example(self, name, *args):
        example = await Example.start(name, *args)
        self.servers.append(example)
        self.addAsyncCleanup(example.kill)
        return example

    async def peer(self, example, path="/", **options):
        """A connection with the PyPI library `websockets`."""
        options = {"proxy": None, "compression": None, "open_timeout": DEADLINE_S, "close_timeout": 1} | options
        peer = await connect(example.url + path, **options)
        self.addAsyncCleanup(peer.close)
        return peer

    async def deaf_peer(self, example, path="/"):
        """One that has got through the handshake, and reads nothing after it."""
        deaf = socket.socket()
        self.addCleanup(deaf.close)
        deaf.setblocking(False)
        # Before it connects: a window is not made smaller afterwards.
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", example.port))
        await loop.sock_sendall(deaf, (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{example.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            part = await soon(loop.sock_recv(deaf, 1))
            self.assertTrue(part, f"the handshake has ended: {answer!r}")
            answer += part
        self.assertIn(b" 101 ", answer)
        return deaf


async def heard(peer, count):
    """The next `count` messages."""
    return [await soon(peer.recv()) for _ in range(count)]
