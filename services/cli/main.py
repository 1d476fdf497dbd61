"""The `kept` command. Exit codes: 0 done; 1 failed or found a difference; 2 wrong usage; 70 an error of ours;
78 cannot work as set up."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from services.kernel.config import Settings, read_settings
from services.kernel.errors import KeptError, Misconfigured

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


class _Lazy(click.Group):
    """Loads a command when it is used: `kept up` must start fast, and workers must never import grpc."""

    modules = {  # noqa: RUF012 - read only
        "backup": ("services.cli.backup", "backup", "Copy a cell's log and keys, while it runs."),
        "restore": ("services.cli.restore", "restore", "Make a cell from a back-up, as a new epoch."),
        "move": ("services.cli.move", "move", "Move a running cell from SQLite to PostgreSQL."),
        "import": ("services.cli.imports.command", "import_group", "Bring the history of another system into a cell."),
        "replay": ("services.cli.replay_command", "replay", "Rebuild everything from the log, and compare."),
        "digest": ("services.cli.digest", "digest", "One digest of all streams, to compare two cells."),
        "audit": ("services.cli.audit", "audit", "Read and verify the log as an auditor does."),
        "rules": ("services.cli.rules", "rules", "Which notices go out, when, and in what words."),
        "relay": ("services.cli.relay", "relay", "The copy of the log on the broker."),
        "followers": (
            "services.cli.followers",
            "followers",
            "Where every follower stands, and what it could not handle.",
        ),
        "log": ("services.cli.log_stats", "log", "How large the log is, and how fast it grows."),
        "story": ("services.cli.story.command", "story", "What Kept is for, told from a log as it happens."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.modules])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return super().get_command(ctx, cmd_name)
        from importlib import import_module

        module, name, help_text = self.modules[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        command.short_help = help_text
        return command

    def invoke(self, ctx: click.Context) -> Any:
        from services.cli.supervisor import StartFailed

        try:
            return super().invoke(ctx)
        except Misconfigured as error:
            click.echo(f"kept: {error}", err=True)
            raise click.exceptions.Exit(Misconfigured.exit_code) from error
        except KeptError as error:
            click.echo(f"kept: {error} ({error.slug})", err=True)
            raise click.exceptions.Exit(1) from error
        except StartFailed as error:
            # A process that cannot work as it is set up has said so in one line of its own, as this one would.
            own = [line for line in error.lines if line.startswith("kept") and error.code == Misconfigured.exit_code]
            click.echo(own[-1] if own else f"kept: {error}", err=True)
            raise click.exceptions.Exit(Misconfigured.exit_code if error.code == 78 else 1) from error
        except KeyboardInterrupt as error:
            click.echo("stopped", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("KEPT_ENV") == "development":
                raise
            # Its message may hold personal data, and a trace helps nobody who runs this; a developer asks for it.
            click.echo(f"kept: an error of ours ({type(error).__name__}); KEPT_ENV=development shows where", err=True)
            raise click.exceptions.Exit(70) from error


DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the cell; KEPT_DATA, or ./data, when not given.",
)


@click.group(cls=_Lazy)
@click.version_option(package_name="kept")
def main() -> None:
    """Kept keeps a company's word: the complete service history on one event log."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _settings(data: Path | None) -> Settings:
    return read_settings(os.environ, data)


@main.command()
@DATA
@click.option("--separate", is_flag=True, help="Every service's API and worker as its own process, as in production.")
@click.option("--history", is_flag=True, help="Start an empty cell in history mode, for an import.")
@click.option("--listen", help="HOST:PORT instead of the Unix socket in the folder.")
@click.option(
    "--console", metavar="HOST:PORT", help="Where the console is; 127.0.0.1:8480, or a free port, if not given."
)
@click.option("--no-console", is_flag=True, help="Without the gateway and its console.")
@click.option("--quiet", is_flag=True, help="Say nothing when it is up.")
@click.option("--demo", is_flag=True, help="Play a made-up company's sixty days into the cell, then keep it up.")
@click.option("--once", is_flag=True, help="With --demo: verify the replay and stop, instead of keeping it up.")
@click.option("--json", "as_json", is_flag=True, help="With --demo: print the summary as JSON.")
@click.option("--customers", type=click.IntRange(20), envvar="KEPT_DEMO_CUSTOMERS", hidden=True)
@click.option("--days", type=click.IntRange(2, 60), envvar="KEPT_DEMO_DAYS", hidden=True)
def up(
    data: Path | None,
    *,
    separate: bool,
    history: bool,
    listen: str | None,
    console: str | None,
    no_console: bool,
    quiet: bool,
    demo: bool,
    once: bool,
    as_json: bool,
    customers: int | None,
    days: int | None,
) -> None:
    """Start the cell of a folder and keep it running until Ctrl-C."""
    if demo:
        if listen or history or console:
            raise click.UsageError("--demo chooses by itself: leave out --listen, --history and --console")
        from services.cli.demo.command import run_demo

        size = {name: value for name, value in (("customers", customers), ("days", days)) if value is not None}
        folder, console_too = _settings(data).data, not (once or no_console)
        run_demo(folder, size, separate=separate, once=once, as_json=as_json, quiet=quiet, console=console_too)
        return
    if once or as_json:
        raise click.UsageError("--once and --json go with --demo")
    from services.cli.up import free_console, run_cell

    run_cell(
        _settings(data),
        separate=separate,
        history=history,
        quiet=quiet,
        listen=listen,
        console=None if no_console else console or free_console(),
    )


@main.command()
@DATA
def migrate(data: Path | None) -> None:
    """Make or update everything that the cell keeps; safe to repeat."""
    from services.cli.table import migrate as migrate_all
    from services.kernel.house import House

    settings = _settings(data)
    migrate_all(House(settings))
    click.echo(f"{settings.data} is ready")


@main.command(hidden=True)
@DATA
@click.argument("services", nargs=-1)
@click.option("--listen", required=True, help="unix:PATH or HOST:PORT")
def api(data: Path | None, services: tuple[str, ...], listen: str) -> None:
    """One API process; `kept up` starts it."""
    from services.cli.api import run_api

    run_api(_settings(data), services, listen)


@main.command(hidden=True)
@DATA
@click.option("--listen", required=True, help="unix:PATH or HOST:PORT")
def streams(data: Path | None, listen: str) -> None:
    """The stream process; `kept up` starts it."""
    from services.audit.api import run_stream

    run_stream(_settings(data), listen)


if __name__ == "__main__":
    sys.exit(main())
