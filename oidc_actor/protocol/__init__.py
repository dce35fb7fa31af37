"""OAuth requests and responses as values: what is sent, and what came back, made safe and fit to be shown. Pure."""
