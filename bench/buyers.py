"""Buyers that cost next to nothing: one nginx that answers every ping with a bid and every post with `sold`."""

import http.client
import os
import subprocess
import time
from pathlib import Path

from bench.child import BenchError, Child
from bench.machine import free_ports

BUYER_COUNT = 20  # unless more are needed
FIRST_BID_CENTS = 500
QUIET_S, SETTLE_S = 0.1, 5.0

_CONFIG = """
{modules}
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    server_tokens off;
    default_type application/json;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{status_port}; location / {{ stub_status; }} }}
{servers}
}}
"""
_SERVER = """    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /ping {{ {answer} '{{"status":"ok","data":{{"bid":{bid},"token":"T-{port}-7F3A9C"}}}}'; }}
        location /post {{ return 200 '{{"result":"sold"}}'; }}
    }}"""


_AT_ONCE = "return 200"
_LATER = "echo_read_request_body; echo_sleep {delay_s}; echo"


class Buyers:
    """The running nginx. `urls` has one for each buyer; each bid takes `delay_ms`."""

    def __init__(self, nginx: str, folder: Path, core: int, *, count: int = BUYER_COUNT, delay_ms: int = 0) -> None:
        self._asked = 0
        ports = free_ports(count + 1)
        self._status_port = ports.pop()
        self.ports = ports
        self.urls = tuple(f"http://127.0.0.1:{port}" for port in ports)
        answer = _LATER.format(delay_s=delay_ms / 1000) if delay_ms else _AT_ONCE
        modules = f"load_module {_echo_module(nginx)};" if delay_ms else ""
        servers = "\n".join(
            _SERVER.format(port=port, answer=answer, bid=f"{(FIRST_BID_CENTS + 10 * index) / 100:.2f}")
            for index, port in enumerate(ports)
        )
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(modules=modules, folder=folder, status_port=self._status_port, servers=servers)
        )
        command = [nginx, "-p", str(folder), "-e", "stderr", "-c", str(config)]
        self.child = Child("nginx", command, folder=folder, cores=frozenset([core]), env=dict(os.environ))

    def wait_until_ready(self) -> None:
        """Wait for nginx; raises BenchError when it does not come."""
        self.child.wait_until_listening(self._status_port)

    def answer_count(self) -> int:
        """How many requests all buyers have answered so far, without the questions after this number."""
        connection = http.client.HTTPConnection("127.0.0.1", self._status_port, timeout=5)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse().read().decode()
        finally:
            connection.close()
        requests = int(answer.splitlines()[2].split()[2])
        self._asked += 1
        return requests - self._asked

    def settled_count(self) -> int:
        """The same, once nobody asks any more: pings of the measurement before go on when its load has ended."""
        until = time.monotonic() + SETTLE_S
        before, now = -1, self.answer_count()
        while now != before and time.monotonic() < until:
            time.sleep(QUIET_S)
            before, now = now, self.answer_count()
        return now


def _echo_module(nginx: str) -> Path:
    """The module that can wait; raises BenchError."""
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr
    folder = built.partition("--modules-path=")[2].partition(" ")[0]
    module = Path(folder) / "ngx_http_echo_module.so"
    if not module.exists():
        raise BenchError("nginx has no echo module, so no buyer takes his time: make debian")
    return module
