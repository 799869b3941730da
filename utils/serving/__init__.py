"""The HTTP service: queue, inference thread, routes, and the open inference protocol."""
