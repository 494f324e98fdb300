"""Packets out, captures and traces in, put together as one Path."""
