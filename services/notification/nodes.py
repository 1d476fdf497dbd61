"""YAML read node by node, so that every mistake is told with its line and column, and all of them at once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from services.kernel.errors import Invalid

DEEPEST = 10
MOST_TOLD = 50
_NULL = "tag:yaml.org,2002:null"
# What a plain word may look like to YAML; it is taken as it is written all the same: 22:00, no, 3.
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value")
)
# By an escape such as "\\0" or "\\ud800": nothing that a database, a mail or UTF-8 can hold.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
T = TypeVar("T")


class Mark(Protocol):
    """A place in the file; both count from 0."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """Both count from 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


@dataclass
class Mistakes:
    found: list[Mistake] = field(default_factory=list)

    def at(self, mark: Mark | Node | None, message: str) -> None:
        start = mark.start_mark if isinstance(mark, Node) else mark
        assert start is not None, "the pure loader marks everything"
        self.found.append(Mistake(start.line + 1, start.column + 1, message))

    def refuse(self, name: str) -> None:
        """Raises invalid-argument with all mistakes, in the order of the file, when there are any."""
        if not self.found:
            return
        told = [str(mistake) for mistake in sorted(set(self.found))]
        more = [f"and {len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else []
        raise Invalid(name, "; ".join(told[:MOST_TOLD] + more))

    # Reading; what is not as it should be is noted, and None or nothing is given back.

    def mapping(
        self, node: Node | None, what: str, *, needs: Sequence[str], may: Sequence[str] = ()
    ) -> dict[str, Node]:
        """The values by key: each key known, none twice, none missing."""
        found = dict(self.entries(node, what))
        for key, (key_node, _) in found.items():
            if key not in needs and key not in may:
                self.at(key_node, f"{what} has no {key!r}; known are {', '.join((*needs, *may))}")
        if isinstance(node, MappingNode):
            for key in needs:
                if key not in found:
                    self.at(node, f"{what}: {key!r} is missing")
        return {key: value for key, (_, value) in found.items()}

    def entries(self, node: Node | None, what: str) -> Iterator[tuple[str, tuple[Node, Node]]]:
        """Each key with its own node and its value's. None twice."""
        if node is None:
            return
        if not isinstance(node, MappingNode):
            self.at(node, f"{what}: give keys with values, not {_shape(node)}")
            return
        seen: set[str] = set()
        for key_node, value in node.value:
            if not isinstance(key_node, ScalarNode) or _NO_TEXT.search(key_node.value):
                self.at(key_node, f"{what}: a key is a plain word")
            elif key_node.value in seen:
                self.at(key_node, f"{what}: {key_node.value!r} is given twice")
            else:
                seen.add(key_node.value)
                yield key_node.value, (key_node, value)

    def items(self, node: Node | None, what: str) -> list[Node]:
        if node is None:
            return []
        if isinstance(node, SequenceNode):
            return list(node.value)
        self.at(node, f"{what}: give a list, not {_shape(node)}")
        return []

    def text(self, node: Node | None, what: str, *, most: int = 2000) -> str | None:
        """The scalar as it is written."""
        if node is None:
            return None
        if not isinstance(node, ScalarNode) or node.tag not in _PLAIN:
            self.at(node, f"{what}: give a text, not {_shape(node)}")
        elif node.tag == _NULL or not node.value.strip():
            self.at(node, f"{what}: is empty")
        elif _NO_TEXT.search(node.value):
            self.at(node, f"{what}: has control characters, or half a character, by an escape")
        elif len(node.value) > most:
            self.at(node, f"{what}: has {len(node.value)} characters; {most} are allowed")
        else:
            return str(node.value)
        return None

    def flag(self, node: Node | None, what: str) -> bool:
        value = self.text(node, what)
        if node is not None and value is not None and value not in ("true", "false"):
            self.at(node, f"{what}: true or false, not {value[:40]!r}")
        return value == "true"

    def number(self, node: Node | None, what: str, *, least: int, most: int) -> int | None:
        value = self.text(node, what)
        if node is None or value is None:
            return None
        if value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most:
            return int(value)
        self.at(node, f"{what}: a whole number from {least} to {most}, not {value[:40]!r}")
        return None

    def choice(self, node: Node | None, what: str, known: Mapping[str, T]) -> T | None:
        value = self.text(node, what)
        if node is None or value is None:
            return None
        if value not in known:
            self.at(node, f"{what}: there is no {value[:40]!r}; known are {', '.join(known)}")
        return known.get(value)


def compose(source: str, mistakes: Mistakes) -> Node | None:
    """The document's root; None where it is no YAML, or empty, which is noted."""
    try:
        if not _is_plain(source, mistakes):
            return None
        root = yaml.compose(source, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        mistakes.at(mark, f"is no YAML: {error.problem or error.context}")
        return None
    except yaml.reader.ReaderError as error:
        before = source[: error.position]
        column = len(before) - (before.rfind("\n") + 1)
        mistakes.found.append(Mistake(before.count("\n") + 1, column + 1, "a character that YAML does not allow"))
        return None
    except (ValueError, OverflowError):  # PyYAML's own, unmarked: an escape or a number beyond what Python has
        mistakes.found.append(Mistake(1, 1, "an escape or a directive that no text can have"))
        return None
    if root is None:
        mistakes.found.append(Mistake(1, 1, "the rule set is empty"))
    return root


def _is_plain(source: str, mistakes: Mistakes) -> bool:
    """Without anchors, and not nested without end: either could make a short text a very long one."""
    depth = 0
    for event in yaml.parse(source, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            mistakes.at(event.start_mark, "anchors and aliases are not read; write it out")
            return False
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            mistakes.at(event.start_mark, f"is nested more than {DEEPEST} deep")
            return False
    return True


def _shape(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "keys with values"
    return "a list" if isinstance(node, SequenceNode) else "a single value"
