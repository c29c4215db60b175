"""`slabcast connect` at a terminal: the line editor, and what happens to the line that is being written."""

import asyncio
import os
import pty
import termios

from websockets.asyncio.client import connect

from support import BINARY, DEADLINE_S, Case, address, eventually

UP, ENTER, END_OF_INPUT = "\x1b[A", "\r", "\x04"


class Screen:
    """A pseudoterminal with the program at it, and everything that was written there."""

    @classmethod
    async def start(cls, server, *args):
        near, far = pty.openpty()
        before = termios.tcgetattr(near)
        process = await asyncio.create_subprocess_exec(
            BINARY, "connect", server.http, "lobby", *args,
            stdin=far, stdout=far, stderr=far, start_new_session=True,
            env={"TERM": "xterm", "PATH": os.environ["PATH"]},
        )
        return cls(process, near, far, before)

    def __init__(self, process, near, far, before):
        self.process, self.near, self.far, self.before = process, near, far, before
        self.seen = ""
        asyncio.get_running_loop().add_reader(near, self._read)

    def _read(self):
        self.seen += os.read(self.near, 65536).decode(errors="replace")

    def type(self, keys):
        os.write(self.near, keys.encode())

    async def shows(self, text):
        """Waits until that was written, and forgets it and what came before."""
        await eventually(f"{text!r} on the screen", lambda: text in self.seen or self._unseen())
        self.seen = self.seen.partition(text)[2]

    def _unseen(self):
        self.last = self.seen[-2000:]

    async def ended(self):
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()

    def is_as_before(self):
        return termios.tcgetattr(self.near) == self.before

    async def close(self):
        asyncio.get_running_loop().remove_reader(self.near)
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        os.close(self.near)
        os.close(self.far)


class Terminal(Case):
    async def screen(self, server, *args):
        screen = await Screen.start(server, *args)
        self.addAsyncCleanup(screen.close)
        await screen.shows("you are in")
        await screen.shows("> ")
        return screen

    async def peer(self, server):
        peer = await connect(address(server, "/ws/lobby"), proxy=None, compression=None)
        self.addAsyncCleanup(peer.close)

        async def is_in():
            return await server.clients_in("lobby") == 2

        await eventually("the peer's coming", is_in)
        return peer

    async def test_a_message_that_comes_leaves_the_line_that_is_written_whole(self):
        server = await self.server()
        screen = await self.screen(server, "--user", "ada")
        peer = await self.peer(server)
        screen.type("hal")
        await screen.shows("hal")
        await peer.send("an interruption")
        await screen.shows("an interruption")
        # The line is written anew below it, and goes on.
        await screen.shows("> hal")
        screen.type("lo" + ENTER)
        async with asyncio.timeout(DEADLINE_S):
            self.assertEqual(await peer.recv(), "an interruption")
            self.assertEqual(await peer.recv(), "hallo")

    async def test_the_arrow_brings_back_what_was_written_before(self):
        server = await self.server()
        screen = await self.screen(server)
        peer = await self.peer(server)
        async with asyncio.timeout(DEADLINE_S):
            for text in ["first", "second"]:
                screen.type(text + ENTER)
                self.assertEqual(await peer.recv(), text)
                # The next line is begun: what is typed before belongs to no editor.
                await screen.shows(text)
                await screen.shows("> ")
            screen.type(UP + UP + ENTER)
            self.assertEqual(await peer.recv(), "first")

    async def test_the_terminal_is_as_it_was_whoever_ends_it(self):
        server = await self.server(limits__message_bytes=1000)
        for keys, code in [("/quit" + ENTER, 0), (END_OF_INPUT, 0), ("x" * 2000 + ENTER, 1)]:
            screen = await self.screen(server)
            self.assertFalse(screen.is_as_before())
            screen.type(keys)
            self.assertEqual(await screen.ended(), code)
            self.assertTrue(screen.is_as_before(), keys)

    async def test_what_others_write_can_not_command_the_terminal(self):
        server = await self.server()
        screen = await self.screen(server)
        peer = await self.peer(server)
        await peer.send("\x1b]0;owned\x07")
        await screen.shows("\\u{1b}]0;owned\\u{7}")
