"""`examples/push.rs`: whoever says who he is gets what is sent to that user, and nobody else does."""

import asyncio
import json
import signal
import urllib.parse

from websockets.exceptions import ConnectionClosed

from example import ExampleCase, heard, soon
from support import eventually


class Push(ExampleCase):
    async def push(self):
        return await self.example("push")

    async def state(self, push):
        status, headers, body = await push.get("/state")
        self.assertEqual((status, headers["content-type"]), (200, "application/json"))
        return json.loads(body)

    async def becomes(self, push, connections, **users):
        """The hub comes to that state: nothing is said on the wire when one is logged in."""
        expected = {"connections": connections, "users": users}

        async def is_so():
            return await self.state(push) == expected

        await eventually(f"the state is {expected}", is_so)

    async def send(self, push, **query):
        status, _, body = await push.get(f"/send?{urllib.parse.urlencode(query)}")
        return status, json.loads(body)

    async def user(self, push, uid):
        peer = await self.peer(push, "/ws")
        await peer.send(json.dumps({"uid": uid}))
        return peer

    async def hears_next(self, push, peer, uid, text):
        """Of all that was said, that is the next that it gets."""
        await self.send(push, uid=uid, message=text)
        self.assertEqual(await soon(peer.recv()), text)

    async def test_a_message_goes_to_all_connections_of_its_user_and_to_no_other(self):
        push = await self.push()
        phone, desk, other = await self.user(push, "ann"), await self.user(push, "ann"), await self.user(push, "bob")
        await self.becomes(push, 3, ann=2, bob=1)
        self.assertEqual(await self.send(push, uid="ann", message="Grüße & mehr"), (200, {"connections": 2}))
        for peer in (phone, desk):
            self.assertEqual(await soon(peer.recv()), "Grüße & mehr")
        self.assertEqual(await self.send(push, uid="bob", message="for bob"), (200, {"connections": 1}))
        self.assertEqual(await soon(other.recv()), "for bob")

    async def test_who_has_not_said_who_he_is_is_connected_and_gets_nothing(self):
        push = await self.push()
        stranger = await self.peer(push, "/ws")
        for nonsense in ("hello", "{}", '{"uid":7}', '{"uid":""}', '["uid"]', b"\x00\xff", '{"uid":"a\\u0000b"}'):
            await stranger.send(nonsense)
        # The answer to it comes after all of that was read.
        await soon(await stranger.ping())
        await self.becomes(push, 1)
        # And may still say it.
        await stranger.send(b'{"uid":"ann"}')
        await self.becomes(push, 1, ann=1)
        await self.hears_next(push, stranger, "ann", "welcome")

    async def test_what_clients_say_reaches_nobody(self):
        push = await self.push()
        ann, bob = await self.user(push, "ann"), await self.user(push, "bob")
        await self.becomes(push, 2, ann=1, bob=1)
        for said in ("hello", b"bytes", '{"uid":"bob"}'):
            await ann.send(said)
        await soon(await ann.ping())
        await self.hears_next(push, bob, "bob", "first")
        await self.hears_next(push, ann, "ann", "first")

    async def test_who_he_is_one_says_once(self):
        push = await self.push()
        ann = await self.user(push, "ann")
        await ann.send('{"uid":"bob"}')
        await soon(await ann.ping())
        await self.becomes(push, 1, ann=1)
        self.assertEqual((await self.send(push, uid="bob", message="x"))[0], 404)
        await self.hears_next(push, ann, "ann", "for ann")

    async def test_a_user_without_a_connection_is_not_found(self):
        push = await self.push()
        status, answer = await self.send(push, uid="ann", message="hello")
        self.assertEqual((status, answer), (404, {"error": "that user has no connection here"}))
        await self.becomes(push, 0)
        # And is not told later.
        ann = await self.user(push, "ann")
        await self.becomes(push, 1, ann=1)
        await self.hears_next(push, ann, "ann", "next")

    async def test_what_is_missing_is_said(self):
        push = await self.push()
        for query in ({"uid": "ann"}, {"message": "hello"}, {"uid": "", "message": "hello"}, {}):
            with self.subTest(query):
                status, answer = await self.send(push, **query)
                self.assertEqual(status, 400)
                self.assertIn("/send?uid=", answer["error"])

    async def test_no_page_of_another_site_can_push_by_a_link_or_otherwise(self):
        push = await self.push()
        ann = await self.user(push, "ann")
        await self.becomes(push, 1, ann=1)
        for headers in (
            {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "nonsense"},
            {"Origin": "http://elsewhere.example"}, {"Origin": "null"},
        ):
            with self.subTest(headers):
                self.assertEqual((await push.get("/send?uid=ann&message=foreign", **headers))[0], 403)
        # A program, somebody who writes the address himself, and a page of this server.
        for number, headers in enumerate((
            {}, {"Sec_Fetch_Site": "none"}, {"Sec_Fetch_Site": "same-origin"}, {"Origin": f"http://127.0.0.1:{push.port}"},
        )):
            self.assertEqual((await push.get(f"/send?uid=ann&message={number}", **headers))[0], 200)
            self.assertEqual(await soon(ann.recv()), str(number))

    async def test_the_user_goes_with_the_last_connection(self):
        push = await self.push()
        phone, desk = await self.user(push, "ann"), await self.user(push, "ann")
        await self.becomes(push, 2, ann=2)
        await phone.close()
        await self.becomes(push, 1, ann=1)
        self.assertEqual(await self.send(push, uid="ann", message="one"), (200, {"connections": 1}))
        self.assertEqual(await soon(desk.recv()), "one")
        desk.transport.abort()
        await self.becomes(push, 0)
        self.assertEqual((await self.send(push, uid="ann", message="two"))[0], 404)
        back = await self.user(push, "ann")
        await self.becomes(push, 1, ann=1)
        await self.hears_next(push, back, "ann", "three")

    async def test_what_is_sent_at_once_to_many_reaches_each_in_order(self):
        push = await self.push()
        users = [f"user {number}" for number in range(10)]
        peers = [await self.user(push, uid) for uid in users]
        await self.becomes(push, 10, **dict.fromkeys(users, 1))

        async def sending(uid):
            for number in range(20):
                self.assertEqual((await self.send(push, uid=uid, message=f"{uid}: {number}"))[0], 200)

        await asyncio.gather(*map(sending, users))
        for uid, peer in zip(users, peers):
            self.assertEqual(await heard(peer, 20), [f"{uid}: {number}" for number in range(20)])

    async def test_it_ends_in_good_order(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                push = await self.push()
                ann = await self.user(push, "ann")
                await self.becomes(push, 1, ann=1)
                await self.send(push, uid="ann", message="the last")
                self.assertEqual(await push.stop(number), 0)
                self.assertEqual(await soon(ann.recv()), "the last")
                with self.assertRaises(ConnectionClosed):
                    await soon(ann.recv())
                self.assertEqual(ann.close_code, 1001)
