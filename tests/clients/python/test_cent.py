"""The PyPI API client `cent`: what back ends do with it, against the SDK and plain members."""

import unittest

from cent import (
    AsyncClient,
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentUnauthorizedError,
    ChannelsRequest,
    Disconnect,
    DisconnectRequest,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)
from websockets.asyncio.client import connect

from support import Case, address, eventually

KEY = "a-key-of-the-tests-own"


class Cent(Case):
    async def backend(self):
        server = await self.server(api__key=KEY)
        return server, await self.client(server, KEY)

    async def client(self, server, key):
        client = AsyncClient(f"{server.http}/api", key)
        self.addAsyncCleanup(client._session.close)
        return client

    async def member(self, server, room, **query):
        before = await server.clients_in(room)
        socket = await connect(address(server, f"/ws/{room}", **query), proxy=None)
        self.addAsyncCleanup(socket.close)

        async def is_in():
            return await server.clients_in(room) == before + 1

        await eventually(f"a member of {room}", is_in)
        return socket

    async def test_a_publication_arrives_as_it_was_sent(self):
        server, api = await self.backend()
        member = await self.member(server, "lobby")

        result = await api.publish(PublishRequest(channel="lobby", data={"text": "hello 🦀"}))
        self.assertEqual(result.offset, 1)
        self.assertTrue(result.epoch)
        self.assertEqual(await member.recv(), '{"text": "hello \\ud83e\\udd80"}')
        await api.publish(PublishRequest(channel="lobby", data=None, b64data="AP8="))
        self.assertEqual(await member.recv(), b"\0\xff")

    async def test_tags_are_kept_with_a_publication(self):
        server, api = await self.backend()

        await api.publish(PublishRequest(channel="lobby", data=1, tags={"lang": "de"}))

        (kept,) = (await api.history(HistoryRequest(channel="lobby", limit=-1))).publications
        self.assertEqual((kept.data, kept.tags), (1, {"lang": "de"}))

    async def test_what_skips_history_is_heard_and_not_kept(self):
        server, api = await self.backend()
        member = await self.member(server, "lobby")

        result = await api.publish(PublishRequest(channel="lobby", data=1, skip_history=True))

        self.assertFalse(result.offset)
        self.assertEqual(await member.recv(), "1")
        page = await api.history(HistoryRequest(channel="lobby", limit=-1))
        self.assertEqual((page.publications, page.offset), ([], 0))

    async def test_a_broadcast_answers_for_each_room(self):
        server, api = await self.backend()
        members = [await self.member(server, room) for room in ("one", "two")]

        result = await api.broadcast(BroadcastRequest(channels=["one", "two"], data="hi"))

        self.assertEqual([response.result.offset for response in result.responses], [1, 1])
        for member in members:
            self.assertEqual(await member.recv(), "hi")

    async def test_a_retry_with_the_same_key_publishes_once(self):
        server, api = await self.backend()
        request = PublishRequest(channel="lobby", data=1, idempotency_key="order-17")

        first, second = await api.publish(request), await api.publish(request)

        self.assertEqual((first.offset, first.epoch), (second.offset, second.epoch))
        self.assertEqual((await api.history(HistoryRequest(channel="lobby"))).offset, 1)

    async def test_rooms_can_be_looked_at(self):
        server, api = await self.backend()
        for user in ("ada", "ada", "bob"):
            await self.member(server, "lobby", uid=user)
        for n in (1, 2, 3):
            await api.publish(PublishRequest(channel="lobby", data=n))

        presence = (await api.presence(PresenceRequest(channel="lobby"))).presence
        self.assertEqual(sorted(info.user for info in presence.values()), ["ada", "ada", "bob"])
        stats = await api.presence_stats(PresenceStatsRequest(channel="lobby"))
        self.assertEqual((stats.num_clients, stats.num_users), (3, 2))
        page = await api.history(HistoryRequest(channel="lobby", limit=-1))
        self.assertEqual([pub.data for pub in page.publications], [1, 2, 3])
        since = StreamPosition(offset=2, epoch=page.epoch)
        page = await api.history(HistoryRequest(channel="lobby", limit=-1, since=since))
        self.assertEqual([pub.offset for pub in page.publications], [3])
        await api.history_remove(HistoryRemoveRequest(channel="lobby"))
        page = await api.history(HistoryRequest(channel="lobby", limit=-1))
        self.assertEqual((page.publications, page.offset), ([], 3))
        channels = (await api.channels(ChannelsRequest(pattern="l*"))).channels
        self.assertEqual({name: info.num_clients for name, info in channels.items()}, {"lobby": 3})
        (node,) = (await api.info(InfoRequest())).nodes
        self.assertEqual((node.num_clients, node.num_users), (3, 2))

    async def test_users_can_be_moved_and_sent_away(self):
        server, api = await self.backend()
        ada = await self.member(server, "lobby", uid="ada")

        await api.subscribe(SubscribeRequest(user="ada", channel="news"))
        await eventually("ada in news", lambda: server.clients_in("news"))
        await api.publish(PublishRequest(channel="news", data="hot"))
        self.assertEqual(await ada.recv(), "hot")
        await api.unsubscribe(UnsubscribeRequest(user="ada", channel="news"))

        async def is_out():
            return not await server.clients_in("news")

        await eventually("ada out of news", is_out)
        await api.disconnect(DisconnectRequest(user="ada", disconnect=Disconnect(code=4500, reason="bye")))
        await ada.wait_closed()
        self.assertEqual((ada.close_code, ada.close_reason), (4500, "bye"))

    async def test_a_batch_is_carried_out_in_its_order(self):
        server, api = await self.backend()
        requests = [PublishRequest(channel="lobby", data=n) for n in range(5)]

        result = await api.batch(BatchRequest(requests=requests, parallel=True))

        self.assertEqual([reply.offset for reply in result.replies], [1, 2, 3, 4, 5])
        page = await api.history(HistoryRequest(channel="lobby", limit=-1))
        self.assertEqual([pub.data for pub in page.publications], [0, 1, 2, 3, 4])

    async def test_errors_are_exceptions_with_their_code(self):
        server, api = await self.backend()

        for call, request, code in (
            (api.publish, PublishRequest(channel="", data=1), 107),
            (api.history, HistoryRequest(channel="lobby", since=StreamPosition(offset=9, epoch="")), 112),
        ):
            with self.assertRaises(CentApiResponseError) as refused:
                await call(request)
            self.assertEqual(refused.exception.code, code)
        stranger = await self.client(server, "another-key-than-that")
        with self.assertRaises(CentUnauthorizedError):
            await stranger.info(InfoRequest())


if __name__ == "__main__":
    unittest.main()
