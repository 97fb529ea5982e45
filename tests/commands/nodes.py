"""Nodes that serve one store: as many as its engine is for, each of two workers."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.commands.processes import Serving, serving


@contextmanager
def nodes(options: Sequence[str], store: str) -> Iterator[list[Serving]]:
    """One machine on a file, two on a database."""
    count = 1 if store.startswith("sqlite:") else 2
    with ExitStack() as stack:
        command = (*options, "--store", store, "--workers", "2")
        yield [stack.enter_context(serving(*command)) for _ in range(count)]
