"""The REST side of the exchange: JSON in, gRPC out and back. It decides nothing and never imports lexchange."""
