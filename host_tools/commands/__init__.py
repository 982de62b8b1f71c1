"""The command line: one module per `rootlet` command, each a thin skin over a module of host_tools."""
