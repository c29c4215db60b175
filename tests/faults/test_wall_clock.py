"""A wall clock that is set while the server runs: only tokens are looked at by it."""

import asyncio
import glob
import os
import subprocess
import tempfile
import time
import unittest
from email.utils import parsedate_to_datetime

from websockets.exceptions import InvalidStatus

from household import FaultCase, Member
from support import BINARY, eventually

SECRET = "a-secret-of-the-tests-32-bytes-or-more"
HOUR_S, DAY_S = 3600, 86_400


def library():
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not found:
        raise AssertionError("libfaketime is not installed")
    return found[0]


async def date(server):
    """What a stream of events begins with. Elsewhere the HTTP library keeps the date until a later one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(b"GET /sse/clock HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    finally:
        writer.transport.abort()
    (line,) = (line for line in head.splitlines() if line.lower().startswith("date: "))
    return parsedate_to_datetime(line[6:]).timestamp()


class WallClock(FaultCase):
    async def house_with_clock(self, **settings):
        """A server whose wall clock is what a file says, and its monotonic clock the system's."""
        handle, self.clock = tempfile.mkstemp()
        os.close(handle)
        self.addCleanup(os.unlink, self.clock)
        self.set_clock(0)
        server = await self.house(
            environment={
                "LD_PRELOAD": library(),
                "FAKETIME_TIMESTAMP_FILE": self.clock,
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            },
            **settings,
        )
        return server

    def set_clock(self, ahead_s):
        with open(self.clock, "w") as file:
            file.write(f"{ahead_s:+d}\n")

    async def jump(self, server, ahead_s):
        """Sets the clock, and sees that the server knows."""
        self.set_clock(ahead_s)

        async def is_seen():
            return abs(await date(server) - time.time() - ahead_s) < HOUR_S / 2

        await eventually(f"a clock that is {ahead_s} s ahead", is_seen)

    def token(self):
        """One of an hour, by the system's clock."""
        made = subprocess.run(
            (BINARY, "token", "--user", "ada", "--expires", "1h"), capture_output=True, text=True, check=True,
            env={"SLABCAST_TOKENS_HMAC_SECRET": SECRET},
        )
        return made.stdout.strip()

    async def test_sessions_pings_and_history_do_not_follow_the_wall_clock(self):
        server = await self.house_with_clock(
            timeouts__ping="1s", timeouts__pong="900ms", room_defaults__history_size=10,
        )
        ada = await self.member(server)
        await ada.say("before")
        await ada.has_heard(1)

        for turn, ahead_s in enumerate((DAY_S, -DAY_S, 0)):
            await self.jump(server, ahead_s)
            before = (await server.status())["received_bytes"]
            begin = time.monotonic()

            async def is_pinged_again():
                # Its answers: two bytes of header, and four of mask.
                return (await server.status())["received_bytes"] >= before + 2 * 6

            await eventually("two pings", is_pinged_again)
            # The first may have been due.
            self.assertGreater(time.monotonic() - begin, 0.8, "pings that came at once")
            await ada.say(f"after {turn}")
            await ada.has_heard(turn + 2)
            newcomer = await Member.join(server, since="start")
            self.addAsyncCleanup(newcomer.close)
            await newcomer.has_heard(turn + 2)
            self.assertEqual(newcomer.heard, ["before", *(f"after {n}" for n in range(turn + 1))])
            await newcomer.close()

        status = await server.status()
        self.assertEqual(status["closed"]["no_pong"], 0)
        self.assertIsNone(ada.ended)

    async def test_history_ends_by_the_time_that_has_passed_whatever_the_wall_clock_says(self):
        server = await self.house_with_clock(
            # More than it is asked.
            room_defaults__history_size=1000, room_defaults__history_ttl="2s",
        )
        ada = await self.member(server)
        begin = time.monotonic()
        await ada.say("soon forgotten")
        await ada.has_heard(1)
        await self.jump(server, -DAY_S)

        async def is_forgotten():
            late = await Member.join(server, since="start")
            try:
                await late.say("?")
                await late.has_heard(1)
                return late.heard[0] == "?"
            finally:
                await late.close()

        await eventually("forgetting", is_forgotten)
        self.assertGreaterEqual(time.monotonic() - begin, 2)

    async def test_a_token_is_good_by_the_wall_clock_when_it_comes_and_what_it_opened_stays(self):
        server = await self.house_with_clock(tokens__hmac_secret=SECRET, anonymous="true")
        token = self.token()
        ada = await Member.join(server, token=token)
        self.addAsyncCleanup(ada.close)
        await ada.say("before")
        await ada.has_heard(1)

        await self.jump(server, 2 * HOUR_S)
        with self.assertRaises(InvalidStatus) as refused:
            await Member.join(server, token=token)
        self.assertEqual(refused.exception.response.status_code, 401)
        await ada.say("after")
        await ada.has_heard(2)

        await self.jump(server, 0)
        bob = await Member.join(server, token=token)
        self.addAsyncCleanup(bob.close)
        await bob.say("back")
        await ada.has_heard(3)
        self.assertEqual(ada.heard, ["before", "after", "back"])


if __name__ == "__main__":
    unittest.main()
