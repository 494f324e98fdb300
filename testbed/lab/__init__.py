"""The inside of a running lab: its event loop, what it starts with, its proxies and its cloud."""
