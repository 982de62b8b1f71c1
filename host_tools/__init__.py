"""The host side of Rootlet: the package behind the `rootlet` command."""
