"""What a manager does when. Read ``transitions.TABLE`` first: it decides, by the rules of the other modules here. Pure."""
