"""Reflection: our protos for clients that have none, such as grpcurl, `buf curl` and ghz."""

from collections.abc import AsyncIterable, Iterable
from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from lexchange.watches import Watches


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


def add_reflection(services: Iterable[str], watches: Watches, adds: Any) -> None:
    """Serve it for these services, by their full names. Its streams can be let go: grpcui keeps its own open."""
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server  # comes without types
    stock: Any = reflection.aio.ReflectionServicer((*services, reflection.SERVICE_NAME), pool=Symbols())

    async def answer(requests: AsyncIterable[Any], context: Any) -> None:
        async with watches.watch():
            async for each in stock.ServerReflectionInfo(requests, context):
                await context.write(each)

    add(SimpleNamespace(ServerReflectionInfo=answer), adds)
