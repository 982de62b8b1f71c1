"""The brokers that Rootlet configures: one module each, all with the interface of `table.Engine`."""
