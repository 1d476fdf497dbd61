"""Addresses of PostgreSQL databases: whether they work, and how they may be told."""

from collections.abc import Callable
from urllib.parse import quote, urlencode

import click
import psycopg
from click.core import ParameterSource

from services.kernel.errors import Misconfigured
from services.kernel.postgres import Postgres

POSTGRES = ("postgresql://", "postgres://")
SECRETS = {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}


def no_password(variable: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """For an option: everybody on the machine sees its arguments. The variable may have one."""

    def refuse(context: click.Context, option: click.Parameter, given: str | None) -> str | None:
        assert option.name is not None
        argued = context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
        if given is not None and argued and given.startswith(POSTGRES):
            named = option.opts[0]
            try:
                secret = SECRETS & _parts(given, named).keys()
            except Misconfigured as error:
                raise click.UsageError(str(error)) from error
            if secret:
                raise click.UsageError(
                    f"{named}: has a password, which everybody on this machine could read; give that in ~/.pgpass, or the"
                    f" whole address in {variable}"
                )
        return given

    return refuse


def reachable(address: str, given_as: str) -> None:
    """Raises Misconfigured for an address that does not work, Unavailable where the server does not answer."""
    database = Postgres(address, "public", given_as=given_as)
    try:
        with database.read() as session:
            session.execute("SELECT 1").fetchone()
    finally:
        database.close()


def without_password(address: str, given_as: str = "KEPT_DATABASE") -> str:
    """The same address as others may see it, without any secret. Raises Misconfigured."""
    parts = _parts(address, given_as)
    if not SECRETS & parts.keys():
        return address
    return _url({name: value for name, value in parts.items() if name not in SECRETS})


def _parts(address: str, given_as: str) -> dict[str, str]:
    try:
        parts = psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:  # not told: it may repeat a password
        raise Misconfigured(f"{given_as} is no address that PostgreSQL understands") from error
    return {name: str(value) for name, value in parts.items()}


def _url(parts: dict[str, str]) -> str:
    host, port, user = parts.pop("host", ""), parts.pop("port", ""), parts.pop("user", "")
    name = parts.pop("dbname", "")
    where = (f"{quote(user, safe='')}@" if user else "") + host + (f":{port}" if port else "")
    if any(mark in host + port for mark in "/,:@%") or (port and not host):
        # A socket's folder, several hosts or an IPv6 address: they stand among the options, as they are.
        parts = {**({"host": host} if host else {}), **({"port": port} if port else {}), **parts}
        where = f"{quote(user, safe='')}@" if user else ""
    return f"postgresql://{where}/{quote(name, safe='')}" + (
        f"?{urlencode(parts, quote_via=quote, safe='')}" if parts else ""
    )
