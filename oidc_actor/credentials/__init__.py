"""What is asked for: the fields of credentials, their checks, and the requests that they become. Pure."""
