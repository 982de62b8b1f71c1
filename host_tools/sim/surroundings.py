"""The Bluetooth surroundings of `rootlet sim`: the air and the peripherals that a script's "ble" section asks for."""

from typing import TYPE_CHECKING, Any

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.sim.air import Air, Peripheral


class Surroundings:
    """Nothing until a script has a "ble" section without a port. Call close() in the end."""

    def __init__(self) -> None:
        self._air: Air | None = None
        self._rows: Any = None
        self._here: list[Peripheral] = []

    def arrange(self, script: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        """Make it so: the air is started, and where the peripherals' data changed, all of them anew.

        Returns: the script for the board, with the air's port in place of the peripherals, and how many peripherals
        there are (None: it is not for us to say).
        Raises: Failure on a section that cannot be used; what was there stays.
        """
        section = script.get("ble")
        if section is None:
            return script, None
        if not isinstance(section, dict) or ("port" in section and "peripherals" in section):
            because = "it has a port and peripherals" if isinstance(section, dict) else f"ble is {section!r}"
            try_ = 'write "ble": {"peripherals": [...]}, or {"port": N} of an air of your own'
            raise Failure('the script\'s "ble" cannot be used', because, try_, Exit.USAGE)
        if "port" in section:
            return script, None
        try:
            from host_tools.sim.air import Air
            from host_tools.sim.peripheral_script import all_from_script
        except ImportError as error:
            raise Failure("there is no virtual Bluetooth here", str(error), "pip install 'rootlet[sim]'") from None
        rows = section.get("peripherals", [])
        if self._air is None or rows != self._rows:
            wanted = all_from_script(script)
            if self._air is None:
                self._air = Air().start()
            for one in self._here:
                self._air.remove(one)
            self._here = []
            for one in wanted:
                self._air.add(one)
                self._here.append(one)
            self._rows = rows
        board = {key: value for key, value in section.items() if key != "peripherals"}
        return {**script, "ble": {**board, "port": self._air.port}}, len(self._here)

    def close(self) -> None:
        """End the air and all in it."""
        if self._air is not None:
            self._air.stop()
            self._air = None
