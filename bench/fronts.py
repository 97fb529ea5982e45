"""What a call costs before any buyer is asked: test-mode pings, beside bare echoes and beside what others use.

Envoy and grpc-gateway take the body that our REST takes, at `POST /package.Service/Method`, and answer with the gRPC
answer as JSON: SRC, KEY and data are those names in the proto too.
"""

import http.client
import json
from collections.abc import Callable

from bench.campaigns import CampaignShape
from bench.child import ROOT, BenchError
from bench.lab import Lab, Served
from bench.measure import Plan, Results, Subject, interleave
from bench.subjects import under

NOBODY = ("http://127.0.0.1:9",)  # whom test mode does not ask
SHAPES = [CampaignShape(urls=NOBODY)]
OUR_METHOD = "/leadexchange.v1.LeadExchange/Ping"
ECHO_METHOD = "/bench.v1.Echo/Ping"


def front(lab: Lab, plan: Plan, results: Results) -> None:
    """Ours against servers that only echo, in the same language."""
    grpc_echo, http_echo = lab.echo("grpc"), lab.echo("http")
    ours, by_aio = lab.exchange(SHAPES), lab.exchange(SHAPES, engine="aio")
    apart = lab.gateway(ours)
    grpc, rest = lab.generator.grpc, _rest(lab)
    subjects = [
        under(grpc(grpc_echo.grpc, "echo"), grpc_echo, "grpc_echo", "gRPC echo, bare grpc.aio"),
        under(grpc(by_aio.grpc, "ping_test"), by_aio, "grpc_test_aio", "gRPC test-mode ping, aio"),
        under(grpc(ours.grpc, "ping_test"), ours, "grpc_test", "gRPC test-mode ping, turbo"),
        rest(http_echo, "/ping", "http_echo", "HTTP echo, bare Starlette"),
        rest(ours, "/ping", "rest_test", "REST test-mode /ping, in process"),
        rest(apart, "/ping", "rest_channel", "REST test-mode /ping, gateway over a channel"),
    ]
    interleave(subjects, plan, results)


def peers(lab: Lab, plan: Plan, results: Results) -> None:
    """Ours against what others put there: grpc-go's echo, grpc-gateway, and Envoy's transcoder in front of ours."""
    ours = lab.exchange(SHAPES)
    grpc, rest = lab.generator.grpc, _rest(lab)
    subjects = [
        under(grpc(ours.grpc, "ping_test"), ours, "peers_grpc", "gRPC test-mode ping, turbo"),
        rest(ours, "/ping", "peers_rest", "REST test-mode /ping, in process"),
        rest(lab.gateway(ours), "/ping", "peers_channel", "REST test-mode /ping, our gateway over a channel"),
    ]
    if lab.tools.go_peer:
        echo = lab.go_echo()
        before_echo, before_ours = lab.grpc_gateway(echo), lab.grpc_gateway(ours)
        _check_transcodes(before_ours)
        subjects += [
            under(grpc(echo.grpc, "echo"), echo, "go_echo", "gRPC echo, grpc-go"),
            rest(before_echo, ECHO_METHOD, "go_gateway", "HTTP echo, grpc-gateway in front of grpc-go"),
            rest(before_ours, OUR_METHOD, "peers_grpc_gateway", "HTTP test-mode ping, grpc-gateway in front of ours"),
        ]
    if lab.tools.envoy:
        envoy = lab.envoy(ours)
        _check_transcodes(envoy)
        subjects.append(rest(envoy, OUR_METHOD, "peers_envoy", "HTTP test-mode ping, Envoy in front of ours"))
    interleave(subjects, plan, results)


def _rest(lab: Lab) -> Callable[[Served, str, str, str], Subject]:
    def subject(server: Served, path: str, name: str, label: str) -> Subject:
        return under(lab.generator.http(server.http, path, "ping_test"), server, name, label)

    return subject


def _check_transcodes(server: Served) -> None:
    """JSON has to become our gRPC call, and its answer JSON."""
    connection = http.client.HTTPConnection(server.http, timeout=10)
    body = (ROOT / "bench/calls/ping_test.json").read_bytes()
    connection.request("POST", OUR_METHOD, body, {"Content-Type": "application/json"})
    answered = connection.getresponse()
    answer = answered.read().decode()
    connection.close()
    if answered.status != 200 or json.loads(answer).get("status") != "PING_STATUS_ACCEPTED":
        raise BenchError(f"POST {OUR_METHOD} is not transcoded: {answered.status} {answer[:300]}")
