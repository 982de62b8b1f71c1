"""Started by MicroPython after boot.py: runs the gateway."""

import asyncio

from rootlet import gateway

asyncio.run(gateway.main())
