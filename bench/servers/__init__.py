"""Small servers that the benchmark compares with or talks to; each prints `ready …=HOST:PORT` once it answers."""
