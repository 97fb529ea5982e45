"""Market: what it keeps between calls; what it decides is in the cases of tests/exchange."""

import weakref
from typing import cast

from lexchange.campaign import Source
from lexchange.caps import MINUTE_MS
from lexchange.catalog import Catalog, Route
from lexchange.config import Limits
from lexchange.market import Market
from lexchange.storage import Store
from tests.unit.examples import DATA, NOW_MS, a_buyer, a_campaign

NO_STORE = cast(Store, None)  # without caps and duplicate rules nothing is read


def route_of(src: str) -> Route:
    campaign = a_campaign(a_buyer("acme"), sources=(Source(src=src, name=src, keys=()),))
    route = Catalog([campaign], version="v1", limits=Limits()).route(src)
    assert route is not None
    return route


async def test_replaced_configuration_is_let_go_of_within_a_minute() -> None:
    """A source that is silent since a reload keeps nothing of its old campaign alive."""
    market = Market(NO_STORE)
    silent: list[Route] = [route_of("SRC_SILENT")]
    kept = weakref.ref(silent[0].live.buyers["acme"].failed_rule)
    await market.turnout(silent.pop(), DATA, NOW_MS)
    assert kept() is not None
    await market.turnout(route_of("SRC_OTHER"), DATA, NOW_MS + MINUTE_MS)
    assert kept() is None
