"""Whose a cell is: the demo marks the folder before it plays, and again when it has played."""

import json
from pathlib import Path
from typing import Any

from kept.cell.v1 import service_pb2 as cell

NAME = "demo.json"


class NotOurs(Exception):
    """The cell holds something else; the text says what to do."""


class Mark:
    """`lost` names tenant and customer of each lost deal, once all is played; None until then."""

    def __init__(self, folder: Path, settings: dict[str, int]) -> None:
        self._path, self._settings = folder / NAME, settings
        self.lost: list[tuple[str, str]] | None = None

    def claim(self, now: cell.GetCellResponse) -> None:
        """Takes an empty cell, or goes on with one that is ours. Raises NotOurs."""
        if self._path.exists():
            self._recall(json.loads(self._path.read_text(encoding="utf-8")), now)
        elif now.mode != cell.CELL_MODE_HISTORY or now.now.seconds:
            raise NotOurs("this folder's cell is used by something else; give the demo a folder of its own with --data")
        else:
            self._write()

    def finish(self, lost: list[tuple[str, str]]) -> None:
        self.lost = lost
        self._write()

    def _recall(self, before: dict[str, Any], now: cell.GetCellResponse) -> None:
        told = {name: before.get(name) for name in self._settings}
        if told != self._settings:
            wanted = ", ".join(f"{name} {value}" for name, value in told.items())
            raise NotOurs(f"this folder's demo was begun with {wanted}: go on with these, or take another folder")
        if before["lost"] is not None and not now.now.seconds:
            raise NotOurs(f"the cell that {self._path} tells of is gone; take another folder, or move the file away")
        if before["lost"] is not None:
            self.lost = [(tenant, customer_id) for tenant, customer_id in before["lost"]]

    def _write(self) -> None:
        unready = self._path.with_suffix(".new")
        unready.write_text(json.dumps({**self._settings, "lost": self.lost}), encoding="utf-8")
        unready.replace(self._path)
