"""What operators released of what followers had parked, as the log tells it."""

from uuid import NAMESPACE_URL, UUID, uuid5

from kept.cell.v1.events_pb2 import ParkedKeyReleased
from kept.common.v1.record_pb2 import Record

from services.kernel.database import Session
from services.kernel.errors import NotFound, Refused
from services.kernel.log.positions import Positions

CODE_STREAM = uuid5(NAMESPACE_URL, "kept:cell:code")


def releases_of(follower: str) -> UUID:
    """The stream of them, for one follower."""
    return uuid5(CODE_STREAM, f"{follower}/parked")


def first_parked(session: Session, follower: str, key: str) -> int:
    """The position of a decider's first parked event of that key. Raises release-pending, key-not-parked."""
    positions = Positions(session)
    row = session.execute("SELECT max(position) FROM log WHERE stream = ?", (releases_of(follower),)).fetchone()
    if row is not None and (row[0] or 0) > positions.get(follower):
        raise Refused(
            "release-pending", f"{follower} has yet to carry out the release at position {row[0]}; then try again"
        )
    for parked in positions.parked(follower):
        if parked.key == key:
            return parked.position
    raise NotFound("key-not-parked", f"{follower} has parked nothing under {key}")


def skipped_by(session: Session, follower: str) -> set[int]:
    """Positions that a decider has left out, because an operator said so: a replay leaves them out too. Exact, since no
    release is recorded unless the one before it was carried out and the event was the first one parked."""
    sql = "SELECT record FROM log WHERE stream = ? ORDER BY version"
    records = [Record.FromString(record) for (record,) in session.execute(sql, (releases_of(follower),)).fetchall()]
    releases = [ParkedKeyReleased.FromString(record.data) for record in records]
    return {release.position for release in releases if release.skip_first and release.position}
