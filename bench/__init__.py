"""The benchmark: `python -m bench` measures the exchange against bare echoes, a peer and the machine's own limits."""
