"""Importers: history of other systems, told to a cell through gRPC as any client would tell it."""
