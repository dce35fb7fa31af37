"""What a manager does when: ``transitions`` decides by the rules of the other modules here. Pure."""
