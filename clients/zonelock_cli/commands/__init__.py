"""One module per family of commands; each imports what is heavy inside the command that needs it."""
