"""What a server takes up and says of itself, before a fault and after it; and members that listen."""

import asyncio
import os
import resource
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import support
from support import Case, address, eventually

# Whether nothing but loopback is there, and nobody else on it: run.sh says so.
OWN_NETWORK = bool(os.environ.get("SLABCAST_OWN_NETWORK"))
NEEDS_NETWORK = "there is no network to be had that is the test's own"

ACCOUNTS = ("delivered", "skipped", "discarded", "pending")


def raise_descriptor_limit():
    """A shell often allows fewer than there may be."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Member:
    """Somebody in a room who reads all the time, and keeps what he hears."""

    @classmethod
    async def join(cls, server, room="lobby", **query):
        socket = await connect(
            address(server, f"/ws/{room}", **query), proxy=None, compression=None, max_size=None,
            open_timeout=support.DEADLINE_S, close_timeout=1, ping_interval=None,
        )
        return cls(socket)

    def __init__(self, socket):
        self.socket = socket
        self.heard = []
        self.ended = None
        self.port = socket.local_address[1]
        self.reading = asyncio.create_task(self._read())

    async def _read(self):
        try:
            while True:
                self.heard.append(await self.socket.recv())
        except ConnectionClosed as end:
            self.ended = end

    async def say(self, text):
        await self.socket.send(text)

    async def has_heard(self, count, seconds=support.DEADLINE_S):
        try:
            await eventually(f"{count} messages", lambda: len(self.heard) >= count, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; heard {len(self.heard)}: {self.heard[-3:]}, {self.ended!r}") from None

    async def close(self):
        # At once, and whatever the network is like: a test has ended.
        self.socket.transport.abort()
        await asyncio.gather(self.reading, return_exceptions=True)


class FaultCase(Case):
    """A test that looks at what is left behind."""

    limit_s = 90.0

    async def asyncSetUp(self):
        await super().asyncSetUp()
        raise_descriptor_limit()

    async def house(self, **settings):
        """A server whose rooms go with their last member, and how many descriptors it has open."""
        server = await self.server(**({"room_defaults__history_size": 0} | settings))
        server.idle = descriptors(server.process.pid)
        return server

    async def member(self, server, room="lobby", **query):
        before = await server.clients_in(room)
        member = await Member.join(server, room, **query)
        self.addAsyncCleanup(member.close)

        async def is_in():
            return await server.clients_in(room) > before

        await eventually("one member more", is_in)
        return member

    async def members(self, server, count, room="lobby"):
        """As many, all of them at once."""
        before = await server.clients_in(room)
        members = await asyncio.gather(*(Member.join(server, room) for _ in range(count)))
        for member in members:
            self.addAsyncCleanup(member.close)

        async def are_in():
            return await server.clients_in(room) == before + count

        await eventually(f"{count} members more", are_in)
        return members

    async def settled(self, server, sessions=0, rooms=0, seconds=support.DEADLINE_S):
        """Waits until it takes up no more than that, and every frame is accounted for."""

        async def is_in_order():
            self.seen = status = await server.status()
            deliveries = status["deliveries"]
            return (
                (status["connections"], status["num_rooms"], deliveries["pending"]) == (sessions, rooms, 0)
                and deliveries["due"] == sum(deliveries[account] for account in ACCOUNTS)
                and status
            )

        try:
            status = await eventually("a house in order", is_in_order, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.seen}") from None
        pid = server.process.pid
        await eventually(
            "the descriptors' return", lambda: descriptors(pid) == server.idle + sessions, seconds
        )
        return status


async def took(awaitable):
    begin = time.monotonic()
    await awaitable
    return time.monotonic() - begin
