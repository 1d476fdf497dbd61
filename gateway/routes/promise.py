"""Promises: the clocks of cases, why each is due when it is, and how they ended."""

from kept.sla.v1 import service_pb2 as service

from gateway.handlers import read
from gateway.rpc import rpc

ROUTES = (
    read("/clocks", rpc(service, "ListClocks"), "The clocks of these cases"),
    read("/clocks/{clock_id:str}", rpc(service, "ExplainClock"), "Why a clock is due when it is"),
    read("/verdicts/counts", rpc(service, "CountVerdicts"), "Verdicts counted by target and outcome"),
)
