"""HTTP over requests and urllib3: connections, TLS, responses; the one place that imports them."""
