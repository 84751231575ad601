"""May it: actions, decisions and the rules between them."""
