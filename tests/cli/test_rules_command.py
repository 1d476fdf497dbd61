"""`kept rules`: a file is published, or each of its mistakes is told with its place and nothing is."""

from pathlib import Path

from services.cli.rules import default_rules
from services.kernel.config import read_settings
from services.kernel.house import House
from tests.kept import kept


def test_the_default_rules_are_printed_and_published(tmp_path: Path) -> None:
    printed = kept("rules", "default")
    assert printed.stdout == default_rules()
    (tmp_path / "rules.yaml").write_text(printed.stdout, encoding="utf-8")

    nowhere = kept("rules", "publish", tmp_path / "rules.yaml", "--data", tmp_path / "cell")
    assert (nowhere.returncode, (tmp_path / "cell").exists()) == (78, False)
    kept("migrate", "--data", tmp_path / "cell")

    checked = kept("rules", "publish", tmp_path / "rules.yaml", "--check", "--data", tmp_path / "cell")
    assert (checked.returncode, checked.stdout) == (0, "no mistakes\n")
    assert published(tmp_path / "cell") == 0
    done = kept("rules", "publish", tmp_path / "rules.yaml", "--data", tmp_path / "cell")

    assert (done.returncode, done.stdout) == (0, "standard version 1 is in force for main\n")
    assert published(tmp_path / "cell") == 1


def test_each_mistake_is_told_with_line_and_column_and_nothing_is_published(tmp_path: Path) -> None:
    wrong = default_rules().replace("{case_number}", "{case_nummer}", 1).replace("purpose: safety", "purpose: fun", 1)
    (tmp_path / "rules.yaml").write_text(wrong, encoding="utf-8")
    lines = wrong.splitlines()
    places = [next(n for n, line in enumerate(lines, 1) if text in line) for text in ("case_nummer", "purpose: fun")]

    kept("migrate", "--data", tmp_path / "cell")

    done = kept("rules", "publish", tmp_path / "rules.yaml", "--data", tmp_path / "cell")

    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert len(told) == len(set(told)) > 1
    assert all(any(f"rules.yaml: line {place}, column " in line for line in told) for place in places)
    assert published(tmp_path / "cell") == 0


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_bytes(b"\xff\xfe")

    done = kept("rules", "publish", tmp_path / "rules.yaml", "--data", tmp_path / "cell")

    assert done.returncode == 1
    assert "is not UTF-8" in done.stderr


def published(data: Path) -> int:
    house = House(read_settings({}, data))
    found = [event.type for event in house.log.read(0, 100)].count("kept.notification.v1.RuleSetPublished")
    house.close()
    return found
