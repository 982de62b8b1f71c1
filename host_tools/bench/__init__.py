"""Measures Rootlet against its peers: each group of rows is a module with measure(place, quick)."""
