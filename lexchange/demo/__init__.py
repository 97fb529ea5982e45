"""The demo: three buyers to sell to, and the calls to paste."""
