"""`examples/manager.rs`: what a client says goes to all, with a newline behind it."""

import asyncio
import contextlib

from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from example import ExampleCase, heard, soon

# The example's own constant.
MESSAGE_BYTES_MAX = 64 * 1024


class Manager(ExampleCase):
    async def manager(self):
        return await self.example("manager")

    async def member(self, manager, count):
        """Nothing is said on the wire when one is in, but logged it is."""
        member = await self.peer(manager)
        await manager.logged(f"is here: {count} active connections$")
        return member

    async def members(self, manager, count):
        return [await self.member(manager, number + 1) for number in range(count)]

    async def test_what_one_says_goes_to_all_with_a_newline_behind_it(self):
        members = await self.members(await self.manager(), 3)
        await members[0].send("hello")
        await asyncio.gather(*(self.assert_hears(member, ["hello\n"]) for member in members))
        await members[2].send("Grüße, 世界")
        await asyncio.gather(*(self.assert_hears(member, ["Grüße, 世界\n"]) for member in members))
        # An empty message is one, too.
        await members[1].send("")
        await asyncio.gather(*(self.assert_hears(member, ["\n"]) for member in members))

    async def assert_hears(self, member, expected):
        self.assertEqual(await heard(member, len(expected)), expected)

    async def test_all_hear_the_same_in_one_order_however_many_speak_at_once(self):
        members = await self.members(await self.manager(), 4)

        async def speak(number):
            for index in range(250):
                await members[number].send(f"{number}:{index}")

        *heard_by, _ = await asyncio.gather(*(heard(member, 1000) for member in members), asyncio.gather(*map(speak, range(4))))
        for other in heard_by[1:]:
            self.assertEqual(other, heard_by[0])
        for number in range(4):
            own = [line for line in heard_by[0] if line.startswith(f"{number}:")]
            self.assertEqual(own, [f"{number}:{index}\n" for index in range(250)])

    async def test_whoever_closes_gets_its_goodbye_and_is_counted_out(self):
        manager = await self.manager()
        members = await self.members(manager, 3)
        for rest in (2, 1):
            leaver = members.pop()
            await soon(leaver.close())
            self.assertEqual(leaver.close_code, 1000)
            await manager.logged(f"is gone, it has closed: {rest} active connections$")
        await members[0].send("alone")
        await self.assert_hears(members[0], ["alone\n"])

    async def test_whoever_breaks_off_is_counted_out(self):
        manager = await self.manager()
        stays, goes = await self.members(manager, 2)
        goes.transport.abort()
        await manager.logged("is gone, .+: 1 active connections$")
        await stays.send("still here")
        await self.assert_hears(stays, ["still here\n"])

    async def test_pings_are_answered_amid_what_others_say(self):
        asks, speaks = await self.members(await self.manager(), 2)
        hearing = asyncio.gather(heard(asks, 500), heard(speaks, 500))
        for index in range(500):
            await speaks.send(f"{index} " + "x" * 1000)
            if index % 50 == 0:
                await soon(await asks.ping())
        for lines in await hearing:
            self.assertEqual([int(line.split()[0]) for line in lines], list(range(500)))

    async def test_a_client_that_does_not_read_is_dropped_at_the_deadline_and_delays_nobody(self):
        manager = await self.manager()
        speaks, hears = await self.members(manager, 2)
        deaf = await self.deaf_peer(manager)
        await manager.logged("is here: 3 active connections$")
        # More than sockets take, and more than the room holds for a member.
        lines = ["x" * 50_000 + str(number) for number in range(100)]

        async def speak():
            for line in lines:
                await speaks.send(line)

        said, *_ = await asyncio.gather(heard(hears, len(lines)), heard(speaks, len(lines)), speak())
        self.assertEqual(said, [f"{line}\n" for line in lines])
        self.assertFalse([line for line in manager.log.all if "is gone" in line], "they had to wait for its end")
        await manager.logged("is gone, deadline has elapsed: 2 active connections$")
        # Its end is one for its peer, too: what is left in the sockets, and then no more.
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionResetError):
            while await soon(loop.sock_recv(deaf, 65_536)):
                pass

    async def test_a_message_over_the_limit_costs_its_sender_the_connection(self):
        manager = await self.manager()
        stays, talks = await self.members(manager, 2)
        await talks.send("x" * MESSAGE_BYTES_MAX)
        await self.assert_hears(stays, ["x" * MESSAGE_BYTES_MAX + "\n"])
        await self.assert_hears(talks, ["x" * MESSAGE_BYTES_MAX + "\n"])
        with self.assertRaises(ConnectionClosed):
            await talks.send("x" * (MESSAGE_BYTES_MAX + 1))
            await soon(talks.recv())
        await manager.logged("is gone, .*too long.*: 1 active connections$")
        await stays.send("next")
        await self.assert_hears(stays, ["next\n"])

    async def test_bytes_that_are_no_text_reach_nobody(self):
        manager = await self.manager()
        stays, talks = await self.members(manager, 2)
        await talks.send(b"\xff\xfe")
        with self.assertRaises(ConnectionClosedError):
            await soon(talks.recv())
        await manager.logged("is gone, it does not speak text: 1 active connections$")
        await stays.send("next")
        await self.assert_hears(stays, ["next\n"])
