"""How far a long command is: told now and then, always at the end, and not at all when nobody wants to know."""

from io import StringIO

from services.cli.shown import Shown


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: StringIO, *moments: float, quiet: bool = False) -> Shown:
    times = iter(moments)
    return Shown(quiet=quiet, out=out, monotonic=lambda: next(times))


def test_a_line_comes_now_and_then_and_at_the_end() -> None:
    out = StringIO()
    told = shown(out, 0.0, 1.0, 3.0, 4.0).stage("copying the log")

    for done in (100, 300, 400):
        told(done, 400)

    assert out.getvalue() == ("copying the log: 300 of 400 events, 100/s\ncopying the log: 400 of 400 events, 100/s\n")


def test_on_a_terminal_the_line_is_written_over() -> None:
    out = Terminal()
    told = shown(out, 0.0, 1.0, 2.0).stage("copying", "rows")

    told(1, 2)
    told(2, 2)

    assert out.getvalue() == "\r\x1b[Kcopying: 1 of 2 rows, 1/s\r\x1b[Kcopying: 2 of 2 rows, 1/s\n"


def test_quiet_is_quiet() -> None:
    out = StringIO()
    quiet = shown(out, 0.0, 9.0, quiet=True)

    quiet.stage("copying")(1, 1)
    quiet.say("done")

    assert out.getvalue() == ""
