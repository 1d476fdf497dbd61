"""A small incident log in ServiceNow's format, made up: for `make run` and for tests. The same seed gives the same file."""
