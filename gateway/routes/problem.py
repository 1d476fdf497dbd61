"""Problems: one cause, and everybody whom it touches."""

from kept.case.v1 import service_pb2 as service

from gateway.handlers import read
from gateway.rpc import rpc

ROUTES = (
    read("/problems", rpc(service, "ListProblems"), "Problems, newest first"),
    read("/problems/{problem_id:str}", rpc(service, "GetProblem"), "One problem: affected, told, called first"),
    read("/problems/{problem_id:str}/affected", rpc(service, "ListAffected"), "Who is affected, and who was told"),
)
