"""LeadExchange: a ping/post lead exchange. Start reading at exchange.py, the whole story of a lead."""

__version__ = "0.1.0"
