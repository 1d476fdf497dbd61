"""Partner companies, who can help where, and the visits offered to them."""

from kept.partner_network.v1 import service_pb2 as service

from gateway.handlers import change, read
from gateway.rpc import rpc

_ORDER = "/work-orders/{work_order_id:str}"

ROUTES = (
    read("/partners", rpc(service, "ListPartners"), "Partner companies, by name"),
    read("/partners/{partner_id:str}", rpc(service, "GetPartner"), "One partner with agreements and service points"),
    read("/help", rpc(service, "FindHelp"), "Who can help there, with that, and when; and why not the others"),
    read("/work-orders", rpc(service, "ListWorkOrders"), "Work orders; what expires or begins soonest comes first"),
    change("/work-orders", rpc(service, "OfferWorkOrder"), "Offer a visit to partner companies"),
    change(f"{_ORDER}/accept", rpc(service, "AcceptWorkOrder"), "Take a work order for a partner"),
    change(f"{_ORDER}/decline", rpc(service, "DeclineWorkOrder"), "Decline a work order for a partner"),
    change(f"{_ORDER}/arrive", rpc(service, "ReportArrival"), "The technician is there"),
    change(f"{_ORDER}/complete", rpc(service, "CompleteWorkOrder"), "The work is done"),
)
