"""`examples/pool_chat.rs`: what one says comes to all, and all hear who comes and goes."""

import asyncio
import signal

from websockets.exceptions import ConnectionClosed

from example import ExampleCase, heard, soon

JOINED = '{"type":1,"body":"New User Joined..."}'
LEFT = '{"type":1,"body":"User Disconnected..."}'


class PoolChat(ExampleCase):
    async def pool(self):
        return await self.example("pool_chat")

    async def users(self, pool, count):
        """So many, who have heard each other come."""
        users = []
        for _ in range(count):
            users.append(await self.peer(pool, "/ws"))
            await self.all_hear(users, [JOINED])
        return users

    async def all_hear(self, users, expected):
        for lines in await asyncio.gather(*(heard(user, len(expected)) for user in users)):
            self.assertEqual(lines, expected)

    async def test_what_one_says_comes_to_all_with_its_type(self):
        users = await self.users(await self.pool(), 3)
        await users[1].send("hello")
        await users[1].send('"Grüße",\n世界 \\')
        await users[1].send(b"bytes \xff")
        await self.all_hear(users, [
            '{"type":1,"body":"hello"}',
            '{"type":1,"body":"\\"Grüße\\",\\n世界 \\\\"}',
            '{"type":2,"body":"bytes \N{REPLACEMENT CHARACTER}"}',
        ])

    async def test_a_newcomer_hears_of_itself_and_of_nothing_before(self):
        pool = await self.pool()
        users = await self.users(pool, 1)
        await users[0].send("before")
        await self.all_hear(users, ['{"type":1,"body":"before"}'])
        late = await self.peer(pool, "/ws?since=start")
        await users[0].send("after")
        await self.all_hear([late, *users], [JOINED, '{"type":1,"body":"after"}'])

    async def test_the_rest_hears_who_goes_however_he_goes(self):
        pool = await self.pool()
        users = await self.users(pool, 3)
        await users.pop().close()
        await self.all_hear(users, [LEFT])
        users.pop().transport.abort()
        await self.all_hear(users, [LEFT])
        await users[0].send("alone")
        await self.all_hear(users, ['{"type":1,"body":"alone"}'])

    async def test_the_size_of_the_pool_is_printed_whenever_it_changes_with_the_client(self):
        pool = await self.pool()
        users = await self.users(pool, 2)
        first = await pool.logged(r"^New User Joined\.\.\. (\S+): 1 in the pool$")
        second = await pool.logged(r"^New User Joined\.\.\. (\S+): 2 in the pool$")
        self.assertNotEqual(first[1], second[1])
        await users[1].send("four")
        self.assertEqual((await pool.logged(r"^(\S+) says 4 bytes$"))[1], second[1])
        await users[0].close()
        gone = await pool.logged(r"^User Disconnected\.\.\. (\S+): 1 in the pool$")
        self.assertEqual(gone[1], first[1])

    async def test_who_gives_a_name_has_come_once_and_gone_once(self):
        pool = await self.pool()
        users = await self.users(pool, 1)
        named = await self.peer(pool, "/ws?uid=ann")
        await named.send("hello")
        await self.all_hear([named, *users], [JOINED, '{"type":1,"body":"hello"}'])
        await named.close()
        await self.all_hear(users, [LEFT])
        await users[0].send("still here")
        await self.all_hear(users, ['{"type":1,"body":"still here"}'])

    async def test_many_who_come_and_go_at_once_are_all_counted(self):
        pool = await self.pool()
        stays, = await self.users(pool, 1)
        guests = await asyncio.gather(*(self.peer(pool, "/ws") for _ in range(30)))
        self.assertEqual(await heard(stays, 30), [JOINED] * 30)
        await asyncio.gather(*(guest.close() for guest in guests))
        self.assertEqual(await heard(stays, 30), [LEFT] * 30)
        await pool.logged("^User Disconnected.* 1 in the pool$")

    async def test_it_ends_in_good_order(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                pool = await self.pool()
                users = await self.users(pool, 2)
                self.assertEqual(await pool.stop(number), 0)
                for user in users:
                    with self.assertRaises(ConnectionClosed):
                        while True:
                            await soon(user.recv())
                    self.assertEqual(user.close_code, 1001)
