"""A disk that is full when a report is to be written: it is said, and no success."""

import asyncio
import os
import tempfile
import unittest

from household import NEEDS_NETWORK, OWN_NETWORK, FaultCase
from network import run
from support import BINARY, ENGINE


@unittest.skipUnless(OWN_NETWORK, NEEDS_NETWORK)
@unittest.skipUnless(ENGINE == "lock", "a study runs both")
class FullDisk(FaultCase):
    async def test_a_study_that_can_not_write_its_results_says_so_and_fails(self):
        place = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, place)
        # In the test's own namespace, like its network.
        run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", place)
        self.addCleanup(run, "umount", place)

        study = await asyncio.create_subprocess_exec(
            BINARY, "study", "--quick", "--members-max=10", "--seconds=0.05", "--repetitions=1", "--out", place,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        self.addAsyncCleanup(end, study)
        stdout, stderr = await study.communicate()

        self.assertEqual(study.returncode, 2, stderr)
        self.assertEqual(stdout, b"")
        self.assertIn(b"results.json can't be written: No space left on device", stderr)


async def end(process):
    if process.returncode is None:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    unittest.main()
