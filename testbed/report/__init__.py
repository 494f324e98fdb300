"""A Path as text, JSON, HTML, pcapng."""
