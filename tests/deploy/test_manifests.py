"""Manifests that nobody runs here say what the code says."""

from pathlib import Path
from typing import Any

import yaml

from lexchange.config import Limits

DEPLOY = Path(__file__).parents[2] / "deploy"
DRAIN_S = Limits().drain_s + Limits().drain_notice_ms / 1000


def manifests() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes" / "lexchange.yaml").read_text())}


def test_compose_waits_for_calls_to_end() -> None:
    """Two nodes that are stopped later than they take to drain, on a read-only root, behind the front."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert {"node1", "node2", "database", "front"} == services.keys()
    for name in ("node1", "node2"):
        node = services[name]
        assert int(node["stop_grace_period"].removesuffix("s")) > DRAIN_S
        assert (node["read_only"], node["cap_drop"]) == (True, ["ALL"])
        assert f"server {name}:8080" in (DEPLOY / "nginx.conf").read_text()
        assert f"server {name}:50051" in (DEPLOY / "nginx.conf").read_text()


def test_pods_wait_for_calls_to_end() -> None:
    """The notice is its own, the grace ours, the kill after both; nothing runs as root or writes to the root."""
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    notice_ms = {each["name"]: each["value"] for each in container["env"]}["LEXCHANGE_DRAIN_NOTICE_MS"]
    assert pod["terminationGracePeriodSeconds"] > Limits().drain_s + int(notice_ms) / 1000
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_ports_and_names_agree() -> None:
    """What a service sends to is what a pod listens on, and the image's defaults are the same."""
    found = manifests()
    pod = found["Deployment"]["spec"]["template"]
    ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"]: port["port"] for port in found["Service"]["spec"]["ports"]} == ports
    assert found["Service"]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert {port["port"] for port in found["NetworkPolicy"]["spec"]["ingress"][0]["ports"]} == set(ports.values())
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for variable, port in (("LEXCHANGE_HTTP", ports["http"]), ("LEXCHANGE_GRPC", ports["grpc"])):
        assert f"{variable}=0.0.0.0:{port}" in dockerfile
    assert f"--uid {pod['spec']['securityContext']['runAsUser']}" in dockerfile


def test_every_variable_is_one_that_is_read() -> None:
    """A typo in a variable's name would be a setting that nobody hears."""
    known = {f"LEXCHANGE_{name.upper()}" for name in Limits.__dataclass_fields__}
    known |= {f"LEXCHANGE_{name}" for name in ("CONFIG", "STORE", "GRPC", "HTTP", "WORKERS", "PEPPER")}
    named: set[str] = set()
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            named |= {word.strip("\"'`:;,.()[]{}$?=") for word in file.read_text().replace("=", " ").split()}
    found = {word.split(":")[0] for word in named if word.startswith("LEXCHANGE_")}
    assert found <= known, found - known
