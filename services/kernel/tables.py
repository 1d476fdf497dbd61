"""Tables that followers fill, for views and for policies: enough is known of them to make, to read and to compare them."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.kernel.database import Dialect


@dataclass(frozen=True)
class Table:
    """`columns` maps names to text, int, uuid or bytes. `sealed` columns hold a serialized Sealed; `stream` is the
    uuid column that names the stream they were sealed for."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()
    sealed: tuple[str, ...] = ()
    stream: str = ""

    def ordered(self, dialect: Dialect) -> str:
        """SQL that reads every row, in an order that is the same on every database."""
        order = ", ".join(f"{name}{dialect.byte_order}" if self.columns[name] == "text" else name for name in self.key)
        return f"SELECT {', '.join(self.columns)} FROM {self.name} ORDER BY {order}"  # noqa: S608 - our own names

    def statements(self, dialect: Dialect) -> list[str]:
        types = {"text": "TEXT", "int": "BIGINT", "uuid": dialect.uuid, "bytes": dialect.bytes}
        columns = ", ".join(f"{name} {types[kind]}" for name, kind in self.columns.items())
        made = [f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY ({', '.join(self.key)}))"]
        for number, index in enumerate(self.indexes):
            made.append(f"CREATE INDEX {self.name}_{number} ON {self.name} ({', '.join(index)})")
        return made


def bits_of(numbers: Iterable[int]) -> int:
    """A set of small numbers, such as an enum's, as one int column."""
    return sum(1 << number for number in set(numbers))


def in_bits(bits: int) -> list[int]:
    return [number for number in range(bits.bit_length()) if bits >> number & 1]
