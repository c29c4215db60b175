"""What protocol.md and the README say of HTTP, asked of a server."""

import json
import re

from markdown import ROOT, codes, rows, section
from sandbox import URL, SandboxTest, api, eventually, get

PROTOCOL = "docs/protocol.md"


def api_methods():
    """The rows of the API's table: method → the fields that it takes."""
    methods = {}
    for method, request, _ in rows(section(PROTOCOL, "The server API: `POST /api/<method>`")):
        named = codes(method)[0]
        # `since {offset,epoch}` is one field, and "the rest as `publish`" is not one.
        as_other = re.search(r"the rest as `(\w+)`", request)
        own = [code.split(" ")[0] for code in codes(re.sub(r"the rest as `\w+`", "", request).split(":")[0])]
        methods[named] = own if not as_other else own + [f for f in methods[as_other[1]] if f != "channel"]
    return methods


class Http(SandboxTest):
    def setUp(self):
        super().setUp()
        self.serve()

    def test_every_path_of_the_readme_answers(self):
        seen = []
        for path, *_ in rows(section("README.md", "What it speaks")):
            for path in codes(path):
                path = path.replace("{room}", "lobby").replace("…", "info")
                # A stream would not end; that it begins is what test_commands.py sees.
                status = 200 if path.startswith("/sse/") else get(path)[0]
                # 405 and 426 are said of what is there, but not by GET, or not without an upgrade.
                self.assertIn(status, {200, 400, 401, 405, 426}, path)
                seen.append(path)
        self.assertGreaterEqual(len(seen), 11)
        self.assertEqual(get("/no-such-path")[0], 404)

    def test_every_method_of_the_api_is_there_and_takes_its_fields(self):
        methods = api_methods()
        self.assertEqual(len(methods), 12, methods)
        for method, fields in methods.items():
            for field in fields:
                # No field takes this, so what is refused is the value, and not the field.
                _, answer = api(method, json.dumps({field: {"no such": "value"}}).encode())
                with self.subTest(method=method, field=field):
                    self.assertNotIn(f"unknown field `{field}`", answer)
            status, answer = api(method, b'{"no_such_field":1}')
            self.assertEqual(status, 200, f"{method}: {answer}")
            self.assertIn('"code":107', answer, method)
            self.assertIn("no_such_field", answer, method)

    def test_the_api_has_no_method_that_is_not_in_the_table(self):
        spec = (ROOT / "docs/openapi.yaml").read_text()
        described = set(re.findall(r"^  /api/(\w+):", spec, re.M))
        self.assertEqual(described, set(api_methods()))

    def test_a_stream_looks_as_it_is_shown(self):
        shown = re.search(r"```\n(retry: .*?)```", (ROOT / PROTOCOL).read_text(), re.S)[1]
        listener = self.start(f"curl -sN '{URL}/sse/lobby?uid=watcher'")
        listener.prints(r"retry: 3000\n")
        eventually("a member", lambda: json.loads(get("/status")[2])["subscriptions"] >= 1)
        self.assertEqual(api("publish", b'{"channel":"lobby","data":"two\\nlines"}')[0], 200)
        listener.prints(r"data: lines\n\n")
        joining = self.start(f"curl -sN '{URL}/sse/lobby?uid=ada'")
        listener.prints(r"event: join\n(id: .*\n)?data: .*\"ada\".*\n\n")
        joining.end()

        def shape(stream):
            """Names and values of fields, with what differs from run to run taken out."""
            stream = re.sub(r"id: [a-z0-9]+:\d+", "id: E:N", stream)
            stream = re.sub(r'"client":"[^"]+"', '"client":"C"', stream)
            return [event for event in stream.strip().split("\n\n") if "watcher" not in event]

        self.assertEqual(shape(listener.output)[: len(shape(shown))], shape(shown))

    def test_refusals_look_as_they_are_said_to(self):
        for path in ["/no-such-path", "/ws/lobby", "/api/info"]:
            status, _, body = get(path)
            error = json.loads(body)["error"]
            self.assertEqual(error["code"], status, path)
            self.assertTrue(error["message"], path)

    def test_the_accounts_add_up_as_they_are_said_to(self):
        listener = self.start(f"curl -sN {URL}/sse/lobby")
        eventually("a member", lambda: json.loads(get("/status")[2])["subscriptions"] == 1)
        for number in range(20):
            api("publish", json.dumps({"channel": "lobby", "data": number}).encode())
        listener.prints(r"data: 19\n")
        deliveries = json.loads(get("/status")[2])["deliveries"]
        parts = ["delivered", "skipped", "discarded", "pending"]
        self.assertGreaterEqual(deliveries["due"], 20)
        self.assertEqual(deliveries["due"], sum(deliveries[part] for part in parts))
