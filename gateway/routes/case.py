"""Cases: the queue, one case, and what a person does with it."""

from kept.case.v1 import service_pb2 as service

from gateway.handlers import change, read
from gateway.rpc import rpc

ROUTES = (
    read("/cases", rpc(service, "ListCases"), "Cases, the nearest deadline first"),
    read("/cases/counts", rpc(service, "CountCases"), "How many cases there are in each state"),
    read("/cases/{case_id:str}", rpc(service, "GetCase"), "One case with its texts"),
    read("/cases/{case_id:str}/timeline", rpc(service, "GetCaseTimeline"), "What happened to a case, newest first"),
    change("/cases/{case_id:str}/acknowledge", rpc(service, "Acknowledge"), "Take a case in hand"),
    change("/cases/{case_id:str}/assign", rpc(service, "Assign"), "Give a case to a team or a partner company"),
    change("/cases/{case_id:str}/hold", rpc(service, "Hold"), "Let a case wait for somebody"),
    change("/cases/{case_id:str}/resume", rpc(service, "Resume"), "Go on with a case that waited"),
    change("/cases/{case_id:str}/resolve", rpc(service, "Resolve"), "Resolve a case"),
    change("/cases/{case_id:str}/reopen", rpc(service, "Reopen"), "Take up a resolved or closed case again"),
    change("/cases/{case_id:str}/close", rpc(service, "Close"), "Close a resolved case"),
    change("/cases/{case_id:str}/notes", rpc(service, "AddNote"), "Add a note, internal or for the customer"),
)
