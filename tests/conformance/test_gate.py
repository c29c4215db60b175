"""That the gate is not open: indexes that are wrong in one thing each."""

import unittest
from typing import Any

from gate import Expected, GateError, Index, Problem, in_order, merged, problems, table


def result(behavior: str, closing: str | None = "OK", code: int | None = 1000) -> dict[str, Any]:
    return {"behavior": behavior, "behaviorClose": closing, "remoteCloseCode": code, "duration": 1, "reportfile": "x.json"}


RIGHT: dict[str, dict[str, Any]] = {
    "1.1.1": result("OK"),
    "1.1.2": result("OK"),
    "6.4.3": result("NON-STRICT"),
    "7.1.6": result("INFORMATIONAL", "INFORMATIONAL", 1009),
    "10.1.1": result("OK"),
}
EXPECTED = Expected(5, unusual={"6.4.3": "NON-STRICT", "7.1.6": "INFORMATIONAL"}, close_codes={"7.1.6": 1009})


class Gate(unittest.TestCase):
    def is_refused(self, index: Index, case: str, what: str) -> None:
        self.assertIn(Problem(case, what), problems(index, EXPECTED))

    def test_what_is_as_expected_passes(self) -> None:
        self.assertEqual(problems(RIGHT, EXPECTED), [])

    def test_a_case_that_failed_is_refused(self) -> None:
        for behavior in ("FAILED", "UNIMPLEMENTED", "NON-STRICT", "INFORMATIONAL", "something new"):
            self.is_refused(RIGHT | {"1.1.2": result(behavior)}, "1.1.2", f"is {behavior} instead of OK")
        self.is_refused(RIGHT | {"1.1.2": {}}, "1.1.2", "is None instead of OK")

    def test_a_case_that_is_better_than_expected_is_refused_until_it_is_expected(self) -> None:
        self.is_refused(RIGHT | {"6.4.3": result("OK")}, "6.4.3", "is OK instead of NON-STRICT")

    def test_a_case_that_was_not_closed_as_it_should_is_refused(self) -> None:
        for closing in ("FAILED", "UNCLEAN", "WRONG CODE", "FAILED BY CLIENT", None):
            self.is_refused(RIGHT | {"1.1.1": result("OK", closing)}, "1.1.1", f"was closed {closing}")
        self.is_refused(RIGHT | {"7.1.6": result("INFORMATIONAL", "INFORMATIONAL", 1000)}, "7.1.6", "was closed with 1000 instead of 1009")

    def test_cases_that_did_not_run_are_refused(self) -> None:
        self.is_refused({}, "all", "0 cases ran instead of 5")
        for missing in RIGHT:
            index = {case: result for case, result in RIGHT.items() if case != missing}
            self.is_refused(index, "all", "4 cases ran instead of 5")
        self.is_refused({"1.1.1": result("OK")}, "6.4.3", "did not run")
        # Not even when another one ran in its place.
        swapped = {case: result for case, result in RIGHT.items() if case != "6.4.3"} | {"6.4.4": result("OK")}
        self.is_refused(swapped, "6.4.3", "did not run")

    def test_cases_that_nobody_asked_for_are_refused(self) -> None:
        self.is_refused(RIGHT | {"1.1.3": result("OK")}, "all", "6 cases ran instead of 5")

    def test_where_nothing_may_be_implemented_what_is_implemented_is_refused(self) -> None:
        expected = Expected(2, usual="UNIMPLEMENTED")
        declined = {"12.1.1": result("UNIMPLEMENTED", "UNIMPLEMENTED"), "13.1.1": result("UNIMPLEMENTED", "OK")}
        self.assertEqual(problems(declined, expected), [])
        for behavior in ("OK", "FAILED"):
            found = problems(declined | {"13.1.1": result(behavior)}, expected)
            self.assertEqual(found, [Problem("13.1.1", f"is {behavior} instead of UNIMPLEMENTED")])


class Indexes(unittest.TestCase):
    def test_groups_make_one_index(self) -> None:
        parts: list[dict[str, Index]] = [{"slabcast": {"1.1.1": RIGHT["1.1.1"]}}, {"slabcast": {"6.4.3": RIGHT["6.4.3"]}}]
        self.assertEqual(merged(parts), {case: RIGHT[case] for case in ("1.1.1", "6.4.3")})

    def test_a_case_in_two_of_them_or_two_agents_in_one_are_an_error(self) -> None:
        one: dict[str, Index] = {"slabcast": {"1.1.1": RIGHT["1.1.1"]}}
        wrongs: list[list[dict[str, Index]]] = [[one, one], [{}], [one | {"other": {}}]]
        for wrong in wrongs:
            with self.assertRaises(GateError):
                merged(wrong)

    def test_cases_are_in_their_order(self) -> None:
        self.assertEqual(in_order({"10.1.1", "1.2.10", "1.2.9", "2.1"}), ["1.2.9", "1.2.10", "2.1", "10.1.1"])


class Table(unittest.TestCase):
    def test_each_case_is_counted_in_its_group_and_what_is_no_verdict_as_failed(self) -> None:
        index = RIGHT | {"1.1.3": result("FAILED"), "1.1.4": result("something new")}
        rows = [line.split() for line in table(index, {"1": 1.25, "6": 0.0, "7": 2.0, "10": 0.5}).splitlines()]
        self.assertEqual(rows[0], ["group", "cases", "OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED", "seconds"])
        self.assertEqual(rows[1], ["1", "4", "2", "0", "0", "0", "2", "1.2"])
        self.assertEqual(rows[2], ["6", "1", "0", "1", "0", "0", "0", "0.0"])
        self.assertEqual(rows[4], ["10", "1", "1", "0", "0", "0", "0", "0.5"])
        self.assertEqual(rows[5], ["all", "7", "3", "1", "1", "0", "2", "3.8"])


if __name__ == "__main__":
    unittest.main()
