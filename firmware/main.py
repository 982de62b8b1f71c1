"""Started by MicroPython after boot.py: runs the gateway, unless crash has followed crash."""

from rootlet import health

if health.starting():
    health.run()
