"""Networks that lose packets, cut peers off without a word, and are narrow: in a namespace of their own."""

import asyncio
import time
import unittest

import network
from household import NEEDS_NETWORK, OWN_NETWORK, FaultCase, Member
from support import eventually

PING_S = 1.0
CUT_OFF = 100
SAID_AMID_LOSS = 10_000
# As few packets as they may go in.
LOST_LEAST = 200


@unittest.skipUnless(OWN_NETWORK, NEEDS_NETWORK)
class Network(FaultCase):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.addCleanup(network.widen)
        self.addCleanup(network.heal)

    async def test_peers_that_are_cut_off_are_gone_after_two_pings_and_the_others_hear_everything(self):
        server = await self.house(timeouts__ping="1s", timeouts__pong="900ms", timeouts__close="500ms")
        stays = await self.member(server)
        lost = await self.members(server, CUT_OFF)

        network.cut_off(member.port for member in lost)
        begin, said = time.monotonic(), 0

        async def are_gone():
            nonlocal said
            await stays.say(f"{said}")
            said += 1
            await stays.has_heard(said)
            return await server.clients_in("lobby") == 1

        await eventually("their leaving the room", are_gone)
        waited = time.monotonic() - begin

        self.assertLess(waited, 2 * PING_S + 1)
        self.assertEqual(stays.heard, [f"{n}" for n in range(said)])
        status = await self.settled(server, sessions=1, rooms=1)
        self.assertEqual(status["closed"]["no_pong"], len(lost))

    async def test_who_is_back_in_time_has_missed_nothing(self):
        server = await self.house(timeouts__ping="20s", timeouts__pong="15s")
        stays, away = await self.member(server), await self.member(server)

        network.cut_off([away.port])
        said = [f"{n}" for n in range(200)]
        for text in said:
            await stays.say(text)
        await stays.has_heard(len(said))
        self.assertEqual(away.heard, [])
        network.heal()

        await away.has_heard(len(said), seconds=20)
        self.assertEqual(away.heard, said)
        self.assertEqual((await server.status())["connections"], 2)

    async def test_who_is_back_too_late_is_told_the_end_behind_what_was_said_before_it(self):
        server = await self.house(timeouts__ping="1s", timeouts__pong="900ms", timeouts__close="500ms")
        stays, away = await self.member(server), await self.member(server)

        network.cut_off([away.port])
        said = [f"{n}" for n in range(50)]
        for text in said:
            await stays.say(text)

        async def is_gone():
            return (await server.status())["connections"] == 1

        await eventually("the end of its session", is_gone)
        await stays.say("nobody but me")
        await stays.has_heard(len(said) + 1)
        network.heal()

        await eventually("the end", lambda: away.ended is not None, seconds=30)
        # All of it or a part, as far as its system was given it; in order, and nothing else.
        self.assertEqual(away.heard, said[: len(away.heard)])
        await self.settled(server, sessions=1, rooms=1)

    async def test_on_a_network_that_loses_a_tenth_everybody_hears_everything_in_order(self):
        server = await self.house(
            timeouts__ping="30s", timeouts__pong="25s",
            # A packet that is lost again and again is waited for longer each time.
            room_defaults__lag_bytes="32MiB", room_defaults__lag_messages=2 * SAID_AMID_LOSS,
        )
        members = await self.members(server, 5)

        network.small_packets()
        network.lose(server.port, percent=10)
        said = [f"{n} {'x' * 100}" for n in range(SAID_AMID_LOSS)]
        for text in said:
            await members[0].say(text)
        await asyncio.gather(*(member.has_heard(len(said), seconds=60) for member in members))
        lost = network.lost()
        network.heal()

        self.assertGreater(lost, LOST_LEAST, "the network loses too little to say anything")
        for member in members:
            self.assertEqual(member.heard, said)
        status = await server.status()
        self.assertEqual((status["connections"], status["dropped"]), (5, 0))

    async def test_on_a_narrow_network_the_whole_past_is_late_and_whole(self):
        server = await self.house(
            timeouts__ping="30s", timeouts__pong="25s", room_defaults__lag_bytes="32MiB",
            room_defaults__history_size=200, room_defaults__history_bytes="16MiB",
        )
        speaker = await self.member(server)
        said = [f"{n} {'x' * 50_000}" for n in range(120)]
        for text in said:
            await speaker.say(text)
        await speaker.has_heard(len(said))

        network.narrow("8mbit")
        begin = time.monotonic()
        # More than the system takes of it at once, so that the server has to wait.
        late = await Member.join(server, since="start")
        self.addAsyncCleanup(late.close)
        await late.has_heard(len(said), seconds=60)
        waited = time.monotonic() - begin

        self.assertGreater(waited, 3, "the network is not narrow")
        self.assertEqual(late.heard, said)
        network.widen()
        for member in (speaker, late):
            await member.close()
        status = await self.settled(server, rooms=1)
        self.assertEqual((status["dropped"], status["closed"]["write_timeout"]), (0, 0))


if __name__ == "__main__":
    unittest.main()
