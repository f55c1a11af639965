"""Projects, their keys, and the credentials of the first start."""
