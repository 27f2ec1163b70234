"""How well and how fast sets are cleaned, beside the peers: ``python -m benchmarks``, see README.md."""
