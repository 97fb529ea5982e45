"""Buyers: how a lead becomes a buyer's request, how his answer is read, and the only way out to the network."""
