"""`examples/uptime.rs`: its seconds at `/status`, a command's lines at `/exec`."""

import re
import signal
import tempfile
from pathlib import Path

from websockets.exceptions import ConnectionClosed, InvalidStatus

from example import ExampleCase, heard, soon
from support import eventually

SECONDS = re.compile(r"(\d+) seconds uptime")


def seconds(line):
    return int(SECONDS.fullmatch(line)[1])


def is_running(pid):
    """Whether it is there, and not a corpse that nobody has collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Uptime(ExampleCase):
    async def uptime(self, *command):
        return await self.example("uptime", "127.0.0.1:0", *(("--", *command) if command else ()))

    async def test_all_who_listen_hear_every_second(self):
        uptime = await self.uptime()
        one, other = await self.peer(uptime, "/status"), await self.peer(uptime, "/status")
        lines = await heard(other, 2)
        first = seconds(lines[0])
        self.assertEqual(lines, [f"{number} seconds uptime" for number in (first, first + 1)])
        await self.hears_from(one, lines[0])
        self.assertEqual(await soon(one.recv()), lines[1])

    async def hears_from(self, peer, line):
        """`peer` hears `line`, sooner or later."""
        while await soon(peer.recv()) != line:
            pass

    async def test_a_newcomer_chooses_between_what_is_new_and_all_since_the_start(self):
        uptime = await self.uptime()
        early = await self.peer(uptime, "/status?since=start")
        self.assertEqual(await heard(early, 2), ["1 seconds uptime", "2 seconds uptime"])
        late = await self.peer(uptime, "/status?since=start")
        self.assertEqual(await heard(late, 3), [f"{number} seconds uptime" for number in (1, 2, 3)])
        new = await self.peer(uptime, "/status")
        self.assertGreater(seconds(await soon(new.recv())), 3)

    async def test_a_client_has_no_say(self):
        uptime = await self.uptime()
        says, hears = await self.peer(uptime, "/status"), await self.peer(uptime, "/status")
        await says.send("1000 seconds uptime")
        with self.assertRaises(ConnectionClosed):
            while True:
                await soon(says.recv())
        self.assertEqual(says.close_code, 1008)
        for line in await heard(hears, 2):
            self.assertLess(seconds(line), 1000)

    async def test_both_outputs_of_the_command_and_its_end_are_heard(self):
        uptime = await self.uptime("sh", "-c", "echo out; echo err >&2; printf 'no \\377 text'; exit 3")
        peer = await self.peer(uptime, "/exec?since=start")
        *lines, end = await heard(peer, 4)
        self.assertEqual(sorted(lines), ["err", "no \N{REPLACEMENT CHARACTER} text", "out"])
        self.assertEqual(end, "exit status: 3")

    async def test_since_the_start_means_all_lines_of_a_long_output(self):
        uptime = await self.uptime("seq", "5000")
        expected = [str(number + 1) for number in range(5000)] + ["exit status: 0"]
        watches = await self.peer(uptime, "/exec?since=start")
        self.assertEqual(await heard(watches, 5001), expected)
        late = await self.peer(uptime, "/exec?since=start")
        self.assertEqual(await heard(late, 5001), expected)

    async def test_who_wants_what_is_new_gets_no_line_from_before(self):
        with tempfile.TemporaryDirectory() as place:
            go = Path(place, "go")
            uptime = await self.uptime("sh", "-c", 'echo old; until test -e "$0"; do sleep 0.02; done; echo new', go)
            self.assertEqual(await heard(await self.peer(uptime, "/exec?since=start"), 1), ["old"])
            peer = await self.peer(uptime, "/exec")
            go.touch()
            self.assertEqual(await heard(peer, 2), ["new", "exit status: 0"])

    async def test_without_a_command_there_is_no_exec(self):
        with self.assertRaises(InvalidStatus) as refused:
            await self.peer(await self.uptime(), "/exec")
        self.assertEqual(refused.exception.response.status_code, 404)

    async def test_it_ends_in_good_order_and_its_command_with_it(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                uptime = await self.uptime("sh", "-c", "echo $$; exec sleep 600")
                listens = await self.peer(uptime, "/status")
                pid = await soon((await self.peer(uptime, "/exec?since=start")).recv())
                self.assertTrue(is_running(pid))
                self.assertEqual(await uptime.stop(number), 0)
                with self.assertRaises(ConnectionClosed):
                    while True:
                        await soon(listens.recv())
                self.assertEqual(listens.close_code, 1001)
                await eventually("the command is gone", lambda: not is_running(pid))
