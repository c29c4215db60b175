"""Breaks the library in each known way, in a copy, and has the models look: each has to go red.

`make mutations` runs all of them, `make mutations ONLY=word` those with the word in their name. A
mutation that the sources no longer have a place for is a failure too: it is to be found a new one.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ["CARGO_TARGET_DIR"])
SCHEDULES = os.environ.get("SCHEDULES", "20000")
SECONDS_MAX = 900


@dataclass(frozen=True)
class Mutation:
    """What is broken, where, and which checker has to notice."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    checker: str = "shuttle"


MUTATIONS = [
    Mutation(
        "told by a load and a store",
        "src/notifier.rs",
        ((
            "let is_news = !self.told.swap(true, Ordering::AcqRel);",
            "let is_news = !self.told.load(Ordering::Acquire);\n"
            "        self.told.store(true, Ordering::Release);",
        ),),
    ),
    Mutation(
        "loom: told by a load and a store",
        "src/notifier.rs",
        ((
            "let is_news = !self.told.swap(true, Ordering::AcqRel);",
            "let is_news = !self.told.load(Ordering::Acquire);\n"
            "        self.told.store(true, Ordering::Release);",
        ),),
        checker="loom",
    ),
    Mutation(
        "told is never cleared",
        "src/notifier.rs",
        (("self.told.swap(false, Ordering::AcqRel);", ""),),
    ),
    Mutation(
        "cleared after the read",
        "src/outbox.rs",
        (
            ("            cursor.seat.clear();\n", ""),
            (
                "            cursor.next = taken.map_err(|_| Lag { key })?;",
                "            cursor.seat.clear();\n"
                "            cursor.next = taken.map_err(|_| Lag { key })?;",
            ),
        ),
    ),
    Mutation(
        "lag is cleared after the look",
        "src/outbox.rs",
        ((
            "            cursor.seat.clear_lag();\n"
            "            (cursor.seat.position() < cursor.feed.bounds().oldest).then_some(Lag { key })",
            "            let has = cursor.seat.position() < cursor.feed.bounds().oldest;\n"
            "            cursor.seat.clear_lag();\n"
            "            has.then_some(Lag { key })",
        ),),
    ),
    Mutation(
        "lag does not ring",
        "src/notifier.rs",
        (("if !is_news && !is_lag_news {", "if !is_news {"),),
    ),
    Mutation(
        "the waker is left outside of the lock",
        "src/notifier.rs",
        ((
            "            match &mut state.waker {",
            "            drop(state);\n"
            "            let mut state = self.state.lock();\n"
            "            match &mut state.waker {",
        ),),
    ),
    Mutation(
        "members are told before the append",
        "src/fanout/registry.rs",
        (
            (
                "    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace)"
                " -> Result<Receipt, Retired> {\n",
                "    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace)"
                " -> Result<Receipt, Retired> {\n"
                "        let seats = self.clients.read().iter()\n"
                "            .filter(|(_, client)| client.seat().tell(false))\n"
                "            .map(|(_, client)| client.seat_arc()).collect();\n"
                "        self.wake_queue.wake(seats);\n",
            ),
            ("        self.tell(growth);\n        Ok(receipt)", "        drop(growth);\n        Ok(receipt)"),
        ),
    ),
    Mutation(
        "settled before it is written",
        "src/outbox.rs",
        ((
            "            cursor.next = taken.map_err(|_| Lag { key })?;",
            "            cursor.next = taken.map_err(|_| Lag { key })?;\n"
            "            cursor.seat.settle(cursor.next);",
        ),),
    ),
    Mutation(
        "a tail is sealed and read under two locks",
        "src/feed/mod.rs",
        ((
            "            log = RwLockWriteGuard::downgrade(writer);",
            "            drop(writer);\n            log = self.log.read();",
        ),),
    ),
    Mutation(
        "what everybody has had is one frame too many",
        "src/fanout/growth.rs",
        ((
            "            grown.feed.raise_low_water(grown.low_water);",
            "            grown.feed.raise_low_water(grown.low_water + 1);",
        ),),
    ),
    Mutation(
        "a leave asks for no generation",
        "src/fanout/client.rs",
        ((
            "(client.generation == id.generation).then(|| clients.remove(id.slot))",
            "(client.generation > 0).then(|| clients.remove(id.slot))",
        ),),
    ),
    Mutation(
        "the snapshot is taken before the order",
        "src/fanout/registry.rs",
        (
            (
                "        let (admission, growth) = {\n            let mut order",
                "        let early = self.order.lock().catch_up(&catch_up);\n"
                "        let (mut admission, growth) = {\n            let mut order",
            ),
            ("        self.tell(growth);\n        Ok(admission)",
             "        admission.missed = early;\n        self.tell(growth);\n        Ok(admission)"),
        ),
    ),
    Mutation(
        "a newcomer is inserted outside of the order",
        "src/fanout/registry.rs",
        ((
            "            let insert = |client|",
            "            drop(order);\n            let insert = |client|",
        ),),
    ),
    Mutation(
        "a retired room is not asked whether it is",
        "src/fanout/timeline.rs",
        (("        if self.is_retired {\n            Err(Retired)", "        if false {\n            Err(Retired)"),),
    ),
    Mutation(
        "a room is evicted with its members",
        "src/fanout/timeline.rs",
        ((
            "            return None;\n        }\n        self.is_retired = true;",
            "        }\n        self.is_retired = true;",
        ),),
    ),
    Mutation(
        "is_to_be_woken is cleared after the wake",
        "src/notifier.rs",
        ((
            "        self.is_to_be_woken.swap(false, Ordering::AcqRel);\n        self.notifier.wake_if_told();",
            "        self.notifier.wake_if_told();\n        self.is_to_be_woken.swap(false, Ordering::AcqRel);",
        ),),
    ),
    Mutation(
        "loom: is_to_be_woken is cleared after the wake",
        "src/notifier.rs",
        ((
            "        self.is_to_be_woken.swap(false, Ordering::AcqRel);\n        self.notifier.wake_if_told();",
            "        self.notifier.wake_if_told();\n        self.is_to_be_woken.swap(false, Ordering::AcqRel);",
        ),),
        checker="loom",
    ),
    Mutation(
        "is_to_be_woken is set before the ring",
        "src/notifier.rs",
        (
            (
                "        self.notifier.ring(self.key);\n",
                "        let is_first = !self.is_to_be_woken.swap(true, Ordering::AcqRel);\n"
                "        self.notifier.ring(self.key);\n",
            ),
            ("        !self.is_to_be_woken.swap(true, Ordering::AcqRel)\n", "        is_first\n"),
        ),
    ),
    Mutation(
        "everybody who is told is queued",
        "src/notifier.rs",
        (("        !self.is_to_be_woken.swap(true, Ordering::AcqRel)\n", "        true\n"),),
    ),
    Mutation(
        "a line is left by its server while it fills",
        "src/fanout/wake_queue.rs",
        ((
            "            *line = Line::default();\n            self.is_done = true;",
            "            drop(line);\n"
            "            *self.queue.line.lock() = Line::default();\n            self.is_done = true;",
        ),),
    ),
    Mutation(
        "publishers don't look for members that caught up",
        "src/fanout/timeline.rs",
        (("if bounds.end > append.begin() || append.is_behind(REACH_LEAST) {",
          "if bounds.end > append.begin() {"),),
    ),
    Mutation(
        "publishers wait for nobody",
        "src/fanout/timeline.rs",
        ((
            "        if waits_at.is_none() {",
            "        if waits_at.is_none() || pace != Pace::Now {",
        ),),
    ),
    Mutation(
        "the hub's door counts nobody who is on the way in",
        "src/fanout/hub.rs",
        (("        self.coming == 0 && self.members", "        self.members"),),
    ),
    Mutation(
        "the hub's door lets anybody in",
        "src/fanout/hub.rs",
        ((
            "        let mut traffic = self.traffic.lock();\n"
            "        if traffic.is_retired {\n            return Err(Retired);",
            "        let mut traffic = self.traffic.lock();\n"
            "        if false {\n            return Err(Retired);",
        ),),
    ),
    Mutation(
        "the hub answers before its door knows",
        "src/fanout/hub.rs",
        (
            ("        self.record(self.answers.len());\n", "        let came = self.answers.len();\n"),
            (
                "        answers.shrink_to(KEPT_MAX);\n        self.answers = answers;\n",
                "        self.record(came);\n"
                "        answers.shrink_to(KEPT_MAX);\n        self.answers = answers;\n",
            ),
        ),
    ),
    Mutation(
        "who has left the hub counts until it looks again",
        "src/fanout/hub.rs",
        ((
            "        traffic.members = traffic.members.saturating_sub(traffic.leaving.len());\n",
            "",
        ),),
    ),
    Mutation(
        "the hub is not told of a leave",
        "src/fanout/hub.rs",
        (("        traffic.leaving.len() == 1\n", "        traffic.leaving.is_empty()\n"),),
    ),
    Mutation(
        "the hub hears of the last leave only",
        "src/fanout/hub.rs",
        ((
            "        traffic.leaving.push(id);\n",
            "        traffic.leaving.clear();\n        traffic.leaving.push(id);\n",
        ),),
    ),
    Mutation(
        "a room is made beside its namesake",
        "src/node/rooms.rs",
        ((
            "let put = if let Some(found) = by_name.get(room.name()) {",
            "let put = if let Some(found) = by_name.get(room.name()).filter(|_| false) {",
        ),),
    ),
    Mutation(
        "a room that is forgotten takes its successor with it",
        "src/node/rooms.rs",
        (("    std::ptr::eq(&raw const **found, room)\n", "    std::ptr::eq(found, found)\n"),),
    ),
    Mutation(
        "a retired room is not forgotten",
        "src/node/rooms.rs",
        ((
            "        if vacancy.is_retired() {\n            self.forget(room);",
            "        if false {\n            self.forget(room);",
        ),),
    ),
    Mutation(
        "a newcomer takes a place that somebody else has taken",
        "src/node/rooms.rs",
        (("        } else if removed.is_some() ||", "        } else if gone.is_some() ||"),),
    ),
    Mutation(
        "two newcomers see the same free place",
        "src/node/rooms.rs",
        ((
            "        } else if removed.is_some() || by_name.len() < rooms_max {",
            "        } else if removed.is_some() || gone.is_none() {",
        ),),
    ),
    Mutation(
        "a room that is left is not noted",
        "src/node/rooms.rs",
        ((
            "        if self.let_go(room) == Vacancy::Remembered {\n            self.note_vacant(room);",
            "        if self.let_go(room) == Vacancy::Retired {\n            self.note_vacant(room);",
        ),),
    ),
    Mutation(
        "a kept room is let go like any other",
        "src/node/rooms.rs",
        (("        if room.is_kept() {\n            return Vacancy::Occupied;", "        if false {\n            return Vacancy::Occupied;"),),
    ),
    Mutation(
        "who is relieved is not told",
        "src/fanout/timeline.rs",
        ((
            "            lane.feed.shed(wanted);\n        }\n        self.left_behind(&low_water)",
            "            lane.feed.shed(wanted);\n        }\n        let _ = low_water;\n"
            "        Growth::default()",
        ),),
    ),
    Mutation(
        "whoever is there is relieved",
        "src/fanout/timeline.rs",
        (("|seat| !seat.is_stalled_for(long, now)", "|_| false"),),
    ),
]

# What a mutation needs beside its place, such as a name that is private where it is.
ASIDES = {
    "members are told before the append": (
        "src/fanout/client.rs",
        "    /// Who it is.\n    #[must_use]",
        "    pub(super) fn seat_arc(&self) -> Arc<Seat> {\n        self.seat.clone()\n    }\n\n"
        "    /// Who it is.\n    #[must_use]",
    ),
    "the snapshot is taken before the order": (
        "src/fanout/timeline.rs",
        "    fn catch_up(&self, catch_up: &CatchUp)",
        "    pub(super) fn catch_up(&self, catch_up: &CatchUp)",
    ),
}

def replace(tree: Path, file: str, old: str, new: str) -> None:
    """Replaces what must be there exactly once."""
    path = tree / file
    text = path.read_text()
    if text.count(old) != 1:
        sys.exit(f"{file} has {text.count(old)} places for {old!r}")
    path.write_text(text.replace(old, new))


def copy(tree: Path) -> None:
    """Copies what the models are built from into `tree`."""
    ignored = shutil.ignore_patterns("__pycache__", "target*")
    for name in ("src", "tests/models", "tests/fanout_suite"):
        shutil.copytree(ROOT / name, tree / name, dirs_exist_ok=True, ignore=ignored)


def cargo(tree: Path, checker: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs the models of `checker` on `tree`."""
    environment = os.environ | {
        "RUSTFLAGS": f"--cfg {checker}",
        "CARGO_TARGET_DIR": str(TARGET / checker),
        "SCHEDULES": SCHEDULES,
    }
    command = ["cargo", "test", "--locked", "--manifest-path", "tests/models/Cargo.toml", "--test", checker]
    return subprocess.run(
        [*command, *more], cwd=tree, env=environment, text=True, timeout=SECONDS_MAX,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )


def failed(output: str) -> list[str]:
    """The models that failed, as the harness names them."""
    lines = output.splitlines()
    names = [line.split()[1] for line in lines if line.startswith("test ") and line.endswith("FAILED")]
    return names or ["the process was aborted"]


def main() -> int:
    """Runs every mutation, or those that are named."""
    only = " ".join(sys.argv[1:])
    chosen = [mutation for mutation in MUTATIONS if only in mutation.name]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="slabcast-mutations-") as directory:
        tree = Path(directory)
        for mutation in chosen:
            copy(tree)
            for old, new in mutation.changes:
                replace(tree, mutation.file, old, new)
            if mutation.name in ASIDES:
                replace(tree, *ASIDES[mutation.name])
            now = time.time()
            for path in tree.glob("**/*.rs"):
                # Cargo goes by the time of change, and the copy has the original's.
                os.utime(path, (now, now))
            built = cargo(tree, mutation.checker, "--no-run")
            if built.returncode != 0:
                print(built.stdout)
                sys.exit(f"{mutation.name}: it does not compile")
            run = cargo(tree, mutation.checker)
            is_caught = run.returncode != 0
            survivors += not is_caught
            says = ", ".join(failed(run.stdout)) if is_caught else "NOBODY NOTICED"
            print(f"{mutation.name}: {says}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations were noticed")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
