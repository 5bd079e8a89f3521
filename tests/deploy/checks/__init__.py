"""What must hold for every rendered release. A check takes a release and yields complaints; none is passed over by name."""
