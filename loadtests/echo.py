"""The least that a Python gRPC server can do: it answers each call with the call's own bytes.

python -m loadtests.echo ADDRESS THREADS
"""

from __future__ import annotations  # the stubs make grpc's handler generic, its code does not

import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

from services.kernel.ready import announce_ready

METHOD = "/bare.Echo/Echo"
STOPS = frozenset({signal.SIGTERM, signal.SIGINT})


def main(address: str, threads: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    server = grpc.server(ThreadPoolExecutor(threads))
    echo: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    service, method = METHOD.removeprefix("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: echo}),))
    server.add_insecure_port(address)
    server.start()
    announce_ready()
    signal.sigwait(STOPS)
    server.stop(None).wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
