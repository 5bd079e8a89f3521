"""The gateway: accepts jobs over HTTP, and shows what became of them."""
