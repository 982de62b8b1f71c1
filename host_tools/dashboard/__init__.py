"""The live page: what all devices say now, in a browser."""
