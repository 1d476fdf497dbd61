"""Addresses of PostgreSQL databases: whether they work, and how they may be told."""

from urllib.parse import quote, urlencode

import psycopg

from services.kernel.errors import Misconfigured
from services.kernel.postgres import Postgres


def reachable(address: str) -> None:
    """Raises Misconfigured for an address that does not work, Unavailable where the server does not answer."""
    database = Postgres(address, "public")
    try:
        with database.read() as session:
            session.execute("SELECT 1").fetchone()
    finally:
        database.close()


def without_password(address: str) -> str:
    """The same address as others may see it. Raises Misconfigured."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:  # not told: it may repeat a password
        raise Misconfigured("--to is no address that PostgreSQL understands") from error
    if "password" not in parts:
        return address
    return _url({name: str(value) for name, value in parts.items() if name != "password"})


def _url(parts: dict[str, str]) -> str:
    host, port, user = parts.pop("host", ""), parts.pop("port", ""), parts.pop("user", "")
    name = parts.pop("dbname", "")
    # A socket's folder is no host name of an address: it stands among the options.
    options = {**({"host": host} if "/" in host or "," in host else {}), **parts}
    where = (f"{quote(user)}@" if user else "") + ("" if "host" in options else host) + (f":{port}" if port else "")
    return f"postgresql://{where}/{quote(name)}" + (f"?{urlencode(options)}" if options else "")
