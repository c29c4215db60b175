"""`examples/gorilla_chat.rs`: the chat with the usual limits, and with messages that stay apart."""

import asyncio
import contextlib
import signal
import socket
import struct

from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from example import ExampleCase, heard, soon

# The example's own constants.
MESSAGE_BYTES_MAX = 512
WRITE_WAIT_S = 10
PONG_WAIT_S = 60
PING_PERIOD_S = 54
# More than the sockets of one that reads nothing take, and the room holds for it.
LINES = 10_000


def data_segments_in(peer):
    """How many TCP segments with data its socket has had: `tcpi_data_segs_in` of Linux's `tcp_info`."""
    info = peer.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    return struct.unpack_from("=I", info, 152)[0]


def frames(lines):
    """As a client sends them."""
    return b"".join(Frame(Opcode.TEXT, line.encode()).serialize(mask=True) for line in lines)


class Frames:
    """What comes on a socket that nobody else reads, frame by frame. A server's have no mask."""

    def __init__(self, socket):
        self.socket = socket
        self.buffer = b""

    async def take(self, count):
        while len(self.buffer) < count:
            part = await asyncio.get_running_loop().sock_recv(self.socket, 65_536)
            if not part:
                raise EOFError
            self.buffer += part
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    async def next(self):
        first, length = await self.take(2)
        if length == 126:
            length, = struct.unpack("!H", await self.take(2))
        return first & 0x0F, await self.take(length)


class GorillaChat(ExampleCase):
    async def chat(self):
        return await self.example("gorilla_chat")

    async def all_hear(self, clients, expected):
        for lines in await asyncio.gather(*(heard(client, len(expected)) for client in clients)):
            self.assertEqual(lines, expected)

    async def test_what_one_says_comes_to_all_line_ends_and_all(self):
        chat = await self.chat()
        clients = [await self.peer(chat, "/ws") for _ in range(3)]
        said = ["hello", "two\nlines", "Grüße, 世界", ""]
        for text in said:
            await clients[0].send(text)
        await self.all_hear(clients, said)

    async def test_what_is_white_around_a_text_is_cut_off(self):
        chat = await self.chat()
        clients = [await self.peer(chat, "/ws") for _ in range(2)]
        for text in (" hello ", "\r\n\ttwo\n lines\n", "\u2003wide\u00a0", " \n", "none"):
            await clients[0].send(text)
        await self.all_hear(clients, ["hello", "two\n lines", "wide", "", "none"])
        await clients[0].send(b" bytes ")
        await self.all_hear(clients, [b" bytes "])

    async def test_what_waits_comes_in_one_write_and_each_message_is_one(self):
        chat = await self.chat()
        says, hears = await self.peer(chat, "/ws"), await self.peer(chat, "/ws")
        before = data_segments_in(hears)
        lines = [f"message {number}" for number in range(100)]
        # At once, so that all of them wait for `hears` together.
        says.transport.write(frames(lines))
        await self.all_hear([hears, says], lines)
        self.assertLessEqual(data_segments_in(hears) - before, 10, "segments for 100 messages")

    async def test_a_message_may_be_as_long_as_the_limit_and_no_longer(self):
        chat = await self.chat()
        stays, talks = await self.peer(chat, "/ws"), await self.peer(chat, "/ws")
        longest = "x" * MESSAGE_BYTES_MAX
        await talks.send(longest)
        await self.all_hear([stays, talks], [longest])
        await talks.send(longest + "x")
        with self.assertRaises(ConnectionClosed):
            await soon(talks.recv())
        self.assertEqual(talks.close_code, 1009)
        await stays.send("next")
        await self.all_hear([stays], ["next"])

    async def test_a_client_that_does_not_read_is_dropped_and_the_others_hear_everything(self):
        chat = await self.chat()
        deaf = await self.deaf_peer(chat, "/ws")
        says, hears = Frames(await self.deaf_peer(chat, "/ws")), Frames(await self.deaf_peer(chat, "/ws"))
        loop = asyncio.get_running_loop()
        began = loop.time()
        lines = [f"{number} ".ljust(MESSAGE_BYTES_MAX, "x") for number in range(LINES)]
        # Never more at once than the others can follow.
        for at in range(0, LINES, 100):
            part = lines[at:at + 100]
            expected = b"".join(Frame(Opcode.TEXT, line.encode()).serialize(mask=False) for line in part)
            await loop.sock_sendall(says.socket, frames(part))
            for client in (says, hears):
                self.assertEqual(await soon(client.take(len(expected))), expected)
        self.assertLess(loop.time() - began, WRITE_WAIT_S, "the write deadline would have dropped it, too")
        got = Frames(deaf)
        count = 0
        # A goodbye is the last thing, if its sockets took one in time.
        with contextlib.suppress(EOFError):
            while (frame := await soon(got.next()))[0] == Opcode.TEXT:
                self.assertEqual(frame[1].decode(), lines[count])
                count += 1
            self.assertEqual((frame[0], frame[1][:2]), (Opcode.CLOSE, struct.pack("!H", 1013)))
        self.assertLess(count, LINES)

    async def test_it_ends_in_good_order(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                chat = await self.chat()
                client = await self.peer(chat, "/ws")
                self.assertEqual(await chat.stop(number), 0)
                with self.assertRaises(ConnectionClosed):
                    await soon(client.recv())
                self.assertEqual(client.close_code, 1001)


class Deadlines(ExampleCase):
    # It takes as long as it says.
    limit_s = PONG_WAIT_S + 30

    async def test_who_answers_no_ping_is_dropped_within_a_minute_and_who_does_stays(self):
        chat = await self.example("gorilla_chat")
        mute = Frames(await self.deaf_peer(chat, "/ws"))
        answers = await self.peer(chat, "/ws", ping_interval=None)
        clock = asyncio.get_running_loop().time
        began = clock()
        async with asyncio.timeout(PING_PERIOD_S + 5):
            opcode, _ = await mute.next()
        pinged = clock()
        self.assertEqual(opcode, Opcode.PING)
        # The first one comes at random in the second half of the period.
        self.assertGreater(pinged - began, PING_PERIOD_S / 2 - 1)
        async with asyncio.timeout(PONG_WAIT_S - PING_PERIOD_S + 5):
            opcode, _ = await mute.next()
        self.assertEqual(opcode, Opcode.CLOSE)
        self.assertGreater(clock() - pinged, PONG_WAIT_S - PING_PERIOD_S - 1)
        # Its own ping was answered, or comes yet.
        await asyncio.sleep(max(0, began + PONG_WAIT_S + 1 - clock()))
        await answers.send("still here")
        self.assertEqual(await soon(answers.recv()), "still here")
