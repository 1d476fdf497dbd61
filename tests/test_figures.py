"""The figures of a run are each test's own, and those of a folder that counts together."""

from tests.figures import told


def test_each_test_tells_its_own_and_a_folder_its_sum() -> None:
    lines = told(
        [
            ("tests/simulation/test_two.py::test_it[1-25]", {"total seeds": 25, "total events": 900}),
            ("tests/faults/test_kill.py::test_killed", {"figure kills": 12, "figure seed": 7, "other": 1}),
            ("tests/simulation/test_one.py::test_it[26-50]", {"total seeds": 25, "total events": 1}),
            ("tests/kernel/test_log.py::test_it", {}),
        ]
    )

    assert lines == ["test_kill.py::test_killed: kills 12, seed 7", "simulation: seeds 50, events 901"]
