"""What commands do to the gateway. Loaded only where the configuration allows any."""

from . import health
from .commands import Commands, answer
from .errors import RootletError, unload
from .start import log


class Remote:
    """Takes commands from the broker, answers them, and leaves the connection for those that end in a restart.

    Args: gateway: gateway.Gateway; its `told` set to None makes it publish its status.
    """

    def __init__(self, gateway):
        self._gateway = gateway
        self._reply = gateway._topic("reply")
        self._text = None  # an answer that has not gone out
        self._pid = 0
        self.mute = False  # no commands on the next connection
        self._leaving: tuple = ()  # (command, its id, its arguments)
        table = {"status": self._status, "interval": self._interval, "rotate": self._rotate, "update": self._update}
        table["reboot"] = lambda number, args: self._leave("reboot", number, args)
        self.topic = gateway._topic("cmd")
        self.commands = Commands(self.topic.encode(), gateway.settings["mqtt"]["commands"], table)

    def receive(self, topic, message):
        """MQTT's callback."""
        self.commands.receive(topic, message, self._gateway.link.client.retained)

    def subscribe(self):
        """Ask the broker for commands. One that gives none costs the commands, not the readings."""
        self._answer()  # what was left over: before the status, which says how it is now
        if self.mute:
            log("error", "no commands until the next connection: a message was too large")
            return
        try:
            self._gateway.link.client.subscribe(self.topic, 1)
        except RootletError as e:
            if e.code != "MQTT_SUBSCRIBE":
                raise
            log("error", e)

    def turn(self):
        """To be called often while connected. Returns whether leave() is to be called. Raises RootletError MQTT_*."""
        client = self._gateway.link.client
        if self._leaving:
            return self._pid not in client.inflight  # the answer has arrived
        self._text = self._text or self.commands.step()
        self._answer()
        return False

    def _answer(self):
        if self._text:
            self._pid = self._gateway.link.publish(self._reply, self._text, False)
            self._text = None

    def leave(self):
        """Restart, the connection closed in good order."""
        gateway = self._gateway
        client = gateway.link.client
        name = self._leaving[0]
        self._leaving = ()
        try:
            client.publish(gateway._topic("status"), '{"status": "offline", "why": "%s"}' % name, retain=True, qos=1)
            client.flush()
            client.disconnect()
        except RootletError as e:
            log("error", e)  # the broker will find out by itself
            client.close()
        gateway.outbox.flush()
        log("gateway", "restart by a command: " + name)
        import machine

        health.restarts(name)
        machine.reset()

    def failed(self, number, name, error):
        """Answer with the next connection that a command, begun before the restart, has failed."""
        self._text = answer(number, name, error)

    def _leave(self, name, number, args):
        self._leaving = (name, number, args)

    def _status(self, number, args):
        self._gateway.told = None

    def _interval(self, number, args):
        settings = self._gateway.settings
        for row in list(settings["sensors"]) + (settings["ble"]["sensors"] if settings["ble"] else []):
            if row["name"] == args["sensor"]:
                row["every_s"] = args["every_s"]
                return
        raise RootletError("COMMAND", "there is no such sensor")

    def _update(self, number, args):
        if not self._gateway.settings["update"]["key"]:
            raise RootletError("UPDATE_OFF", "update.key is not set")
        from . import pending

        try:
            pending.ask(number, args["url"])
        finally:
            unload("pending")
        self._leave("update", number, args)

    def _rotate(self, number, args):
        from . import rotation, slots

        slot = args["slot"]
        try:
            if not slots.complete(slot) or not slots.tried(slot):
                raise RootletError("SLOT", "slot %s is not filled and tried" % slot)
            rotation.switch(slot)
        except OSError as e:
            raise RootletError("SLOT", "flash: %s" % e) from None
        finally:
            unload("rotation")
        self._leave("rotate", number, args)
