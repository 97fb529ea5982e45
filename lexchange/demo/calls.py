"""The published example calls, ready to paste: curl, buf curl and ghz."""

import json
import os
import shutil
import sys
from pathlib import Path

PING = {
    "SRC": "SRC_MAIN",
    "KEY": "live_key_value",
    "data": {
        "sub_id": "publisher_123",
        "pub_id": "publisher_123",
        "email": "sam.carter@example.com",
        "phone": "3105550102",
        "zipcode": "90210",
        "state": "CA",
        "ip_address": "192.168.1.10",
        "user_agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
        "trusted_form_url": "https://cert.trustedform.com/abc123",
        "jornaya_lead_id": "JRN-2D8BC3A4E5F6",
        "consent_text": "By clicking submit, I agree to be contacted.",
        "landing_page_url": "https://example.com/quote",
    },
}
POST_FIELDS = {
    "first_name": "Sam",
    "last_name": "Carter",
    "email": "sam.carter@example.com",
    "phone": "3105550102",
    "zipcode": "90210",
    "state": "CA",
    "city": "Los Angeles",
    "street_address": "123 Main St",
    "ip_address": "192.168.1.10",
    "trusted_form_url": "https://cert.trustedform.com/abc123",
    "consent_text": "By clicking submit, I agree to be contacted.",
}


def pasteable(*, http: str, grpc: str, store: str) -> str:
    """The text the demo prints."""
    ping = json.dumps(PING)
    post = {"SRC": PING["SRC"], "KEY": PING["KEY"], "data": POST_FIELDS, "ping_id": "PING_ID"}
    post_json = json.dumps(post).replace('"PING_ID"', "\"'$PING_ID'\"")
    return f"""
# 1. ping: three buyers bid, the best payout comes back
PING_ID=$(curl -s http://{http}/ping -d '{ping}' | tee /dev/stderr | sed 's/.*"ping_id":"\\([^"]*\\)".*/\\1/'); echo

# 2. post: only the winner gets the full lead, once
curl -s http://{http}/post -d '{post_json}'; echo

# 3. why it went that way
{_command("lexchange")} show $PING_ID --store {store}

# the same ping over gRPC
{_command("buf")} curl --protocol grpc --http2-prior-knowledge -d '{ping}' http://{grpc}/leadexchange.v1.LeadExchange/Ping

# load, for 5 seconds (ghz: go install github.com/bojand/ghz/cmd/ghz@latest)
ghz --insecure --call leadexchange.v1.LeadExchange.Ping -d '{ping}' -c 50 -z 5s --duration-stop wait {grpc}
"""


def _command(name: str) -> str:
    """How to call what is installed beside this Python: by its name where a shell would find it."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not beside.exists() else os.path.relpath(beside)
