"""`kept story county`: plays the acts into a new cell, with the partner and the auditor as processes of their own."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from google.protobuf.timestamp_pb2 import Timestamp
from kept.audit.v1.service_pb2 import StreamEventsRequest
from kept.case.v1 import service_pb2 as cases
from kept.cell.v1.service_pb2 import GetCellRequest
from kept.notification.v1 import events_pb2 as notice
from kept.notification.v1.service_pb2 import Notice

from services.cli.audit_check import events_after
from services.cli.cell import open_cell
from services.cli.client import CellError, Client, Connection, RefusedError
from services.cli.rules import default_rules
from services.cli.story import county
from services.cli.story.county import Cast
from services.cli.story.play import Play
from services.cli.story.scenery import TENANT
from services.cli.story.teller import Teller

ANSWERS_WITHIN_S = 60.0


@click.group()
def story() -> None:
    """What Kept is for, told from a log as it happens."""


@story.command("county")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of a new cell.")
@click.option("--separate", is_flag=True, help="Every service's API and worker as its own process, as in production.")
@click.option("--language", type=click.Choice(["zh", "en"]), help="Of the telling; from the locale when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON; the story itself goes to stderr.")
def county_command(data: Path, *, separate: bool, language: str | None, as_json: bool) -> None:
    """A county lost because nobody came, and kept because somebody did."""
    teller = Teller(language or _language(), lambda line: click.echo(line, err=as_json))
    try:
        with open_cell(data, history=True, separate=separate) as cell:
            connection = replace(cell, tenant=TENANT, principal="user:dispatcher")
            with Client(connection) as client:
                _require_new(client)
                told = _play(client, connection, teller, data)
    except RefusedError as error:
        raise click.ClickException(str(error)) from error
    except CellError as error:
        raise click.ClickException(str(error)) from error
    _tell_outcome(teller, told)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    if not (told["verified"] and told["notices"][1]["reproduced"]):
        raise click.exceptions.Exit(1)


def _require_new(client: Client) -> None:
    """The story is told once, in a cell whose time has not begun."""
    if client.call("cell", "GetCell", GetCellRequest()).now.seconds:
        raise click.ClickException("this cell has a history already; the story needs a folder of its own")


def _play(client: Client, connection: Connection, teller: Teller, data: Path) -> dict[str, Any]:
    def after(position: int) -> Iterator[Any]:
        return events_after(client, StreamEventsRequest(after_position=position))

    play = Play(client.call, after, teller)
    teller.say(
        "\n序幕 · 一家设备公司，一个没有服务点的县", "\nPrologue: a maker of heat pumps, and a county without service"
    )
    cast = county.prologue(play, default_rules())
    teller.say("\n第一幕 · 丢掉的县", "\nAct one: a county lost")
    county.act_one(play, cast)
    apology = county.notice_to(play, cast.heroine, notice.OCCASION_PROMISE_BROKEN)
    _show(teller, apology)
    teller.say("\n第二幕 · 有人来了", "\nAct two: somebody comes")
    county.admit_partner(play, cast)
    partner_pid = _act_two(play, cast, connection)
    teller.say("\n第三幕 · 先于来电", "\nAct three: told before they call")
    county.act_three(play, cast)
    warning = county.notice_to(play, cast.heroine, notice.OCCASION_PROBLEM_FOUND)
    _show(teller, warning)
    counted = play.ask("case", "GetProblem", cases.GetProblemRequest(problem_id=cast.problem)).problem
    teller.say("\n第四幕 · 审计员", "\nAct four: the auditor")
    kept_in = data / "story-events.jsonl"
    auditor_pid, audited = _audit(connection, warning.notice_id, kept_in)
    _tell_audit(teller, auditor_pid, audited)
    return {
        "share_told_first": counted.told_first / counted.affected,
        "affected": counted.affected,
        "told_first": counted.told_first,
        "called_first": counted.called_first,
        "not_told": counted.not_told,
        "lost_deal": {
            "currency": county.LOST_BID.currency,
            "minor_units": county.LOST_BID.minor_units,
            "reason": "service",
            "broken_promises": cast.broken_clocks,
        },
        "notices": [
            {"title": apology.title, "body": apology.body},
            {"title": warning.title, "body": warning.body, **audited["notice"]},
        ],
        "events": audited["events"],
        "root": audited["root"],
        "verified": not audited["differences"],
        "differences": audited["differences"],
        "processes": {"story": os.getpid(), "partner": partner_pid, "auditor": auditor_pid},
        "problem_id": cast.problem,
        "customer_id": cast.heroine,
        "streamed_events": str(kept_in),
    }


def _act_two(play: Play, cast: Cast, connection: Connection) -> int:
    """The partner's program runs beside us; the clock moves on when it has done its step. Returns its process id."""
    with _program("services.cli.story.partner", connection, cast.partner) as partner:
        case_id = county.act_two_call(play, cast)
        for expected in ("accepted", "arrived", "completed"):
            step = _answer(partner)
            if step["step"] != expected:
                raise CellError(f"the partner's program reported {step['step']} instead of {expected}")
            play.settle()
            if step["next_at"]:
                play.until(Timestamp(seconds=step["next_at"]))
        county.act_two_ends(play, case_id)
        partner.wait(ANSWERS_WITHIN_S)
        return partner.pid


def _audit(connection: Connection, notice_id: str, kept_in: Path) -> tuple[int, dict[str, Any]]:
    with _program("services.cli.story.auditor", connection, notice_id, str(kept_in)) as auditor:
        return auditor.pid, _answer(auditor)


def _tell_audit(teller: Teller, pid: int, audited: dict[str, Any]) -> None:
    teller.say(
        f"  审计员的程序（进程 {pid}）经 gRPC 读完 {audited['events']} 个事件，自行算出根哈希",
        f"  the auditor's program (process {pid}) reads all {audited['events']} events over gRPC and computes the root",
    )
    teller.say(
        "  它请求重新得出那份通知，依据的事件是：", "  it asks for that notice to be derived again, from these events:"
    )
    for name in audited["notice"]["because"]:
        teller.say(f"  │ {name}", f"  │ {name}")


@contextmanager
def _program(module: str, connection: Connection, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, "-m", module, json.dumps(dict(connection.targets)), connection.tenant, *arguments]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def _answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next line that the program writes."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], ANSWERS_WITHIN_S)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise CellError(f"a program of the story ended, or said nothing for {ANSWERS_WITHIN_S:g} s")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _show(teller: Teller, told: Notice) -> None:
    teller.say("\n  她收到的通知：", "\n  The notice that she got:")
    for line in (told.title, *told.body.splitlines()):
        teller.say(f"  │ {line}", f"  │ {line}")


def _tell_outcome(teller: Teller, told: dict[str, Any]) -> None:
    affected, first, called = told["affected"], told["told_first"], told["called_first"]
    share = f"{told['share_told_first']:.0%}"
    teller.say(
        f"\n受影响 {affected} 位客户：先被告知 {first} 位（{share}），先来电 {called} 位",
        f"\n{affected} customers were affected: {first} were told first ({share}), {called} called first",
    )
    rules, because = told["notices"][1]["rules"], len(told["notices"][1]["because"])
    if told["notices"][1]["reproduced"]:
        teller.say(
            f"审计员由 {because} 个事件和规则 {rules} 重新得出了那份通知，一字不差",
            f"the auditor got that notice again from {because} events and the rules {rules}, word for word",
        )
    else:
        teller.say("那份通知无法重新得出", f"that notice could not be reproduced: {told['notices'][1]['difference']}")
    if told["verified"]:
        teller.say(
            f"{told['events']} 个事件与签名的根一致：{told['root']}",
            f"{told['events']} events agree with the signed root {told['root']}",
        )
    else:
        teller.say(
            f"日志与签名不符：{told['differences']}", f"the log differs from what was signed: {told['differences']}"
        )


def _language() -> str:
    locale = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "zh" if locale.startswith("zh") else "en"
