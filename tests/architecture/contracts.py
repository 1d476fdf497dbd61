"""A contract that import-linter lacks: what is not allowed by name is forbidden."""

from typing import Any  # a field is declared as its parser, and holds what that gives

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class MayImportOnly(Contract):
    """`modules` import, themselves, nothing but `allowed`; there `{service}` stands for the importer's own service."""

    modules: Any = fields.SetField(subfield=fields.ModuleExpressionField())
    allowed: Any = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        strays = [
            (importer, imported)
            for expression in sorted(str(one) for one in self.modules)
            for importer in sorted(graph.find_matching_modules(expression))
            for imported in sorted(graph.find_modules_directly_imported_by(importer) - self._allowed_to(importer))
        ]
        return ContractCheck(kept=not strays, metadata={"strays": strays})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["strays"]:
            output.print_error(f"{importer} is not allowed to import {imported}")

    def _allowed_to(self, importer: str) -> set[str]:
        service = importer.split(".")[1]
        return {name.replace("{service}", service) for name in self.allowed}
