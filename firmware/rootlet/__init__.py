"""Rootlet firmware: WiFi, clock, verified HTTPS and MQTT over TLS for MicroPython boards."""

__version__ = "0.1.0"
