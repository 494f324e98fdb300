"""What happened to a packet: Flow, Hop, Path, Verdict. Pure."""
