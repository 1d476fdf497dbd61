"""Customers: who they are, what they own, and all that happened to them."""

from kept.customer.v1 import service_pb2 as service

from gateway.handlers import read
from gateway.rpc import rpc

ROUTES = (
    read("/customers", rpc(service, "ListCustomers"), "Customers with their names, or those that are asked for"),
    read("/customers/{customer_id:str}", rpc(service, "GetCustomer"), "One customer with contact, consents and items"),
    read("/customers/{customer_id:str}/timeline", rpc(service, "GetTimeline"), "What happened to a customer"),
)
