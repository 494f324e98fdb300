"""The `testbed` command: one module per verb."""
