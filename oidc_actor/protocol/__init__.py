"""What a provider answered, made safe: bodies, times, lifetimes, texts fit to be shown. Pure."""
