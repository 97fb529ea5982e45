"""Reflection: our protos for clients that have none, such as grpcurl, `buf curl` and ghz."""

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc


class Symbols:
    """The pool of all protos, which also finds a method's file. ghz asks for `package.Service.Method`."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        """The file that defines a symbol; raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindFileContainingSymbol(symbol.rpartition(".")[0])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


def add_reflection(services: Iterable[str], adds: Any) -> None:
    """Serve it for these services, by their full names."""
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server  # comes without types
    names = (*services, reflection.SERVICE_NAME)
    add(reflection.aio.ReflectionServicer(names, pool=Symbols()), adds)
