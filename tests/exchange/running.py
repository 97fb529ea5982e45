"""A whole exchange in the test's event loop: real store file, real listeners, scripted buyers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lexchange.config import Limits, Settings
from lexchange.server import Server, serving
from tests.exchange.cases import Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import ScriptedBuyers, scripted_buyers


@asynccontextmanager
async def exchange_for(case: Case, folder: Path, store: str = "") -> AsyncIterator[tuple[Server, ScriptedBuyers]]:
    """Serve the case's campaign; the store is `folder`/store.db unless its URL is given."""
    async with scripted_buyers(replies_of(case)) as buyers:
        file = folder / "campaign.yaml"  # JSON is YAML
        file.write_bytes(campaign_of(case, buyers.address))
        settings = Settings(
            config=file,
            store=store or f"sqlite:///{folder}/store.db",
            grpc="127.0.0.1:0",
            http="127.0.0.1:0",
            pepper=b"",
            is_dev=True,
        )
        async with serving(settings, Limits(**{"drain_notice_ms": 1, **case.get("limits", {})})) as server:
            yield server, buyers
