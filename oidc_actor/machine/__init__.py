"""What `oidc_actor.machine.transitions` decides with: the state, what comes next after a failure, and when. Pure."""
