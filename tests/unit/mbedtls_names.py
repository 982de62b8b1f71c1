# Runs on MicroPython: what it raises for each number (from 256 on) that Mbed TLS could return, one line each.
import io
import sys

import tls


class Broken(io.IOBase):
    """A socket whose reads fail with a number of our choice, which Mbed TLS hands on."""

    def __init__(self, number):
        self.number = number

    def write(self, data):
        return len(data)

    def readinto(self, into):
        return -self.number

    def ioctl(self, request, argument):
        return 0


context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
context.verify_mode = tls.CERT_NONE
for number in map(int, sys.argv[1:]):
    try:
        context.wrap_socket(Broken(number), server_hostname="a")
    except OSError as e:
        print(number, *e.args)
    except ValueError as e:
        print(number, "ValueError", *e.args)
