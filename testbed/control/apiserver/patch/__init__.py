"""The four kinds of patch, pure: documents in, a new document out."""
