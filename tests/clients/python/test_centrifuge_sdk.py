"""The PyPI SDK `centrifuge-python`: connects, chats, is present, and comes back without a gap."""

import base64
import hashlib
import hmac
import json
import time
import unittest

from centrifuge import Client, ClientEventHandler, ReplyError, SubscriptionEventHandler

from support import Case, Log, address, eventually


SECRET = "a-secret-of-the-tests-32-bytes-or-more"


def token(**claims):
    """A token as a back end signs it."""
    def encoded(octets):
        return base64.urlsafe_b64encode(octets).rstrip(b"=")

    head = json.dumps({"alg": "HS256", "typ": "JWT"}).encode()
    signed = encoded(head) + b"." + encoded(json.dumps(claims).encode())
    signature = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + encoded(signature)).decode()


class Session(ClientEventHandler):
    def __init__(self, user):
        self.connected = Log(f"sessions of {user}")
        self.lost = Log(f"lost sessions of {user}")

    async def on_connected(self, ctx):
        self.connected.push(ctx)

    async def on_connecting(self, ctx):
        if ctx.code:
            self.lost.push(ctx)

    async def on_disconnected(self, ctx):
        self.lost.push(ctx)


class Membership(SubscriptionEventHandler):
    def __init__(self, room):
        self.subscribed = Log(f"subscribed events in {room}")
        self.publications = Log(f"publications in {room}")
        self.joins = Log(f"joins in {room}")
        self.leaves = Log(f"leaves in {room}")

    async def on_subscribed(self, ctx):
        self.subscribed.push(ctx)

    async def on_publication(self, ctx):
        self.publications.push(ctx.pub)

    async def on_join(self, ctx):
        self.joins.push(ctx.info)

    async def on_leave(self, ctx):
        self.leaves.push(ctx.info)

    def heard(self):
        return [(pub.offset, pub.data) for pub in self.publications.all]


class CentrifugeSdk(Case):
    async def connect(self, at, user, **options):
        session = Session(user)
        # Who brings a token is who it says.
        query = {} if options else {"uid": user}
        client = Client(
            address(at, "/connection/websocket", **query),
            events=session,
            min_reconnect_delay=0.05,
            max_reconnect_delay=0.2,
            proxy=None,
            **options,
        )
        self.addAsyncCleanup(client.disconnect)
        await client.connect()
        client.id = (await session.connected.next()).client
        client.session = session
        return client

    async def join(self, client, room="lobby", **options):
        events = Membership(room)
        subscription = client.new_subscription(room, events=events, **options)
        await subscription.subscribe()
        await events.subscribed.next()
        events.subscription = subscription
        return events

    async def test_two_clients_chat_and_hear_themselves_and_who_spoke(self):
        server = await self.server()
        ada, bob = await self.connect(server, "ada"), await self.connect(server, "bob")
        hers, his = await self.join(ada), await self.join(bob)

        await hers.subscription.publish({"text": "hello 🦀"})
        await bob.publish("lobby", ["from", 2])

        for member in (hers, his):
            await member.publications.reaches(2)
            said = [(pub.data, pub.info.user, pub.info.client) for pub in member.publications.all]
            self.assertEqual(said, [({"text": "hello 🦀"}, "ada", ada.id), (["from", 2], "bob", bob.id)])

    async def test_presence_counts_connections_and_users(self):
        server = await self.server()
        ada, again, bob = [await self.connect(server, user) for user in ("ada", "ada", "bob")]
        for client in (ada, again, bob):
            await self.join(client)

        present = await ada.presence("lobby")
        self.assertEqual({key: info.user for key, info in present.clients.items()}, {ada.id: "ada", again.id: "ada", bob.id: "bob"})
        stats = await ada.presence_stats("lobby")
        self.assertEqual((stats.num_clients, stats.num_users), (3, 2))

    async def test_join_and_leave_are_told_to_who_asks(self):
        server = await self.server()
        ada, bob = await self.connect(server, "ada"), await self.connect(server, "bob")
        hers = await self.join(ada, join_leave=True)

        his = await self.join(bob)
        self.assertEqual((await hers.joins.find(lambda info: info.user == "bob")).client, bob.id)
        await his.subscription.unsubscribe()
        self.assertEqual((await hers.leaves.find(lambda info: info.user == "bob")).client, bob.id)

    async def test_history_is_numbered_and_has_a_position(self):
        server = await self.server()
        ada = await self.connect(server, "ada")
        for n in (1, 2, 3):
            await ada.publish("lobby", n)

        history = await ada.history("lobby", limit=-1)

        self.assertEqual([(pub.offset, pub.data) for pub in history.publications], [(1, 1), (2, 2), (3, 3)])
        self.assertEqual(history.offset, 3)
        self.assertTrue(history.epoch)

    async def test_an_error_of_the_server_is_an_exception_with_its_code(self):
        server = await self.server()
        ada = await self.connect(server, "ada")

        with self.assertRaises(ReplyError) as refused:
            await ada.rpc("nothing", {})
        self.assertIn(refused.exception.code, (104, 108))
        with self.assertRaises(ReplyError) as refused:
            await ada.publish("x" * 256, 1)
        self.assertEqual(refused.exception.code, 107)

    async def test_a_lost_connection_is_recovered_without_gap_or_repetition(self):
        server = await self.server()
        relay = await self.relay(server)
        ada, bob = await self.connect(relay, "ada"), await self.connect(server, "bob")
        hers = await self.join(ada, recoverable=True)
        for n in range(1, 4):
            await bob.publish("lobby", n)
        await hers.publications.reaches(3)

        relay.cut()
        await ada.session.lost.next()
        await eventually("an attempt while cut", lambda: relay.refused)
        for n in range(4, 9):
            await bob.publish("lobby", n)
        relay.mend(server.port)
        back = await hers.subscribed.next()
        await bob.publish("lobby", 9)

        self.assertEqual((back.was_recovering, back.recovered), (True, True))
        await hers.publications.reaches(9)
        self.assertEqual(hers.heard(), [(n, n) for n in range(1, 10)])

    async def test_what_history_no_longer_has_is_not_recovered_in_part(self):
        server = await self.server(room_defaults__history_size=2)
        relay = await self.relay(server)
        ada, bob = await self.connect(relay, "ada"), await self.connect(server, "bob")
        hers = await self.join(ada, recoverable=True)
        await bob.publish("lobby", "heard")
        await hers.publications.reaches(1)

        relay.cut()
        await ada.session.lost.next()
        for n in range(4):
            await bob.publish("lobby", f"missed {n}")
        relay.mend(server.port)
        back = await hers.subscribed.next()
        await bob.publish("lobby", "live")

        self.assertEqual((back.was_recovering, back.recovered), (True, False))
        await hers.publications.find(lambda pub: pub.data == "live")
        self.assertEqual([pub.data for pub in hers.publications.all], ["heard", "live"])

    async def test_tokens_are_refreshed_for_the_connection_and_for_a_room(self):
        # Enough for an SDK, which counts whole seconds; not for who does not refresh.
        server = await self.server(tokens__hmac_secret=SECRET, rooms__vip__subscribe="token", timeouts__refresh="1500ms")
        asked = []

        async def connection_token():
            asked.append("connection")
            return token(sub="ada", exp=int(time.time()) + 2, info={"name": "Ada"})

        async def room_token(room):
            asked.append(room)
            return token(sub="ada", channel=room, exp=int(time.time()) + 2)

        ada = await self.connect(server, "ada", get_token=connection_token)
        hers = await self.join(ada, "vip:a", get_token=room_token)

        async def were_refreshed():
            return min(asked.count("connection"), asked.count("vip:a")) >= 4

        await eventually("three refreshes of each", were_refreshed)
        await hers.subscription.publish("still here")
        heard = await hers.publications.next()
        self.assertEqual((heard.data, heard.info.user, heard.info.conn_info), ("still here", "ada", {"name": "Ada"}))
        self.assertEqual((len(ada.session.connected.all), len(hers.subscribed.all), ada.session.lost.all), (1, 1, []))


if __name__ == "__main__":
    unittest.main()
