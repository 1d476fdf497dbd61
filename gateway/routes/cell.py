"""The cell: its clock and its log's head."""

from kept.cell.v1 import service_pb2 as service

from gateway.handlers import read
from gateway.rpc import rpc

ROUTES = (read("/cell", rpc(service, "GetCell"), "Where the log stands and what time it is in this cell"),)
