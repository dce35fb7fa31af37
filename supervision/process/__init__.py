"""How an actor starts, handles, ends and is observed: the one place that knows Pykka's surprises."""
