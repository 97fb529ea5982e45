"""Envoy's gRPC-JSON transcoder in front of the exchange, as its documentation sets it up."""

import base64
import json
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from leadexchange.v1 import lead_exchange_pb2 as pb

_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}


def write_envoy_config(path: Path, *, port: int, upstream: str) -> Path:
    """JSON to `POST http://127.0.0.1:PORT/package.Service/Method` becomes a gRPC call to HOST:PORT `upstream`."""
    listener = {"name": "rest", "address": _address("127.0.0.1", port), "filter_chains": [{"filters": [_rest()]}]}
    host, _, upstream_port = upstream.rpartition(":")
    document = {"static_resources": {"listeners": [listener], "clusters": [_exchange(host, int(upstream_port))]}}
    path.write_text(json.dumps(document))
    return path


def _rest() -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "exchange"}}
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "rest",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [_transcoder(), _router()],
        },
    }


def _transcoder() -> dict[str, Any]:
    described = FileDescriptorSet()
    pb.DESCRIPTOR.CopyToProto(described.file.add())
    return {
        "name": "envoy.filters.http.grpc_json_transcoder",
        "typed_config": {
            "@type": f"{_FILTERS}.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor_bin": base64.b64encode(described.SerializeToString()).decode(),
            "services": [pb.DESCRIPTOR.services_by_name["LeadExchange"].full_name],
            "auto_mapping": True,
        },
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
    }


def _exchange(host: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {
        "name": "exchange",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "exchange", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {_HTTP: {"@type": f"type.googleapis.com/{_HTTP}", **_HTTP2}},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
