"""What is made of runs, without running any."""

import unittest
from fnmatch import fnmatchcase
from pathlib import Path

from peers import every_peer
from report import report
from results import Results, Run, Spread, server_cpu_ns
from workloads import ON_THEIR_WAY_MAX, chat, select, workloads


def run(peer: str, repetition: int, cpu_ns: float, lost: int = 0, limit: str = "server") -> Run:
    latency = {"count": 1, "p50_us": 1000, "p99_us": 2000}
    outcome = {
        "delivered": 100, "seconds": 2.0, "limit": limit, "is_one_order": True, "retransmitted_segments": 3,
        "lost": lost, "duplicated": 0, "reordered": 0, "strayed": 0, "disconnected": 0, "first_disconnect": None,
        "latency": latency, "join_latency": None, "server": {"cpu_ns_per_delivery": cpu_ns},
    }  # fmt: skip
    return Run("all16", repetition, peer, outcome=outcome)


class Workloads(unittest.TestCase):
    def test_names_are_unique_and_what_a_rate_is_made_of_comes_before_it(self) -> None:
        for quick in (False, True):
            names = [one.name for one in workloads(quick)]
            self.assertEqual(len(names), len(set(names)))
            for one in workloads(quick):
                if one.of:
                    self.assertLess(names.index(one.of), names.index(one.name))

    def test_a_pattern_brings_what_it_needs(self) -> None:
        chosen = [one.name for one in select(workloads(quick=False), ["half-*", "all16"])]
        halves = ["half-own", "half-own-churn1000", "half-bun", "half-bun-churn1000"]
        self.assertEqual(chosen, ["all16", "f1000-p16-w16-s64", *halves])

    def test_descriptors_and_memory_suffice_for_what_is_run(self) -> None:
        for one in workloads(quick=False):
            self.assertLess(one.connections + 1000, 20_000)
            if one.bytes_on_their_way() > ON_THEIR_WAY_MAX:
                self.assertTrue(fnmatchcase(one.name, "f10000-p16-w*-s1024"), one.name)


class Figures(unittest.TestCase):
    def test_a_ratio_is_made_within_its_repetition(self) -> None:
        results = Results([run("bun", 0, 100), run("bun", 1, 400), run("ws", 1, 800), run("ws", 0, 300), run("ws", 2, 1)])
        self.assertEqual(results.spread("all16", "ws", server_cpu_ns), Spread(300, 1, 800))
        self.assertEqual(results.ratio("all16", "ws", "bun", server_cpu_ns), Spread(2.5, 2, 3))
        self.assertIsNone(results.ratio("all16", "ws", "rawfan", server_cpu_ns))


class Report(unittest.TestCase):
    def test_everything_that_a_reader_must_know_is_said(self) -> None:
        failed = Run("all16", 0, "gorilla", problem="not done within 90 s")
        results = Results([run("bun", 0, 100), run("ws", 0, 200, lost=7), run("ws", 1, 200, limit="load"), failed])
        peers = {name: {"what": "a server", "version": "1"} for name in ("bun", "ws", "gorilla")}
        header = {
            "started": "now", "command": "compare", "machine": {"cores": "2"}, "peers": peers, "left_out": {"rawfan": "it is missing"},
            "omitted": {"all32": "too much."}, "repetitions": 2, "seconds": 1.0, "server_core": 0, "load_core": 1,
        }  # fmt: skip
        text = report(header, [chat(16), chat(32)], results)
        row = next(line for line in text.splitlines() if line.startswith("| ws | 200 |"))
        self.assertEqual(row, "| ws | 200 | 50 | 2 | 2 | server 1×, load 1× | **lost: 7**; 6 TCP segments sent again |")
        for said in ("**rawfan** is left out: it is missing", "Left out: too much.", "not done within 90 s"):
            self.assertIn(said, text)


class Peers(unittest.TestCase):
    def test_who_is_not_installed_is_told_how_to_be(self) -> None:
        nowhere = Path("/nonexistent")
        missing = {peer.name: peer.missing() for peer in every_peer(nowhere / "slabcast", nowhere)}
        self.assertIn("make peers", missing["rawfan"] or "")
        self.assertIn("/nonexistent/slabcast", missing["slabcast"] or "")


if __name__ == "__main__":
    unittest.main()
