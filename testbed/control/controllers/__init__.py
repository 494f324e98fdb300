"""One controller a file; they talk to one another only through the store."""
