"""The house rules as tests: each says its rule in one line, each exception its reason."""
