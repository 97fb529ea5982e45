"""Nodes that serve one store: as many as its engine is for, each of two workers."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.commands.processes import Serving, serving

# What a process of another machine is to its fellows: a name with no pid that they could look up.
ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_be_elsewhere() -> bool:
    """Whether processes may have pids of their own."""
    return os.geteuid() == 0 and shutil.which(ELSEWHERE[0]) is not None


@contextmanager
def nodes(options: Sequence[str], store: str, **variables: Any) -> Iterator[list[Serving]]:
    """One machine on a file, two on a database."""
    count = 1 if store.startswith("sqlite:") else 2
    with ExitStack() as stack:
        command = (*options, "--store", store, "--workers", "2")
        yield [stack.enter_context(serving(*command, **variables)) for _ in range(count)]
