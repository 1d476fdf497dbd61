"""Notices: what customers were told, or will be."""

from kept.notification.v1 import service_pb2 as service

from gateway.handlers import read
from gateway.rpc import rpc

ROUTES = (
    read("/notices", rpc(service, "ListNotices"), "Notices with their texts, newest first"),
    read("/notices/counts", rpc(service, "CountNotices"), "How many notices there are by occasion and state"),
)
