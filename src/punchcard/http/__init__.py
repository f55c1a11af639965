"""What every request passes: authentication, request ids, error bodies, limits, lists, OpenAPI."""
