"""`examples/support/`: what all examples on the server take from their command line."""

from websockets.exceptions import InvalidStatus

from example import ExampleCase

ON_THE_SERVER = ("gorilla_chat", "pool_chat", "push", "uptime")


class Arguments(ExampleCase):
    async def test_a_page_of_the_second_arguments_origin_may_connect_and_no_other(self):
        for name in ON_THE_SERVER:
            with self.subTest(name):
                path = "/status" if name == "uptime" else "/ws"
                example = await self.example(name, "127.0.0.1:0", "http://localhost:3000")
                await self.peer(example, path, origin="http://localhost:3000")
                with self.assertRaises(InvalidStatus) as refused:
                    await self.peer(example, path, origin="http://localhost:3001")
                self.assertEqual(refused.exception.response.status_code, 403)

    async def test_without_one_a_page_of_its_own_may_and_no_other(self):
        # What is behind `--` is the command's.
        example = await self.example("uptime", "127.0.0.1:0", "--", "echo", "http://localhost:3000")
        await self.peer(example, "/exec", origin=f"http://127.0.0.1:{example.port}")
        with self.assertRaises(InvalidStatus) as refused:
            await self.peer(example, "/exec", origin="http://localhost:3000")
        self.assertEqual(refused.exception.response.status_code, 403)
