"""The peer: a ping endpoint as a team would write it with FastAPI, pydantic, httpx, SQLAlchemy and aiosqlite.

Honest on purpose: one shared httpx client with the pool it is fastest with, all buyers asked at once, the same fields
of the same types checked, the same key check and filter, one commit with synchronous=FULL before the answer, uvicorn
on uvloop and httptools. It has no caps, no reload, no late answers and no address check. It runs in an environment of
its own (bench/requirements/fastapi.txt).
"""

import argparse
import asyncio
import hashlib
import hmac
import secrets
import socket
import time
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Literal

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, EmailStr, Field, HttpUrl, IPvAnyAddress, StringConstraints
from sqlalchemy import ForeignKey, String, event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SOURCES = {"SRC_BENCH": hashlib.sha256(b"bench_key_value").hexdigest()}
STATES = frozenset({"AZ", "CA", "NV", "OR", "WA"})
PING_TIMEOUT_S = 5.0
SHARE = Decimal("0.85")
MIN_BID = Decimal("0.50")

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)]
Zip = Annotated[str, StringConstraints(pattern=r"^\d{5}(-\d{4})?$")]
Phone = Annotated[str, StringConstraints(pattern=r"^(\+?1)?([ ().\-/]*\d){10}$")]
State = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class LeadFields(BaseModel):
    """What a ping must say of a lead."""

    sub_id: Text
    pub_id: Text
    unique_identifier: Text
    email: EmailStr
    phone: Phone | None = None
    zipcode: Zip
    city: Text
    state: State
    ip_address: IPvAnyAddress
    user_agent: Text
    trusted_form_url: HttpUrl
    jornaya_lead_id: Text
    consent_text: Text
    landing_page_url: HttpUrl
    test_mode: Literal["0", "1", "true", "false", ""] = Field(default="", alias="Test_Mode")


class PingBody(BaseModel):
    """A ping as a source sends it."""

    src: Text = Field(alias="SRC")
    key: Text = Field(alias="KEY")
    data: LeadFields


class PingAnswer(BaseModel):
    """What the source hears."""

    status: str
    bid: float | None = None
    ping_id: str | None = None
    reason: str | None = None


class Model(DeclarativeBase):
    """The tables."""


class Ping(Model):
    """A ping and its winner."""

    __tablename__ = "pings"
    ping_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    src: Mapped[str]
    state: Mapped[str]
    winner: Mapped[str | None]
    payout_micros: Mapped[int | None]
    created_ms: Mapped[int] = mapped_column(index=True)
    lead: Mapped[str]


class BuyerPing(Model):
    """What one buyer answered."""

    __tablename__ = "buyer_pings"
    id: Mapped[int] = mapped_column(primary_key=True)
    ping_id: Mapped[str] = mapped_column(ForeignKey("pings.ping_id"), index=True)
    buyer: Mapped[str]
    outcome: Mapped[str]
    bid_micros: Mapped[int | None]
    answer: Mapped[str]


class Peer:
    """The endpoint and what it holds: buyers, the HTTP client, the sessions."""

    def __init__(self, store: str, buyers: list[str], *, sessions: int, connections: int) -> None:
        self._buyers = buyers
        self._engine = create_async_engine(f"sqlite+aiosqlite:///{store}", pool_size=sessions, max_overflow=0)
        event.listen(self._engine.sync_engine, "connect", _set_pragmas)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(limits=limits, timeout=PING_TIMEOUT_S, trust_env=False)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI):
        """Open the tables, and close all at the end."""
        async with self._engine.begin() as connection:
            await connection.run_sync(Model.metadata.create_all)
        yield
        await self._http.aclose()
        await self._engine.dispose()

    async def ping(self, body: PingBody) -> PingAnswer:
        """Ask all eligible buyers at once, keep what they said, answer with the payout of the best bid."""
        _check_key(body)
        ping_id = f"PING-{time.time_ns() // 1_000_000:X}{secrets.token_hex(10).upper()}"
        is_test = body.data.test_mode in ("1", "true")
        asked = [] if is_test or body.data.state not in STATES else self._buyers
        parts = await asyncio.gather(*(self._ask(url, body, ping_id) for url in asked))
        bids = [part for part in parts if part.bid_micros is not None]
        winner = max(bids, key=lambda part: (part.bid_micros, part.buyer), default=None)
        is_accepted = is_test or winner is not None
        payout_micros = int(winner.bid_micros * SHARE) if winner else 1_000_000 if is_test else None
        ping = Ping(
            ping_id=ping_id,
            src=body.src,
            state="offered" if is_accepted else "no_sale",
            winner=winner.buyer if winner else None,
            payout_micros=payout_micros,
            created_ms=time.time_ns() // 1_000_000,
            lead=body.data.model_dump_json(),
        )
        async with self._sessions() as session:
            session.add(ping)
            session.add_all(parts)
            await session.commit()
        if not is_accepted:
            return PingAnswer(status="rejected", reason="no_eligible_buyer")
        return PingAnswer(status="accepted", bid=payout_micros / 1_000_000, ping_id=ping_id)

    async def _ask(self, url: str, body: PingBody, ping_id: str) -> BuyerPing:
        lead = {"zip": body.data.zipcode, "state": body.data.state}
        request = {"lead": lead, "vendor": "bench", "ref": ping_id}
        part = BuyerPing(ping_id=ping_id, buyer=url, outcome="unreachable", answer="")
        try:
            response = await self._http.post(f"{url}/ping", json=request)
            answer = response.json()
        except (httpx.HTTPError, ValueError):
            return part
        part.answer = response.text
        part.outcome = "no_bid"
        if answer.get("status") == "ok":
            bid = Decimal(str(answer["data"]["bid"]))
            if bid >= MIN_BID:
                part.outcome, part.bid_micros = "bid", int(bid * 1_000_000)
        return part


def _set_pragmas(connection, record) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def _check_key(body: PingBody) -> None:
    expected = SOURCES.get(body.src, "")
    if not hmac.compare_digest(hashlib.sha256(body.key.encode()).hexdigest(), expected):
        raise HTTPException(401, {"status": "error", "reason": "invalid_key"})


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="fastapi_peer")
    parser.add_argument("--store", required=True)
    parser.add_argument("--sessions", type=int, default=1, help="of the store")
    parser.add_argument("--connections", type=int, default=5, help="of the HTTP client")
    parser.add_argument("buyers", nargs="+")
    options = parser.parse_args()
    peer = Peer(options.store, options.buyers, sessions=options.sessions, connections=options.connections)
    app = FastAPI(lifespan=peer.lifespan)
    app.add_api_route("/ping", peer.ping, methods=["POST"], response_model_exclude_none=True)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"ready http=127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, http="httptools", loop="uvloop", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
