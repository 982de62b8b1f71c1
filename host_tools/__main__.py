"""Entry point of `rootlet` and of `python -m host_tools`."""

import sys

from host_tools.failure import Failure


def main() -> None:
    """Run the command line; a Failure becomes three lines on stderr and its exit code."""
    if sys.argv[1:] == ["--version"]:
        from rootlet import __version__

        print(f"rootlet {__version__}")
        return
    from host_tools.commands.app import app

    debug = "--debug" in sys.argv[1:]
    if debug:
        sys.argv.remove("--debug")
    try:
        app(prog_name="rootlet")
    except Failure as failure:
        if debug:
            raise
        print(failure, file=sys.stderr)
        sys.exit(int(failure.code))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
